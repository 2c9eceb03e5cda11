"""Joints to heatmaps and back."""

import functools

import jax.numpy as jnp
import numpy as np
import pytest

from diffpose_jax.pose import heatmap, skeleton


def _joints(rng, count, height, width, margin):
  low = np.array([margin, margin])
  high = np.array([width - 1 - margin, height - 1 - margin])
  return rng.uniform(low, high, (count, 5, 2)).astype(np.float32)


def test_encode_matches_a_loop_over_cells():
  joints = np.array([[[9.3, 4.1], [-3.0, 30.0]]], np.float32)
  maps = heatmap.encode(jnp.asarray(joints), size=(7, 5), stride=4, spread=3.0)
  sigma = 3.0 * 7 / 64
  for y in range(7):
    for x in range(5):
      # The centre of cell (y, x) in crop pixels, by the convention.
      centre = np.array([4 * x + 1.5, 4 * y + 1.5])
      distance = np.linalg.norm((joints[0] - centre) / 4, axis=-1)
      np.testing.assert_allclose(
        maps[0, y, x], np.exp(-(distance**2) / (2 * sigma**2)), atol=1e-6
      )


@pytest.mark.parametrize("stride", [2, 4])
@pytest.mark.parametrize("spread", [2.0, 3.0])
def test_decode_inverts_encode_within_a_twentieth_of_a_pixel(stride, spread):
  rng = np.random.default_rng(0)
  size = (64, 48)
  joints = _joints(rng, 13, 64 * stride, 48 * stride, 2 * stride)
  maps = heatmap.encode(
    jnp.asarray(joints), size=size, stride=stride, spread=spread
  )
  found, score = heatmap.decode(maps, stride=stride)
  assert np.abs(found - joints).max() < 0.05
  assert score.min() > 0.9 and score.max() <= 1


def test_quarter_rule_moves_a_quarter_cell_to_the_higher_neighbour():
  maps = np.zeros((1, 5, 7, 1), np.float32)
  maps[0, 2, 3, 0], maps[0, 2, 4, 0], maps[0, 1, 3, 0] = 0.8, 0.3, 0.1
  joints, score = heatmap.decode(jnp.asarray(maps), stride=4, method="quarter")
  np.testing.assert_allclose(joints[0, 0], [4 * 3.25 + 1.5, 4 * 1.75 + 1.5])
  np.testing.assert_allclose(score[0, 0], 0.8, rtol=1e-6)


def test_peak_on_the_border_is_the_cell_centre():
  maps = np.zeros((1, 5, 7, 1), np.float32)
  maps[0, 0, 6, 0] = 0.5
  for method in ("refine", "quarter"):
    joints, _ = heatmap.decode(jnp.asarray(maps), stride=4, method=method)
    np.testing.assert_allclose(joints[0, 0], [4 * 6 + 1.5, 1.5])


@pytest.mark.parametrize("fill", [0.0, 0.5, -1.0])
def test_constant_map_gives_a_joint_inside_the_crop(fill):
  maps = jnp.full((1, 5, 7, 2), fill)
  joints, score = heatmap.decode(maps, stride=4)
  assert (joints >= -0.5).all() and (joints[..., 0] < 28).all()
  np.testing.assert_allclose(score, max(fill, 0.0))


def test_cells_that_are_not_finite_are_empty():
  maps = np.zeros((1, 5, 7, 2), np.float32)
  maps[0, 0, 0, 0] = np.nan
  maps[0, 3, 4, 0] = 0.7
  maps[..., 1] = np.nan
  joints, score = heatmap.decode(jnp.asarray(maps), stride=4)
  np.testing.assert_allclose(joints[0, 0], [17.5, 13.5])
  np.testing.assert_allclose(score[0], [0.7, 0.0], rtol=1e-6)
  # The second joint: the middle of a crop of 28 x 20 pixels.
  np.testing.assert_allclose(joints[0, 1], [13.5, 9.5])


def test_flip_is_the_heatmap_of_the_mirrored_joints():
  rng = np.random.default_rng(1)
  joints = rng.uniform(0, 40, (3, 17, 2)).astype(np.float32)
  encode = functools.partial(
    heatmap.encode, size=(13, 11), stride=4, spread=5.0
  )
  maps = encode(jnp.asarray(joints))
  order = skeleton.POSETRACK.flip
  mirrored = joints[:, list(order)].copy()
  mirrored[..., 0] = 11 * 4 - 1 - mirrored[..., 0]
  expected = encode(jnp.asarray(mirrored))
  np.testing.assert_allclose(heatmap.flip(maps, order), expected, atol=1e-5)
  np.testing.assert_allclose(
    heatmap.flip(heatmap.flip(maps, order), order), maps
  )


@pytest.mark.parametrize("method", ["refine", "quarter"])
def test_of_two_equal_peaks_the_first_row_s_is_taken(method):
  """Whatever lies between them; two that touch are one between them."""
  maps = np.zeros((1, 5, 7, 2), np.float32)
  maps[0, 1, 5, 0] = maps[0, 3, 1, 0] = 0.6
  maps[0, 2, 2, 1] = maps[0, 2, 3, 1] = 0.6
  joints, score = heatmap.decode(jnp.asarray(maps), stride=4, method=method)
  np.testing.assert_allclose(score, 0.6, rtol=1e-6)
  np.testing.assert_allclose(joints[0, 0], [4 * 5 + 1.5, 4 * 1 + 1.5])
  offset = 0.5 if method == "refine" else 0.25
  np.testing.assert_allclose(
    joints[0, 1], [4 * (2 + offset) + 1.5, 4 * 2 + 1.5], rtol=1e-5
  )


@pytest.mark.parametrize("method", ["refine", "quarter"])
def test_any_heatmap_gives_a_joint_inside_the_crop(method):
  """Of numbers of every size, with cells that are not finite."""
  rng = np.random.default_rng(4)
  maps = rng.standard_normal((97, 5, 7, 3)) * 10.0 ** rng.integers(
    -38, 38, (97, 1, 1, 3)
  )
  for value in (np.nan, np.inf, -np.inf, 0.0):
    maps[rng.random(maps.shape) < 0.2] = value
  maps[0, ..., 0], maps[1, ..., 1] = np.inf, -np.inf
  maps = maps.astype(np.float32)
  joints, score = heatmap.decode(jnp.asarray(maps), stride=4, method=method)
  joints = np.asarray(joints)
  assert np.isfinite(joints).all() and (joints >= 1.5).all()
  assert (joints <= [7 * 4 - 2.5, 5 * 4 - 2.5]).all()
  assert ((score >= 0) & (score <= 1)).all()
  assert score[0, 0] == score[1, 1] == 0
