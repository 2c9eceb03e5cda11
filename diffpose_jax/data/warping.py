"""Frames of a clip cropped by an affine."""

import cv2
import numpy as np
from jaxtyping import Float, UInt8

Crops = UInt8[np.ndarray, "t h w 3"]


def warp(
  frames: list[UInt8[np.ndarray, "_ _ 3"]],
  affines: Float[np.ndarray, "... 2 3"],
  size: tuple[int, int],
  crops: Crops | None = None,
) -> Crops:
  """Crops of size (height, width), bilinear, black outside.

  `affines` is one for all frames or one for each. What stands twice in a row
  (at the edges of a video) is warped once. The crops are put into `crops` if
  given, whose frames must be contiguous.
  """
  height, width = size
  affines = np.broadcast_to(affines, (len(frames), 2, 3))
  if crops is None:
    crops = np.empty((len(frames), height, width, 3), np.uint8)
  for t, frame in enumerate(frames):
    same = t and frame is frames[t - 1]
    if same and np.array_equal(affines[t], affines[t - 1]):
      crops[t] = crops[t - 1]
    else:
      cv2.warpAffine(
        frame,
        affines[t],
        (width, height),
        dst=crops[t],
        flags=cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_CONSTANT,
        borderValue=(0, 0, 0),
      )
  return crops
