import dataclasses

import numpy as np
import pytest

from diffpose_jax.data.annotations import Frame, Person, Video
from diffpose_jax.evaluation import matching, table
from diffpose_jax.evaluation.metrics import sides
from diffpose_jax.pose import skeleton as skeleton_lib

SKELETON = skeleton_lib.POSETRACK
LEFT, RIGHT = np.array(SKELETON.pairs[1:]).T  # of those that are evaluated
PAIRS = len(LEFT)
HIPS = [11, 12]


def standing():
  """Joints (17, 2) of someone whose pairs are all 20 pixels apart."""
  joints = np.stack([np.full(17, 50.0), 6.0 * np.arange(17)], axis=1)
  joints[LEFT, 0], joints[RIGHT, 0] = 60, 40
  joints[RIGHT, 1] = joints[LEFT, 1]
  return joints


def person(joints, **more):
  fields = {
    "box": np.array([0.0, 0, 60, 130]),
    "joints": joints,
    "labelled": np.ones(17, bool),
    "track_id": 0,
    "head_box": np.array([40.0, 0, 70, 40]),
    "scores": np.ones(17),
  }
  return Person(**fields | more)


def measure(*frames):
  """Of (true people, poses) in each frame."""
  truth, found = [
    (
      Video(
        "v", tuple(Frame(f"{i:06}.jpg", i, True, tuple(p)) for i, p in side)
      ),
    )
    for side in (
      [(i, people) for i, (people, _) in enumerate(frames)],
      [(i, poses) for i, (_, poses) in enumerate(frames)],
    )
  ]
  case = matching.Case.of(truth, found, skeleton=SKELETON)
  return sides.measure(case)["sides"]


def moved(way):
  """Poses whose pairs go `way` of the true way, about the same middle."""
  joints = standing()
  joints[:, 0] = 50 + way * (joints[:, 0] - 50)
  return joints


@pytest.mark.parametrize(
  ("way", "row"),
  [
    (1, "right"),
    (0.55, "right"),
    (0.45, "one place"),
    (0, "one place"),
    (-0.45, "one place"),
    (-0.55, "exchanged"),
    (-1, "exchanged"),
  ],
)
def test_a_pair_is_right_at_one_place_or_exchanged(way, row):
  found = measure(([person(standing())], [person(moved(way))]))
  assert found["pairs"] == PAIRS
  assert found["left_out"] == 0
  for name, shares in found["shares"].items():
    groups = [value for key, value in shares.items() if key != "head"]
    assert groups == [float(name == row)] * len(groups)
    assert shares["head"] is None


def test_the_total_is_of_all_pairs_together():
  exchanged = standing()
  exchanged[HIPS] = exchanged[HIPS[::-1]]
  few = np.zeros(17, bool)
  few[[0, 1, 2, *HIPS]] = True
  shown = measure(
    ([person(standing())], [person(standing())]),
    ([person(standing(), labelled=few)], [person(exchanged)]),
  )
  assert shown["pairs"] == PAIRS + 1
  assert shown["shares"]["right"]["hip"] == 0.5
  assert shown["shares"]["right"]["total"] == PAIRS / (PAIRS + 1)
  assert shown["shares"]["exchanged"]["total"] == 1 / (PAIRS + 1)


def test_only_pairs_that_are_apart_and_labelled_count():
  joints = standing()
  joints[HIPS, 0] = 56, 44  # 12 of the 130 of the box: below a tenth
  labelled = np.ones(17, bool)
  labelled[13] = False  # a knee without its partner
  found = measure(([person(joints, labelled=labelled)], [person(joints)]))
  assert found["pairs"] == PAIRS - 2
  assert found["shares"]["right"]["hip"] is None
  assert found["shares"]["right"]["knee"] is None


def test_pairs_without_both_predicted_joints_are_left_out():
  some = np.ones(17, bool)
  some[HIPS[0]] = False
  found = measure(
    ([person(standing())], [person(standing(), labelled=some)]),
    ([person(standing())], []),
  )
  assert found["pairs"] == PAIRS - 1
  assert found["left_out"] == 1 + PAIRS


def test_people_without_a_box_are_not_counted():
  assert measure(([person(standing(), box=None)], [person(standing())])) is None


def test_without_any_pair_there_is_nothing():
  assert measure(([], [])) is None
  assert sides.tables({"sides": None}) == []
  alone = dataclasses.replace(
    person(standing()), labelled=np.arange(17) == HIPS[0]
  )
  assert measure(([alone], [person(standing())])) is None


def test_the_table_has_a_column_a_group():
  found = measure(([person(standing())], [person(standing())]))
  [shown] = sides.tables({"sides": found})
  lines = table.text(shown).splitlines()
  assert lines[1].split()[0] == "Head"
  assert lines[2].split() == ["right", "-", *["1.000"] * 7]
