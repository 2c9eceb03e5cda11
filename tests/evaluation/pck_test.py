import numpy as np
import pytest

from diffpose_jax.data import annotations
from diffpose_jax.evaluation import matching, pck
from diffpose_jax.pose import skeleton

SKELETON = skeleton.POSETRACK


def test_pck_by_hand():
  truth = np.zeros((2, 3, 2))
  joints = np.zeros((2, 3, 2))
  joints[0, 0] = [3, 4]  # 5 px of 50: just 0.1
  joints[0, 1] = [6, 8]  # 10 px of 50: 0.2
  joints[1, 0] = [0, 5.5]  # of 50: 0.11
  joints[1, 1] = np.nan  # not labelled
  labelled = np.array([[True, True, False], [True, False, False]])
  got = pck.pck(
    joints, truth, labelled, np.array([50.0, 50.0]), (0.05, 0.1, 0.2)
  )
  assert got == {
    "0.05": {"pooled": 0.0, "joints": [0.0, 0.0, None]},
    "0.1": {"pooled": 1 / 3, "joints": [0.5, 0.0, None]},
    "0.2": {"pooled": 1.0, "joints": [1.0, 1.0, None]},
  }
  left_out = pck.pck(joints, truth, labelled, np.array([np.nan, 50.0]), (0.1,))
  assert left_out == {"0.1": {"pooled": 0.0, "joints": [0.0, None, None]}}


def test_pck_is_none_where_nothing_counts():
  got = pck.pck(
    np.zeros((1, 2, 2)),
    np.full((1, 2, 2), np.nan),
    np.zeros((1, 2), bool),
    np.ones(1),
    (0.1,),
  )
  assert got == {"0.1": {"pooled": None, "joints": [None, None]}}


def test_pck_refuses_what_has_no_meaning():
  joints, labelled = np.zeros((1, 2, 2)), np.ones((1, 2), bool)
  with pytest.raises(ValueError, match="lengths must be above 0, found 0"):
    pck.pck(joints, joints, labelled, np.zeros(1), (0.1,))
  with pytest.raises(ValueError, match="not finite"):
    pck.pck(np.full((1, 2, 2), np.nan), joints, labelled, np.ones(1), (0.1,))


def test_pck_of_the_real_truth_three_frames_earlier(shared_data):
  """A floor that the data set states: 0.96 / 0.86 / 0.66."""
  videos = annotations.read_split(
    shared_data / "jhmdb", "val", skeleton=SKELETON
  )
  joints, truth, both, lengths = [], [], [], []
  for video in videos:
    for frame, earlier in zip(video.frames[3:], video.frames, strict=False):
      now, before = frame.people[0], earlier.people[0]
      assert now.box is not None
      joints.append(before.joints)
      truth.append(now.joints)
      both.append(now.labelled & before.labelled)
      lengths.append(np.max(now.box[2:] - now.box[:2]))
  got = pck.pck(
    np.stack(joints),
    np.stack(truth),
    np.stack(both),
    np.array(lengths),
    (0.2, 0.1, 0.05),
  )
  pooled = [got[key]["pooled"] for key in ("0.2", "0.1", "0.05")]
  np.testing.assert_allclose(pooled, [0.96, 0.86, 0.66], atol=0.005)


def test_shares_by_hand():
  errors = np.array([[0.1, np.nan], [0.3, np.nan], [np.inf, np.nan]])
  errors = np.concatenate([errors, [[0.2], [0.2], [0.4]]], axis=1)
  pooled, each = pck.shares(errors, (0.1, 0.2, 0.5))
  np.testing.assert_allclose(pooled, [1 / 6, 3 / 6, 5 / 6], atol=1e-15)
  want = [[1 / 3, np.nan, 0], [1 / 3, np.nan, 2 / 3], [2 / 3, np.nan, 1]]
  np.testing.assert_allclose(each, want, atol=1e-15)
  pooled, each = pck.shares(errors[:0], (0.1, 0.2))
  assert np.isnan(pooled).all() and np.isnan(each).all()
  assert pooled.shape == (2,) and each.shape == (2, 3)


def test_area_by_hand():
  # Two steps: (0 + 1/2) / 2 and (1/2 + 1) / 2, each half of the whole.
  assert pck.area(np.array([0.0, 0.5, 1.0])) == 0.5
  got = pck.area(np.array([[0.0, 1.0], [0.0, 1.0], [1.0, 1.0]]))
  assert got.tolist() == [0.25, 1.0]


def judged(truth, poses):
  """A frame of people as (head box or None, box or None, places of joints)."""
  sides = [
    annotations.Frame(
      "a/0.jpg",
      0,
      True,
      tuple(
        annotations.Person(
          box=None if box is None else np.array(box, float),
          joints=np.array([place] * 17, float),
          labelled=np.ones(17, bool),
          head_box=None if head is None else np.array(head, float),
        )
        for head, box, place in side
      ),
    )
    for side in (truth, poses)
  ]
  videos = ([annotations.Video("a", (side,))] for side in sides)
  (frame,) = matching.Case.of(*videos, skeleton=SKELETON).frames
  return frame


def test_poses_by_hand():
  head = (0, 0, 3, 4)  # a size of 3: right within 1.5
  box = (0, 0, 10, 20)  # right within 4
  places = [(0, 0), (50, 0), (90, 0)]
  found = [(None, None, (90.0, 1.5)), (None, None, (0, 1.6))]
  frame = judged([(head, box, place) for place in places], found)
  assert pck.poses(frame).tolist() == [-1, -1, 0]
  frame = judged([(None, box, place) for place in places], found)
  assert pck.poses(frame).tolist() == [1, -1, 0]
  # Each by the box there is.
  mixed = [(head, box, places[0]), (None, box, places[2]), (None, None, (0, 1))]
  assert pck.poses(judged(mixed, found)).tolist() == [-1, 0, -1]
  assert pck.poses(judged(mixed, [])).tolist() == [-1, -1, -1]
  joints, there = pck.beside(judged(mixed, found))
  assert there[:, 0].tolist() == [False, True, False]
  assert joints[1].tolist() == [[90, 1.5]] * 15
  away = pck.errors(judged(mixed, found))
  assert away[:, 4].tolist() == [np.inf, 1.5, np.inf]
  assert pck.head_lengths(frame).tolist() == pytest.approx(
    [np.nan] * 3, nan_ok=True
  )
  assert pck.box_lengths(frame).tolist() == [20] * 3
