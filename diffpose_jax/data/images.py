"""The one strict picture decoder, and a bounded cache of decoded frames.

Every picture of the program comes through `decode`: RGB uint8, stored
orientation (EXIF rotation is ignored everywhere, because labels were made on
the pixels as stored), grey repeated over the channels.
"""

import collections
import struct
import threading
from collections.abc import Callable
from concurrent import futures

import cv2
import numpy as np
from jaxtyping import UInt8

MAX_PIXELS = 50_000_000  # a larger picture is refused before it is decoded

JPEG, _PNG = b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n"
# JPEG start-of-frame markers: C0 to CF without DHT, JPG and DAC.
_FRAME_MARKERS = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_ALONE = frozenset([0x01, *range(0xD0, 0xD9)])  # markers without a length


def size(data: bytes, *, place: str) -> tuple[int, int]:
  """(height, width) that a JPEG's or PNG's header states, without decoding.

  Raises ValueError naming `place` where there is no such header or it states
  no pixels or too many.
  """
  if not data:
    raise ValueError(f"{place}: picture is empty (0 bytes); restore the file")
  if data.startswith(_PNG):
    found = _png_size(data)
  elif data.startswith(JPEG):
    found = _jpeg_size(data)
  else:
    raise ValueError(
      f"{place}: neither JPEG nor PNG (starts with {data[:8]!r}); "
      "convert or replace it"
    )
  if found is None:
    raise ValueError(
      f"{place}: picture header is cut off after {len(data)} bytes; "
      "restore the file"
    )
  height, width = found
  if not 0 < height * width <= MAX_PIXELS:
    raise ValueError(
      f"{place}: header says {width}x{height} pixels; from 1 to "
      f"{MAX_PIXELS} are accepted, make it smaller"
    )
  return height, width


def _png_size(data: bytes) -> tuple[int, int] | None:
  if len(data) < 24 or data[12:16] != b"IHDR":
    return None
  width, height = struct.unpack(">II", data[16:24])
  return height, width


def _jpeg_size(data: bytes) -> tuple[int, int] | None:
  """Walks the segments up to the start of frame; None if there is none."""
  at = 2
  while at + 4 <= len(data) and data[at] == 0xFF:
    marker = data[at + 1]
    if marker == 0xFF:  # padding
      at += 1
    elif marker in _ALONE:
      at += 2
    elif marker in _FRAME_MARKERS and at + 9 <= len(data):
      return struct.unpack(">HH", data[at + 5 : at + 9])
    else:
      at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")
  return None


def decode(data: bytes, *, place: str) -> UInt8[np.ndarray, "h w 3"]:
  """RGB pixels of a JPEG or PNG in its stored orientation.

  Args:
    data: the file.
    place: what to call it in an error, usually its path.

  Raises:
    ValueError: it is empty, truncated, corrupt, too large, of another format,
      or its pixels are not what its header says.
  """
  expected = size(data, place=place)
  if not _is_whole(data):
    raise ValueError(
      f"{place}: picture is truncated ({len(data)} bytes without an end "
      "marker); restore the file"
    )
  try:
    pixels = cv2.imdecode(
      np.frombuffer(data, np.uint8),
      cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION,
    )
  except cv2.error:
    pixels = None
  if pixels is None or pixels.shape[:2] != expected:
    raise ValueError(
      f"{place}: picture of {len(data)} bytes does not decode; "
      "it is corrupt, restore the file"
    )
  return pixels


def _is_whole(data: bytes) -> bool:
  # Some writers append bytes after the end marker, so look anywhere late.
  end = b"IEND" if data.startswith(_PNG) else b"\xff\xd9"
  return data.rfind(end) > len(data) // 2


class FrameCache:
  """Frames by key, least recently used out first, within a budget of bytes.

  Threads may share it: a frame that one thread is loading is waited for by the
  others and loaded once. A frame larger than the budget is passed through.
  """

  def __init__(
    self, load: Callable[[int], np.ndarray], *, max_bytes: int
  ) -> None:
    self._load = load
    self._max_bytes = max_bytes
    self._bytes = 0
    self._lock = threading.Lock()
    self._frames: collections.OrderedDict[int, futures.Future] = (
      collections.OrderedDict()
    )

  def __len__(self) -> int:
    return len(self._frames)

  def get(self, key: int) -> np.ndarray:
    """The frame, read-only; whatever `load` raises is raised here too."""
    with self._lock:
      future = self._frames.get(key)
      mine = future is None
      if future is None:
        future = futures.Future()
        self._frames[key] = future
      else:
        self._frames.move_to_end(key)
    if mine:
      self._fill(key, future)
    return future.result()

  def _fill(self, key: int, future: futures.Future) -> None:
    try:
      frame = self._load(key)
    except BaseException as error:
      with self._lock:
        self._frames.pop(key, None)
      future.set_exception(error)
      return
    frame.flags.writeable = False
    with self._lock:
      future.set_result(frame)
      self._bytes += frame.nbytes
      while self._bytes > self._max_bytes and self._evict():
        pass

  def _evict(self) -> bool:
    """Drops the oldest frame that is loaded; False if there is none."""
    for key, future in self._frames.items():
      if future.done():
        if future.exception() is None:
          self._bytes -= future.result().nbytes
        del self._frames[key]
        return True
    return False
