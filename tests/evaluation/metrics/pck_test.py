import dataclasses
import json
import math

import numpy as np
import pytest

from diffpose_jax.data import annotations
from diffpose_jax.data.annotations import Frame, Person, Video
from diffpose_jax.evaluation import matching, table
from diffpose_jax.evaluation.metrics import pck
from diffpose_jax.pose import skeleton as skeleton_lib

SKELETON = skeleton_lib.POSETRACK
NOSE, LEFT_EAR, LEFT_KNEE, RIGHT_KNEE = 0, 3, 13, 14
HEAD_SIZE = 10.0  # of everybody here
SIDE = 40.0  # longer side of everybody's box


def person(x, *, off=0.0, **more):
  """Someone at x with all joints, each `off` pixels from where it should be.

  The head box has sides 3 : 4 and so a diagonal of 5; times 0.6 that is 3.
  """
  joints = np.stack([x + 2.0 * np.arange(17), 3.0 * np.arange(17)], axis=1)
  joints[:, 1] += off
  head = HEAD_SIZE / 3 * np.array([0, 0, 3, 4])
  fields = {
    "box": np.array([x, 0, x + 23, SIDE]),
    "joints": joints,
    "labelled": np.ones(17, bool),
    "head_box": head + x,
    "scores": np.ones(17),
  }
  return Person(**fields | more)


def moved(who, channel, x, y):
  joints = who.joints.copy()
  joints[channel] += (x, y)
  return dataclasses.replace(who, joints=joints)


def without(who, *channels):
  labelled = who.labelled.copy()
  labelled[list(channels)] = False
  return dataclasses.replace(who, labelled=labelled)


def case_of(frames):
  """Of (true people, poses, ignore regions), each a frame."""
  sides = [
    tuple(
      Frame(f"a/{i}.jpg", i, True, tuple(frame[side]), tuple(frame[2]))
      for i, frame in enumerate(frames)
    )
    for side in (0, 1)
  ]
  truth, predictions = ([Video("a", side)] for side in sides)
  return matching.Case.of(truth, predictions, skeleton=SKELETON)


def measure(*frames):
  frames = [(*frame, ())[:3] for frame in frames]
  return pck.measure(case_of(frames))["pck_curves"]


def test_errors_that_are_uniform_give_straight_curves():
  # 50 people, off by 0.005, 0.015, ..., 0.495 head sizes: half way between
  # the thresholds, so that each step of 0.01 brings one more.
  people = [person(1000 * i) for i in range(50)]
  poses = [person(1000 * i, off=(i + 0.5) / 10) for i in range(50)]
  # Five frames of ten.
  got = measure(
    *((people[i : i + 10], poses[i : i + 10]) for i in range(0, 50, 10))
  )
  head = got["head"]
  assert head["thresholds"] == [i / 100 for i in range(51)]
  assert head["all"] == pytest.approx([i / 50 for i in range(51)], abs=1e-12)
  assert head["auc"] == pytest.approx(0.5, abs=1e-12)
  want = {"auc": 0.5, "@0.5": 1.0, "@0.2": 0.4, "@0.1": 0.2}
  assert len(head["joints"]) == 16 and "neck" in head["joints"]
  for name in ("right_ankle", "nose", "total"):
    assert list(head["joints"][name]) == list(want)
    assert head["joints"][name] == pytest.approx(want, abs=1e-12)
  assert set(head["groups"]) == {*(n for n, _ in SKELETON.groups), "total"}
  assert head["groups"]["wrist"] == pytest.approx(want, abs=1e-12)
  assert (head["people"], head["left_out"]) == (50, 0)
  # A step of 0.005 is 0.2 pixels, which bring two; after 25 steps all are in.
  box = got["box"]
  assert box["thresholds"] == [i / 200 for i in range(41)]
  line = [min(1.0, i / 25) for i in range(41)]
  assert box["all"] == pytest.approx(line, abs=1e-12)
  # A triangle up to 0.125, then a rectangle up to 0.2.
  area = (0.125 / 2 + 0.075) / 0.2
  want = {"auc": area, "@0.2": 1.0, "@0.1": 0.8, "@0.05": 0.4}
  assert box["auc"] == pytest.approx(area, abs=1e-12)
  assert box["joints"]["nose"] == pytest.approx(want, abs=1e-12)


