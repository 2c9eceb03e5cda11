import collections
import dataclasses
import itertools
import json
import math
import pathlib
import runpy

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st

from diffpose_jax.data import annotations
from diffpose_jax.data.annotations import Frame, Person, Video
from diffpose_jax.evaluation import matching, tracks
from diffpose_jax.evaluation.metrics import hota
from diffpose_jax.pose import skeleton

# Five joints, of which three are judged, in another order.
SKELETON = dataclasses.replace(
  skeleton.POSETRACK,
  joints=("nose", "ear", "hip", "knee", "ankle"),
  evaluated=(4, 0, 2),
  groups=(("head", (0, 1)), ("leg", (2, 4))),
)
JOINTS = ("ankle", "nose", "hip")
HEAD = np.array([0, 0, 30, 40], float)  # diagonal 50: a head size is 30
THRESHOLDS = [i / 20 for i in range(1, 20)]
NAMES = (
  "hota", "deta", "assa", "fraga", "detre", "detpr", "assre", "asspr", "loca",
  "fahota",
)  # fmt: skip
REFERENCE = pathlib.Path(__file__).with_name("hota_reference.json")


def person(track, points):
  """A person with these of the five joints; None: not there."""
  there = np.array([point is not None for point in points])
  return Person(
    box=None,
    joints=np.array([point or (0, 0) for point in points], float),
    labelled=there,
    track_id=track,
    head_box=HEAD,
    scores=np.ones(5),
  )


def at(track, x, y=50.0):
  """A person with all joints in a column."""
  return person(track, [(x, y + 200 * i) for i in range(5)])


def video(name, frames):
  """A video of lists of people, every frame labelled."""
  return Video(
    name,
    tuple(
      Frame(f"{name}/{i}.jpg", i, True, tuple(people))
      for i, people in enumerate(frames)
    ),
  )


def judge(truth, predictions, **rules):
  if not isinstance(truth[0], Video):
    truth, predictions = [video("a", truth)], [video("a", predictions)]
  case = matching.Case.of(truth, predictions, skeleton=SKELETON, **rules)
  return hota.measure(case)["hota"]


def scene(rng):
  """Random videos of both sides: switches, misses, strangers, gaps."""
  sides = [], []
  for name in "cab"[: rng.integers(1, 4)]:
    frames = [], []
    names = rng.permutation(9).tolist()
    absent = rng.random(5) < 0.2
    for i in range(rng.integers(2, 9)):
      labelled = bool(i == 1 or rng.random() < 0.9)
      if rng.random() < 0.3:
        names = rng.permutation(9).tolist()
      people = [
        jittered(rng, int(p), p, 5, absent)
        for p in rng.permutation(4)[: rng.choice([0, 2, 3, 4])]
      ]
      poses = [
        jittered(rng, names[p], p, rng.choice([3, 9]), absent)
        for p in rng.permutation(5)[: rng.choice([0, 2, 3, 4])]
      ]
      regions = (np.array([(0, 0), (60, 0), (60, 999), (0, 999)], float),)
      regions = regions if rng.random() < 0.2 else ()
      frames[0].append(Frame(f"{i}", i, labelled, tuple(people), regions))
      frames[1].append(Frame(f"{i}", i, True, tuple(poses)))
    for side, made in zip(sides, frames, strict=True):
      side.append(Video(name, tuple(made)))
  return sides


def jittered(rng, track, place, spread, absent):
  """A person near one of the places, some of which cross the left edge."""
  points = [(8 + 13 * place, 50 + 200 * i) for i in range(5)]
  return person(
    track,
    [
      tuple(rng.normal(point, spread))
      if not gone and rng.random() < 0.8
      else None
      for point, gone in zip(points, absent, strict=True)
    ],
  )


def plain(truth, predictions, kit):
  """The rules of the module, one video, joint and threshold at a time."""
  videos = []
  for true in truth:
    (other,) = [one for one in predictions if one.name == true.name]
    pairs = zip(true.frames, other.frames, strict=True)
    frames = [seen(*pair, kit) for pair in pairs if pair[0].labelled]
    videos.append(
      [[plain_video(frames, j, a, kit) for a in THRESHOLDS] for j in JOINTS]
    )
  result = {name: {} for name in NAMES}
  labelled = {}
  for column, joint in enumerate((*JOINTS, "total")):
    chosen = range(3) if joint == "total" else [column]
    values = []
    for a in range(19):
      some = [[one[j][a] for j in chosen] for one in videos]
      values.append(combined(some, kit))
      labelled[joint] = any(n["labelled"] for one in some for n in one)
    for name in NAMES:
      mean = 100 * sum(value[name] for value in values) / 19
      result[name][joint] = mean if kit or labelled[joint] else None
  return result


