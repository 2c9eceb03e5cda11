"""OpenCV's people detector of 2005, for want of a better one: no download.

Histograms of oriented gradients in windows of 64x128 pixels, judged by a
linear support vector machine that was trained on upright pedestrians. It is
weak: it misses who sits, bends, is cut off or small, and takes posts and trees
for people.

Source: N. Dalal and B. Triggs, Histograms of Oriented Gradients for Human
Detection, CVPR 2005.
"""

from typing import Any

import cv2
import numpy as np
from absl import logging
from jaxtyping import UInt8

from diffpose_jax.inference import detection

WEAK = "weak: upright people seen in full only; a learned detector finds more"
_WINDOW = (128, 64)  # rows, columns
# A window has 16 of its 128 rows above and below the person that it was
# trained on; as large a share of its columns is taken to be beside him.
_BESIDE = 1 / 8
_LARGEST_ZOOM = 2.0


class Hog:
  """Upright people of at least about 100 pixels in the frame as looked at."""

  name = "hog"

  def __init__(self, *, threshold: float = 0.6, size: int = 960) -> None:
    """Says in a warning that it is weak.

    Args:
      threshold: least score, 1 / (1 + exp(-margin)) of the support vector
        machine; no probability.
      size: pixels of the longer side to which frames are brought, which bounds
        the time for a frame; small ones are enlarged twice at most.

    Raises:
      ValueError: this OpenCV has no such detector.
    """
    if not hasattr(cv2, "HOGDescriptor"):
      raise ValueError(
        f"OpenCV {cv2.__version__} has no HOG people detector: install "
        "'opencv-python-headless<5', or give a detector as FILE.onnx, or boxes"
      )
    self._threshold, self._size = threshold, size
    self._hog = cv2.HOGDescriptor()
    people = cv2.HOGDescriptor.getDefaultPeopleDetector()
    self._hog.setSVMDetector(np.array(people, np.float32))
    logging.warning("detector hog is %s", WEAK)

  def protocol(self) -> dict[str, Any]:
    """Name, weakness, threshold, size and OpenCV's version."""
    return {
      "detector": self.name,
      "detector_note": WEAK,
      "detector_weights": f"OpenCV {cv2.__version__}",
      "detector_threshold": self._threshold,
      "detector_size": self._size,
    }

  def __call__(self, frame: UInt8[np.ndarray, "h w 3"]) -> detection.Detections:
    """The upright people of an RGB frame, best first."""
    height, width = frame.shape[:2]
    zoom = min(self._size / max(height, width), _LARGEST_ZOOM)
    seen = max(1, round(height * zoom)), max(1, round(width * zoom))
    windows, margins = self._windows(_brought(frame, seen))
    # From edges of pixels that count from 0 to those of the picture.
    scale = np.array([width / seen[1], height / seen[0]] * 2)
    return detection.select(
      _people(windows) * scale - 0.5,
      1 / (1 + np.exp(-margins)),
      size=(height, width),
      threshold=self._threshold,
      overlap=0.4,
      cover=0.7,  # a window on half of a person
    )

  def _windows(self, picture: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(x, y, w, h) of windows that show a person, and their margins > 0."""
    # The window of a person at the edge reaches beyond it.
    least = [
      max(0, w - s) for w, s in zip(_WINDOW, picture.shape, strict=False)
    ]
    rows = max(round(_WINDOW[0] * _BESIDE), least[0])
    columns = max(round(_WINDOW[1] * _BESIDE), least[1])
    wider = cv2.copyMakeBorder(
      picture, rows, rows, columns, columns, cv2.BORDER_REPLICATE
    )
    found, margins = self._hog.detectMultiScale(
      wider, hitThreshold=0, winStride=(8, 8), scale=1.05, groupThreshold=0
    )
    windows = np.asarray(found, np.float64).reshape(-1, 4)
    windows = windows - (columns, rows, 0, 0)
    return windows, np.asarray(margins, np.float64).reshape(-1)


def _brought(frame: np.ndarray, size: tuple[int, int]) -> np.ndarray:
  """The frame in BGR at a (height, width)."""
  shrinks = size[0] < frame.shape[0]
  how = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
  picture = cv2.resize(frame, size[::-1], interpolation=how)
  return cv2.cvtColor(picture, cv2.COLOR_RGB2BGR)


def _people(windows: np.ndarray) -> np.ndarray:
  """Edges of the people in windows (x, y, w, h)."""
  beside = windows[:, 2:] * _BESIDE
  low = windows[:, :2] + beside
  return np.concatenate([low, windows[:, :2] + windows[:, 2:] - beside], axis=1)
