"""Skeleton and motion: sizes, limits, continuity, left and right."""

import numpy as np
import pytest

from diffpose_jax.data import synthetic_body, synthetic_motion, synthetic_poses

_RATE = 200.0


def _times(seconds):
  return np.arange(int(seconds * _RATE)) / _RATE


def _angles(**values):
  angles = np.zeros((1, len(synthetic_body.ANGLES)))
  for name, value in values.items():
    angles[0, synthetic_body.ANGLE[name]] = value
  return angles


def _joints(body, **values):
  turn, origin = synthetic_body.forward(body, _angles(**values))
  return synthetic_body.joints(body, turn, origin)[0]


@pytest.fixture
def body():
  return synthetic_body.sample_body(np.random.default_rng(3))


@pytest.mark.parametrize("name", synthetic_poses.ACTIVITIES)
def test_motion_keeps_bones_limits_and_continuity(name):
  rng = np.random.default_rng(len(name))
  body = synthetic_body.sample_body(rng)
  motion = synthetic_motion.sample_motion(rng, body, name, _times(2.0), 1.0)
  assert (motion.angles >= synthetic_body.LOWER).all()
  assert (motion.angles <= synthetic_body.UPPER).all()
  for first, last, length in (
    (5, 7, body.arm),
    (8, 10, body.forearm),
    (11, 13, body.thigh),
    (14, 16, body.shank),
    (11, 12, 2 * body.hip),
  ):
    found = np.linalg.norm(
      motion.joints[:, first] - motion.joints[:, last], axis=1
    )
    np.testing.assert_allclose(found, length, atol=1e-9)
  speed = np.linalg.norm(np.diff(motion.joints, axis=0), axis=2) * _RATE
  assert speed.max() < 22.0  # metres per second; a thrower's hand
  assert speed.max() > 0.02
  turning = np.abs(np.diff(motion.angles, axis=0)).max() * _RATE
  assert turning < 1500.0


def test_feet_stay_on_the_ground(body):
  rng = np.random.default_rng(5)
  motion = synthetic_motion.sample_motion(rng, body, "walk", _times(3.0), 1.0)
  ankles = motion.joints[:, 15:]
  lowest = ankles[..., 1].min(axis=1)
  assert lowest.min() > 0.0
  assert lowest.max() < 0.2
  travelled = np.linalg.norm(motion.origin[-1, 0] - motion.origin[0, 0])
  assert travelled > 1.0  # a walk of three seconds gets somewhere


def test_hanging_people_are_above_the_ground(body):
  rng = np.random.default_rng(6)
  motion = synthetic_motion.sample_motion(
    rng, body, "pull_up", _times(1.0), 1.0
  )
  hands = motion.joints[:, 9:11].mean(axis=1)
  np.testing.assert_allclose(hands, hands[:1].repeat(len(hands), 0), atol=1e-9)
  assert motion.joints[:, 15:, 1].min() > 0


def test_zero_is_upright_with_hanging_arms(body):
  joints = _joints(body)
  assert joints[2, 1] > joints[1, 1] > joints[5, 1] > joints[11, 1]
  np.testing.assert_allclose(joints[7] - joints[5], [0, -body.arm, 0])
  np.testing.assert_allclose(joints[15] - joints[13], [0, -body.shank, 0])
  assert joints[5, 0] > 0 > joints[6, 0]  # x is the person's left
  assert joints[0, 2] > joints[1, 2]  # the nose is in front


def test_flexion_bends_the_way_of_life(body):
  rest = _joints(body)
  knee = _joints(body, left_knee_flex=90.0)
  np.testing.assert_allclose(
    knee[15] - knee[13], [0, 0, -body.shank], atol=1e-12
  )
  np.testing.assert_allclose(knee[16], rest[16])
  elbow = _joints(body, right_elbow_flex=90.0)
  np.testing.assert_allclose(
    elbow[10] - elbow[8], [0, 0, body.forearm], atol=1e-12
  )
  forward = _joints(body, left_arm_raise=90.0)
  np.testing.assert_allclose(
    forward[7] - forward[5], [0, 0, body.arm], atol=1e-12
  )
  aside = _joints(body, right_arm_raise=90.0, right_arm_plane=90.0)
  np.testing.assert_allclose(aside[8] - aside[6], [-body.arm, 0, 0], atol=1e-12)
  hip = _joints(body, left_hip_flex=90.0)
  np.testing.assert_allclose(hip[13] - hip[11], [0, 0, body.thigh], atol=1e-12)
  assert _joints(body, spine_flex=60.0)[2, 2] > rest[2, 2] + 0.1
  assert _joints(body, head_twist=60.0)[0, 0] > 0.03  # looks to its left
  inward = _joints(body, left_elbow_flex=90.0, left_arm_twist=60.0)
  assert inward[9, 0] < inward[7, 0]


def test_mirrored_pose_is_the_mirror_image(body):
  rng = np.random.default_rng(11)
  low, high = synthetic_body.LOWER, synthetic_body.UPPER
  angles = rng.uniform(low, high, (5, len(low)))

  def shape(values):
    placed = synthetic_body.forward(body, values)
    return synthetic_body.joints(body, *placed)

  swap = [0, 1, 2, 4, 3, 6, 5, 8, 7, 10, 9, 12, 11, 14, 13, 16, 15]
  expected = shape(angles)[:, swap] * np.array([-1, 1, 1])
  found = shape(synthetic_poses.mirrored(angles))
  np.testing.assert_allclose(found, expected, atol=1e-9)


def test_every_named_pose_lies_inside_the_limits():
  for name in synthetic_poses.POSES:
    values, mask, lift = synthetic_poses.pose_vector(name)
    assert (values >= synthetic_body.LOWER).all(), name
    assert (values <= synthetic_body.UPPER).all(), name
    assert set(np.unique(mask)) <= {0.0, 1.0}
    assert 0 <= lift < 1


def test_sampled_bodies_have_human_proportions():
  rng = np.random.default_rng(0)
  for _ in range(60):
    body = synthetic_body.sample_body(rng)
    assert 0.85 < body.height < 2.1
    heads = body.height / body.head  # from the upper neck to the top
    assert (3.8 if body.child else 5.2) < heads < 7.5
    assert 0.8 < body.arm / body.forearm < 1.35
    assert 0.8 < body.thigh / body.shank < 1.25
    assert body.shoulder > body.hip
