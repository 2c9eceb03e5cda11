"""The picks are the extremes and the middle; the drawing shows both poses."""

import numpy as np

from diffpose_jax.evaluation import gallery
from diffpose_jax.inference import colours
from diffpose_jax.pose.skeleton import POSETRACK

K = len(POSETRACK.joints)


def test_picks():
  errors = np.array([7, 1, 9, 3, 5, 2, 8, 4, 6], np.float32)
  assert gallery.pick(errors, 2) == {
    "best": [1, 5],
    "median": [7, 4],
    "worst": [2, 6],
  }
  assert gallery.pick(errors, 1)["median"] == [4]


def test_no_instance_is_picked_twice():
  for n in range(1, 14):
    picks = gallery.pick(np.arange(n, dtype=np.float32), 4)
    chosen = [i for kind in gallery.KINDS for i in picks[kind]]
    assert len(chosen) == len(set(chosen)) >= min(n, 2)


def test_nothing_to_pick_from():
  empty = {"best": [], "median": [], "worst": []}
  assert gallery.pick(np.zeros(0, np.float32), 3) == empty
  assert gallery.pick(np.full(5, np.nan, np.float32), 3) == empty
  assert gallery.pick(np.arange(9, dtype=np.float32), 0) == empty


def test_ties_go_by_index_and_unknown_errors_are_left_out():
  errors = np.array([np.inf, 1, 1, 1, np.nan, 1, 1, 1], np.float32)
  picks = gallery.pick(errors, 2)
  assert picks == {"best": [1, 2], "median": [3, 5], "worst": [7, 6]}


def _case(index):
  """A prediction at (20, 30) and a truth at (50, 30), in crop pixels."""
  joints = np.full((K, 2), -99, np.float32)
  truth, labelled = joints.copy(), np.zeros(K, bool)
  joints[POSETRACK.index("left_knee")] = 20, 30
  truth[POSETRACK.index("left_knee")] = 50, 30
  labelled[POSETRACK.index("left_knee")] = True
  return gallery.Case(
    image=np.full((80, 60, 3), 90, np.uint8),
    joints=joints,
    score=np.full(K, 0.5, np.float32),
    truth=truth,
    labelled=labelled,
    caption=f"case {index}",
  )


def test_drawn_cases_show_prediction_and_truth():
  picks = {"best": [3, 1], "worst": []}
  found = gallery.items(picks, _case, skeleton=POSETRACK)
  assert [item.caption for item in found["best"]] == ["case 3", "case 1"]
  assert found["worst"] == []
  image = found["best"][0].image
  assert image.shape == (320, 240, 3)
  # Pixel x of the crop lies at 4 x + 1.5 when each pixel becomes four.
  assert tuple(image[121, 81]) == colours.LEFT
  assert image[121, 201].min() > 200


def test_prediction_below_the_threshold_is_left_out():
  item = gallery.drawn(_case(0), skeleton=POSETRACK, threshold=0.6)
  assert (item.image[100:140, 60:100] == 90).all()
