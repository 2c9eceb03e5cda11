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
  samples = np.where(there[..., None], samples, np.nan).astype(np.float64)
  ones, extent = _whole(samples)
  wide = ~(extent <= APART * size)
  several = iter(_several(samples[:, wide], APART * size))
  return [
    next(several) if apart else [one]
    for one, apart in zip(ones, wide, strict=True)
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


def _several(
  samples: Float[np.ndarray, "m k 2"], apart: float
) -> list[list[Mode]]:
  """The modes of each joint whose samples are wide apart; [] of none.

  One call clusters all joints: in a third dimension they are farther from each
  other than any samples that belong together.
  """
  found: list[list[Mode]] = [[] for _ in range(samples.shape[1])]
  member, joint = np.nonzero(np.isfinite(samples[..., 0]))
  points = samples[member, joint]
  if len(points) < 2:  # then none is wide apart
    return found
  tree = hierarchy.linkage(
    np.column_stack([points, 2 * apart * joint]), "average"
  )
  label = hierarchy.fcluster(tree, apart, "distance") - 1  # it counts from 1
  count = np.bincount(label)
  total = lambda values: np.bincount(label, values)  # noqa: E731
  mean = np.stack([total(points[:, i]) for i in range(2)], axis=1)
  mean /= count[:, None]
  squares = total(np.square(points - mean[label]).sum(axis=1))
  of = np.zeros(len(count), int)
  of[label] = joint
  share = count / np.bincount(joint, minlength=samples.shape[1])[of]
  for i in np.lexsort([mean[:, 1], mean[:, 0], -share]).tolist():
    modes = found[of[i]]
    if not modes or share[i] >= LEAST:
      spread = (
        math.sqrt(squares[i] / (count[i] - 1)) if count[i] > 1 else math.nan
      )
      modes.append(Mode(mean[i], float(share[i]), spread))
  return found
