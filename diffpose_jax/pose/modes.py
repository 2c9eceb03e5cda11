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
  return [
    _of_joint(samples[:, k], APART * size) for k in range(samples.shape[1])
  ]


def _of_joint(points: Float[np.ndarray, "m 2"], apart: float) -> list[Mode]:
  points = points[np.isfinite(points).all(axis=1)].astype(np.float64)
  labels = _clusters(points, apart)
  modes = [
    _mode(points[np.equal(labels, label)], len(points)) for label in set(labels)
  ]
  modes.sort(key=lambda mode: (-mode.share, *mode.point))
  return modes[:1] + [mode for mode in modes[1:] if mode.share >= LEAST]


def _clusters(points: Float[np.ndarray, "m 2"], apart: float) -> list[int]:
  """Which of them belong together: a number for each."""
  # Most joints: none of the distances is larger, so neither is a mean of them.
  if len(points) < 2 or math.hypot(*np.ptp(points, axis=0)) <= apart:
    return [0] * len(points)
  tree = hierarchy.linkage(points, "average")
  return hierarchy.fcluster(tree, apart, "distance").tolist()


def _mode(points: Float[np.ndarray, "n 2"], of: int) -> Mode:
  point = points.mean(axis=0)
  spread = math.nan
  if len(points) > 1:
    spread = math.sqrt(np.sum((points - point) ** 2) / (len(points) - 1))
  return Mode(point, len(points) / of, spread)
