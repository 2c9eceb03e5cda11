"""Pictures decode exactly or are refused with a line that names them."""

import base64
import io
import resource
import struct
import time
import zlib

import cv2
import numpy as np
import PIL.Image
import pytest

from diffpose_jax.data import images
from diffpose_jax.pose import geometry

_BIG = (721, 1283)  # no multiple of 2

# 11x7 pixels, RGB (20 x, 30 y, 128), quality 60, arithmetic coding, made with
# libjpeg's C interface: no Python package writes them.
_ARITHMETIC = {
  "sequential": b"""|JeWF01!$>Nk#wx0RR9200961|JwjV01XKW3knDg3knMk4h;_zAQcl55)&sJ9v2`kDKRiEDJ?8BI!Zn>HbyrrEkIX6ModmpQ&KWMT47pHU`kO^PygEhLjevB4iga*CKVMXPc<zyPft%zPft%zPft%zPft%zPft%zPft%zPft%zPft%zPft%zPft%zPft%zPft%zPf!2J01*fP2LKBL0U`hb5di}c0sqVZ3IGrg1pyEd1^?Or3<CiG0ucid06zf!&8vdFCOr*0&Kl@4P4aNw9Rw9j);>dDu>aW""",
  "progressive": b"""|JeWF01!$>Nk#wx0RR9200961|JwjV01XKW3knDg3knMk4h;_zAQcl55)&sJ9v2`kDKRiEDJ?8BI!Zn>HbyrrEkIX6ModmpQ&KWMT47pHU`kO^PygEhLjevB4iga*CKVMXPc<zyPft%zPft%zPft%zPft%zPft%zPft%zPft%zPft%zPft%zPft%zPft%zPft%zPf!2K01*fP2LKBL0U`hb5di}c0sqVZ1^^HN5dYc$3<CiG0uTcb0005~nI#1O%m4%s1^?Or2mt{A0R;jW8}1<g%m4%t1^?Or2mu2D0Y3p1Y#dDg%m4%t1^?Or2mt~C0Y3pf$3Xwg00a;P|Jncu0RaF8KLWu2%m4%s1^?Or2mt{A0Y4#1u>aZs3<CiG0ssR5000nJ|I7dc5e5I+00;pC0RcY{yr}=o00a>Q|Jncu0RjO5KM*8%|I7dc5C#9*00;pA00BP`P$q*=|Je""",
}


def _smooth(height=37, width=53, channels=3):
  rng = np.random.default_rng(0)
  noise = rng.integers(0, 255, (7, 11, channels), np.uint8)
  picture = cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC)
  return picture.reshape(height, width, channels)


def _textured(height, width):
  """Detail of all sizes, down to noise of single pixels."""
  rng = np.random.default_rng(1)
  picture = 128 + rng.normal(0, 4, (height, width, 3))
  for cell, strength in ((97, 60), (23, 35), (7, 20), (3, 12)):
    grid = (height // cell + 2, width // cell + 2, 3)
    noise = rng.uniform(-strength, strength, grid)
    picture += cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC)
  return np.clip(picture, 0, 255).astype(np.uint8)


def _shapes(height, width):
  """Triangles with sharp edges on a smooth ground."""
  rng = np.random.default_rng(2)
  picture = _smooth(height, width)
  for _ in range(200):
    corners = rng.integers(0, [width, height], (3, 2)).astype(np.int32)
    colour = [int(value) for value in rng.integers(0, 256, 3)]
    cv2.fillPoly(picture, [corners], colour, lineType=cv2.LINE_AA)
  return picture


def _encode(picture, suffix=".jpg", *options):
  return cv2.imencode(suffix, picture, options)[1].tobytes()


def _chunk(kind, content):
  checksum = zlib.crc32(kind + content)
  return (
    struct.pack(">I", len(content))
    + kind
    + content
    + struct.pack(">I", checksum)
  )


def _png(rows, width, depth, colour, *chunks):
  """A PNG of the given rows of bytes, unfiltered, with further chunks."""
  header = struct.pack(">IIBBBBB", width, len(rows), depth, colour, 0, 0, 0)
  coded = zlib.compress(b"".join(b"\0" + bytes(row) for row in rows))
  parts = [_chunk(b"IHDR", header), *chunks]
  parts += [_chunk(b"IDAT", coded), _chunk(b"IEND", b"")]
  return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def _with_frame(data, offset, content):
  """The JPEG with bytes of its start of frame replaced."""
  at = data.index(b"\xff\xc0") + offset
  return data[:at] + content + data[at + len(content) :]


