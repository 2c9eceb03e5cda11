"""Which instances a report shows, and how."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence

import cv2
import numpy as np
from jaxtyping import Bool, Float, UInt8

from diffpose_jax.inference import draw
from diffpose_jax.pose import skeleton as skeleton_lib

KINDS = ("best", "median", "worst")
UNCERTAIN = "most uncertain"
_HEIGHT = 320  # pixels of a drawn crop


@dataclasses.dataclass(frozen=True)
class GalleryItem:
  """A picture of the report with a line of text."""

  image: UInt8[np.ndarray, "h w 3"]  # RGB
  caption: str
  before: UInt8[np.ndarray, "h2 w2 3"] | None = None  # the frame before
  after: UInt8[np.ndarray, "h3 w3 3"] | None = None


@dataclasses.dataclass(frozen=True)
class Case:
  """One instance in crop pixels."""

  image: UInt8[np.ndarray, "h w 3"]  # RGB crop of the key frame
  joints: Float[np.ndarray, "k 2"]  # prediction
  score: Float[np.ndarray, "k"]  # in [0, 1]
  truth: Float[np.ndarray, "k 2"]
  labelled: Bool[np.ndarray, "k"]
  caption: str
  # The same box in the neighbouring frames; None where the video has none.
  before: UInt8[np.ndarray, "h w 3"] | None = None
  after: UInt8[np.ndarray, "h w 3"] | None = None


def pick(
  errors: Float[np.ndarray, "n"],
  count: int,
  *,
  uncertainty: Float[np.ndarray, "n"] | None = None,
) -> dict[str, list[int]]:
  """Indices of the best, median and worst instances, `count` of each.

  No instance is there twice, so few instances give fewer of each kind. The
  best come first among the best, the worst first among the worst; ties go by
  index. An error that is not finite is left out.

  With `uncertainty` the most uncertain are there too, the most uncertain
  first; they may be among the others, and their error may be unknown.
  """
  order = _ranked(errors)
  each = min(count, len(order) // 3)
  if each == 0:  # fewer than three: best first, and the worst if there are two
    each = min(count, 1)
    picks = {"best": order[:each], "median": [], "worst": order[1:][-each:]}
    picks = picks if each else {kind: [] for kind in KINDS}
  else:
    start = (len(order) - each) // 2
    picks = {
      "best": order[:each],
      "median": order[start : start + each],
      "worst": order[len(order) - each :][::-1],
    }
  if uncertainty is not None:
    picks[UNCERTAIN] = _ranked(-uncertainty)[:count]
  return picks


def _ranked(values: Float[np.ndarray, "n"]) -> list[int]:
  """Indices of the finite ones, lowest first; ties go by index."""
  order = np.argsort(values, kind="stable")
  return [int(i) for i in order if np.isfinite(values[i])]


def items(
  picks: Mapping[str, Sequence[int]],
  load: Callable[[int], Case],
  *,
  skeleton: skeleton_lib.Skeleton,
  threshold: float = 0.0,
) -> dict[str, list[GalleryItem]]:
  """Drawn instances of each kind; see `drawn`.

  Args:
    picks: kind → indices, from `pick`.
    load: gives the instance of an index.
    skeleton: names the joints.
    threshold: predicted joints that score less are left out.
  """
  return {
    kind: [
      drawn(load(index), skeleton=skeleton, threshold=threshold)
      for index in indices
    ]
    for kind, indices in picks.items()
  }


def drawn(
  case: Case, *, skeleton: skeleton_lib.Skeleton, threshold: float = 0.0
) -> GalleryItem:
  """The crop, enlarged, with the prediction in colour and the truth on top.

  The truth is a thin white skeleton; it ends where the labels do. The frames
  before and after are enlarged alike.
  """
  zoom = _HEIGHT / case.image.shape[0]
  shift = (zoom - 1) / 2  # of pixel centres
  image = draw.pose(
    _enlarged(case.image),
    case.joints * zoom + shift,
    case.score,
    skeleton=skeleton,
    threshold=threshold,
    width=4.0,
  )
  image = draw.thin_pose(
    image, case.truth * zoom + shift, case.labelled, skeleton=skeleton
  )
  before, after = (
    None if other is None else _enlarged(other)
    for other in (case.before, case.after)
  )
  return GalleryItem(image, case.caption, before, after)


def _enlarged(image: UInt8[np.ndarray, "h w 3"]) -> UInt8[np.ndarray, "y x 3"]:
  """The crop at the height of the report's pictures."""
  zoom = _HEIGHT / image.shape[0]
  kind = cv2.INTER_CUBIC if zoom > 1 else cv2.INTER_AREA
  size = (round(image.shape[1] * zoom), _HEIGHT)
  return cv2.resize(image, size, interpolation=kind)
