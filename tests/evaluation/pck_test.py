import numpy as np
import pytest

from diffpose_jax.data import annotations
from diffpose_jax.evaluation import pck
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