def seen(frame, other, kit):
  """The joints of both sides, and whether anybody is left there."""
  hidden = bool(frame.ignore_regions)
  result = []
  for people in (frame.people, other.people):
    found, left = {j: {} for j in JOINTS}, set()
    for i, one in enumerate(people):
      for joint in JOINTS:
        x, y = one.joints[SKELETON.joints.index(joint)]
        there = one.labelled[SKELETON.joints.index(joint)]
        inside = hidden and 0 < x < 60 and 0 < y < 999
        if there and not inside and not (kit and (x <= 0 or y <= 0)):
          found[joint][one.track_id] = (x, y)
          left.add(i)
    result.append((found, bool(left if hidden else people)))
  return result


def plain_video(frames, joint, threshold, kit):
  n = collections.defaultdict(float)
  matches, times, runs, last = [], [{}, {}], collections.Counter(), {}
  whole = [sum(len(frame[s][0][joint]) for frame in frames) for s in (0, 1)]
  somebody = all(any(frame[s][1] for frame in frames) for s in (0, 1))
  for t, (people_side, poses_side) in enumerate(frames):
    people, poses = people_side[0][joint], poses_side[0][joint]
    for side, ids in zip(times, (people, poses), strict=True):
      for one in ids:
        side.setdefault(one, set()).add(t)
    n["labelled"] += len(people)
    if kit and somebody and not people_side[1]:
      n["false"] += whole[1]
      continue
    if kit and somebody and not poses_side[1]:
      n["missed"] += whole[0]
      continue
    similar = {
      (p, q): 1 - math.dist(people[p], poses[q]) / 30 / 0.5001
      for p in people
      for q in poses
      if math.dist(people[p], poses[q]) / 30 < 0.5001
    }
    right = [
      pair for pair in best(similar, list(people)) if similar[pair] >= threshold
    ]
    n["right"] += len(right)
    n["missed"] += len(people) - len(right)
    n["false"] += len(poses) - len(right)
    for p, q in right:
      matches.append((p, q))
      n["loca"] += similar[p, q]
      if last.get(p) != q:
        runs[p, "run"] += 1
      last[p] = q
      runs[p, q, runs[p, "run"]] += 1
  for p, q in matches:
    common = matches.count((p, q))
    mine, its = len(times[0][p]), len(times[1][q])
    either = mine + its - common
    n["assa"] += common / either
    n["assre"] += common / mine
    n["asspr"] += common / its
  for key, length in runs.items():
    if len(key) == 3:
      p, q, _ = key
      common = matches.count((p, q))
      n["fraga"] += length**2 / (len(times[0][p]) + len(times[1][q]) - common)
  return n


def best(similar, people):
  """The matching with the largest sum, by trying all."""
  choices = [[None, *(q for p, q in similar if p == one)] for one in people]
  found = []
  for poses in itertools.product(*choices):
    some = [q for q in poses if q is not None]
    if len(set(some)) == len(some):
      pairs = [c for c in zip(people, poses, strict=True) if c[1] is not None]
      found.append((sum(similar[pair] for pair in pairs), pairs))
  return max(found, key=lambda one: one[0])[1]


def combined(videos, kit):
  """Values at one threshold, of lists of counts of joints."""
  right, missed, false = (
    sum(n[key] for one in videos for n in one)
    for key in ("right", "missed", "false")
  )
  result = {
    "detre": right / max(1, right + missed),
    "detpr": right / max(1, right + false),
    "deta": right / max(1, right + missed + false),
  }
  for key in ("assa", "assre", "asspr", "fraga", "loca"):
    none = 1.0 if key == "loca" else 0.0
    total = 0.0
    for one in videos:
      there = [n for n in one if kit or n["right"] + n["missed"] + n["false"]]
      if there:
        means = [n[key] / n["right"] if n["right"] else none for n in there]
        total += sum(means) / len(means) * sum(n["right"] for n in one)
    result[key] = total / right if right else none
  result["hota"] = math.sqrt(result["deta"] * result["assa"])
  result["fahota"] = math.sqrt(
    result["deta"] * math.sqrt(result["assa"] * result["fraga"])
  )
  return result


@pytest.mark.parametrize("kit", [False, True])
@pytest.mark.parametrize("seed", range(20))
def test_agrees_with_a_slow_reference_on_random_tracks(seed, kit):
  truth, predictions = scene(np.random.default_rng(seed))
  got = judge(truth, predictions, posetrack21_compatible=kit)
  want = plain(truth, predictions, kit)
  assert tuple(got) == NAMES
  for name, values in want.items():
    assert list(got[name]) == list(values)
    for joint, value in values.items():
      if value is None:
        assert got[name][joint] is None
      else:
        assert got[name][joint] == pytest.approx(value, abs=1e-9), (name, joint)