def test_truth_as_prediction_is_exactly_1():
  got = measure(([person(0), person(500)], [person(500), person(0)]))
  for curves in got.values():
    assert set(curves["all"]) == {1.0} and curves["auc"] == 1.0
    for rows in (curves["joints"], curves["groups"]):
      assert {v for row in rows.values() for v in row.values()} == {1.0}


def test_joints_and_people_without_a_prediction_are_wrong():
  true = [person(0), person(500)]
  pose = without(person(0), LEFT_KNEE)
  got = measure((true, [pose, person(9000)]))["head"]
  # Of the 30 joints 14 are found.
  assert got["all"] == pytest.approx([14 / 30] * 51, abs=1e-12)
  assert got["joints"]["left_knee"] == dict.fromkeys(got["joints"]["nose"], 0.0)
  assert set(got["joints"]["right_knee"].values()) == {0.5}
  assert set(got["groups"]["knee"].values()) == {0.25}
  assert got["people"] == 2
  # Nobody at all.
  assert set(measure((true, []))["box"]["all"]) == {0.0}


def test_what_is_not_labelled_or_ignored_does_not_count():
  true = without(person(0), NOSE, RIGHT_KNEE)
  # A region around the left knee, at (26, 39), alone.
  region = np.array([[25, 38], [27, 38], [27, 40], [25, 40.0]])
  pose = moved(person(0), NOSE, 99, 99)
  got = measure(([true], [pose], [region]))["head"]
  assert set(got["all"]) == {1.0}
  for name in ("nose", "left_knee", "right_knee"):
    assert set(got["joints"][name].values()) == {None}
  assert set(got["groups"]["knee"].values()) == {None}
  assert set(got["groups"]["head"].values()) == {1.0}


def test_just_the_threshold_is_right():
  pose = moved(person(0), NOSE, 3, -4)  # half a head, an eighth of the side
  got = measure(([person(0)], [pose]))
  nose = got["head"]["joints"]["nose"]
  # One half of the last step of fifty.
  want = {"auc": 0.5 / 50, "@0.5": 1.0, "@0.2": 0.0, "@0.1": 0.0}
  assert nose == pytest.approx(want, abs=1e-12)
  box = got["box"]["joints"]["nose"]
  # Steps 25 to 40 of forty, the way up being half a step.
  want = {"auc": 15.5 / 40, "@0.2": 1.0, "@0.1": 0.0, "@0.05": 0.0}
  assert box == pytest.approx(want, abs=1e-12)


def slow_shares(frames, unit_of, thresholds):
  """{joint index: shares} and of all together, plainly, of judged frames."""
  right, total = {}, {}
  for frame in frames:
    if not frame.counts:
      continue
    for i, who in enumerate(frame.truth.people):
      poses = [q for q, owner in enumerate(frame.owner) if owner == i]
      for j in range(15):
        if not frame.true_there[i, j]:
          continue
        error = math.inf
        if poses and frame.there[poses[0], j]:
          error = math.dist(frame.joints[poses[0], j], frame.true_joints[i, j])
        for t in thresholds:
          for key in ((j, t), ("all", t)):
            total[key] = total.get(key, 0) + 1
            right[key] = right.get(key, 0) + (error / unit_of(who) <= t)
  return {key: right[key] / total[key] for key in total}


@pytest.mark.parametrize("seed", range(4))
def test_agrees_with_a_slow_reference(seed):
  rng = np.random.default_rng(seed)
  frames = []
  for _ in range(7):
    people, poses = [], []
    for i in range(rng.integers(0, 4)):
      true = person(20.0 * i, box=rng.uniform([0, 0, 30, 30], [1, 1, 60, 60]))
      people.append(without(true, *rng.choice(17, 3), LEFT_EAR))
      if rng.random() < 0.9:
        noise = rng.normal(0, rng.choice([1, 4]), (17, 2))
        pose = dataclasses.replace(true, joints=true.joints + noise)
        poses.append(without(pose, *rng.choice(17, 2)))
    x, y = rng.uniform(0, 40, 2)
    region = np.array([[x, y], [x + 15, y], [x + 15, y + 9], [x, y + 9]])
    frames.append((people, poses, [region]))
  case = case_of(frames)
  got = pck.measure(case)["pck_curves"]
  units = {
    "head": lambda p: 0.6 * math.dist(p.head_box[:2], p.head_box[2:]),
    "box": lambda p: max(p.box[2] - p.box[0], p.box[3] - p.box[1]),
  }
  for name, unit_of in units.items():
    curves = got[name]
    want = slow_shares(case.frames, unit_of, curves["thresholds"])
    heights = [want["all", t] for t in curves["thresholds"]]
    assert curves["all"] == pytest.approx(heights, abs=1e-12)
    assert 0.1 < curves["auc"] < 0.9
    # All joints together, which differ in number.
    total = curves["joints"]["total"]
    assert total == curves["groups"]["total"]
    for key, value in total.items():
      height = curves["auc"] if key == "auc" else want["all", float(key[1:])]
      assert value == pytest.approx(height, abs=1e-12)
    for j, rows in enumerate(list(curves["joints"].values())[:-1]):
      heights = [want[j, t] for t in curves["thresholds"]]
      area = np.trapezoid(heights, curves["thresholds"])
      assert rows["auc"] == pytest.approx(
        area / curves["thresholds"][-1], abs=1e-12
      )
      for key, value in rows.items():
        if key != "auc":
          assert value == pytest.approx(want[j, float(key[1:])], abs=1e-12)


