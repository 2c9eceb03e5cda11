"""What finds people in a frame, and the choice among the boxes it proposes.

A detector is any callable with a name that takes an RGB frame and gives
`Detections`, and that says in `protocol()` what a result needs to name it. Its
boxes are edges in picture pixels, in which the first pixel's centre is (0, 0):
the picture reaches from -1/2 to its width - 1/2.
"""

import dataclasses
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, Float, Float32, Int, UInt8

from diffpose_jax.pose import geometry

CANDIDATES = 1000  # proposals of a frame that are compared with each other
MOST = 300  # people of a frame


@dataclasses.dataclass(frozen=True)
class Detections:
  """The people found in one frame, best first; arrays are empty for nobody."""

  boxes: Float32[np.ndarray, "n 4"]  # xyxy edges, picture pixels
  scores: Float32[np.ndarray, "n"]  # in [0, 1]


@runtime_checkable
class Detector(Protocol):
  """Finds the people of a frame, of any size, without knowing other frames."""

  @property
  def name(self) -> str:
    """What a user calls it."""
    ...

  def protocol(self) -> dict[str, Any]:
    """What the protocol of a result says of it: all that decides on boxes."""
    ...

  def __call__(self, frame: UInt8[np.ndarray, "h w 3"]) -> Detections:
    """The people of an RGB frame; none for a frame without people."""
    ...


def select(
  boxes: Float[np.ndarray, "n 4"],
  scores: Float[np.ndarray, "n"],
  *,
  size: tuple[int, int],
  threshold: float,
  overlap: float,
  cover: float = 1.0,
) -> Detections:
  """The people among proposals: one box each, best first, within the picture.

  Args:
    boxes: proposals, edges in picture pixels; those without a whole pixel in
      the picture are dropped, the others cut off at its edges.
    scores: of the proposals.
    size: (height, width) of the picture.
    threshold: proposals that score less are dropped.
    overlap: intersection over union above which the lower of two is dropped.
    cover: share of the lower one's area above which it is, too.

  Raises:
    ValueError: a score above the threshold has a box that is not finite, or
      scores are NaN.
  """
  if np.isnan(scores).any():
    raise ValueError("scores of proposals are not numbers")
  likely = scores >= np.float32(threshold)
  boxes, scores = boxes[likely].astype(np.float64), scores[likely]
  if not np.isfinite(boxes).all():
    raise ValueError("boxes of proposals are not finite")
  height, width = size
  low, high = [-0.5] * 4, [width - 0.5, height - 0.5] * 2
  boxes = np.clip(boxes, low, high)
  inside = (boxes[:, 2:] - boxes[:, :2] >= 1).all(axis=1)
  boxes, scores = boxes[inside], scores[inside]
  order = best_first(boxes, scores)[:CANDIDATES]
  boxes, scores = boxes[order], scores[order]
  keep = suppress(boxes, overlap=overlap, cover=cover)
  return Detections(
    boxes[keep][:MOST].astype(np.float32),
    np.clip(scores[keep][:MOST], 0, 1).astype(np.float32),
  )


def best_first(
  boxes: Float[np.ndarray, "n 4"], scores: Float[np.ndarray, "n"]
) -> Int[np.ndarray, "n"]:
  """Order by falling score, and where scores are equal, by the edges.

  It does not depend on the order of the input, which threads may change.
  """
  return np.lexsort((*boxes.T[::-1], -scores))


def suppress(
  boxes: Float[np.ndarray, "n 4"], *, overlap: float, cover: float = 1.0
) -> Bool[np.ndarray, "n"]:
  """Which boxes stay, of some that are sorted, the best first.

  The first stays and takes with it those that overlap it, then the first of
  the others, and so on.

  Args:
    boxes: edges.
    overlap: intersection over union above which a box goes.
    cover: share of its own area inside the better one above which it goes.
  """
  keep, areas = np.zeros(len(boxes), bool), geometry.area(boxes)
  left = np.arange(len(boxes))
  while left.size:
    first, rest = left[0], left[1:]
    keep[first] = True
    low = np.maximum(boxes[first, :2], boxes[rest, :2])
    high = np.minimum(boxes[first, 2:], boxes[rest, 2:])
    common = geometry.area(np.concatenate([low, high], axis=1))
    union = areas[first] + areas[rest] - common
    left = rest[(common <= overlap * union) & (common <= cover * areas[rest])]
  return keep
