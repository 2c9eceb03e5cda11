"""Marks lie where they should, to a fraction of a pixel, in their colours."""

import cv2
import numpy as np
import pytest

from diffpose_jax.inference import colours, paint
from diffpose_jax.pose.skeleton import POSETRACK

K = len(POSETRACK.joints)
SIZE = (151, 211)


def _grey():
  return np.full((*SIZE, 3), 128, np.uint8)


def _black():
  return np.zeros((*SIZE, 3), np.uint8)


def _joints(**places):
  """Joints at the named places; all others far outside and not shown."""
  joints, shown = np.full((K, 2), -500, np.float32), np.zeros(K, bool)
  for name, place in places.items():
    joints[POSETRACK.index(name)] = place
    shown[POSETRACK.index(name)] = True
  return joints, shown


def _centre(weight):
  """(x, y) of the centre of gravity."""
  weight = weight.astype(float)
  ys, xs = np.mgrid[: weight.shape[0], : weight.shape[1]]
  return np.array([(weight * xs).sum(), (weight * ys).sum()]) / weight.sum()


@pytest.mark.parametrize(
  ("name", "colour"),
  [
    ("left_wrist", colours.LEFT),
    ("right_wrist", colours.RIGHT),
    ("nose", colours.MIDDLE),
  ],
)
def test_a_joint_has_the_colour_of_its_side(name, colour):
  picture = _grey()
  joints, shown = _joints(**{name: (97, 53)})
  paint.pose(picture, joints, shown, skeleton=POSETRACK, width=6.0)
  assert tuple(picture[53, 97]) == colour
  ys, xs = np.nonzero((picture != 128).any(axis=-1))
  # A disc about (x, y) = (97, 53), not about (53, 97).
  np.testing.assert_allclose([xs.mean(), ys.mean()], [97, 53], atol=0.05)
  assert 10 <= np.ptp(xs) <= 20


def test_a_limb_has_the_colour_of_its_side():
  picture = _grey()
  joints, shown = _joints(left_elbow=(31, 41), left_wrist=(131, 41))
  paint.pose(picture, joints, shown, skeleton=POSETRACK)
  assert tuple(picture[41, 81]) == colours.LEFT
  picture = _grey()
  joints, shown = _joints(left_hip=(31, 41), right_hip=(131, 41))
  paint.pose(picture, joints, shown, skeleton=POSETRACK)
  assert tuple(picture[41, 81]) == colours.MIDDLE


# Of the green alone, which the black outline below has none of. OpenCV's edges
# are antialiased in steps, which costs up to a tenth of a pixel.
@pytest.mark.parametrize("at", [(97.0, 53.0), (97.37, 52.81), (40.5, 77.25)])
@pytest.mark.parametrize("width", [4.0, 7.0])
def test_joints_lie_between_pixels(at, width):
  picture = _black()
  joints, shown = _joints(nose=at)
  paint.pose(picture, joints, shown, skeleton=POSETRACK, width=width)
  np.testing.assert_allclose(_centre(picture[..., 1] > 100), at, atol=0.5)
  weight = picture[..., 1].astype(float) - colours.OUTLINE[1]
  np.testing.assert_allclose(_centre(weight.clip(0)), at, atol=0.1)


@pytest.mark.parametrize("start", [(21.0, 33.0), (21.63, 33.19)])
def test_limbs_lie_between_pixels(start):
  ends = np.array([start, (91.3, 118.8)], np.float32)
  picture = _black()
  joints, shown = _joints(left_elbow=ends[0], left_wrist=ends[1])
  paint.pose(picture, joints, shown, skeleton=POSETRACK, width=5.0)
  weight = picture[..., 0].astype(float) - colours.OUTLINE[0]
  # The discs at both ends weigh the same.
  np.testing.assert_allclose(
    _centre(weight.clip(0)), ends.mean(axis=0), atol=0.15
  )


def test_joints_that_are_not_finite_or_far_away_are_no_problem():
  picture = _grey()
  joints, shown = _joints(left_elbow=(31, 41), left_wrist=(np.nan, 3))
  joints[POSETRACK.index("left_shoulder")] = 1e12
  paint.pose(picture, joints, np.ones(K, bool), skeleton=POSETRACK)
  assert tuple(picture[41, 31]) == colours.LEFT
  picture = _grey()
  paint.pose(picture, joints, np.zeros(K, bool), skeleton=POSETRACK)
  paint.thin_pose(picture, joints * np.nan, shown, skeleton=POSETRACK)
  assert (picture == 128).all()


@pytest.mark.parametrize(("extent", "width"), [(30, 1), (300, 5), (9000, 12)])
def test_width_follows_the_person(extent, width):
  joints = np.array([[0, 0], [extent / 3, extent]], np.float32)
  assert paint.limb_width(joints) == pytest.approx(width)


