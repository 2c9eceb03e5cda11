"""Video files read and written by PyAV, which the extra `video` installs.

Its wheels bring an FFmpeg with x264 and x265, whose licence is the GPL; that
is why it is no dependency.
"""

# It may not be there, and an ignored line would be one too many where it is.
# pyright: reportMissingImports=false

import contextlib
import functools
import itertools
import pathlib
from collections.abc import Callable, Generator, Iterator
from fractions import Fraction
from typing import Any

import numpy as np
from absl import logging

from diffpose_jax.data import video_opencv, video_times

CODECS = {
  ".mp4": ("libx264", {"preset": "veryfast", "crf": "20"}),
  ".webm": (
    "libvpx-vp9",
    {"deadline": "realtime", "cpu-used": "7", "crf": "28", "row-mt": "1"},
  ),
}
_CONTAINER = {".mp4": {"movflags": "+faststart"}, ".webm": {}}
_TICKS = 90_000  # a second, of the encoder's clock
_BT709, _LIMITED = 1, 1  # matrix and range, as FFmpeg numbers them


def package() -> Any:
  """The package `av`, or None where it is not installed or does not load."""
  try:
    import av
  except ImportError:
    return None
  return av


def header(path: pathlib.Path) -> tuple[float, int, tuple[int, int]]:
  """(mean frames a second, frames or 0, (height, width)); see `video_opencv`.

  Raises what `video_opencv.header` does.
  """
  with _opened(path) as (container, stream):
    stated = float(stream.average_rate or 0)
    seconds = _seconds(container, stream)
    found = stream.frames
    found_stamps = list(
      itertools.islice(_packets(container, stream), video_times.SAMPLE)
    )
  with contextlib.closing(_decoded(path)) as decoded:
    first = next(decoded, None)
  if first is None:
    raise ValueError(video_opencv.nothing_decodes(path))
  fps, exact = video_times.rate(path, stated, found_stamps)
  hint = found if found and exact else round(seconds * fps)
  return fps, hint, _size(first)


def frames(
  path: pathlib.Path,
) -> Iterator[tuple[float | None, Callable[[], np.ndarray]]]:
  """(time stamp in seconds if any, function that gives the RGB frame).

  A frame of another size than the first is scaled to it; the first such one is
  reported as a warning. Raises what `header` does.
  """
  first, changed = None, False
  for index, frame in enumerate(_decoded(path)):
    size = _size(frame)
    first = first or size
    if size != first and not changed:
      changed = True
      logging.warning(
        "%s: frame %d is %dx%d pixels, the first is %dx%d; it and others are "
        "scaled to the first one's size",
        *(path, index, *size[::-1], *first[::-1]),
      )
    yield frame.time, functools.partial(_picture, frame, first)


def stamps(path: pathlib.Path) -> Iterator[float]:
  """Time stamps of all packets that have one; see `video_opencv`."""
  with _opened(path) as (container, stream):
    yield from _packets(container, stream)


def _decoded(path: pathlib.Path) -> Generator[Any, None, None]:
  """All frames that decode; says at the end how many packets do not."""
  broken = 0
  with _opened(path) as (container, stream):
    error = package().error
    # Its last packet is empty and lets out what the decoder holds.
    packets = container.demux(stream)
    while True:
      try:
        packet = next(packets)
      except StopIteration:
        break
      except error.FFmpegError:
        broken += 1
        with contextlib.suppress(error.FFmpegError):
          yield from stream.decode(None)
        break
      try:
        found = stream.decode(packet)
      except error.EOFError:
        break
      except error.FFmpegError:
        broken += 1
        continue
      yield from found
  if broken:
    logging.warning(
      "%s: %d packets are damaged or cut off; what decodes is kept",
      *(path, broken),
    )


