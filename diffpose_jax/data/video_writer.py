"""Annotated video, in a format that a browser plays."""

import collections
import contextlib
import os
import pathlib
import shutil
import time as clock
from collections.abc import Iterator
from concurrent import futures

import cv2
import numpy as np
from jaxtyping import UInt8

from diffpose_jax.data import video_opencv, video_pyav

_QUEUE = 8  # frames that may wait for the encoder,
_QUEUE_BYTES = 128 << 20  # ... of together no more than this
_CHECKED = 100  # frames between two looks at the space on the disk
_SPACE = 1 << 20  # bytes that must be free


class Writer:
  """A WebM or H.264 MP4 under construction.

  A context manager: the file appears under its name at the end, whole, or not
  at all if the block raises. It has one frame for each that is written. Where
  PyAV is installed, each is shown from its own time on; else they follow each
  other at the constant rate `fps`. MP4 needs PyAV, for OpenCV's wheels cannot
  write H.264. Encoding runs in a thread beside the caller. Odd sizes are padded
  by one repeated row or column, because the formats halve the colour
  resolution.
  """

  def __init__(
    self,
    path: pathlib.Path,
    *,
    fps: float,
    size: tuple[int, int],
    backend: str = "auto",
  ) -> None:
    """Opens the encoder.

    Args:
      path: where the file is to be; its suffix, `.webm` or `.mp4`, chooses.
      fps: frames a second, > 0.
      size: (height, width) of the frames.
      backend: `opencv`, `pyav`, or `auto`: PyAV where it is installed.

    Raises:
      ValueError: another suffix, PyAV is asked for and not there, or the
        encoder does not open there.
    """
    self._path = path
    self._temporary = path.with_name(f".{path.stem}.partial{path.suffix}")
    self._size = size
    self._written = 0
    self._cpu_seconds = 0.0
    self._wall_seconds = 0.0
    self._waiting: collections.deque[futures.Future] = collections.deque()
    height, width = size
    self._backend = choose(backend)
    if path.suffix not in self._backend.CODECS:
      raise ValueError(
        f"{path}: annotated video is WebM, name it *.webm; or *.mp4 with PyAV "
        "(pip install 'diffpose-jax[video]')"
      )
    try:
      self._encoder = self._backend.Encoder(
        self._temporary,
        fps=fps,
        size=(height + height % 2, width + width % 2),
      )
    except OSError as error:
      self._temporary.unlink(missing_ok=True)
      raise ValueError(
        f"{path}: cannot write {width}x{height} video at {fps:g} frames/s here "
        f"({error}); is the folder there and writable?"
      ) from error
    held = _QUEUE_BYTES // max(1, height * width * 3)
    self._most = min(_QUEUE, max(1, held))
    self._thread = futures.ThreadPoolExecutor(1, "video-writer")

  def write(
    self, frame: UInt8[np.ndarray, "h w 3"], time: float | None = None
  ) -> None:
    """Appends an RGB frame.

    Args:
      frame: of the video's size.
      time: seconds since the first frame, kept by PyAV alone; by default they
        follow the rate.

    Raises:
      ValueError: another size, or the disk is full.
    """
    if frame.shape[:2] != self._size:
      raise ValueError(
        f"{self._path}: frame {self._written} is {frame.shape[1]}x"
        f"{frame.shape[0]} pixels, the video {self._size[1]}x{self._size[0]}"
      )
    if self._written % _CHECKED == 0:
      self._check_space()
    if len(self._waiting) >= self._most:
      self._waiting.popleft().result()
    self._waiting.append(self._thread.submit(self._encode, frame.copy(), time))
    self._written += 1

  @property
  def cpu_seconds(self) -> float:
    """Processor time of the encoder so far, which has one thread."""
    return self._cpu_seconds

  @property
  def wall_seconds(self) -> float:
    """Seconds on the clock in which the encoder was at work so far."""
    return self._wall_seconds

  def _check_space(self) -> None:
    free = shutil.disk_usage(self._path.parent).free
    if free < _SPACE:
      raise ValueError(
        f"{self._path}: the disk is full ({free} bytes left) after "
        f"{self._written} frames; free some space"
      )

  @contextlib.contextmanager
  def _counted(self) -> Iterator[None]:
    """A context whose time is the encoder's."""
    cpu, wall = clock.thread_time(), clock.perf_counter()
    try:
      yield
    finally:
      self._cpu_seconds += clock.thread_time() - cpu
      self._wall_seconds += clock.perf_counter() - wall

  def _encode(self, frame: np.ndarray, time: float | None) -> None:
    bottom, right = frame.shape[0] % 2, frame.shape[1] % 2
    if bottom or right:
      edge = cv2.BORDER_REPLICATE
      frame = cv2.copyMakeBorder(frame, 0, bottom, 0, right, edge)
    with self._counted():
      try:
        self._encoder.encode(frame, time)
      except OSError as error:
        raise ValueError(self._not_written(error)) from error

  def _not_written(self, why: object) -> str:
    return f"{self._path}: cannot be written ({why}); is the disk full?"

  def __enter__(self) -> "Writer":
    return self

  def __exit__(self, kind, value, traceback) -> None:
    try:
      self._thread.shutdown(cancel_futures=kind is not None)
      error = self._close()
      if kind is None:
        if error is not None:
          raise error
        if not self._written:
          raise ValueError(f"{self._path}: 0 frames; no video is written")
        os.replace(self._temporary, self._path)
    finally:
      self._temporary.unlink(missing_ok=True)

  def _close(self) -> BaseException | None:
    """Ends the file; the first thing that went wrong in writing it."""
    errors = [one.exception() for one in self._waiting if not one.cancelled()]
    with self._counted():
      try:
        self._encoder.close()
      except OSError as error:
        errors.append(ValueError(self._not_written(error)))
    return next((error for error in errors if error is not None), None)


def writable(kind: str) -> bool:
  """Whether video of a suffix, as `mp4`, can be written here."""
  return f".{kind}" in choose("auto").CODECS


def choose(backend: str):
  """The module that reads and writes: `video_pyav` or `video_opencv`.

  Raises ValueError where PyAV is asked for and not installed.
  """
  if backend not in ("auto", "opencv", "pyav"):
    raise ValueError(f"backend is {backend!r}; give auto, opencv or pyav")
  if backend == "opencv" or video_pyav.package() is None:
    if backend == "pyav":
      raise ValueError(
        "PyAV is not installed; pip install 'diffpose-jax[video]', or take "
        "backend opencv"
      )
    return video_opencv
  return video_pyav