def test_people_without_a_box_are_left_out_of_its_curve():
  bare = person(500, head_box=None)
  none = person(900, head_box=None, box=None)
  unlabelled = person(0, head_box=None, box=None, labelled=np.zeros(17, bool))
  true = [person(0), bare, none, unlabelled]
  # 7 pixels: beyond half a head, within 0.2 sides of 40.
  poses = [person(0), person(500, off=7.0), person(900)]
  got = measure((true, poses))
  assert (got["head"]["people"], got["head"]["left_out"]) == (1, 2)
  assert set(got["head"]["all"]) == {1.0}
  assert (got["box"]["people"], got["box"]["left_out"]) == (2, 1)
  # Beyond 0.2 sides there is no pose; within, it is found.
  assert got["box"]["joints"]["nose"] == {
    "auc": pytest.approx((40 + 5.5) / 80),
    "@0.2": 1.0,
    "@0.1": 0.5,
    "@0.05": 0.5,
  }
  got = measure((true, [person(0), person(500, off=8.1)]))
  assert got["box"]["joints"]["nose"]["@0.2"] == 0.5
  # COCO has no head boxes at all.
  got = measure(([bare], [person(500)]))
  assert got["head"] is None and got["box"]["auc"] == 1.0
  got = measure(([none], [person(900)]))
  assert got == {"head": None, "box": None}
  json.dumps(got, allow_nan=False)


def test_nobody_is_annotated():
  assert measure(([], [person(0)])) == {"head": None, "box": None}
  unlabelled = person(0, labelled=np.zeros(17, bool))
  assert measure(([unlabelled], [])) == {"head": None, "box": None}


def test_errors_name_the_place():
  bad = moved(person(0), NOSE, math.nan, 0)
  with pytest.raises(ValueError, match="a: a/0.jpg: a predicted joint is not"):
    measure(([person(0)], [bad]))
  flat = person(0, box=np.array([3.0, 4, 3, 4]))
  with pytest.raises(
    ValueError, match="a: a/0.jpg: the box of person 0 has no"
  ):
    measure(([flat], [person(0)]))


def test_real_truth_as_prediction_is_exactly_1(shared_data):
  truth = annotations.read_folder(
    shared_data / "bonn_tracks_mini/annotations/train", skeleton=SKELETON
  )
  case = matching.Case.of(truth, truth, skeleton=SKELETON)
  got = pck.measure(case)["pck_curves"]
  # Two of the three videos have no head boxes.
  assert got["head"]["left_out"] > 0 and got["box"]["left_out"] == 0
  for curves in got.values():
    assert set(curves["all"]) == {1.0} and curves["auc"] == 1.0


def test_the_tables_have_the_papers_columns():
  got = measure(([person(0)], [without(person(0), LEFT_KNEE)]))
  head, box = pck.tables({"pck_curves": got})
  title, columns, *rows = table.text(head).split("\n")
  assert title == "PCKh, fractions; auc up to 0.5"
  assert columns.split()[-2:] == ["Ankle", "Mean"]
  assert [row.split()[0] for row in rows] == ["auc", "@0.5", "@0.2", "@0.1"]
  # 14 of 15 joints, one of two knees.
  assert rows[1].split()[-3:] == ["0.500", "1.000", "0.933"]
  assert box.title == "PCK by box, fractions; auc up to 0.2"
  assert pck.tables({"pck_curves": got | {"head": None}}) == [box]
