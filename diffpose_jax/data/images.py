"""The one strict picture decoder, at full size or shrunk while decoding.

Every picture of the program comes through `decode` or `decode_scaled`. Both
give RGB uint8 or raise ValueError; nothing is repaired. The rules:

- Orientation: pixels as stored; EXIF rotation is ignored everywhere, because
  labels were made on the pixels as stored.
- Grey is repeated over the channels; a palette is looked up.
- Alpha is dropped, and the colours under it are taken as stored.
- PNG of 16 bits: divided by 257 and rounded, so that 65535 becomes 255.
- JPEG of 8 bits in one or three channels: baseline, progressive, arithmetic.
  CMYK is refused, because files do not agree on whether 0 means no ink or all
  of it; so are 12 bits and lossless or hierarchical JPEG.
- Several pictures in one file: the first.

What is noticed: a JPEG's damaged header or tables, its truncation anywhere,
and whatever makes libjpeg-turbo warn; any damage to a PNG, whose chunks carry
checksums. The coded pixels of a JPEG have none. With bytes changed at random
places (300 times in each of six files, of 11 to 97 kB, drawn and photographed),
10 to 77 % were refused for one byte, 45 to 100 % for five, 95 to 100 % for
fifty; OpenCV refuses at most 2, 13 and 72 % of these. The others decode to a
picture of the header's size with wrong pixels in it: only a checksum kept
beside a file catches those.
"""

import dataclasses
import struct
import zlib

import cv2
import numpy as np
import simplejpeg
from jaxtyping import Float, UInt8

MAX_PIXELS = 50_000_000  # a larger picture is refused before it is decoded
MAX_SCANS = 100  # of a progressive JPEG; encoders write about ten
FACTORS = (8, 4, 2, 1)  # by which a JPEG is shrunk while it is decoded

JPEG, PNG = b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n"
# JPEG start-of-frame markers: C0 to CF without DHT, JPG and DAC.
_FRAME_MARKERS = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_SEQUENTIAL = frozenset([0xC0, 0xC1])
_DECODED = _SEQUENTIAL | {0xC2, 0xC9, 0xCA}  # progressive, arithmetic
_ALONE = frozenset([0x01, *range(0xD0, 0xD9)])  # markers without a length


@dataclasses.dataclass(frozen=True)
class Scaled:
  """A picture shrunk while it was decoded, by the same factor along x and y.

  Pixel j shows the pixels factor * j to factor * j + factor - 1 of the full
  picture; its size is that of the full picture over the factor, rounded up. Its
  last row and column may therefore lie partly outside of the full picture:
  the exact scale is 1 / factor and not the quotient of the two sizes.
  """

  pixels: UInt8[np.ndarray, "h w 3"]
  factor: int

  def affine(self, full: Float[np.ndarray, "2 3"]) -> Float[np.ndarray, "2 3"]:
    """What `full`, an affine from the full picture, is from this one.

    The centre of pixel j lies at factor * j + (factor - 1) / 2 there.
    """
    offset = full[:, :2].sum(axis=1) * (self.factor - 1) / 2
    return np.column_stack([full[:, :2] * self.factor, full[:, 2] + offset])


@dataclasses.dataclass(frozen=True)
class _Frame:
  """What a JPEG's start of frame says."""

  marker: int
  bits: int
  height: int
  width: int
  channels: int


