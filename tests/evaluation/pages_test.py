"""The pages of files and of weights: what was measured is what they show."""

import numpy as np
import pytest

from diffpose_jax.data.annotations import Frame, Person, Video
from diffpose_jax.evaluation import matching, pages, registry
from diffpose_jax.pose import skeleton

SKELETON = skeleton.POSETRACK


def _video(name, frames, off=0.0):
  """One person who walks; `off` moves the joints of the second half away."""
  found = []
  for i in range(frames):
    joints = np.arange(34.0).reshape(17, 2) * 3 + i
    if 2 * i >= frames:
      joints = joints + off
    person = Person(
      box=np.array([0, 0, 60, 110]),
      joints=joints,
      labelled=np.ones(17, bool),
      track_id=1,
      head_box=np.array([0, 0, 6, 8]),
      scores=np.full(17, 0.5),
    )
    found.append(Frame(f"{name}/{i}.jpg", i, True, (person,)))
  return Video(name, tuple(found))


@pytest.fixture(scope="module")
def case():
  truth = [_video("a", 6), _video("b", 6), _video("c", 1)]
  found = [_video("a", 6), _video("b", 6, off=99.0), _video("c", 1)]
  return matching.Case.of(truth, found, skeleton=SKELETON)


def _result(case, names):
  result = {"protocol": {"data": "own"}, "warnings": ["odd <things>"]}
  for name in names:
    result |= registry.load(name).measure(case)
  return result


def test_all_metrics_of_files_have_their_tables_and_plots(case):
  names = registry.names()
  content = pages.of_files(_result(case, names), case, names)
  assert content.warnings == ["odd <things>"]
  titles = " ".join(one.title for one in content.tables)
  for word in ("MOTA", "HOTA", "Object keypoint", "PCKh", "PCK by", "Jitter"):
    assert word in titles
  assert [plot.title.split()[0] for plot in content.plots] == [
    "Precision",
    "Share",
    "Share",
  ]
  # The last frame of b is left out of tracking: 3 right, 2 misses, 2 false.
  scores = {score.video: score for score in content.videos}
  assert [score.video for score in content.videos] == ["b", "a", "c"]
  assert scores["a"].mota == 100 and scores["c"].mota is None
  assert scores["b"].mota == pytest.approx(100 * (1 - 4 / 5))
  assert scores["b"].pckh == 50 and scores["a"].ap == 100
  for score in content.joints:
    assert score.pckh == pytest.approx(1000 / 13)


def test_what_was_not_measured_is_not_shown(case):
  content = pages.of_files(_result(case, ("oks",)), case, ("oks",))
  assert not content.table_rows and not content.plots and not content.videos
  assert [one.title for one in content.tables] == [
    "Object keypoint similarity, %"
  ]


def test_pck_rows_are_named_by_joints_and_unit():
  row = {"pck_box": {"all": {"0.1": 0.5}, "wrists_ankles": {"0.1": None}}}
  assert pages.pck_rows({"x": row}) == {
    "x, all, by box": {"@0.1": 0.5},
    "x, wrists and ankles, by box": {"@0.1": None},
  }
