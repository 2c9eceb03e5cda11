"""Video files read and written by OpenCV, with the FFmpeg in its wheel."""

import contextlib
import itertools
import math
import os
import pathlib
from collections.abc import Callable, Iterator

import cv2
import numpy as np
from absl import logging

from diffpose_jax.data import images, video_times

_ATTEMPTS = 250  # reads that fail in a row at the end of a file
# What a browser plays and OpenCV's wheels write. VP9 is smaller by a third to a
# half, but takes three to five times as long, more than the network does.
CODECS = {".webm": "VP80"}


def header(path: pathlib.Path) -> tuple[float, int, tuple[int, int]]:
  """(mean frames a second, frames or 0, (height, width)) of a video file.

  The size is that of the first frame that decodes, as it is shown.

  Raises:
    ValueError: it is no video, none of its frames decodes, or they are larger
      than `images.MAX_PIXELS`.
  """
  with _captured(path) as capture:
    stated = capture.get(cv2.CAP_PROP_FPS)
    found = max(0.0, capture.get(cv2.CAP_PROP_FRAME_COUNT))
    if _grab(capture) == _ATTEMPTS:
      raise ValueError(nothing_decodes(path))
    size = _retrieved(capture, path).shape[:2]
  fps, exact = video_times.rate(path, stated, _stamps(path))
  hint = found if exact else found / stated * fps if stated > 0 else 0
  return fps, round(hint), size


def frames(
  path: pathlib.Path,
) -> Iterator[tuple[float | None, Callable[[], np.ndarray]]]:
  """(time stamp in seconds if any, function that gives the RGB frame).

  Raises ValueError as `header` does. The function must be called before the
  next frame is taken. OpenCV itself scales a frame of another size to the first
  one's, and says nothing of it.
  """
  with _captured(path) as capture:
    index = broken = 0
    while (failed := _grab(capture)) < _ATTEMPTS:
      broken += failed
      stamp = capture.get(cv2.CAP_PROP_POS_MSEC) / 1000
      # It says 0 where there is no time stamp.
      known = math.isfinite(stamp) and (stamp != 0 or index == 0)
      yield stamp if known else None, lambda: _retrieved(capture, path)
      index += 1
  if broken:
    logging.warning(
      "%s: %d frames are damaged; what decodes is kept", *(path, broken)
    )


def stamps(path: pathlib.Path) -> Iterator[float]:
  """Time stamps in seconds of all packets, in the order of the file.

  Nothing is decoded. Raises ValueError where it cannot be opened.
  """
  with _captured(path, [cv2.CAP_PROP_FORMAT, -1]) as capture:
    while capture.grab():
      yield capture.get(cv2.CAP_PROP_POS_MSEC) / 1000


def nothing_decodes(path: pathlib.Path) -> str:
  """The message on a file of which not one frame decodes."""
  return (
    f"{path}: no frame decodes; it is empty, damaged or of a codec that is "
    "not known here, convert it (to H.264 or VP9) or replace it"
  )


def no_video(path: pathlib.Path) -> str:
  """The message on what is not a video, or not any more."""
  return (
    f"{path}: cannot be opened as video; convert it (mp4, webm, avi) or "
    "give a folder of pictures (an mp4 whose end is cut off has lost its index)"
  )


def _grab(capture: cv2.VideoCapture) -> int:
  """Takes the next frame; how many reads fail before, `_ATTEMPTS` at the end.

  OpenCV says the same of a damaged frame and of the end.
  """
  for failed in range(_ATTEMPTS):
    if capture.grab():
      return failed
  return _ATTEMPTS


def _retrieved(capture: cv2.VideoCapture, path: pathlib.Path) -> np.ndarray:
  decoded, frame = capture.retrieve()
  if not decoded:
    raise ValueError(
      f"{path}: a frame cannot be turned into RGB; convert it (to H.264 or VP9)"
    )
  return cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)


def _stamps(path: pathlib.Path) -> list[float]:
  """Time stamps of the first packets, which are not decoded for it."""
  return list(itertools.islice(stamps(path), video_times.SAMPLE))


@contextlib.contextmanager
def _captured(
  path: pathlib.Path, parameters: list[int] | None = None
) -> Iterator[cv2.VideoCapture]:
  # As an absolute path, for FFmpeg takes `12:30.mp4` for a protocol.
  name = str(path.resolve())
  with native_stderr_silent():
    capture = cv2.VideoCapture(name, cv2.CAP_FFMPEG, parameters or [])
  try:
    if not capture.isOpened():
      raise ValueError(no_video(path))
    width = capture.get(cv2.CAP_PROP_FRAME_WIDTH)
    height = capture.get(cv2.CAP_PROP_FRAME_HEIGHT)
    check_pixels(path, int(height), int(width))
    yield capture
  finally:
    capture.release()


def check_pixels(path: pathlib.Path, height: int, width: int) -> None:
  """Raises ValueError on frames that are too large to be worked with."""
  if height * width > images.MAX_PIXELS:
    raise ValueError(
      f"{path}: frames of {width}x{height} pixels; up to {images.MAX_PIXELS} "
      "are accepted, make them smaller"
    )


@contextlib.contextmanager
def native_stderr_silent() -> Iterator[None]:
  """Keeps OpenCV's and FFmpeg's own lines off the terminal: ours say it all.

  It prints some straight to file descriptor 2 and has no switch for them
  (even a WebM that it writes well is called "not supported" first). For those
  on each packet that is wrong, through whatever progress is shown, there is
  one: it is read from the environment when the first file is opened.
  """
  os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
  try:
    kept = os.dup(2)
  except OSError:  # no such stream, nothing to silence
    yield
    return
  with open(os.devnull, "wb") as sink:
    os.dup2(sink.fileno(), 2)
    try:
      yield
    finally:
      os.dup2(kept, 2)
      os.close(kept)


class Encoder:
  """VP8 in WebM at a constant rate.

  Its encoder has one thread and no speed setting.
  """

  def __init__(
    self, path: pathlib.Path, *, fps: float, size: tuple[int, int]
  ) -> None:
    """Opens `path`; `size` is (height, width), even. OSError if it cannot."""
    self._path = path
    self._written = 0
    codec = cv2.VideoWriter.fourcc(*CODECS[path.suffix])
    name = str(path.absolute())
    with native_stderr_silent():
      self._writer = cv2.VideoWriter(
        name, cv2.CAP_FFMPEG, codec, fps, size[::-1]
      )
    if not self._writer.isOpened():
      raise OSError("OpenCV's FFmpeg does not open it")

  def encode(self, frame: np.ndarray, time: float | None) -> None:
    """Appends an RGB frame. Its time is not kept: the rate is constant."""
    del time
    self._writer.write(cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))
    self._written += 1

  def close(self) -> None:
    """Writes what is still held, and ends the file; OSError if it is not whole.

    OpenCV does not say that it could not write, and the file's header is right
    all the same: so its packets are counted.
    """
    self._writer.release()
    try:
      stored = sum(1 for _ in stamps(self._path))
    except ValueError:
      stored = 0
    if stored != self._written:
      raise OSError(f"{stored} of {self._written} frames are in the file")
