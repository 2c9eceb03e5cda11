import dataclasses
import json
import math

import numpy as np
import pytest

from diffpose_jax.data import annotations
from diffpose_jax.data.annotations import Frame, Person, Video
from diffpose_jax.evaluation import matching
from diffpose_jax.evaluation.metrics import ap
from diffpose_jax.pose import skeleton

SKELETON = skeleton.POSETRACK
NAMES = [
  "right_ankle", "right_knee", "right_hip", "left_hip", "left_knee",
  "left_ankle", "right_wrist", "right_elbow", "right_shoulder",
  "left_shoulder", "left_elbow", "left_wrist", "neck", "nose", "head_top",
]  # fmt: skip
MEMBERS = {
  "head": ("nose", "neck", "head_top"),
  "shoulder": ("left_shoulder", "right_shoulder"),
  "elbow": ("left_elbow", "right_elbow"),
  "wrist": ("left_wrist", "right_wrist"),
  "hip": ("left_hip", "right_hip"),
  "knee": ("left_knee", "right_knee"),
  "ankle": ("left_ankle", "right_ankle"),
}


def channel(name):
  return SKELETON.joints.index("head_bottom" if name == "neck" else name)


def slow_reference(truth, predictions):
  """AP, precision, recall by poseval's rules, one joint at a time, plainly.

  Both sides are lists of frames, a frame is (people, ignored) and a person
  {"joints": {name: (x, y)}, "scores": {name: s}, "head": length}; `ignored`
  says whether a point is in an ignore region.
  """
  scored = {name: [] for name in NAMES}
  labelled = dict.fromkeys(NAMES, 0)
  for (people, ignored), (poses, _) in zip(truth, predictions, strict=True):
    if not people:
      continue

    def visible(person, ignored=ignored):
      return {n: p for n, p in person["joints"].items() if not ignored(p)}

    people = [person | {"joints": visible(person)} for person in people]
    poses = [pose | {"joints": visible(pose)} for pose in poses]
    for person in people:
      for name in person["joints"]:
        labelled[name] += 1

    def right(pose, person, name):
      if name not in pose["joints"] or name not in person["joints"]:
        return False
      distance = math.dist(pose["joints"][name], person["joints"][name])
      return distance / person["head"] <= 0.5

    def share(pose, person, right=right):
      if not person["joints"]:
        return 0
      return sum(right(pose, person, n) for n in NAMES) / len(person["joints"])

    chosen = []  # of each pose: (its person, its share)
    for pose in poses:
      best = None
      for i, person in enumerate(people):
        if best is None or share(pose, person) > best[1]:
          best = (i, share(pose, person))
      chosen.append(best)
    for q, pose in enumerate(poses):
      person, mine = chosen[q]
      rivals = [
        other
        for other, (theirs, value) in enumerate(chosen)
        if theirs == person and (value > mine or (value == mine and other < q))
      ]
      kept = mine > 0 and not rivals
      for name in pose["joints"]:
        good = kept and right(pose, people[person], name)
        scored[name].append((pose["scores"][name], good))
  ap, precision, recall = {}, {}, {}
  for name in NAMES:
    if not labelled[name]:
      ap[name] = precision[name] = recall[name] = math.nan
      continue
    ranked = [good for _, good in sorted(scored[name], key=lambda x: -x[0])]
    curve = []
    for count in range(1, len(ranked) + 1):
      hits = sum(ranked[:count])
      curve.append((hits / labelled[name], hits / count))
    area, reached = 0.0, 0.0
    for i, (r, _) in enumerate(curve):
      area += (r - reached) * max(p for _, p in curve[i:])
      reached = r
    ap[name] = 100 * area
    recall[name] = 100 * reached
    precision[name] = 100 * curve[-1][1] if curve else 0.0
  for values in (ap, precision, recall):
    known = [v for v in values.values() if not math.isnan(v)]
    values["total"] = sum(known) / len(known) if known else math.nan
  groups = {"total": ap["total"]}
  for group, members in MEMBERS.items():
    known = [ap[m] for m in members if not math.isnan(ap[m])]
    groups[group] = sum(known) / len(known) if known else math.nan
  return {
    "ap": ap, "ap_groups": groups, "precision": precision, "recall": recall
  }  # fmt: skip


