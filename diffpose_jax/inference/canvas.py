"""The picture of a frame that is kept to draw on: no larger than need be."""

import cv2
import numpy as np
from jaxtyping import UInt8

_LONGEST = 1280  # pixels of the annotated video; larger ones encode too slowly


def size(full: tuple[int, int]) -> tuple[int, int]:
  """(height, width) of what is kept of frames of a size."""
  zoom = min(1.0, _LONGEST / max(full))
  return round(full[0] * zoom), round(full[1] * zoom)


def shrunk(frame: UInt8[np.ndarray, "_ _ 3"]) -> UInt8[np.ndarray, "_ _ 3"]:
  """The frame in that size."""
  height, width = size(frame.shape[:2])
  if (height, width) == frame.shape[:2]:
    return frame
  return cv2.resize(frame, (width, height), interpolation=cv2.INTER_AREA)