def plain_scene(sequences):
  """A scene of given ids and similarities, of one joint."""
  sides, pairs, video, time, starts = ([], []), [], [], [], [0, 0]
  for number, one in enumerate(sequences):
    frames = zip(one["people"], one["poses"], one["similarities"], strict=True)
    for t, (people, poses, similarity) in enumerate(frames):
      for side, ids in zip(sides, (people, poses), strict=True):
        side += [(len(video), 7 * number + i) for i in ids]
      values = np.array(similarity).reshape(len(people), len(poses))
      for p, q in np.argwhere(values > 0):
        pairs.append((starts[0] + p, starts[1] + q, 0, values[p, q]))
      starts = [len(side) for side in sides]
      video.append(number)
      time.append(t)
  people, poses = (
    tracks.Side(
      frame=np.array([frame for frame, _ in side]),
      track=np.unique([track for _, track in side], return_inverse=True)[1],
      there=np.ones((len(side), 1), bool),
      empty=np.zeros(len(video), bool),
    )
    for side in sides
  )
  columns = [np.array(column) for column in zip(*pairs, strict=True)]
  return tracks.Scene(
    people, poses, tracks.Pairs(*columns), np.array(video), np.array(time)
  )


def check_trackeval(case):
  scene = plain_scene(case["sequences"])
  got = hota.percentages(hota.add_up(scene, aligned=True), every_joint=False)
  for field, values in case["expected"].items():
    want = 100 * np.mean(values)
    assert got[field.lower()][0] == pytest.approx(want, abs=1e-9), field


@pytest.mark.parametrize("number", range(3))
def test_agrees_with_trackeval_when_it_matches_as_that_does(number):
  check_trackeval(json.loads(REFERENCE.read_text())[number])


def test_agrees_with_trackeval_itself():
  pytest.importorskip("trackeval", reason="trackeval is absent")
  script = runpy.run_path(str(REFERENCE.with_name("make_hota_reference.py")))
  case = json.loads(REFERENCE.read_text())[1]
  for field, values in script["judged"](case["sequences"]).items():
    assert values == pytest.approx(case["expected"][field], abs=1e-12)
  for seed in range(100, 120):
    check_trackeval(script["reference"](seed, sequences=3))


@hypothesis.settings(deadline=None, max_examples=30)
@hypothesis.given(st.integers(0, 2**32))
def test_truth_as_prediction_is_100(seed):
  truth, _ = scene(np.random.default_rng(seed))
  got = judge(truth, truth)
  for values in got.values():
    for value in values.values():
      assert value is None or value == pytest.approx(100, abs=1e-9)


@hypothesis.settings(deadline=None, max_examples=20)
@hypothesis.given(st.integers(0, 2**32), st.booleans())
def test_other_names_of_tracks_change_nothing(seed, kit):
  rng = np.random.default_rng(seed)
  truth, predictions = scene(rng)

  def renamed(videos):
    result = []
    for one in videos:
      names = rng.permutation(10**6)[:9].tolist()
      frames = [
        dataclasses.replace(
          frame,
          people=tuple(
            dataclasses.replace(p, track_id=names[p.track_id])
            for p in frame.people
          ),
        )
        for frame in one.frames
      ]
      result.append(Video(one.name, tuple(frames)))
    return result

  first = judge(truth, predictions, posetrack21_compatible=kit)
  again = judge(
    renamed(truth), renamed(predictions), posetrack21_compatible=kit
  )
  for name, values in first.items():
    assert again[name] == pytest.approx(values, abs=1e-9)


def test_real_truth_as_prediction_is_100(shared_data):
  truth = annotations.read_folder(
    shared_data / "poseval_reference" / "gt",
    skeleton=skeleton.POSETRACK,
    dtype=np.float64,
    style="results",
  )
  case = matching.Case.of(truth, truth, skeleton=skeleton.POSETRACK)
  for values in hota.measure(case)["hota"].values():
    for value in values.values():
      assert value == pytest.approx(100, abs=1e-9)
  # The kit's own total is below 100: in a video's mean over joints, those that
  # are nowhere in it are 0. Here that is the nose, one of 15.
  kit = dataclasses.replace(
    case.only("000448169_bonn_train"), posetrack21_compatible=True
  )
  total = hota.measure(kit)["hota"]
  assert total["assa"]["total"] == pytest.approx(100 * 14 / 15)
  assert total["deta"]["total"] == pytest.approx(100)


