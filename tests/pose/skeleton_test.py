"""The skeleton tables fit together."""

import numpy as np
import pytest
from pycocotools import cocoeval

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


C = skeleton.COCO


def test_coco_s_joints_are_in_the_order_of_its_files():
  sides = ["shoulder", "elbow", "wrist", "hip", "knee", "ankle"]
  both = [
    f"{side}_{x}" for x in ["eye", "ear", *sides] for side in ("left", "right")
  ]
  assert C.joints == ("nose", *both)


def test_coco_s_flip_swaps_left_and_right_by_name():
  assert len(C.pairs) == 8
  for i, j in enumerate(C.flip):
    name = C.joints[i]
    swapped = name.replace("left_", "L_").replace("right_", "left_")
    assert C.joints[j] == swapped.replace("L_", "right_")


def test_coco_s_limbs_are_those_of_its_files():
  # As its categories list them, counted from 1.
  listed = (
    "16-14 14-12 17-15 15-13 12-13 6-12 7-13 6-7 6-8 7-9 8-10 9-11 2-3 1-2 "
    "1-3 2-4 3-5 4-6 5-7"
  )
  limbs = [tuple(map(int, limb.split("-"))) for limb in listed.split()]
  assert [(a + 1, b + 1) for a, b in C.limbs] == limbs


def test_coco_s_sigmas_are_pycocotools():
  published = cocoeval.Params(iouType="keypoints").kpt_oks_sigmas
  np.testing.assert_allclose(C.sigmas, published, rtol=1e-12)


def test_coco_is_evaluated_and_halved_whole():
  assert C.evaluated == tuple(range(17))
  assert sorted(i for _, members in C.groups for i in members) == list(
    range(17)
  )
  assert sorted(C.upper + C.lower) == list(range(17))
  assert {C.joints[i].split("_")[1] for i in C.lower} == {
    "hip",
    "knee",
    "ankle",
  }


def test_coco_and_posetrack_share_their_bodies_by_name():
  shared = [name for name in C.joints if name in S.joints]
  assert len(shared) == 15
  for name in shared:
    assert C.sigmas[C.index(name)] == S.sigmas[S.index(name)]