@pytest.mark.parametrize("suffix", [".jpg", ".png"])
def test_size_comes_from_the_header(suffix):
  assert images.size(_encode(_smooth(), suffix), place="x") == (37, 53)


# --- what decodes, and to what


@pytest.mark.parametrize(
  "options",
  [
    (),
    (cv2.IMWRITE_JPEG_PROGRESSIVE, 1),
    (cv2.IMWRITE_JPEG_RST_INTERVAL, 2),
    (cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444),
    (cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_422),
    (cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_440),
    (cv2.IMWRITE_JPEG_QUALITY, 20),
  ],
)
@pytest.mark.parametrize("picture", [_smooth(), _textured(131, 197)])
def test_jpeg_has_the_pixels_that_opencv_gives(picture, options):
  data = _encode(picture, ".jpg", *options)
  found = images.decode(data, place="x")
  expected = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB)
  assert expected is not None
  assert found.shape == picture.shape and found.dtype == np.uint8
  # Both use libjpeg-turbo's slow transform and smooth upsampling.
  np.testing.assert_allclose(found, expected.astype(np.int64), atol=2)


def test_jpeg_decodes_to_rgb():
  bgr = _smooth(height=131, width=197)
  found = images.decode(
    _encode(bgr, ".jpg", cv2.IMWRITE_JPEG_QUALITY, 98), place="x"
  )
  change = np.abs(found.astype(np.int64) - bgr[..., ::-1])
  assert change.mean() < 3


@pytest.mark.parametrize("kind", _ARITHMETIC)
def test_arithmetic_coding_decodes(kind):
  data = base64.b85decode(_ARITHMETIC[kind])
  found = images.decode(data, place="x")
  y, x = np.mgrid[:7, :11]
  drawn = np.stack([20 * x, 30 * y, np.full_like(x, 128)], axis=-1)
  assert found.shape == (7, 11, 3)
  assert np.abs(found - drawn).mean() < 10  # quality 60, chroma halved


@pytest.mark.parametrize("suffix", [".jpg", ".png"])
@pytest.mark.parametrize("shape", [(1, 1), (10, 20_000), (20_000, 10), (1, 7)])
def test_extreme_shapes_decode(suffix, shape):
  picture = np.full((*shape, 3), 77, np.uint8)
  found = images.decode(_encode(picture, suffix), place="x")
  np.testing.assert_allclose(found, picture.astype(np.int64), atol=1)


def test_bytes_after_the_end_are_ignored():
  for suffix in (".jpg", ".png"):
    data = _encode(_smooth(), suffix)
    np.testing.assert_array_equal(
      images.decode(data + b"more", place="x"), images.decode(data, place="x")
    )


def test_png_decodes_to_rgb_exactly():
  bgr = _smooth()
  found = images.decode(_encode(bgr, ".png"), place="x")
  np.testing.assert_array_equal(found, bgr[..., ::-1])


def test_grey_is_repeated_over_channels():
  grey = _smooth(channels=1)
  found = images.decode(_encode(grey, ".png"), place="x")
  np.testing.assert_array_equal(found, np.repeat(grey, 3, axis=2))
  coded = images.decode(_encode(grey), place="x")
  assert coded.shape == (37, 53, 3)
  np.testing.assert_array_equal(coded[..., 0], coded[..., 1])
  np.testing.assert_array_equal(coded[..., 0], coded[..., 2])
  assert np.abs(coded[..., 0].astype(np.int64) - grey[..., 0]).mean() < 3


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_sixteen_bits_are_divided_by_257(channels):
  values = [0, 128, 129, 385, 386, 257 * 100, 65_406, 65_407, 65_535]
  expected = [0, 0, 1, 1, 2, 100, 254, 255, 255]  # halves of 257 are 128.5
  row = np.repeat(np.array(values, ">u2"), channels).tobytes()
  colour = {1: 0, 2: 4, 3: 2, 4: 6}[channels]
  found = images.decode(_png([row], 9, 16, colour), place="x")
  np.testing.assert_array_equal(found, np.repeat(expected, 3).reshape(1, 9, 3))


