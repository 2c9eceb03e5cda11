"""Pictures decode exactly or are refused with a line that names them."""

import struct
import threading
import time

import cv2
import numpy as np
import pytest

from diffpose_jax.data import images


def _smooth(height=37, width=53, channels=3):
  rng = np.random.default_rng(0)
  noise = rng.integers(0, 255, (7, 11, channels), np.uint8)
  picture = cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC)
  return picture.reshape(height, width, channels)


def _encode(picture, suffix=".jpg"):
  return cv2.imencode(suffix, picture)[1].tobytes()


@pytest.mark.parametrize("suffix", [".jpg", ".png"])
def test_size_comes_from_the_header(suffix):
  assert images.size(_encode(_smooth(), suffix), place="x") == (37, 53)


def test_progressive_jpeg_has_its_size():
  data = cv2.imencode(".jpg", _smooth(), [cv2.IMWRITE_JPEG_PROGRESSIVE, 1])[
    1
  ].tobytes()
  assert images.size(data, place="x") == (37, 53)
  assert images.decode(data, place="x").shape == (37, 53, 3)


def test_png_decodes_to_rgb_exactly():
  bgr = _smooth()
  found = images.decode(_encode(bgr, ".png"), place="x")
  np.testing.assert_array_equal(found, bgr[..., ::-1])


def test_grey_is_repeated_over_channels():
  found = images.decode(_encode(_smooth(channels=1), ".png"), place="x")
  np.testing.assert_array_equal(found[..., 0], _smooth(channels=1)[..., 0])
  np.testing.assert_array_equal(found[..., 0], found[..., 2])


def test_exif_rotation_is_ignored():
  data = _encode(_smooth())
  # Orientation 6 asks a viewer to turn the picture by 90 degrees.
  tiff = b"MM\0*\0\0\0\x08" + struct.pack(">H", 1)
  tiff += struct.pack(">HHIHH", 0x0112, 3, 1, 6, 0) + b"\0\0\0\0"
  exif = b"Exif\0\0" + tiff
  segment = b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif
  turned = data[:2] + segment + data[2:]
  viewed = cv2.imdecode(np.frombuffer(turned, np.uint8), cv2.IMREAD_COLOR)
  assert viewed is not None
  assert viewed.shape[:2] == (53, 37)
  np.testing.assert_array_equal(
    images.decode(turned, place="x"), images.decode(data, place="x")
  )


@pytest.mark.parametrize(
  ("spoil", "reason"),
  [
    (lambda data: b"", "empty"),
    (lambda data: b"not a picture at all", "neither JPEG nor PNG"),
    (lambda data: data[:20], "cut off"),
    (lambda data: data[: len(data) // 2], "truncated"),
    (lambda data: data[:-2], "truncated"),
  ],
)
def test_broken_jpeg_is_refused_by_name(spoil, reason):
  with pytest.raises(ValueError, match=rf"clips/000003\.jpg: .*{reason}"):
    images.decode(spoil(_encode(_smooth())), place="clips/000003.jpg")


def test_corrupt_png_is_refused():
  data = bytearray(_encode(_smooth(), ".png"))
  data[200:600] = bytes(400)
  with pytest.raises(ValueError, match=r"a\.png: .*does not decode"):
    images.decode(bytes(data), place="a.png")


@pytest.mark.parametrize("keep", [30, 400, -12])
def test_truncated_png_is_refused(keep):
  with pytest.raises(ValueError, match=r"^a\.png: "):
    images.decode(_encode(_smooth(), ".png")[:keep], place="a.png")


def test_a_bomb_is_refused_by_its_header():
  data = bytearray(_encode(_smooth(), ".png"))
  data[16:24] = struct.pack(">II", 50_001, 1_000)
  with pytest.raises(ValueError, match="50001x1000"):
    images.decode(bytes(data), place="x")


def test_header_without_pixels_is_refused():
  data = bytearray(_encode(_smooth(), ".png"))
  data[16:24] = struct.pack(">II", 0, 7)
  with pytest.raises(ValueError, match="0x7"):
    images.size(bytes(data), place="x")


def _loader(calls):
  def load(key):
    calls.append(key)
    return np.full((2, 5), key, np.uint8)  # 10 bytes

  return load


def test_cache_drops_the_least_recently_used():
  calls = []
  cache = images.FrameCache(_loader(calls), max_bytes=30)
  for key in (1, 2, 3, 1, 4, 1, 2):
    assert cache.get(key)[0, 0] == key
  assert calls == [1, 2, 3, 4, 2]
  assert len(cache) == 3


def test_cache_without_budget_passes_frames_through():
  calls = []
  cache = images.FrameCache(_loader(calls), max_bytes=0)
  assert [cache.get(key)[0, 0] for key in (1, 1)] == [1, 1]
  assert calls == [1, 1]
  assert len(cache) == 0


def test_cached_frames_cannot_be_written():
  cache = images.FrameCache(_loader([]), max_bytes=30)
  with pytest.raises(ValueError, match="read-only"):
    cache.get(1)[0] = 0


def test_threads_load_a_frame_once():
  calls = []

  def load(key):
    calls.append(key)
    time.sleep(0.05)
    return np.zeros(3, np.uint8)

  cache = images.FrameCache(load, max_bytes=30)
  threads = [threading.Thread(target=cache.get, args=(7,)) for _ in range(5)]
  for thread in threads:
    thread.start()
  for thread in threads:
    thread.join()
  assert calls == [7]


def test_an_error_is_raised_each_time_and_not_kept():
  def load(key):
    raise ValueError("broken picture")

  cache = images.FrameCache(load, max_bytes=30)
  for _ in range(2):
    with pytest.raises(ValueError, match="broken picture"):
      cache.get(1)
  assert len(cache) == 0
