"""Frames out of video files, pictures and cameras: one record for each.

Frames are RGB uint8, as a player shows them: turned by their rotation tag,
without alpha, 8 bits of however many a channel has. Pictures are taken as
stored (see `images`). Decoding is PyAV's where it is installed, else OpenCV's;
both give the same frames, to the last bit where a channel has 8.
"""

import dataclasses
import math
import pathlib
from collections.abc import Generator

import numpy as np
from absl import logging
from jaxtyping import UInt8

from diffpose_jax.data import (
  camera,
  images,
  sources,
  video_opencv,
  video_pyav,
  video_times,
  video_writer,
)

DEFAULT_FPS = video_times.DEFAULT_FPS
Writer = video_writer.Writer
writable = video_writer.writable


@dataclasses.dataclass(frozen=True)
class VideoInfo:
  """What the header of a video and its first frame say."""

  fps: float  # the mean rate
  width: int
  height: int
  count_hint: int  # frames; exact for pictures, 0 where a file does not say
  names: tuple[str, ...] = ()  # of pictures' files, in order
  live: bool = False  # a camera: without end, and frames may be left out
  backend: str = "opencv"  # what decodes: opencv, pyav, or images


def open_video(
  source: pathlib.Path | sources.Source, *, backend: str = "auto"
) -> VideoInfo:
  """What a video holds, after its first frame was decoded.

  Args:
    source: what `sources.find` gave, or the path of a video, a picture or a
      folder of pictures.
    backend: `opencv`, `pyav`, or `auto`: PyAV where it is installed.

  Raises:
    ValueError: there is nothing there, it cannot be opened as video, no frame
      decodes, or PyAV is asked for and not installed; names the path.
  """
  source = _source(source)
  if source.pictures:
    first = source.pictures[0]
    height, width = images.size(first.read_bytes(), place=str(first))
    names = tuple(file.name for file in source.pictures)
    return VideoInfo(
      *(source.fps, width, height, len(names), names), backend="images"
    )
  if source.camera is not None:
    fps, _, (height, width) = camera.header(source.camera)
    good = math.isfinite(fps) and 0 < fps <= 1000
    return VideoInfo(fps if good else DEFAULT_FPS, width, height, 0, live=True)
  reader = video_writer.choose(backend)
  fps, count_hint, (height, width) = reader.header(source.path)
  name = "pyav" if reader is video_pyav else "opencv"
  return VideoInfo(fps, width, height, count_hint, backend=name)


def read(
  source: pathlib.Path | sources.Source,
  *,
  start: int = 0,
  backend: str = "auto",
) -> Generator[tuple[int, float, UInt8[np.ndarray, "h w 3"]], None, None]:
  """(index, seconds since the first frame, RGB frame) of each decoded frame.

  Indices count from 0 without gaps and times grow. One frame is held at a time.
  What cannot be decoded is left out and reported as a warning. A file's frames
  of another size than its first are scaled to it. Closing the iterator lets go
  of the file or camera.

  Args:
    source: as for `open_video`.
    start: the first index to give. A file is decoded from its beginning all the
      same, for that alone is exact; nothing comes if it has no such frame.
    backend: as for `open_video`.

  Raises:
    ValueError: as `open_video` does, when the first frame is asked for; or a
      picture differs in size from the first.
  """
  if start < 0:
    raise ValueError(f"start is {start}; give the index of a frame, from 0")
  source = _source(source)
  if source.pictures:
    return _read_pictures(source, start)
  if source.camera is not None:
    if start:
      raise ValueError(f"{source.path}: a camera does not start at {start}")
    return _read_camera(source.camera)
  return _read_file(source.path, start, backend)


def count(
  source: pathlib.Path | sources.Source, *, backend: str = "auto"
) -> int:
  """Exact number of frames that decode; walks through a file once.

  Raises ValueError as `open_video` does, and for a camera.
  """
  source = _source(source)
  if source.camera is not None:
    raise ValueError(f"{source.path}: a camera has no number of frames")
  if source.pictures:
    return len(source.pictures)
  found = sum(1 for _ in video_writer.choose(backend).frames(source.path))
  if not found:
    raise ValueError(video_opencv.nothing_decodes(source.path))
  return found


def shown_at(path: pathlib.Path, *, backend: str = "auto") -> list[float]:
  """Seconds at which a player shows each frame of a file, from 0, in order.

  Nothing is decoded, so frames that are damaged count. Raises ValueError where
  it cannot be opened.
  """
  stamps = sorted(video_writer.choose(backend).stamps(path))
  return [stamp - stamps[0] for stamp in stamps]


def _source(given: pathlib.Path | sources.Source) -> sources.Source:
  return given if isinstance(given, sources.Source) else sources.of(given)


def _read_pictures(
  source: sources.Source, start: int
) -> Generator[tuple[int, float, np.ndarray], None, None]:
  first = None
  for index, file in enumerate(source.pictures):
    if 0 < index < start:
      continue
    frame = images.decode(file.read_bytes(), place=str(file))
    first = frame.shape if first is None else first
    if frame.shape != first:
      raise ValueError(
        f"{source.path}: frame {index} is {frame.shape[1]}x{frame.shape[0]} "
        f"pixels, the first is {first[1]}x{first[0]}; give frames of one size "
        f"({file.name} is it)"
      )
    if index >= start:
      yield index, index / source.fps, frame


def _read_camera(
  number: int,
) -> Generator[tuple[int, float, np.ndarray], None, None]:
  began = None
  for index, (stamp, picture) in enumerate(camera.frames(number)):
    began = stamp if began is None else began
    yield index, stamp - began, picture()


def _read_file(
  path: pathlib.Path, start: int, backend: str
) -> Generator[tuple[int, float, np.ndarray], None, None]:
  reader = video_writer.choose(backend)
  fps, hint, _ = reader.header(path)
  clock = video_times.Clock(str(path), 1 / fps)
  index, time = -1, 0.0
  for index, (stamp, picture) in enumerate(reader.frames(path)):
    time = clock(stamp)
    if index >= start:
      yield index, time, picture()
  if index < 0:
    raise ValueError(video_opencv.nothing_decodes(path))
  _warn_if_short(path, index + 1, time, hint, fps)


def _warn_if_short(
  path: pathlib.Path, found: int, time: float, hint: int, fps: float
) -> None:
  """Reports a file that ends before its header says.

  It may state the length of its sound: so a little less is no matter.
  """
  missing = hint / fps - (time + 1 / fps)
  if hint and missing > max(2 / fps, 0.05 * hint / fps):
    logging.warning(
      "%s: %d frames decode, which end %.3g s before the length in its header "
      "(about %d frames); it may be cut off",
      *(path, found, missing, hint),
    )
