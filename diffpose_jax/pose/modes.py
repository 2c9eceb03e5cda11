"""Where the samples of a joint disagree: the places that they name.

The mean of an occluded wrist's samples may lie where none of them is. Its modes
are the places in question, each with the share of the samples that name it.
"""

import dataclasses
import math

import numpy as np
from jaxtyping import Float
from scipy.cluster import hierarchy

# Places are told apart from this share of a person's size on. The size is the
# longer side of the box, as in the calibration: it changes less with the pose
# than the area does, and the crop, and so a heatmap's cell, is a fixed share of
# it. It is a little more than the height of a head (a standing person has seven
# to eight), so that no place is within half a head of two modes: a joint that
# is right by one of them is wrong by the other.
APART = 0.15
# Of the samples: what fewer of them name is a stray sample, not a mode.
LEAST = 0.1


@dataclasses.dataclass(frozen=True)
class Mode:
  """Samples of a joint that agree with each other."""

  point: Float[np.ndarray, "2"]  # their mean
  share: float  # of the joint's samples
  # Root of the trace of their unbiased covariance: how far they are from the
  # point, root mean square. NaN: of one sample.
  spread: float


def find(samples: Float[np.ndarray, "m k 2"], size: float) -> list[list[Mode]]:
  """The modes of each joint, the largest first.

  Samples belong together where their mean distance is at most `APART` of the
  size: average linkage, by which neither a few samples between two places join
  them (as by single linkage) nor one wide cloud falls apart (as by complete
  linkage). Samples that are not finite are left out; a joint without any other
  has no mode. Modes of less than `LEAST` of the samples are left out, but for
  the largest. The same samples in another order have the same modes.

  Args:
    samples: of m members of an ensemble, in any unit.
    size: the longer side of the person's box, in the same unit.

  Raises:
    ValueError: the size is not above 0.
  """
  if not 0 < size < math.inf:
    raise ValueError(
      f"size is {size}; give the longer side of the box, above 0"
    )
  there = np.all(np.isfinite(samples), axis=2)
  whole = _whole(np.where(there[..., None], samples, np.nan).astype(np.float64))
  return [
    [mode] if extent <= APART * size else _several(points[good], APART * size)
    for mode, extent, points, good in zip(
      *whole, samples.swapaxes(0, 1), there.T, strict=True
    )
  ]


def _whole(
  samples: Float[np.ndarray, "m k 2"],
) -> tuple[list[Mode], Float[np.ndarray, "k"]]:
  """All samples of each joint as one mode, and the diagonal around them.

  No distance, and no mean of distances, is longer than that: most joints need
  no clustering.
  """
  count = np.isfinite(samples[..., 0]).sum(axis=0)
  point = np.nansum(samples, axis=0) / np.maximum(count, 1)[:, None]
  squares = np.nansum(np.square(samples - point), axis=(0, 2))
  extent = np.fmax.reduce(samples, axis=0) - np.fmin.reduce(samples, axis=0)
  spread = np.sqrt(squares / np.maximum(count - 1, 1))
  spread[count < 2] = np.nan
  ones = [Mode(p, 1.0, float(s)) for p, s in zip(point, spread, strict=True)]
  return ones, np.hypot(*extent.T)


def _several(points: Float[np.ndarray, "m 2"], apart: float) -> list[Mode]:
  """The modes of samples that are wide apart; [] of none."""
  if not len(points):
    return []
  tree = hierarchy.linkage(points.astype(np.float64), "average")
  labels = hierarchy.fcluster(tree, apart, "distance")
  modes = [
    dataclasses.replace(mode, share=np.mean(labels == label))
    for label in np.unique(labels)
    for mode in _whole(points[labels == label].astype(np.float64)[:, None])[0]
  ]
  modes.sort(key=lambda mode: (-mode.share, *mode.point))
  return modes[:1] + [mode for mode in modes[1:] if mode.share >= LEAST]
