"""Frames out of video files and picture folders, and annotated video back.

Decoding and encoding are OpenCV's with its bundled FFmpeg. Frames are RGB
uint8. A video file is shown as a player shows it, turned by its rotation tag;
pictures of a folder are taken as stored.
"""

import collections
import contextlib
import dataclasses
import math
import os
import pathlib
from collections.abc import Iterator
from concurrent import futures

import cv2
import numpy as np
from absl import logging
from jaxtyping import UInt8

from diffpose_jax.data import annotations, images

DEFAULT_FPS = 25.0  # of a folder, and of a file that does not state its rate
_SUFFIXES = (".jpg", ".jpeg", ".png")
_QUEUE = 8  # frames that may wait for the encoder


@dataclasses.dataclass(frozen=True)
class VideoInfo:
  """What the header of a video, or the first picture of a folder, states."""

  fps: float
  width: int
  height: int
  count_hint: int  # frames; exact for a folder, 0 where a file does not say
  names: tuple[str, ...] = ()  # file names of a folder's pictures, in order


def open_video(path: pathlib.Path) -> VideoInfo:
  """What a video file or a folder of JPEG and PNG pictures holds.

  Raises ValueError, naming the path, where there is nothing there, it cannot
  be opened as video, or a folder has no pictures.
  """
  if path.is_dir():
    files = _pictures(path)
    height, width = images.size(files[0].read_bytes(), place=str(files[0]))
    names = tuple(file.name for file in files)
    return VideoInfo(DEFAULT_FPS, width, height, len(names), names)
  with _captured(path) as capture:
    fps = capture.get(cv2.CAP_PROP_FPS)
    return VideoInfo(
      fps=fps if 0 < fps <= 1000 else DEFAULT_FPS,
      width=int(capture.get(cv2.CAP_PROP_FRAME_WIDTH)),
      height=int(capture.get(cv2.CAP_PROP_FRAME_HEIGHT)),
      count_hint=max(0, int(capture.get(cv2.CAP_PROP_FRAME_COUNT))),
    )


def read(
  path: pathlib.Path,
) -> Iterator[tuple[int, float, UInt8[np.ndarray, "h w 3"]]]:
  """(index, time in seconds, RGB frame) of each decoded frame, in order.

  Only one frame is held at a time. A file that ends before the number of
  frames in its header is reported as a warning.

  Raises:
    ValueError: the path cannot be opened, not one frame decodes, or a frame
      differs in size from the first; names the path.
  """
  frames = _read_folder(path) if path.is_dir() else _read_file(path)
  first = None
  for index, time, frame in frames:
    first = frame.shape if first is None else first
    if frame.shape != first:
      raise ValueError(
        f"{path}: frame {index} is {frame.shape[1]}x{frame.shape[0]} pixels, "
        f"the first is {first[1]}x{first[0]}; give frames of one size"
      )
    yield index, time, frame
  if first is None:
    raise ValueError(f"{path}: no frame decodes; convert or replace the file")


def count(path: pathlib.Path) -> int:
  """Exact number of frames that decode; walks through a file once."""
  if path.is_dir():
    return len(_pictures(path))
  found = 0
  with _captured(path) as capture:
    while capture.grab():
      found += 1
  return found


def _pictures(folder: pathlib.Path) -> list[pathlib.Path]:
  files = [f for f in folder.iterdir() if f.suffix.lower() in _SUFFIXES]
  if not files:
    raise ValueError(
      f"{folder}: no pictures ({', '.join(_SUFFIXES)}) in this folder"
    )
  return sorted(files, key=lambda file: annotations.natural_key(file.name))


def _read_folder(
  folder: pathlib.Path,
) -> Iterator[tuple[int, float, np.ndarray]]:
  for index, file in enumerate(_pictures(folder)):
    frame = images.decode(file.read_bytes(), place=str(file))
    yield index, index / DEFAULT_FPS, frame


def _read_file(path: pathlib.Path) -> Iterator[tuple[int, float, np.ndarray]]:
  info = open_video(path)
  index, last = 0, -math.inf
  with _captured(path) as capture:
    while True:
      decoded, frame = capture.read()
      if not decoded:
        break
      time = capture.get(cv2.CAP_PROP_POS_MSEC) / 1000
      if not last < time < math.inf:  # some containers have no time stamps
        time = index / info.fps
      yield index, time, cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)
      index, last = index + 1, time
  if 0 < index < info.count_hint:
    logging.warning(
      "%s: %d frames decode of %d that its header names; it may be cut off",
      path,
      index,
      info.count_hint,
    )


