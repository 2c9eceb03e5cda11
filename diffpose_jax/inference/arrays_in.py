"""Pictures and boxes as a program gives them, checked."""

from typing import Any

import numpy as np
from jaxtyping import Float

from diffpose_jax.data import annotation_fields

_LARGEST = 32766  # pixels of a side, which OpenCV can crop from


def check_frames(frames: Any) -> None:
  """Raises ValueError unless this is a picture or a video as it must be."""
  if not isinstance(frames, np.ndarray):
    hint = "np.stack(frames)" if isinstance(frames, list) else "an array"
    raise ValueError(
      f"frames: a {type(frames).__name__}; give {hint} of NumPy, (h, w, 3) or "
      "(t, h, w, 3)"
    )
  if frames.dtype != np.uint8:
    raise ValueError(
      f"frames: of {frames.dtype}, must be uint8 from 0 to 255; where they are "
      "from 0 to 1: np.round(255 * frames).astype(np.uint8)"
    )
  shape = frames.shape
  if frames.ndim not in (3, 4) or shape[-1] != 3:
    hint = "(h, w, 3) or (t, h, w, 3), RGB"
    if frames.ndim in (3, 4) and shape[-1] == 4:
      hint += "; without alpha: frames[..., :3]"
    elif frames.ndim in (3, 4) and shape[-3] == 3:
      hint += "; colours last: np.moveaxis(frames, -3, -1)"
    elif frames.ndim in (2, 3):
      hint += "; grey ones: np.repeat(frames[..., None], 3, axis=-1)"
    raise ValueError(f"frames: of shape {shape}, must be {hint}")
  if min(shape) == 0:
    raise ValueError(f"frames: of shape {shape}, nothing to see; give frames")
  if max(shape[-3:-1]) > _LARGEST:
    raise ValueError(
      f"frames: of shape {shape}, more than {_LARGEST} pixels a side; shrink "
      "them, and the boxes too"
    )


def boxes_of_video(boxes: Any, frames: np.ndarray) -> list[np.ndarray]:
  """The boxes of each frame."""
  count = len(frames)
  if isinstance(boxes, np.ndarray) and boxes.ndim == 2:
    return [boxes_of(boxes, frames.shape[1:], "boxes")] * count
  try:
    given = len(boxes)
  except TypeError:
    raise ValueError(
      f"boxes: a {type(boxes).__name__}; give an array (n, 4) for all frames, "
      f"or a list of {count}, one for each frame"
    ) from None
  if given != count:
    raise ValueError(
      f"boxes: {given} for {count} frames; give an array (n, 4) for all frames, "
      "or a list with one for each frame, of shape (0, 4) where there is nobody"
    )
  return [
    boxes_of(people, frames.shape[1:], f"boxes of frame {t}")
    for t, people in enumerate(boxes)
  ]


def boxes_of(
  given: Any, shape: tuple[int, ...], place: str
) -> Float[np.ndarray, "n 4"]:
  """Boxes of one picture in float32.

  Raises ValueError, naming `place` and the box, where one cannot be cropped.
  """
  try:
    boxes = np.asarray(given)
  except ValueError:
    raise ValueError(
      f"{place}: not all of one length; give an array (n, 4)"
    ) from None
  if boxes.size == 0 and boxes.shape in ((0,), (0, 4)):
    return np.zeros((0, 4), np.float32)
  if boxes.ndim != 2 or boxes.shape[1] != 4:
    raise ValueError(
      f"{place}: of shape {boxes.shape}, must be (n, 4): edges x1, y1, x2, y2 "
      "of each person"
    )
  if boxes.dtype.kind not in "iuf":
    raise ValueError(f"{place}: of {boxes.dtype}, must be numbers")
  boxes = boxes.astype(np.float64)
  for i, box in enumerate(boxes):
    _check_box(box, shape, f"{place}: {i}")
  return boxes.astype(np.float32)


def _check_box(
  box: Float[np.ndarray, "4"], shape: tuple[int, ...], place: str
) -> None:
  if not np.isfinite(box).all():
    raise ValueError(f"{place}: {box.tolist()} is not finite; leave it out")
  sides = np.concatenate([box[:2], box[2:] - box[:2]])
  if not annotation_fields.has_area(sides):
    raise ValueError(
      f"{place}: {box.tolist()} has no area; give edges x1, y1, x2, y2, not "
      "width and height"
    )
  if np.abs(box).max() > annotation_fields.FARTHEST:
    raise ValueError(
      f"{place}: {box.tolist()} reaches beyond {annotation_fields.FARTHEST:g} "
      "pixels"
    )
  # Pixels cover half a pixel on each side of their centres.
  if not np.all((box[2:] > -0.5) & (box[:2] < np.array(shape[1::-1]) - 0.5)):
    raise ValueError(
      f"{place}: {box.tolist()} lies outside of the picture, which is "
      f"{shape[1]}x{shape[0]} pixels; leave it out"
    )