def test_alpha_is_dropped():
  pixels = [(200, 100, 50, 0), (200, 100, 50, 128), (9, 8, 7, 255)]
  data = _png([np.array(pixels, np.uint8).tobytes()], 3, 8, 6)
  found = images.decode(data, place="x")
  np.testing.assert_array_equal(found[0], np.array(pixels)[:, :3])


def test_palette_is_looked_up_and_its_alpha_dropped():
  palette = [(1, 2, 3), (40, 50, 60), (200, 100, 50)]
  chunks = [_chunk(b"PLTE", np.array(palette, np.uint8).tobytes())]
  chunks += [_chunk(b"tRNS", bytes([0, 128]))]
  data = _png([[2, 0, 1, 2]], 4, 8, 3, *chunks)
  found = images.decode(data, place="x")
  np.testing.assert_array_equal(found[0], [palette[i] for i in (2, 0, 1, 2)])


def test_one_bit_is_black_and_white():
  found = images.decode(_png([[0b10110000]], 5, 1, 0), place="x")
  np.testing.assert_array_equal(found[0, :, 1], [255, 0, 255, 255, 0])


def _exif():
  """Orientation 6: asks a viewer to turn the picture by 90 degrees."""
  tiff = b"MM\0*\0\0\0\x08" + struct.pack(">H", 1)
  return tiff + struct.pack(">HHIHH", 0x0112, 3, 1, 6, 0) + b"\0\0\0\0"


def test_exif_rotation_is_ignored():
  data = _encode(_smooth())
  exif = b"Exif\0\0" + _exif()
  segment = b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif
  turned = data[:2] + segment + data[2:]
  viewed = cv2.imdecode(np.frombuffer(turned, np.uint8), cv2.IMREAD_COLOR)
  assert viewed is not None
  assert viewed.shape[:2] == (53, 37)
  np.testing.assert_array_equal(
    images.decode(turned, place="x"), images.decode(data, place="x")
  )


def test_exif_rotation_is_ignored_in_png():
  rows = _smooth().reshape(37, -1)
  data = _png(rows, 53, 8, 2, _chunk(b"eXIf", _exif()))
  found = images.decode(data, place="x")
  np.testing.assert_array_equal(found, _smooth())


# --- what is refused


