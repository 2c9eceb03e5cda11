"""Heat lies where its cells do, and mixes as it should."""

import numpy as np
import pytest

from diffpose_jax.inference import heat
from diffpose_jax.pose import geometry


def _centre(weight):
  ys, xs = np.mgrid[: weight.shape[0], : weight.shape[1]]
  return np.array([(weight * xs).sum(), (weight * ys).sum()]) / weight.sum()


@pytest.mark.parametrize(
  "box",
  [
    (300.0, 50.0, 497.3, 650.1),  # 2.9 pixels a pixel of the crop
    (611.7, 203.1, 683.9, 301.3),  # smaller than the crop
  ],
)
@pytest.mark.parametrize("cell", [(7, 11), (40, 29)])  # (row, column)
def test_a_cell_lands_where_the_crop_came_from(box, cell):
  size, picture = (256, 192), (719, 1279)
  to_crop = geometry.crop_affine(np.array(box), size)
  maps = np.zeros((64, 48), np.uint8)
  maps[cell] = 255
  where, found = heat.place(
    maps, geometry.invert(to_crop), crop=size, picture=picture
  )
  whole = np.zeros(picture)
  whole[where] = (found / 255.0) ** 2
  # Its centre in the crop, by the convention, and by the inverse by hand.
  at = np.array([cell[1], cell[0]]) * 4 + 1.5
  expected = (at - to_crop[:, 2]) / np.diag(to_crop[:, :2])
  np.testing.assert_allclose(_centre(whole), expected, atol=0.05)
  assert 0.6 < whole.max() <= 1


def test_what_hangs_over_the_edge_is_cut_off():
  maps = np.full((8, 6), 255, np.uint8)
  size = (32, 24)
  affine = np.array([[1.0, 0, -10], [0, 1, -7]])
  where, found = heat.place(maps, affine, crop=size, picture=(41, 43))
  # The crop covers [-0.5, 23.5] x [-0.5, 31.5], moved up and to the left.
  assert where == (slice(0, 25), slice(0, 14))
  assert (found[3:-3, 3:-3] == 255).all()
  away = np.array([[1.0, 0, 500], [0, 1, 0]])
  where, found = heat.place(maps, away, crop=size, picture=(41, 43))
  assert found.size == 0
  assert np.zeros((41, 43))[where].shape == found.shape


def test_glow_mixes_by_the_root_of_the_heat():
  grey = np.full((5, 7, 3), 128, np.uint8)
  picture = grey.copy()
  warm = np.full((5, 7), -0.3, np.float32)
  warm[1, 2], warm[3, 4], warm[4, 6] = 1.0, 0.25, 7.0
  heat.glow(picture, heat.levels(warm))
  changed = (picture != grey).any(axis=-1)
  np.testing.assert_array_equal(changed, warm > 0)
  # The last colour of matplotlib's inferno, (252, 255, 164).
  expected = 0.3 * 128 + 0.7 * np.array([252, 255, 164])
  np.testing.assert_allclose(picture[1, 2], expected, atol=2)
  np.testing.assert_array_equal(picture[1, 2], picture[4, 6])
  # A quarter: half the opacity; inferno there is about (87, 16, 110).
  expected = 0.65 * 128 + 0.35 * np.array([87, 16, 110])
  np.testing.assert_allclose(picture[3, 4], expected, atol=3)
