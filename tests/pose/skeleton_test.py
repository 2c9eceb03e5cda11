"""The skeleton tables fit together."""

import pytest

from diffpose_jax.pose import skeleton

S = skeleton.POSETRACK


def test_flip_swaps_left_and_right_by_name():
  for i, j in enumerate(S.flip):
    name = S.joints[i]
    swapped = name.replace("left_", "L_").replace("right_", "left_")
    assert S.joints[j] == swapped.replace("L_", "right_")


def test_evaluated_joints_are_poseval_s_fifteen_in_order():
  assert [S.joints[i] for i in S.evaluated] == [
    "right_ankle",
    "right_knee",
    "right_hip",
    "left_hip",
    "left_knee",
    "left_ankle",
    "right_wrist",
    "right_elbow",
    "right_shoulder",
    "left_shoulder",
    "left_elbow",
    "left_wrist",
    "head_bottom",
    "nose",
    "head_top",
  ]


def test_groups_hold_each_evaluated_joint_once():
  grouped = [i for _, members in S.groups for i in members]
  assert sorted(grouped) == sorted(S.evaluated)


def test_upper_and_lower_halves_share_out_all_joints():
  assert sorted(S.upper + S.lower) == list(range(17))
  assert len(S.sigmas) == 17


def test_index_of_an_unknown_joint_names_the_known():
  assert S.index("left_knee") == 13
  with pytest.raises(ValueError, match="no joint 'tail'.*nose"):
    S.index("tail")
