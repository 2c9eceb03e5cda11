"""Inputs stay as given; colours stand where the joints and heat are."""

import numpy as np
import pytest

from diffpose_jax.inference import colours, draw
from diffpose_jax.pose.skeleton import POSETRACK

K = len(POSETRACK.joints)
SIZE = (151, 211)


def _grey():
  return np.full((*SIZE, 3), 128, np.uint8)


def _joints(**places):
  """Joints at the named places; all others far outside with score 0."""
  joints, score = np.full((K, 2), -500, np.float32), np.zeros(K, np.float32)
  for name, place in places.items():
    joints[POSETRACK.index(name)] = place
    score[POSETRACK.index(name)] = 0.9
  return joints, score


def test_what_scores_too_little_is_left_out_with_its_limbs():
  joints, score = _joints(left_elbow=(31, 41), left_wrist=(131, 41))
  score[POSETRACK.index("left_wrist")] = 0.29
  drawn = draw.pose(_grey(), joints, score, skeleton=POSETRACK, threshold=0.3)
  assert tuple(drawn[41, 31]) == colours.LEFT
  assert (drawn[:, 50:] == 128).all()
  score[POSETRACK.index("left_wrist")] = 0.3
  drawn = draw.pose(_grey(), joints, score, skeleton=POSETRACK, threshold=0.3)
  assert tuple(drawn[41, 131]) == colours.LEFT


def test_the_input_is_not_painted_on():
  image = _grey()
  joints, score = _joints(left_elbow=(31, 41), left_wrist=(131, 41))
  draw.pose(image, joints, score, skeleton=POSETRACK)
  draw.thin_pose(image, joints, score > 0, skeleton=POSETRACK)
  draw.heatmap(image, np.ones((5, 7, 3), np.float32))
  assert (image == 128).all()


def test_thin_pose_leaves_out_what_is_not_labelled():
  joints, score = _joints(left_elbow=(31, 41), left_wrist=(131, 41))
  drawn = draw.thin_pose(_grey(), joints, score > 0, skeleton=POSETRACK)
  assert drawn[41, 31].min() > 200
  assert drawn[41, 81].min() > 200
  only = score > 0
  only[POSETRACK.index("left_wrist")] = False
  drawn = draw.thin_pose(_grey(), joints, only, skeleton=POSETRACK)
  assert (drawn[:, 50:] == 128).all()


def test_heatmap_glows_where_its_cell_lies():
  heat = np.zeros((11, 13, 2), np.float32)
  heat[3, 7, 1] = 1
  image = np.zeros((44, 52, 3), np.uint8)
  drawn = draw.heatmap(image, heat)
  weight = drawn.sum(axis=-1).astype(float)
  ys, xs = np.mgrid[:44, :52]
  centre = (
    (weight * xs).sum() / weight.sum(),
    (weight * ys).sum() / weight.sum(),
  )
  # Cell i lies at 4 i + 1.5.
  np.testing.assert_allclose(centre, (29.5, 13.5), atol=0.1)
  np.testing.assert_array_equal(draw.heatmap(_grey(), heat * 0), _grey())


def test_tile():
  images = [np.full((5, 7, 3), 10 * i + 100, np.uint8) for i in range(5)]
  images[4] = images[4][:3, :5]
  sheet = draw.tile(images, 3, gap=2)
  assert sheet.shape == (2 * 5 + 2, 3 * 7 + 2 * 2, 3)
  assert (sheet[0:5, 9:16] == 110).all()
  assert (sheet[7:12, 0:7] == 130).all()
  assert (sheet[8:11, 10:15] == 140).all()
  assert (sheet[7] == 24)[9:].all()
  assert draw.tile(images[:1], 3).shape == (5, 7, 3)
  with pytest.raises(ValueError, match="no pictures"):
    draw.tile([], 2)