def test_lines_are_antialiased():
  picture = _grey()
  joints, shown = _joints(left_elbow=(31, 41), left_wrist=(131, 87))
  paint.pose(picture, joints, shown, skeleton=POSETRACK)
  assert len(np.unique(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY))) > 10


def test_box_edges():
  picture = _grey()
  edges = np.array([30, 40, 170, 110], np.float32)
  paint.box(picture, edges, colour=(255, 0, 0))
  for y, x in ((40, 100), (110, 100), (75, 30), (75, 170)):
    np.testing.assert_allclose(picture[y, x], (255, 0, 0), atol=20)
  assert (picture[45:105, 35:165] == 128).all()


def test_box_edges_lie_between_pixels():
  picture = _black()
  edges = np.array([30.25, 40.5, 170.75, 110.5], np.float32)
  paint.box(picture, edges, colour=(255, 255, 255))
  centre = _centre(picture[..., 0])
  np.testing.assert_allclose(centre, (100.5, 75.5), atol=0.05)
  left = _centre(picture[60:90, :60, 0])[0]
  assert left == pytest.approx(30.25, abs=0.1)


def test_label_stays_in_the_picture():
  edges = np.array([200, -30, 260, 20], np.float32)
  plain = _grey()
  paint.box(plain, edges)
  labelled = plain.copy()
  paint.caption(labelled, "123", at=edges[:2])
  changed = (plain != labelled).any(axis=-1)
  assert changed[:30, 150:].any()
  assert not changed[40:].any()


def test_label_has_the_colour_of_its_ground():
  picture = _grey()
  paint.caption(picture, "17", at=np.array([53.0, 71.0]), ground=(9, 200, 99))
  # Its lower left corner; the picture's own row 71 begins below.
  assert tuple(picture[70, 53]) == (9, 200, 99)
  assert (picture[71:] == 128).all() and (picture[:, :53] == 128).all()
  assert np.abs(picture[:71].astype(int) - colours.OUTLINE).max(-1).min() < 60


def _errors(scale, tail, count, seed):
  """Draws of the Student distribution: a Gaussian over a gamma's root."""
  rng = np.random.default_rng(seed)
  spread = np.linalg.cholesky(scale)
  draws = rng.standard_normal((count, 2)) @ spread.T
  if np.isinf(tail):
    return draws
  return draws / np.sqrt(rng.chisquare(tail, count) / tail)[:, None]


@pytest.mark.parametrize("tail", [np.inf, 3.0])
@pytest.mark.parametrize("share", [0.5, 0.9])
def test_an_ellipse_holds_its_share_of_the_errors(share, tail):
  scale = np.array([[1300.0, 610.0], [610.0, 470.0]])
  centre = np.array([251.3, 203.7])
  picture = np.zeros((419, 509, 3), np.uint8)
  paint.ellipses(
    picture,
    centre[None],
    scale[None],
    share=share,
    tail=tail,
    colour=(255, 255, 255),
  )
  # Inside is what a fill from the corner does not reach, and half of the line.
  line = (picture[..., 0] > 128).astype(np.uint8)
  filled = line.copy()
  cv2.floodFill(filled, None, (0, 0), 1)
  inside = (1 - filled) + line / 2
  errors = _errors(scale, tail, 40_000, seed=7)
  x, y = np.rint(centre + errors).astype(int).T
  there = (x >= 0) & (y >= 0) & (x < 509) & (y < 419)
  hit = np.zeros(len(x))
  hit[there] = inside[y[there], x[there]]
  # 40000 draws: a standard error of 0.0025; the raster adds as much.
  assert hit.mean() == pytest.approx(share, abs=0.01)
  np.testing.assert_allclose(_centre(inside), centre, atol=0.1)


def test_ellipses_turn_with_their_scale():
  """Long from upper left to lower right: x and y grow together."""
  scale = np.array([[[100.0, 90.0], [90.0, 100.0]]])
  picture = _black()
  paint.ellipses(picture, np.array([[100.0, 70.0]]), scale, share=0.9)
  ys, xs = np.nonzero(picture.any(axis=-1))
  assert np.corrcoef(xs, ys)[0, 1] > 0.7


def test_ellipses_that_are_not_known_or_huge_are_no_problem():
  picture = _black()
  unknown = np.full((2, 2, 2), np.nan)
  centres = np.array([[50.0, 60.0], [np.nan, 3.0]])
  paint.ellipses(picture, centres, unknown, share=0.5)
  paint.ellipses(picture, centres[1:], np.eye(2)[None], share=0.5)
  paint.ellipses(picture, centres[:0], unknown[:0], share=0.5)
  assert not picture.any()
  huge = np.diag([1e30, 25.0])[None]
  paint.ellipses(picture, centres[:1], huge, share=0.5)
  assert picture[60 - 6, 20].any() and picture[60 + 6, 190].any()
  # A rounded scale may have an eigenvalue just below 0: a line, not NaN.
  flat = np.array([[[9.0, 9.0], [9.0, 8.999999]]])
  paint.ellipses(picture, centres[:1], flat, share=0.5)
