"""Random crops have the family's distribution and touch what they should."""

import math

import numpy as np

from diffpose_jax import config as config_lib
from diffpose_jax.data import augment
from diffpose_jax.pose import geometry, skeleton

BOX = np.array([100, 50, 160, 150], np.float32)
RNG = np.random.default_rng(3)
JOINTS = RNG.uniform((100, 50), (160, 150), (17, 2)).astype(np.float32)
ALL = np.ones(17, bool)


def _settings(**changes):
  settings = config_lib.default().augment
  settings.update(changes)
  return settings


def _draw(count, labelled=ALL, **changes):
  settings = _settings(**changes)
  return [
    augment.draw_crop(
      np.random.default_rng([7, i]),
      BOX,
      JOINTS,
      labelled,
      skeleton=skeleton.POSETRACK,
      augment=settings,
    )
    for i in range(count)
  ]


def test_scale_rotation_and_flip_have_the_familys_distribution():
  crops = _draw(4000, half_body_probability=0.0)
  scale = np.array([crop.scale for crop in crops])
  turn = np.array([crop.rotation for crop in crops])
  assert scale.min() == 0.65
  assert scale.max() == 1.35
  # A normal lies within one deviation in 68.3 % of cases: not clipped.
  inside = np.mean((scale > 0.65) & (scale < 1.35))
  np.testing.assert_allclose(inside, 0.683, atol=0.03)
  np.testing.assert_allclose(np.mean(turn != 0), 0.6, atol=0.03)
  assert np.abs(turn).max() == 90
  within = np.mean(np.abs(turn[turn != 0]) < 45)
  np.testing.assert_allclose(within, 0.683, atol=0.04)
  flips = np.mean([crop.mirror for crop in crops])
  np.testing.assert_allclose(flips, 0.5, atol=0.03)
  assert all(np.array_equal(crop.box, BOX) for crop in crops)


def test_all_off_is_the_evaluation_crop():
  (crop,) = _draw(
    1,
    scale=0.0,
    rotation=0.0,
    flip_probability=0.0,
    half_body_probability=0.0,
  )
  expected = augment.Crop(BOX).affine((61, 47))
  np.testing.assert_array_equal(crop.affine((61, 47)), expected)


def test_half_body_needs_more_than_eight_joints():
  eight = np.arange(17) < 8
  crops = _draw(50, eight, half_body_probability=1.0)
  assert all(np.array_equal(crop.box, BOX) for crop in crops)


def test_half_body_boxes_are_one_and_a_half_times_the_joints():
  crops = _draw(2000, half_body_probability=1.0)
  expected = []
  for half in (slice(0, 11), slice(11, 17)):
    points = JOINTS[half].astype(np.float64)
    reach = 0.75 * (points.max(0) - points.min(0))
    middle = points.mean(0)
    expected.append(np.concatenate([middle - reach, middle + reach]))
  upper = [np.allclose(crop.box, expected[0], atol=1e-3) for crop in crops]
  lower = [np.allclose(crop.box, expected[1], atol=1e-3) for crop in crops]
  assert all(np.logical_xor(upper, lower))
  # P(N(0, 1) < 0.5) = 0.6915 by any table of the normal distribution.
  np.testing.assert_allclose(np.mean(upper), 0.6915, atol=0.03)


def test_half_body_takes_the_other_half_where_one_has_too_few_joints():
  labelled = ALL.copy()
  labelled[13:] = False  # the lower half keeps two
  crops = _draw(100, labelled, half_body_probability=1.0)
  heights = {round(float(crop.box[3] - crop.box[1]), 3) for crop in crops}
  assert len(heights) == 1


def test_half_body_of_joints_in_one_place_keeps_the_box():
  same = np.full((17, 2), 5, np.float32)
  found = augment.half_body_box(
    np.random.default_rng(0), BOX, same, ALL, skeleton.POSETRACK
  )
  np.testing.assert_array_equal(found, BOX)


def test_shift_moves_the_box_by_a_share_of_its_sides():
  crops = _draw(500, shift=0.1, half_body_probability=0.0)
  moved = np.array([crop.box - BOX for crop in crops])
  np.testing.assert_allclose(moved[:, :2], moved[:, 2:], atol=1e-4)
  np.testing.assert_allclose(np.abs(moved[:, 0]).max(), 6, rtol=0.05)
  np.testing.assert_allclose(np.abs(moved[:, 1]).max(), 10, rtol=0.05)


def test_mirror_swaps_pairs_and_their_flags():
  joints = np.arange(34, dtype=np.float32).reshape(17, 2)
  labelled = np.zeros(17, bool)
  left = skeleton.POSETRACK.index("left_wrist")
  right = skeleton.POSETRACK.index("right_wrist")
  labelled[[0, left]] = True
  swapped, flags = augment.mirror_joints(
    joints, labelled, skeleton=skeleton.POSETRACK
  )
  np.testing.assert_array_equal(swapped[right], joints[left])
  np.testing.assert_array_equal(swapped[0], joints[0])
  assert set(np.flatnonzero(flags)) == {0, right}


def test_the_camera_moves_steadily_and_the_middle_frame_stays():
  rng = np.random.default_rng(1)
  motion = augment.camera_motion(rng, 5, (41, 31), 0.05)
  np.testing.assert_allclose(motion[2], [[1, 0, 0], [0, 1, 0]], atol=1e-12)
  # One frame on is one frame on: forth and back again is where it was.
  centre = np.array([[15.0, 20.0]])
  path = np.array([geometry.apply(affine, centre)[0] for affine in motion])
  np.testing.assert_allclose(np.diff(path, axis=0), [path[3] - path[2]] * 4)
  zoom = np.sqrt(np.linalg.det(motion[:, :, :2]))
  np.testing.assert_allclose(zoom[1:] / zoom[:-1], zoom[3], rtol=1e-9)
  roll = np.arctan2(motion[:, 1, 0], motion[:, 0, 0])
  np.testing.assert_allclose(np.diff(roll), roll[3], rtol=1e-9)


def test_the_camera_moves_as_much_as_told():
  rng = np.random.default_rng(2)
  clips = [augment.camera_motion(rng, 3, (50, 20), 0.03) for _ in range(2000)]
  after = np.array(clips)[:, 2]
  centre = np.array([[9.5, 24.5]])
  moved = geometry.apply(after, centre[None].repeat(2000, 0))[:, 0] - centre
  np.testing.assert_allclose(moved.std(axis=0), [0.6, 1.5], rtol=0.06)
  zoom = np.log(np.sqrt(np.linalg.det(after[:, :, :2])))
  roll = np.arctan2(after[:, 1, 0], after[:, 0, 0])
  np.testing.assert_allclose([zoom.std(), roll.std()], 0.03, rtol=0.06)
  still = augment.camera_motion(rng, 3, (50, 20), 0.0)
  np.testing.assert_allclose(still, [np.eye(3)[:2]] * 3, atol=1e-12)


def test_upper_probability_is_that_of_the_normal_distribution():
  draws = np.random.default_rng(0).normal(size=200_000) < 0.5
  # Three standard errors of the mean of so many draws.
  tolerance = 3 * math.sqrt(0.25 / 200_000)
  assert abs(augment._UPPER_PROBABILITY - draws.mean()) < tolerance
