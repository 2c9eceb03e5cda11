import numpy as np
import pytest

from diffpose_jax.data.annotations import Frame, Person, Video
from diffpose_jax.evaluation import breakdown, matching
from diffpose_jax.evaluation.metrics import ap
from diffpose_jax.pose import skeleton

SKELETON = skeleton.POSETRACK


def _case(seed=0):
  """Two videos of people with predictions of mixed quality, one empty."""
  rng = np.random.default_rng(seed)
  sides = []
  for predicted in (False, True):
    videos = []
    for name, frames in (("a", 7), ("b", 5), ("empty", 2)):
      listed = []
      for i in range(frames):
        people = []
        for k in range(0 if name == "empty" else 3):
          place = np.random.default_rng([i, k, len(name)])
          joints = place.uniform(0, 60, (17, 2)) + 200 * k
          scores = None
          if predicted:
            joints = joints + rng.normal(0, 3 if name == "a" else 9, (17, 2))
            scores = rng.random(17)
          people.append(
            Person(
              box=None,
              joints=joints,
              labelled=np.ones(17, bool),
              track_id=k,
              head_box=np.array([0, 0, 9, 12]),
              scores=scores,
            )
          )
        listed.append(Frame(f"{name}/{i}", i, True, tuple(people)))
      videos.append(Video(name, tuple(listed)))
    sides.append(videos)
  return matching.Case.of(*sides, skeleton=SKELETON)


def test_videos_stand_worst_first_with_their_own_scores():
  case = _case()
  scores = breakdown.per_video(case, {"a": 12.5})
  assert [score.video for score in scores] == ["b", "a", "empty"]
  assert [score.frames for score in scores] == [5, 7, 0]
  assert [score.people for score in scores] == [15, 21, 0]
  assert [score.mota for score in scores] == [None, 12.5, None]
  for score in scores[:2]:
    alone = ap.of(case.only(score.video))
    assert score.ap == alone.ap["total"]
    # All joints are labelled as often, so the mean of recalls is the share.
    assert score.pckh == pytest.approx(alone.recall["total"])
  assert scores[2].ap is None and scores[2].pckh is None


def test_joints_stand_from_head_to_ankle_with_median_errors():
  case = _case()
  scores = breakdown.per_joint(case)
  names = [score.joint for score in scores]
  assert len(names) == 15
  assert names.index("head_top") < names.index("left_wrist")
  assert names.index("left_wrist") < names.index("right_ankle")
  found = ap.of(case)
  for score in scores:
    assert score.labelled == 36
    assert score.ap == found.ap[score.joint]
  channel = SKELETON.evaluated.index(SKELETON.index("nose"))
  errors = [
    frame.distance[q, owner, channel]
    for frame in case.frames
    for q, owner in enumerate(frame.owner)
    if owner >= 0
  ]
  (nose,) = [score for score in scores if score.joint == "nose"]
  assert nose.error == pytest.approx(np.median(errors))


def test_the_area_under_a_groups_curve_is_its_ap():
  case = _case()
  curves = breakdown.precision_recall(case)
  groups = ap.of(case).ap_groups
  recall = np.array(curves["recall"])
  assert recall[0] == 0 and recall[-1] == 1
  assert set(curves["precision"]) == set(groups) - {"total"}
  for name, precision in curves["precision"].items():
    # Steps of a hundredth.
    area = np.trapezoid(precision, recall)
    assert 100 * area == pytest.approx(groups[name], abs=1.5)
    assert np.all(np.diff(precision) <= 1e-12)