@pytest.mark.parametrize(
  ("spoil", "reason"),
  [
    (lambda data: b"", "empty"),
    (lambda data: b"not a picture at all", "neither JPEG nor PNG"),
    (lambda data: b"<!DOCTYPE html><html>404</html>", "neither JPEG nor PNG"),
    (lambda data: b"GIF89a" + data, "neither JPEG nor PNG"),
    (lambda data: _encode(_smooth(), ".bmp"), "neither JPEG nor PNG"),
    (lambda data: _encode(_smooth(), ".webp"), "neither JPEG nor PNG"),
    (lambda data: data[:20], "cut off"),
    (lambda data: data[: len(data) // 10], "truncated"),
    (lambda data: data[: len(data) // 2], "truncated"),
    (lambda data: data[: int(len(data) * 0.999)], "truncated"),
    (lambda data: data[:-1], "truncated"),
    (lambda data: _with_frame(data, 5, b"\0\0"), "53x0"),
    (lambda data: _with_frame(data, 7, b"\0\0"), "0x37"),
    (lambda data: _with_frame(data, 4, b"\x0c"), "SOF0 with 12 bits"),
    (lambda data: _with_frame(data, 0, b"\xff\xc3"), "SOF3 with 8 bits"),
    (lambda data: _with_frame(data, 9, b"\x04"), "CMYK"),
    (lambda data: _with_frame(data, 9, b"\x02"), "2 channels"),
    (lambda data: _with_frame(data, 9, b"\x01"), "truncated or corrupt"),
    (lambda data: data[:2] + b"junk" + data[2:], "neither JPEG nor PNG"),
  ],
)
def test_broken_jpeg_is_refused_by_name(spoil, reason):
  with pytest.raises(
    ValueError, match=rf"^clips/000003\.jpg: .*{reason}"
  ) as error:
    images.decode(spoil(_encode(_smooth())), place="clips/000003.jpg")
  assert "\n" not in str(error.value)


def test_cmyk_is_refused_with_the_remedy():
  file = io.BytesIO()
  PIL.Image.new("CMYK", (53, 37), (10, 20, 30, 40)).save(file, "JPEG")
  with pytest.raises(ValueError, match=r"^a\.jpg: .*CMYK.*convert it to RGB"):
    images.decode(file.getvalue(), place="a.jpg")


def test_damage_in_the_middle_is_refused():
  data = bytearray(_encode(_textured(131, 197)))
  middle = len(data) // 2
  data[middle : middle + 200] = bytes(200)
  with pytest.raises(ValueError, match=r"^a\.jpg: .*truncated or corrupt"):
    images.decode(bytes(data), place="a.jpg")


@pytest.mark.parametrize("progressive", [0, 1])
def test_every_truncation_of_a_jpeg_is_refused(progressive):
  data = _encode(_smooth(), ".jpg", cv2.IMWRITE_JPEG_PROGRESSIVE, progressive)
  for length in range(len(data)):
    with pytest.raises(ValueError, match="^x: "):
      images.decode(data[:length], place="x")


def test_every_truncation_of_a_png_is_refused():
  data = _encode(_smooth(height=7, width=11), ".png")
  for length in range(len(data)):
    with pytest.raises(ValueError, match="^x: "):
      images.decode(data[:length], place="x")


def _damaged(data, count, rng):
  spoilt = np.frombuffer(data, np.uint8).copy()
  places = rng.choice(len(data), count, replace=False)
  spoilt[places] ^= rng.integers(1, 256, count).astype(np.uint8)
  return spoilt.tobytes()


@pytest.mark.parametrize(("count", "share"), [(1, 0.25), (5, 0.8), (50, 1.0)])
def test_changed_bytes_of_a_jpeg_are_refused_or_keep_its_size(count, share):
  # A coded byte may become another valid one, and so may the header's size
  # within its last block; no decoder can tell.
  rng = np.random.default_rng(count)
  data = _encode(_textured(131, 197))
  refused = 0
  for _ in range(200):
    spoilt = _damaged(data, count, rng)
    try:
      found = images.decode(spoilt, place="x")
    except ValueError:
      refused += 1
    else:
      assert found.shape == (*images.size(spoilt, place="x"), 3)
  assert refused / 200 >= share


@pytest.mark.parametrize("count", [1, 5, 50])
def test_any_changed_byte_of_a_png_is_refused(count):
  rng = np.random.default_rng(count)
  data = _encode(_smooth(), ".png")
  for _ in range(200):
    with pytest.raises(ValueError, match="^x: "):
      images.decode(_damaged(data, count, rng), place="x")


def _refused(data, factor):
  try:
    images.decode_scaled(data, place="x", factor=factor)
  except ValueError:
    return True
  return False


@pytest.mark.parametrize("progressive", [False, True])
def test_shrunk_the_same_damage_is_found(progressive):
  rng = np.random.default_rng(5)
  options = (cv2.IMWRITE_JPEG_PROGRESSIVE, int(progressive))
  data = _encode(_textured(131, 197), ".jpg", *options)
  spoilt = [_damaged(data, count, rng) for count in (1, 2, 3, 5) * 25]
  full = [_refused(some, 1) for some in spoilt]
  assert 20 < sum(full) < 100
  for factor in (2, 4, 8):
    assert [_refused(some, factor) for some in spoilt] == full


def test_corrupt_palette_is_refused():
  data = _png([[0, 1]], 2, 8, 3, _chunk(b"PLTE", bytes(range(6))))
  spoilt = data.replace(bytes(range(6)), bytes(range(1, 7)))
  with pytest.raises(ValueError, match=r"^a\.png: .*checksum.*PLTE"):
    images.decode(spoilt, place="a.png")


def test_png_with_too_few_pixels_is_refused():
  rows = _smooth().reshape(37, -1)
  data = _png(rows[:30], 53, 8, 2)
  header = data[:20] + struct.pack(">I", 37) + data[24:29]
  data = header + struct.pack(">I", zlib.crc32(header[12:])) + data[33:]
  assert images.size(data, place="x") == (37, 53)
  with pytest.raises(ValueError, match=r"^a\.png: .*does not decode"):
    images.decode(data, place="a.png")


def _jpeg_bomb():
  return _with_frame(_encode(_smooth()), 5, struct.pack(">HH", 65_500, 65_500))


def _png_bomb():
  header = struct.pack(">IIBBBBB", 12_000, 12_000, 8, 0, 0, 0, 0)
  rows = zlib.compressobj(9)
  row = bytes(12_001)
  coded = b"".join(rows.compress(row) for _ in range(12_000)) + rows.flush()
  parts = [(b"IHDR", header), (b"IDAT", coded), (b"IEND", b"")]
  return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(*part) for part in parts)


def _two_headers():
  """A walk over lengths finds a small picture, libjpeg a huge one before it."""
  bomb = _jpeg_bomb()
  inner = bomb[2 : bomb.index(b"\xff\xda") + 14]
  skipped = b"\xff\x00" + struct.pack(">H", len(inner) + 2) + inner
  return b"\xff\xd8" + skipped + _encode(_smooth())[2:]


@pytest.mark.parametrize(
  ("make", "reason"),
  [
    (_jpeg_bomb, "65500x65500"),
    (_png_bomb, "12000x12000"),
    (_two_headers, "corrupt"),
  ],
)
def test_a_bomb_is_refused_at_once_and_without_memory(make, reason):
  data = make()
  before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
  times = []
  for _ in range(5):
    began = time.perf_counter()
    with pytest.raises(ValueError, match=f"^x: .*{reason}"):
      images.decode(data, place="x")
    times.append(time.perf_counter() - began)
  assert min(times) < 0.01  # seconds
  after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
  assert after - before < 50_000  # kB


def test_the_largest_accepted_header_is_at_the_cap():
  def header(width, height):
    data = _encode(_smooth(), ".png")
    return data[:16] + struct.pack(">II", width, height) + data[24:]

  assert images.size(header(50_000, 1_000), place="x") == (1_000, 50_000)
  with pytest.raises(ValueError, match="50001x1000"):
    images.size(header(50_001, 1_000), place="x")
  with pytest.raises(ValueError, match="0x7"):
    images.size(header(0, 7), place="x")


def test_a_jpeg_of_very_many_scans_is_refused():
  data = _encode(_smooth(), ".jpg", cv2.IMWRITE_JPEG_PROGRESSIVE, 1)
  at = data.rindex(b"\xff\xda")
  scan = data[at:-2]
  many = data[:-2] + scan * 101 + data[-2:]
  with pytest.raises(ValueError, match=r"^x: JPEG of 1\d\d scans"):
    images.decode(many, place="x")


# --- decoding at a fraction of the size


@pytest.mark.parametrize("factor", images.FACTORS)
@pytest.mark.parametrize("shape", [(37, 53), (1, 1), _BIG, (10, 1999)])
def test_a_shrunk_picture_has_its_size_rounded_up(shape, factor):
  data = _encode(_smooth(*shape))
  found = images.decode_scaled(data, place="x", factor=factor)
  assert found.factor == factor
  assert found.pixels.shape == (*(-(-side // factor) for side in shape), 3)


def test_a_png_is_not_shrunk():
  data = _encode(_smooth(), ".png")
  found = images.decode_scaled(data, place="x", factor=4)
  assert found.factor == 1
  np.testing.assert_array_equal(found.pixels, _smooth()[..., ::-1])


def test_other_factors_do_not_exist():
  with pytest.raises(ValueError, match="x: factor 3"):
    images.decode_scaled(_encode(_smooth()), place="x", factor=3)


@pytest.mark.parametrize("factor", [2, 4])
def test_a_truncated_jpeg_is_refused_when_shrunk(factor):
  with pytest.raises(ValueError, match="^x: .*truncated"):
    images.decode_scaled(_encode(_smooth())[:-40], place="x", factor=factor)


@pytest.mark.parametrize("factor", [2, 4, 8])
def test_a_dot_of_a_shrunk_picture_is_where_its_affine_says(factor):
  height, width = _BIG
  at = np.array([701.3, 402.6])  # x, y
  y, x = np.mgrid[:height, :width]
  dot = 250 * np.exp(-((x - at[0]) ** 2 + (y - at[1]) ** 2) / (2 * 17**2))
  data = _encode(np.repeat(dot[..., None], 3, 2).astype(np.uint8))
  found = images.decode_scaled(data, place="x", factor=factor)
  light = np.maximum(found.pixels[..., 1].astype(np.float64) - 20, 0)
  y, x = np.mgrid[: light.shape[0], : light.shape[1]]
  centre = np.array([(light * x).sum(), (light * y).sum()]) / light.sum()
  identity = np.array([[1.0, 0, 0], [0, 1, 0]])
  full = geometry.apply(found.affine(identity), centre[None])[0]
  np.testing.assert_allclose(full, at, atol=0.05)  # pixels of the full picture


def test_affine_of_a_shrunk_picture_by_hand():
  small = images.Scaled(_smooth(), 4)
  full = np.array([[0.25, 0.5, 7], [-0.5, 0.25, 3]])
  # Pixel (0, 0) has its centre at (1.5, 1.5), pixel (1, 0) at (5.5, 1.5).
  expected = geometry.apply(full, np.array([[1.5, 1.5], [5.5, 1.5]]))
  found = geometry.apply(small.affine(full), np.array([[0.0, 0], [1, 0]]))
  np.testing.assert_allclose(found, expected)


@pytest.mark.parametrize(
  ("box", "factor"),
  [
    ((191, 255), 1),
    ((383, 511), 1),
    ((384, 512), 2),
    ((767, 1023), 2),
    ((768, 1024), 4),
    ((5000, 100), 8),
    ((100, 5000), 8),
  ],
)
@pytest.mark.parametrize(("rotation", "mirror"), [(0.0, False), (33.0, True)])
def test_shrinkage_leaves_the_crop_its_pixels(box, factor, rotation, mirror):
  edges = np.array([20.2, 30.7, 20.2 + box[0], 30.7 + box[1]])
  affine = geometry.crop_affine(
    edges, (256, 192), rotation=rotation, mirror=mirror
  )
  assert images.shrinkage(affine) == factor


def _crop(picture, affine, size):
  crop = cv2.warpAffine(picture, affine, size[::-1], flags=cv2.INTER_LINEAR)
  return crop.astype(np.int64)


def _averaged(picture, affine, size):
  """The crop without aliasing: 8x8 samples averaged for each of its pixels."""
  finer = np.array([[8.0, 0, 3.5], [0, 8, 3.5]])
  finer = finer @ np.concatenate([affine, [[0, 0, 1]]])
  crop = cv2.warpAffine(picture, finer, (8 * size[1], 8 * size[0]))
  return crop.reshape(size[0], 8, size[1], 8, 3).mean(axis=(1, 3))


@pytest.mark.parametrize(
  ("draw", "factor", "mean", "most"),
  [
    (_smooth, 2, 0.5, 2),
    (_textured, 2, 2, 7),
    (_shapes, 2, 1, 15),
    (_smooth, 4, 1, 3),
    (_textured, 4, 4, 13),
    (_shapes, 4, 2, 30),
  ],
)
@pytest.mark.parametrize("further", [1.0, 1.2, 1.6])
@pytest.mark.parametrize("rotation", [0.0, 25.0])
def test_crops_of_shrunk_pictures_stay_within_tolerance(
  draw, factor, mean, most, further, rotation
):
  height, width = _BIG
  # So small that all of the box lies in the picture.
  size = (128, 96) if factor == 2 else (64, 48)
  centre = np.array([width, height]) / 2 + [0.3, 0.2]
  half = np.array([size[1], size[0]]) * factor * further / 2
  box = np.concatenate([centre - half, centre + half])
  affine = geometry.crop_affine(box, size, rotation=rotation)
  data = _encode(draw(height, width), ".jpg", cv2.IMWRITE_JPEG_QUALITY, 90)
  full = images.decode(data, place="x")
  shrunk = images.decode_scaled(
    data, place="x", factor=images.shrinkage(affine)
  )
  assert shrunk.factor == factor
  crop = _crop(shrunk.pixels, shrunk.affine(affine), size)
  change = np.abs(crop - _crop(full, affine, size))
  assert change.mean() <= mean
  assert np.percentile(change, 99) <= most


@pytest.mark.parametrize("further", [1.3, 1.6, 1.9])
def test_crops_of_shrunk_pictures_are_aliased_less(further):
  height, width = _BIG
  size = (64, 48)
  centre = np.array([width, height]) / 2 + [0.3, 0.2]
  half = np.array([24, 32]) * 4 * further
  box = np.concatenate([centre - half, centre + half])
  affine = geometry.crop_affine(box, size)
  data = _encode(_textured(height, width))
  full = images.decode(data, place="x")
  shrunk = images.decode_scaled(data, place="x", factor=4)
  wanted = _averaged(full, affine, size)
  error = np.abs(_crop(full, affine, size) - wanted).mean()
  crop = _crop(shrunk.pixels, shrunk.affine(affine), size)
  assert np.abs(crop - wanted).mean() < error
