"""Crops are cut out of frames as small as they may be, and as in training."""

import cv2
import numpy as np
import pytest

from diffpose_jax.data import images, pyramid, warping
from diffpose_jax.pose import geometry


@pytest.fixture(scope="module")
def picture():
  """Fine stripes and a little of everything, of odd sides."""
  rng = np.random.default_rng(0)
  noise = rng.integers(0, 256, (149, 211, 3), np.uint8)
  noise[::2] //= 3
  return noise


def _means(picture, factor):
  """By hand: edges repeated, then means over blocks."""
  height, width = picture.shape[:2]
  padding = ((0, -height % factor), (0, -width % factor), (0, 0))
  full = np.pad(picture.astype(float), padding, mode="edge")
  rows, columns = full.shape[0] // factor, full.shape[1] // factor
  blocks = full.reshape(rows, factor, columns, factor, 3)
  return blocks.mean(axis=(1, 3))


@pytest.mark.parametrize("factor", [2, 4, 8])
def test_shrunk_pixels_are_means(picture, factor):
  found = pyramid.shrunk(picture, factor)
  wanted = _means(picture, factor)
  assert found.factor == factor and found.pixels.shape == wanted.shape
  assert np.abs(found.pixels - wanted).max() <= 1  # rounding


def test_a_frame_in_full_is_itself_and_others_are_kept(picture):
  frame = pyramid.Pyramid(picture)
  assert frame.scaled(1).pixels is picture
  assert frame.scaled(4) is frame.scaled(4)
  assert frame.scaled(4).factor == 4


def test_a_jpeg_is_shrunk_as_in_training(picture, tmp_path):
  path = tmp_path / "a.jpg"
  cv2.imwrite(str(path), cv2.GaussianBlur(picture, (0, 0), 2))
  data = path.read_bytes()
  full = images.decode(data, place="a")
  frame = pyramid.Pyramid(full, path)
  for factor in (2, 4, 8):
    wanted = images.decode_scaled(data, place="a", factor=factor).pixels
    np.testing.assert_array_equal(frame.scaled(factor).pixels, wanted)
  # Which is about the same as the mean.
  away = frame.scaled(2).pixels - _means(full, 2)
  assert np.abs(away).mean() < 2


def test_a_png_stays_as_it_is(picture, tmp_path):
  path = tmp_path / "a.png"
  cv2.imwrite(str(path), picture[..., ::-1])
  frame = pyramid.Pyramid(picture, path)
  assert frame.scaled(4).factor == 1
  np.testing.assert_array_equal(frame.scaled(4).pixels, picture)


@pytest.mark.parametrize(
  ("side", "factor"), [(30, 1), (63, 1), (64, 2), (127, 2), (128, 4), (300, 8)]
)
def test_a_crop_shows_the_frame_shrunk_without_enlarging_it(
  picture, side, factor
):
  """Of a box at least twice as large as the crop, half of the frame, ..."""
  box = np.array([9.5, 3, 9.5 + side, 3 + side])
  affine = geometry.crop_affine(box, (32, 32))
  frame = pyramid.Pyramid(picture)
  [crop] = pyramid.cut([frame], affine, (32, 32))
  small = frame.scaled(factor)
  moved = small.affine(affine) if factor > 1 else affine
  [wanted] = warping.warp([small.pixels], moved, (32, 32))
  np.testing.assert_array_equal(crop, wanted)


def test_what_is_shrunk_is_where_it_was():
  """The centre of a blob comes out at the same place of the crop."""
  y, x = np.mgrid[:400, :600]
  blob = 255 * np.exp(-((x - 310.3) ** 2 + (y - 190.8) ** 2) / (2 * 40**2))
  picture = np.repeat(blob[..., None].astype(np.uint8), 3, axis=2)
  for side in (60, 130, 300):
    box = np.array([280.0, 170, 280 + side, 170 + side * 4 / 3])
    affine = geometry.crop_affine(box, (64, 48))
    [crop] = pyramid.cut([pyramid.Pyramid(picture)], affine, (64, 48))
    direct = warping.warp([picture], affine, (64, 48))[0]
    away = crop.astype(float) - direct
    assert np.abs(away).max() < 6 and abs(away.mean()) < 0.5


def test_frames_at_the_ends_are_cut_once(picture, monkeypatch):
  frame, cuts = pyramid.Pyramid(picture), []
  warp = cv2.warpAffine

  def spy(*arguments, **others):
    cuts.append(arguments[0].shape)
    return warp(*arguments, **others)

  monkeypatch.setattr(cv2, "warpAffine", spy)
  affine = geometry.crop_affine(np.array([0, 0, 100, 130.0]), (32, 24))
  crops = pyramid.cut([frame, frame, frame], affine, (32, 24))
  assert len(cuts) == 1 and (crops == crops[0]).all()
