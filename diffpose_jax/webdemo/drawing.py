"""Boxes that are drawn on a picture by two clicks each, as pure functions."""

import dataclasses

import cv2
import numpy as np
from jaxtyping import UInt8

from diffpose_jax.inference import colours

Point = tuple[float, float]
Box = tuple[float, float, float, float]  # x1, y1, x2, y2

_LEAST = 8  # pixels of a box's side: less is taken for a slip
_INK = (255, 255, 255)


@dataclasses.dataclass(frozen=True)
class Drawing:
  """The boxes so far, and the corner of the next one if it is begun."""

  boxes: tuple[Box, ...] = ()
  corner: Point | None = None

  def clicked(self, x: float, y: float, *, most: int) -> "Drawing":
    """With one more click.

    Raises ValueError for a box that is too small, or one too many.
    """
    if self.corner is None:
      if len(self.boxes) >= most:
        raise ValueError(f"{most} boxes are the most; take one back first")
      return dataclasses.replace(self, corner=(x, y))
    (left, right), (top, bottom) = (
      sorted(pair) for pair in zip(self.corner, (x, y), strict=True)
    )
    if min(right - left, bottom - top) < _LEAST:
      raise ValueError(
        f"a box of {right - left:.0f}×{bottom - top:.0f} pixels is too small; "
        "click on the corner across"
      )
    box = (float(left), float(top), float(right), float(bottom))
    return Drawing((*self.boxes, box))

  def undone(self) -> "Drawing":
    """Without the last click, or without the last box."""
    if self.corner is not None:
      return dataclasses.replace(self, corner=None)
    return dataclasses.replace(self, boxes=self.boxes[:-1])

  def text(self) -> str:
    """What the page says of it."""
    if self.corner is not None:
      return "Now click on the corner across."
    if not self.boxes:
      return "Click on two opposite corners of a person's box."
    count = len(self.boxes)
    people = "1 person" if count == 1 else f"{count} people"
    return f"{people}. Click again for another one, or find the poses."


def drawn(
  picture: UInt8[np.ndarray, "h w 3"], drawing: Drawing, scale: float = 1.0
) -> UInt8[np.ndarray, "h w 3"]:
  """The picture with boxes in, of which each has the colour of its identity.

  `scale` leads from the drawing's pixels to the picture's.
  """
  picture = picture.copy()
  width = max(2, round(min(picture.shape[:2]) / 200))
  for number, box in enumerate(drawing.boxes):
    x1, y1, x2, y2 = (round(scale * edge) for edge in box)
    ink = colours.person(number)
    cv2.rectangle(picture, (x1, y1), (x2, y2), _INK, width + 2)
    cv2.rectangle(picture, (x1, y1), (x2, y2), ink, width)
  if drawing.corner is not None:
    x, y = (round(scale * place) for place in drawing.corner)
    cv2.drawMarker(picture, (x, y), (0, 0, 0), cv2.MARKER_CROSS, 20, width + 2)
    cv2.drawMarker(picture, (x, y), _INK, cv2.MARKER_CROSS, 20, width)
  return picture