def to_person(plain):
  """A plain person of the slow reference as the program has it."""
  joints = np.zeros((17, 2))
  labelled = np.zeros(17, bool)
  scores = np.zeros(17)
  for name, point in plain["joints"].items():
    joints[channel(name)] = point
    labelled[channel(name)] = True
    scores[channel(name)] = plain.get("scores", {}).get(name, 0)
  # A box of sides 3 : 4 has a diagonal of 5; the head size is 0.6 of that.
  unit = plain.get("head", 0.0) / 3
  return Person(
    box=None,
    joints=joints,
    labelled=labelled,
    head_box=np.array([7, 9, 7 + 3 * unit, 9 + 4 * unit]) if unit else None,
    scores=scores,
  )


def to_videos(frames, regions):
  """Frames dealt out to three videos, in order."""
  dealt = {"a": [], "b": [], "c": []}
  for i, (people, _) in enumerate(frames):
    name = "abc"[i * 3 // len(frames)]
    dealt[name].append(
      Frame(
        f"{name}/{i:03}.jpg",
        i,
        True,
        tuple(map(to_person, people)),
        tuple(regions[i]),
      )
    )
  return [Video(name, tuple(f)) for name, f in dealt.items()]


def random_case(rng):
  """A few crowded frames with misses, doubles, strangers and ignored parts."""
  truth, predictions, regions = [], [], []
  absent = set(rng.choice(NAMES, rng.integers(0, 3), replace=False))
  for _ in range(7):
    people = []
    for _ in range(rng.integers(0, 5)):
      centre = rng.uniform(0, 60, 2)
      people.append(
        {
          "joints": {
            n: tuple(centre + rng.normal(0, 15, 2))
            for n in NAMES
            if n not in absent and rng.random() < 0.8
          },
          "head": float(rng.uniform(8, 25)),
        }
      )
    poses = []
    for person in people + people[:1]:
      if rng.random() < 0.8:
        spread = rng.choice([1.0, 5.0, 30.0])
        joints = {
          n: tuple(rng.normal(person["joints"].get(n, (30, 30)), spread))
          for n in NAMES
          if rng.random() < 0.9
        }
        # Scores from few values, so that there are draws.
        scores = {n: float(rng.integers(0, 9)) / 8 for n in NAMES}
        poses.append({"joints": joints, "scores": scores})
    x1, x2 = rng.uniform(0, 30) + np.array([0, rng.uniform(5, 40)])
    y1, y2 = rng.uniform(0, 30) + np.array([0, rng.uniform(5, 40)])
    box = np.array([[x1, y1], [x2, y1], [x2, y2], [x1, y2]])
    there = rng.random() < 0.5
    regions.append([box] if there else [])

    def ignored(point, edges=(x1, y1, x2, y2), there=there):
      low = edges[0] < point[0] < edges[2]
      return there and low and edges[1] < point[1] < edges[3]

    truth.append((people, ignored))
    predictions.append((poses, ignored))
  return truth, predictions, regions


def check(got, want, tolerance):
  got = dataclasses.asdict(got)
  assert set(got) == set(want)
  for metric, values in want.items():
    assert set(got[metric]) == set(values)
    for name, value in values.items():
      if value is None or math.isnan(value):
        assert got[metric][name] is None, (metric, name)
      else:
        assert abs(got[metric][name] - value) <= tolerance, (metric, name)


@pytest.mark.parametrize("seed", range(12))
def test_agrees_with_a_slow_reference_on_random_crowds(seed):
  truth, predictions, regions = random_case(np.random.default_rng(seed))
  got = ap.average_precision(
    to_videos(truth, regions),
    to_videos(predictions, regions),
    skeleton=SKELETON,
  )
  check(got, slow_reference(truth, predictions), 1e-9)
  total = got.ap["total"]
  assert total is not None and 0 < total < 100


def test_agrees_with_poseval(shared_data):
  folder = shared_data / "poseval_reference"
  expected = json.loads((folder / "expected.json").read_text())
  truth, predictions = (
    annotations.read_folder(
      folder / side, skeleton=SKELETON, dtype=np.float64, style="results"
    )
    for side in ("gt", "pred")
  )
  got = ap.average_precision(truth, predictions, skeleton=SKELETON)
  tables = ("ap", "ap_groups", "precision", "recall")
  check(got, {name: expected[name] for name in tables}, 1e-6)
  for name in tables:  # the order of the keys, too
    assert list(dataclasses.asdict(got)[name]) == list(expected[name])


def full_person(x, score=0.5):
  return {
    "joints": {n: (x + 10.0 * i, 20.0 * i) for i, n in enumerate(NAMES)},
    "scores": dict.fromkeys(NAMES, score),
    "head": 6.0,
  }


def measure(people, poses):
  return ap.average_precision(
    to_videos([(people, None)] * 3, [[]] * 3),
    to_videos([(poses, None)] * 3, [[]] * 3),
    skeleton=SKELETON,
  )


def test_truth_as_prediction_is_exactly_100():
  people = [full_person(0), full_person(1000), full_person(2000)]
  del people[1]["joints"]["nose"]
  got = measure(people, people)
  for table in dataclasses.asdict(got).values():
    assert set(table.values()) == {100.0}


@pytest.mark.parametrize(
  ("folder", "nowhere"),
  [
    ("posetrack18_mini/annotations/val", []),
    ("jhmdb_mini/annotations/train", ["head_top"]),
    # The others have no head boxes.
    (
      "bonn_tracks_mini/annotations/train/000001",
      ["right_ankle", "left_ankle", "nose", "ankle"],
    ),
  ],
)
def test_real_truth_as_prediction_is_exactly_100(shared_data, folder, nowhere):
  path = shared_data / folder
  if path.is_dir():
    truth = annotations.read_folder(path, skeleton=SKELETON)
  else:
    (path,) = path.parent.glob(f"{path.name}*.json")
    truth = [annotations.read_video(path, skeleton=SKELETON)]
  got = ap.average_precision(truth, truth, skeleton=SKELETON)
  for table in dataclasses.asdict(got).values():
    for name, value in table.items():
      assert value is None if name in nowhere else value == 100.0, name


def test_one_wrong_joint_by_hand():
  people = [full_person(0), full_person(1000)]
  poses = [full_person(0, 0.9), full_person(1000, 0.8)]
  x, y = poses[0]["joints"]["nose"]
  poses[0]["joints"]["nose"] = (x, y + 3.001)  # half a head is 3
  got = measure(people, poses)
  # Of the two noses the better ranked is wrong: precision is 1/2 at recall 1/2.
  assert got.ap["nose"] == pytest.approx(25, abs=1e-12)
  assert got.precision["nose"] == got.recall["nose"] == 50
  assert {v for n, v in got.ap.items() if n not in ("nose", "total")} == {100.0}
  assert got.ap["total"] == pytest.approx((14 * 100 + 25) / 15, abs=1e-12)
  assert got.ap_groups["head"] == pytest.approx(75, abs=1e-12)
  assert got.ap_groups["total"] == got.ap["total"]
  # At the threshold itself it is right.
  poses[0]["joints"]["nose"] = (x, y + 3.0)
  assert measure(people, poses).ap["nose"] == 100
  # And if the wrong one is ranked last: precision 1 up to recall 1/2.
  poses[0]["joints"]["nose"] = (x, y + 3.001)
  poses[0]["scores"]["nose"] = 0.1
  assert measure(people, poses).ap["nose"] == 50


def test_a_double_is_a_false_positive():
  # The second pose of the one person is as good, so the first is kept.
  got = measure([full_person(0)], [full_person(0, 0.2), full_person(0, 0.9)])
  assert set(got.ap.values()) == {50.0}
  assert set(got.precision.values()) == {50.0}
  assert set(got.recall.values()) == {100.0}


def test_a_missed_person_costs_recall():
  got = measure([full_person(0), full_person(900)], [full_person(900)])
  assert set(got.ap.values()) == set(got.recall.values()) == {50.0}
  assert set(got.precision.values()) == {100.0}
  assert set(measure([full_person(0)], []).ap.values()) == {0.0}


def test_equal_scores_rank_in_the_order_of_the_file():
  right, wrong = full_person(0), full_person(5000)
  first = measure([full_person(0)], [right, wrong])
  last = measure([full_person(0)], [wrong, right])
  # Three like frames: right, wrong, right, wrong, right, wrong.
  assert first.ap["nose"] == pytest.approx(100 * (1 + 2 / 3 + 3 / 5) / 3)
  assert last.ap["nose"] == pytest.approx(50)


def test_people_without_scores_come_last():
  bare = dataclasses.replace(to_person(full_person(0)), scores=None)
  wrong = to_person(full_person(5000, -1e6))
  truth = [Video("a", (Frame("a/0", 0, True, (to_person(full_person(0)),)),))]
  pred = [Video("a", (Frame("a/0", 0, True, (bare, wrong)),))]
  got = ap.average_precision(truth, pred, skeleton=SKELETON)
  assert set(got.ap.values()) == {50.0}


def test_a_joint_nowhere_labelled_is_null_and_not_in_the_mean():
  person = full_person(0)
  pose = full_person(0)
  for name in ("head_top", "left_hip", "right_hip"):
    del person["joints"][name]
  pose["joints"]["right_knee"] = (-999.0, 0.0)
  got = measure([person], [pose])
  table = dataclasses.asdict(got)
  for metric in ("ap", "precision", "recall"):
    assert table[metric]["head_top"] is None
    assert table[metric]["total"] == pytest.approx(100 * 11 / 12)
  assert table["ap_groups"]["hip"] is None
  assert table["ap_groups"]["head"] == 100
  assert table["ap_groups"]["knee"] == 50
  json.dumps(table, allow_nan=False)


def one_frame(people, **more):
  return [
    Video("a", (Frame("a/0", 0, **{"labelled": True, **more}, people=people),))
  ]


def test_frames_that_count_and_frames_that_do_not():
  person = to_person(full_person(0))
  bare = dataclasses.replace(person, labelled=np.zeros(17, bool))
  measure_ = matching.counts
  assert measure_(Frame("x", 0, True, (person,)))
  assert measure_(Frame("x", 0, False, (person,)))
  assert measure_(Frame("x", 0, True, (bare,)))
  assert not measure_(Frame("x", 0, False, (bare,)))
  assert not measure_(Frame("x", 0, True))


def test_predictions_where_nobody_is_left_are_false_positives():
  # All of the truth of one frame is ignored, the prediction is elsewhere.
  person = to_person(full_person(0))
  region = np.array([[-9, -9], [999, -9], [999, 999], [-9, 999.0]])
  hidden = Frame("a/1", 1, True, (person,), (region,))
  truth = [Video("a", (Frame("a/0", 0, True, (person,)), hidden))]
  pred = [
    Video(
      "a",
      (
        Frame("a/0", 0, True, (to_person(full_person(0, 0.1)),)),
        Frame("a/1", 1, True, (to_person(full_person(5000, 0.9)),)),
      ),
    )
  ]
  got = ap.average_precision(truth, pred, skeleton=SKELETON)
  assert set(got.ap.values()) == {50.0}
  assert set(got.recall.values()) == {100.0}


def test_errors_name_the_place():
  person = to_person(full_person(0))
  truth = one_frame((person, dataclasses.replace(person, head_box=None)))
  with pytest.raises(ValueError, match=r"a: a/0: person 1 .*no head box"):
    ap.average_precision(truth, truth, skeleton=SKELETON)
  nan = one_frame((dataclasses.replace(person, scores=np.full(17, np.nan)),))
  with pytest.raises(ValueError, match="a: a/0: a predicted joint's score"):
    ap.average_precision(one_frame((person,)), nan, skeleton=SKELETON)
  with pytest.raises(ValueError, match="nobody is annotated"):
    ap.average_precision(one_frame(()), one_frame(()), skeleton=SKELETON)
  with pytest.raises(ValueError, match="a has no prediction"):
    ap.average_precision(one_frame((person,)), [], skeleton=SKELETON)


def test_a_person_without_joints_needs_no_head_box():
  person = to_person(full_person(0))
  bare = dataclasses.replace(person, labelled=np.zeros(17, bool), head_box=None)
  truth = one_frame((bare, person))
  got = ap.average_precision(truth, truth, skeleton=SKELETON)
  assert set(got.ap.values()) == {100.0}