def test_a_switch_by_hand():
  truth = [[at(0, 50)]] * 6
  got = judge(truth, [[at(3, 50)]] * 2 + [[at(4, 50)]] * 4)
  # All six are right. Two share 2 of 6 frames, four share 4 of 6.
  assert set(got["deta"].values()) == {100}
  assert got["assa"]["hip"] == pytest.approx(100 * (2 * 2 + 4 * 4) / 36)
  assert got["assre"]["hip"] == pytest.approx(got["assa"]["hip"])
  assert got["asspr"]["hip"] == pytest.approx(100)
  assert got["hota"]["hip"] == pytest.approx(100 * math.sqrt(20 / 36))
  assert got["fraga"] == pytest.approx(got["assa"])
  # There and back again: three stretches of two frames each.
  poses = [[at(3, 50)]] * 2 + [[at(4, 50)]] * 2 + [[at(3, 50)]] * 2
  back = judge(truth, poses)
  assert back["assa"]["hip"] == pytest.approx(got["assa"]["hip"])
  assert back["fraga"]["hip"] == pytest.approx(100 * 3 * 4 / 36)


def test_localisation_by_hand():
  # 6 pixels are 0.2 head sizes: similar by 1 - 0.2 / 0.5001 = 0.60008.
  got = judge([[at(0, 50)]] * 3, [[at(0, 56)]] * 3)
  similar = 1 - 0.2 / 0.5001
  # Right at the thresholds 0.05 to 0.60, which are 12 of 19.
  assert got["hota"]["nose"] == pytest.approx(100 * 12 / 19)
  # Where nothing is right the mean similarity is called 1.
  assert got["loca"]["nose"] == pytest.approx(100 * (12 * similar + 7) / 19)


def test_frames_without_poses_by_hand():
  truth = [[at(0, 50)]] * 5
  poses = [truth[0]] * 4 + [[]]
  assert judge(truth, poses)["detre"]["hip"] == pytest.approx(80)
  # The kit adds all five joints of the video to the misses, for one.
  kit = judge(truth, poses, posetrack21_compatible=True)
  assert kit["detre"]["hip"] == pytest.approx(100 * 4 / 9)
  kit = judge(poses, truth, posetrack21_compatible=True)
  assert kit["detpr"]["hip"] == pytest.approx(100 * 4 / 9)
  assert judge(poses, truth)["detpr"]["hip"] == pytest.approx(80)


def test_frames_that_are_not_labelled_are_left_out():
  truth, poses = video("a", [[at(0, 50)]] * 3), video("a", [[at(0, 50)]] * 3)
  frames = list(truth.frames)
  frames[1] = dataclasses.replace(frames[1], labelled=False)
  wrong = list(poses.frames)
  wrong[1] = dataclasses.replace(wrong[1], people=(at(-1, 5),))
  got = judge([Video("a", tuple(frames))], [Video("a", tuple(wrong))])
  assert list(got["hota"].values()) == [pytest.approx(100)] * 4


def test_videos_of_one_side_only_count():
  one, two = [[at(0, 50)]] * 3, [[]] * 3
  got = judge(
    [video("a", one), video("b", one), video("c", two)],
    [video("a", one), video("b", two), video("c", one)],
  )
  assert got["deta"]["hip"] == pytest.approx(100 / 3)
  assert got["assa"]["hip"] == pytest.approx(100)


def test_a_joint_nowhere_labelled():
  bare = [None, None, (50, 50), (50, 90), (50, 130)]
  truth, poses = [[person(0, bare)]] * 3, [[person(0, bare)]] * 3
  got = judge(truth, poses)
  assert {values["nose"] for values in got.values()} == {None}
  totals = [values["total"] for values in got.values()]
  assert totals == [pytest.approx(100)] * len(NAMES)
  kit = judge(truth, poses, posetrack21_compatible=True)
  assert kit["hota"]["nose"] == 0 and kit["loca"]["nose"] == 100


def test_bad_tracks_are_named():
  good = [at(0, 50)]
  with pytest.raises(ValueError, match="a: a/1.jpg: person 0 of the pred"):
    judge([good] * 3, [good, [at(-1, 50)], good])
  with pytest.raises(ValueError, match="a: a/1.jpg: track_id 4 is there twice"):
    judge([good, [at(4, 50), at(4, 90)], good], [good] * 3)
  none = Video("a", (Frame("a/0.jpg", 0, False, (at(0, 50),)),))
  with pytest.raises(ValueError, match="no frame of the ground truth is label"):
    judge([none], [none])


def test_tables():
  result = {"hota": judge([[at(0, 50)]] * 3, [[at(0, 50)]] * 3)}
  (table,) = hota.tables(result)
  titles = [
    "HOTA", "DetA", "AssA", "FragA", "DetRe", "DetPr", "AssRe", "AssPr", "LocA",
    "FA-HOTA",
  ]  # fmt: skip
  assert list(table.rows["total"]) == titles
  json.dumps(result, allow_nan=False)
