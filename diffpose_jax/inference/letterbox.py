"""A frame brought to the size that a detector takes, and boxes brought back.

As YOLOX and RTMDet were trained: in the corner at the top left, without change
of proportions, on grey 114, BGR. Inside a detector the edges of the first
pixel are 0 and 1, as COCO's boxes count; in pictures -1/2 and 1/2.
"""

import dataclasses

import cv2
import numpy as np
from jaxtyping import Float, Float32, UInt8

_GREY = 114


@dataclasses.dataclass(frozen=True)
class Letterbox:
  """How a picture of one size lies in another."""

  picture: tuple[int, int]  # (height, width)
  inner: tuple[int, int]  # of the picture as brought
  outer: tuple[int, int]  # of what the detector takes

  @classmethod
  def fit(cls, picture: tuple[int, int], outer: tuple[int, int]) -> "Letterbox":
    """The largest that keeps proportions, to the nearest pixel."""
    zoom = min(o / p for o, p in zip(outer, picture, strict=True))
    height, width = (
      min(o, max(1, round(p * zoom)))
      for o, p in zip(outer, picture, strict=True)
    )
    return cls(picture, (height, width), outer)

  def tensor(
    self, frame: UInt8[np.ndarray, "h w 3"]
  ) -> Float32[np.ndarray, "1 3 H W"]:
    """The RGB frame as BGR planes of 0 to 255."""
    height, width = self.inner
    canvas = np.full((*self.outer, 3), _GREY, np.uint8)
    canvas[:height, :width] = cv2.resize(
      frame, (width, height), interpolation=cv2.INTER_LINEAR
    )
    planes = canvas[..., ::-1].transpose(2, 0, 1)[None]
    return np.ascontiguousarray(planes, np.float32)

  def to_picture(
    self, boxes: Float[np.ndarray, "n 4"]
  ) -> Float[np.ndarray, "n 4"]:
    """Edges in the picture of edges in the detector's input."""
    # By what rounding made of the zoom along each axis, not by the zoom.
    y, x = (p / i for p, i in zip(self.picture, self.inner, strict=True))
    return boxes * np.array([x, y, x, y]) - 0.5