def _picture(frame: Any, size: tuple[int, int]) -> np.ndarray:
  height, width = size if not frame.rotation % 180 else size[::-1]
  # As OpenCV converts: to the last bit for 8 bits a channel.
  rgb = frame.reformat(
    width=width, height=height, format="rgb24", interpolation="BICUBIC"
  )
  # Frames say by how much to turn them counterclockwise.
  return np.ascontiguousarray(
    np.rot90(rgb.to_ndarray(), round(frame.rotation / 90) % 4)
  )


def _size(frame: Any) -> tuple[int, int]:
  """(height, width) as it is shown."""
  size = (frame.height, frame.width)
  return size if not frame.rotation % 180 else size[::-1]


def _seconds(container: Any, stream: Any) -> float:
  if stream.duration:
    return float(stream.duration * stream.time_base)
  return max(0, container.duration or 0) / 1e6


def _packets(container: Any, stream: Any) -> Iterator[float]:
  with contextlib.suppress(package().error.FFmpegError):
    for packet in container.demux(stream):
      if packet.pts is not None:
        yield float(packet.pts * packet.time_base)


@contextlib.contextmanager
def _opened(path: pathlib.Path) -> Iterator[tuple[Any, Any]]:
  av = package()
  try:
    container = av.open(f"file:{path.resolve()}")
  except (av.error.FFmpegError, OSError) as error:
    raise ValueError(video_opencv.no_video(path)) from error
  with container:
    if not container.streams.video:
      raise ValueError(video_opencv.no_video(path))
    stream = container.streams.video[0]
    if stream.codec_context is None:
      raise ValueError(video_opencv.nothing_decodes(path))
    stream.thread_type = "AUTO"
    video_opencv.check_pixels(
      path, stream.codec_context.height, stream.codec_context.width
    )
    yield container, stream


class Encoder:
  """H.264 in MP4 or VP9 in WebM, each frame shown from its own time on."""

  def __init__(
    self, path: pathlib.Path, *, fps: float, size: tuple[int, int]
  ) -> None:
    """Opens `path`; `size` is (height, width), even. OSError if it cannot."""
    self._av = package()
    self._fps = fps
    self._last = -1
    self._index = 0
    self._container: Any = None
    try:
      with self._as_os_error():
        self._open(path, fps, size)
    except OSError:
      if self._container is not None:
        self._container.close()
      raise

  def _open(
    self, path: pathlib.Path, fps: float, size: tuple[int, int]
  ) -> None:
    codec, options = CODECS[path.suffix]
    self._container = self._av.open(
      f"file:{path.absolute()}", "w", container_options=_CONTAINER[path.suffix]
    )
    rate = Fraction(fps).limit_denominator(1001)
    self._stream = self._container.add_stream(codec, rate, options)
    self._stream.height, self._stream.width = size
    self._stream.pix_fmt = "yuv420p"
    context = self._stream.codec_context
    context.time_base = Fraction(1, _TICKS)
    context.thread_count = 1  # the rest are the network's
    context.colorspace, context.color_range = _BT709, _LIMITED
    self._container.start_encoding()

  def encode(self, frame: np.ndarray, time: float | None) -> None:
    """Appends an RGB frame, shown from `time` (or by the rate) on.

    OSError where it cannot be written.
    """
    time = self._index / self._fps if time is None else time
    picture = self._av.VideoFrame.from_ndarray(frame, format="rgb24").reformat(
      format="yuv420p",
      dst_colorspace=_BT709,
      dst_color_range=_LIMITED,
    )
    self._last = max(self._last + 1, round(time * _TICKS))
    picture.pts, picture.time_base = self._last, Fraction(1, _TICKS)
    self._index += 1
    with self._as_os_error():
      self._container.mux(self._stream.encode(picture))

  def close(self) -> None:
    """Writes what is still held, and ends the file; OSError if it cannot."""
    with self._as_os_error():
      try:
        if self._index:
          self._container.mux(self._stream.encode(None))
      finally:
        self._container.close()

  @contextlib.contextmanager
  def _as_os_error(self) -> Iterator[None]:
    try:
      yield
    except (self._av.error.FFmpegError, ValueError) as error:
      raise OSError(str(error)) from error