def size(data: bytes, *, place: str) -> tuple[int, int]:
  """(height, width) that a JPEG's or PNG's header states, without decoding.

  Raises ValueError naming `place` where there is no such header, it states no
  pixels or too many, or a kind of JPEG that is not decoded.
  """
  if not data:
    raise ValueError(f"{place}: picture is empty (0 bytes); restore the file")
  if data.startswith(PNG):
    found = _png_size(data)
  elif data.startswith(JPEG):
    found = _jpeg_size(data, place)
  else:
    raise ValueError(
      f"{place}: neither JPEG nor PNG (starts with {data[:8]!r}); "
      "convert or replace it"
    )
  if found is None:
    raise ValueError(
      f"{place}: picture header is cut off or damaged ({len(data)} bytes); "
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
  if len(data) < 26 or data[12:16] != b"IHDR":
    return None
  width, height = struct.unpack(">II", data[16:24])
  return height, width


def _jpeg_size(data: bytes, place: str) -> tuple[int, int] | None:
  frame = _jpeg_frame(data)
  if frame is None:
    return None
  if frame.marker not in _DECODED or frame.bits != 8:
    raise ValueError(
      f"{place}: JPEG of kind SOF{frame.marker - 0xC0} with {frame.bits} bits; "
      "convert it to a baseline or progressive one with 8 bits"
    )
  if frame.channels not in (1, 3):
    raise ValueError(
      f"{place}: JPEG of {frame.channels} channels (4 are CMYK); "
      "convert it to RGB"
    )
  # Found only as markers: 0xFF in coded data is followed by 0.
  scans = 1 if frame.marker in _SEQUENTIAL else data.count(b"\xff\xda")
  if scans > MAX_SCANS:
    raise ValueError(
      f"{place}: JPEG of {scans} scans, more than {MAX_SCANS}, would take very "
      "long to decode; write it again"
    )
  return frame.height, frame.width


def _jpeg_frame(data: bytes) -> _Frame | None:
  """Walks the segments up to the start of frame; None if there is none."""
  at = 2
  while at + 4 <= len(data) and data[at] == 0xFF:
    marker = data[at + 1]
    if marker == 0xFF:  # padding
      at += 1
    elif marker in _ALONE:
      at += 2
    elif marker in _FRAME_MARKERS and at + 10 <= len(data):
      return _Frame(marker, *struct.unpack(">BHHB", data[at + 4 : at + 10]))
    else:
      at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")
  return None


def decode(data: bytes, *, place: str) -> UInt8[np.ndarray, "h w 3"]:
  """RGB pixels of a JPEG or PNG, by the rules of this module.

  Args:
    data: the file.
    place: what to call it in an error, usually its path.

  Raises:
    ValueError: it is empty, truncated, corrupt, too large, of another format,
      or its pixels are not what its header says.
  """
  return decode_scaled(data, place=place, factor=1).pixels


def decode_scaled(data: bytes, *, place: str, factor: int) -> Scaled:
  """A picture shrunk by `factor`, with the factor that was applied.

  A JPEG is shrunk by libjpeg-turbo, which leaves the high frequencies of each
  block out before it transforms; that is faster than to decode in full. A PNG
  is never shrunk: its factor is 1.

  With `shrinkage` as factor, bilinear warping gives a crop inside the picture
  that differs from the full picture's by at most so many grey levels (mean of
  the absolute change, its 99th percentile):

    factor  smooth   textured  sharp edges
    2       0.5, 2   2, 7      1, 15
    4       1, 3     4, 13     2, 30
    8       1, 3     7, 25     4, 50

  Most of it is aliasing in the crop of the full picture: beyond 1.3 times
  the factor, the shrunk picture's is nearer to the mean over each pixel's area.

  Args:
    data: the file.
    place: what to call it in an error, usually its path.
    factor: 1, 2, 4 or 8.

  Raises:
    ValueError: as `decode` does.
  """
  if factor not in FACTORS:
    raise ValueError(f"{place}: factor {factor} is none of {FACTORS}")
  full = size(data, place=place)
  if data.startswith(PNG):
    return Scaled(_decode_png(data, full, place), 1)
  return Scaled(_decode_jpeg(data, full, factor, place), factor)


def shrinkage(affine: Float[np.ndarray, "2 3"]) -> int:
  """Largest factor after which a crop still need not enlarge the picture.

  Args:
    affine: from the full picture to the crop; at most half as many pixels along
      each side of the crop as along its box allow factor 2, and so on.
  """
  zoom = np.linalg.norm(affine[:, :2], 2)
  # A box of exactly twice the crop's size counts, whatever its rounding.
  return next((f for f in FACTORS if zoom * f <= 1 + 1e-6), 1)


def _decode_jpeg(
  data: bytes, full: tuple[int, int], factor: int, place: str
) -> np.ndarray:
  height, width = -(-full[0] // factor), -(-full[1] // factor)
  try:
    # libjpeg-turbo must read the same size, before it takes memory for it.
    stated = simplejpeg.decode_jpeg_header(data)[:2]
    if stated != full:
      raise ValueError(f"two sizes, {full} and {stated}, in one header")
    pixels = simplejpeg.decode_jpeg(
      data, min_height=height, min_width=width, strict=True
    )
  except ValueError as error:
    raise ValueError(
      f"{place}: JPEG of {len(data)} bytes is truncated or corrupt ({error}); "
      "restore the file"
    ) from error
  if pixels.shape != (height, width, 3):
    raise ValueError(
      f"{place}: JPEG decodes to {pixels.shape} instead of {height, width, 3}; "
      "write it again"
    )
  return pixels


def _decode_png(data: bytes, full: tuple[int, int], place: str) -> np.ndarray:
  _check_chunks(data, place)
  deep = data[24] == 16
  flags = cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION
  if deep:
    flags |= cv2.IMREAD_ANYDEPTH
  try:
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
  except cv2.error:
    pixels = None
  if pixels is None or pixels.shape != (*full, 3):
    raise ValueError(
      f"{place}: PNG of {len(data)} bytes does not decode; it is corrupt, "
      "restore the file"
    )
  return cv2.convertScaleAbs(pixels, alpha=1 / 257) if deep else pixels


def _check_chunks(data: bytes, place: str) -> None:
  """Raises ValueError unless all chunks up to the end's have their checksums."""
  view = memoryview(data)
  at, kind = len(PNG), b""
  while kind != b"IEND":
    kind = data[at + 4 : at + 8]
    end = at + 8 + int.from_bytes(view[at : at + 4], "big")
    if end + 4 > len(data):
      raise ValueError(
        f"{place}: PNG is truncated ({len(data)} bytes, a chunk at {at} ends at "
        f"{end + 4}); restore the file"
      )
    checksum = int.from_bytes(view[end : end + 4], "big")
    if zlib.crc32(view[at + 4 : end]) != checksum:
      raise ValueError(
        f"{place}: PNG is corrupt (checksum of the chunk {kind!r} at byte "
        f"{at}); restore the file"
      )
    at = end + 4