@contextlib.contextmanager
def _captured(path: pathlib.Path) -> Iterator[cv2.VideoCapture]:
  if not path.is_file():
    raise ValueError(
      f"{path}: no such file or folder; give a video or a folder of pictures"
    )
  with _native_stderr_silent():
    capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG)
  try:
    if not capture.isOpened():
      raise ValueError(
        f"{path}: cannot be opened as video; convert it (mp4, webm, avi) or "
        "give a folder of pictures"
      )
    yield capture
  finally:
    capture.release()


@contextlib.contextmanager
def _native_stderr_silent() -> Iterator[None]:
  """Keeps FFmpeg's own lines off the terminal: ours say what is wrong.

  OpenCV prints them straight to file descriptor 2 and has no switch for it
  (even a WebM that it writes well is called "not supported" first).
  """
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


class Writer:
  """A VP9 WebM under construction, which any current browser plays.

  A context manager: the file appears under its name at the end, whole, or not
  at all if the block raises. VP9 because OpenCV's builds cannot write H.264;
  its encoder has one thread and no speed setting (67 frames/s at 320x240, 18
  at 640x480, 11 at 1280x720 on a 2-core EPYC), so it runs in a thread beside
  the caller. Odd sizes are padded by one repeated row or column, because the
  format halves the colour resolution.
  """

  def __init__(
    self, path: pathlib.Path, *, fps: float, size: tuple[int, int]
  ) -> None:
    """Opens the encoder.

    Args:
      path: where the file is to be; the suffix must be `.webm`.
      fps: frames a second, > 0.
      size: (height, width) of the frames.

    Raises:
      ValueError: another suffix, or the encoder does not open there.
    """
    if path.suffix != ".webm":
      raise ValueError(f"{path}: annotated video is WebM, name it *.webm")
    self._path = path
    self._temporary = path.with_name(f".{path.stem}.partial.webm")
    self._size = size
    self._written = 0
    self._waiting: collections.deque[futures.Future] = collections.deque()
    height, width = size
    with _native_stderr_silent():
      self._writer = cv2.VideoWriter(
        str(self._temporary),
        cv2.CAP_FFMPEG,
        cv2.VideoWriter.fourcc(*"VP90"),
        fps,
        (width + width % 2, height + height % 2),
      )
    if not self._writer.isOpened():
      self._temporary.unlink(missing_ok=True)
      raise ValueError(
        f"{path}: cannot write {width}x{height} VP9 video at {fps:g} frames/s "
        "here; is the folder there and writable, and is OpenCV built with "
        "FFmpeg?"
      )
    self._thread = futures.ThreadPoolExecutor(1, "video-writer")

  def write(self, frame: UInt8[np.ndarray, "h w 3"]) -> None:
    """Appends an RGB frame; ValueError where it has not the video's size."""
    if frame.shape[:2] != self._size:
      raise ValueError(
        f"{self._path}: frame {self._written} is {frame.shape[1]}x"
        f"{frame.shape[0]} pixels, the video {self._size[1]}x{self._size[0]}"
      )
    if len(self._waiting) >= _QUEUE:
      self._waiting.popleft().result()
    self._waiting.append(self._thread.submit(self._encode, frame.copy()))
    self._written += 1

  def _encode(self, frame: np.ndarray) -> None:
    bottom, right = frame.shape[0] % 2, frame.shape[1] % 2
    bgr = cv2.cvtColor(frame, cv2.COLOR_RGB2BGR)
    if bottom or right:
      edge = cv2.BORDER_REPLICATE
      bgr = cv2.copyMakeBorder(bgr, 0, bottom, 0, right, edge)
    self._writer.write(bgr)

  def __enter__(self) -> "Writer":
    return self

  def __exit__(self, kind, value, traceback) -> None:
    try:
      self._thread.shutdown(cancel_futures=kind is not None)
      self._writer.release()
      if kind is None:
        self._finish()
    finally:
      self._temporary.unlink(missing_ok=True)

  def _finish(self) -> None:
    for waiting in self._waiting:
      waiting.result()
    # The encoder does not report a full disk: look at what is there.
    stored = open_video(self._temporary).count_hint if self._written else 0
    if not 0 < self._written <= stored + 1:
      raise ValueError(
        f"{self._path}: {self._written} frames were written and {stored} are "
        "in the file; is the disk full?"
      )
    os.replace(self._temporary, self._path)
