"""Live frames of a camera: the newest one wins.

A thread takes every frame from the camera, so that none grows old in its
buffer, and keeps the last. Whoever asks gets that one, or waits for the next;
those between are left out and counted. Times are of the monotonic clock, when
the frame came, since the first.
"""

import atexit
import threading
import time
from collections.abc import Callable, Generator
from typing import Any

import cv2
import numpy as np
from absl import logging

from diffpose_jax.data import video_opencv

_PATIENCE = 5.0  # seconds for the thread to stop; a camera may hang


def header(number: int) -> tuple[float, int, tuple[int, int]]:
  """(frames a second or 0, 0, (height, width)) of a camera's first frame.

  Raises ValueError where it cannot be opened or gives no frame.
  """
  capture = _opened(number)
  try:
    good, frame = capture.read()
    if not good:
      raise ValueError(_silent(number))
    return capture.get(cv2.CAP_PROP_FPS), 0, frame.shape[:2]
  finally:
    capture.release()


def frames(
  number: int,
) -> Generator[tuple[float, Callable[[], np.ndarray]], None, None]:
  """(seconds on the monotonic clock, function that gives the RGB frame).

  Ends when the camera gives no more. Closing it, or an interrupt, stops the
  thread and lets go of the camera.

  Raises ValueError as `header` does.
  """
  latest = _Latest(_opened(number))
  try:
    while (item := latest.take()) is not None:
      stamp, frame = item
      yield stamp, lambda frame=frame: cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)
    if not latest.taken:
      raise ValueError(_silent(number))
    logging.warning("camera %d gives no more frames", number)
  finally:
    latest.stop()
    if latest.dropped:
      logging.info(
        "camera %d: %d frames taken, %d left out for newer ones",
        *(number, latest.taken, latest.dropped),
      )


def _opened(number: int) -> Any:
  """The camera; ValueError where there is none."""
  with video_opencv.native_stderr_silent():
    capture = cv2.VideoCapture(number)
  if not capture.isOpened():
    capture.release()
    raise ValueError(
      f"camera:{number}: no such camera, it is in use, or may not be used by "
      "this user; give another number or a video file"
    )
  return capture


def _silent(number: int) -> str:
  return f"camera:{number}: gives no frame; is it in use by another program?"


class _Latest:
  """The newest frame of a capture, which it takes over and lets go of."""

  def __init__(self, capture: Any) -> None:
    self.taken = 0
    self.dropped = 0
    self._capture = capture
    self._changed = threading.Condition()
    self._item: tuple[float, np.ndarray] | None = None
    self._over = False
    self._thread = threading.Thread(
      target=self._run, name="camera", daemon=True
    )
    # A thread that is still inside the driver at the end of the program makes
    # it crash.
    atexit.register(self.stop)
    self._thread.start()

  def _run(self) -> None:
    try:
      while not self._over:
        good, frame = self._capture.read()
        if not good:
          break
        with self._changed:
          self.dropped += self._item is not None
          self._item = time.monotonic(), frame
          self._changed.notify()
    finally:
      atexit.unregister(self.stop)
      self._capture.release()
      with self._changed:
        self._over = True
        self._changed.notify()

  def take(self) -> tuple[float, np.ndarray] | None:
    """(time, BGR frame), not taken before; None once there are no more."""
    with self._changed:
      while self._item is None and not self._over:
        self._changed.wait()
      item, self._item = self._item, None
      self.taken += item is not None
      return item

  def stop(self) -> None:
    """Ends the thread."""
    self._over = True
    if self._thread.is_alive():
      self._thread.join(_PATIENCE)
