"""Colours stand where the joints are, sides apart, and inputs stay as given."""

import cv2
import numpy as np
import pytest

from diffpose_jax.inference import draw
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


@pytest.mark.parametrize(
  ("name", "colour"),
  [
    ("left_wrist", draw.LEFT),
    ("right_wrist", draw.RIGHT),
    ("nose", draw.MIDDLE),
  ],
)
def test_a_joint_has_the_colour_of_its_side(name, colour):
  joints, score = _joints(**{name: (97, 53)})
  drawn = draw.pose(_grey(), joints, score, skeleton=POSETRACK, width=6.0)
  assert tuple(drawn[53, 97]) == colour
  ys, xs = np.nonzero((drawn != 128).any(axis=-1))
  # A disc about (x, y) = (97, 53), not about (53, 97).
  np.testing.assert_allclose([xs.mean(), ys.mean()], [97, 53], atol=0.05)
  assert 10 <= np.ptp(xs) <= 20


def test_a_limb_has_the_colour_of_its_side():
  joints, score = _joints(left_elbow=(31, 41), left_wrist=(131, 41))
  drawn = draw.pose(_grey(), joints, score, skeleton=POSETRACK)
  assert tuple(drawn[41, 81]) == draw.LEFT
  joints, score = _joints(left_hip=(31, 41), right_hip=(131, 41))
  drawn = draw.pose(_grey(), joints, score, skeleton=POSETRACK)
  assert tuple(drawn[41, 81]) == draw.MIDDLE


def test_what_scores_too_little_is_left_out_with_its_limbs():
  joints, score = _joints(left_elbow=(31, 41), left_wrist=(131, 41))
  score[POSETRACK.index("left_wrist")] = 0.29
  drawn = draw.pose(_grey(), joints, score, skeleton=POSETRACK, threshold=0.3)
  assert tuple(drawn[41, 31]) == draw.LEFT
  assert (drawn[:, 50:] == 128).all()


def test_joints_that_are_not_finite_or_far_away_are_no_problem():
  joints, score = _joints(left_elbow=(31, 41), left_wrist=(np.nan, 3))
  joints[POSETRACK.index("left_shoulder")] = 1e12
  score[:] = 1
  drawn = draw.pose(_grey(), joints, score, skeleton=POSETRACK)
  assert tuple(drawn[41, 31]) == draw.LEFT


def test_the_input_is_not_painted_on():
  image = _grey()
  joints, score = _joints(left_elbow=(31, 41), left_wrist=(131, 41))
  draw.pose(image, joints, score, skeleton=POSETRACK)
  draw.thin_pose(image, joints, score > 0, skeleton=POSETRACK)
  draw.box(image, np.array([3, 5, 71, 83], np.float32), label="7")
  draw.caption(image, "text")
  draw.heatmap(image, np.ones((5, 7, 3), np.float32))
  assert (image == 128).all()


def test_sub_pixel_joints_move_the_picture():
  joints, score = _joints(nose=(97, 53))
  at = draw.pose(_grey(), joints, score, skeleton=POSETRACK, width=4.0)
  beside = draw.pose(
    _grey(), joints + np.float32(0.5), score, skeleton=POSETRACK, width=4.0
  )
  assert (at != beside).any()


@pytest.mark.parametrize(("extent", "width"), [(30, 1), (300, 5), (9000, 12)])
def test_width_follows_the_person(extent, width):
  joints = np.array([[0, 0], [extent / 3, extent]], np.float32)
  assert draw.limb_width(joints) == pytest.approx(width)


def test_thin_pose_leaves_out_what_is_not_labelled():
  joints, score = _joints(left_elbow=(31, 41), left_wrist=(131, 41))
  drawn = draw.thin_pose(_grey(), joints, score > 0, skeleton=POSETRACK)
  assert drawn[41, 31].min() > 200
  assert drawn[41, 81].min() > 200
  only = score > 0
  only[POSETRACK.index("left_wrist")] = False
  drawn = draw.thin_pose(_grey(), joints, only, skeleton=POSETRACK)
  assert (drawn[:, 50:] == 128).all()


def test_box_edges():
  edges = np.array([30, 40, 170, 110], np.float32)
  drawn = draw.box(_grey(), edges, colour=(255, 0, 0))
  for y, x in ((40, 100), (110, 100), (75, 30), (75, 170)):
    np.testing.assert_allclose(drawn[y, x], (255, 0, 0), atol=20)
  assert (drawn[45:105, 35:165] == 128).all()


def test_label_stays_in_the_picture():
  edges = np.array([200, -30, 260, 20], np.float32)
  plain = draw.box(_grey(), edges)
  labelled = draw.box(_grey(), edges, label="123")
  changed = (plain != labelled).any(axis=-1)
  assert changed[:30, 150:].any()
  assert not changed[40:].any()


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


def test_lines_are_antialiased():
  joints, score = _joints(left_elbow=(31, 41), left_wrist=(131, 87))
  drawn = draw.pose(_grey(), joints, score, skeleton=POSETRACK)
  assert len(np.unique(cv2.cvtColor(drawn, cv2.COLOR_RGB2GRAY))) > 10
