import collections
import dataclasses
import itertools
import json
import math

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st

from diffpose_jax.data import annotations
from diffpose_jax.data.annotations import Frame, Person, Video
from diffpose_jax.evaluation import matching, metric
from diffpose_jax.evaluation.metrics import mota
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
NAMES = ("mota", "motp", "pre", "rec")


def person(track, points, head=True):
  """A person with these of the five joints; None: not there."""
  there = np.array([point is not None for point in points])
  return Person(
    box=None,
    joints=np.array([point or (0, 0) for point in points], float),
    labelled=there,
    track_id=track,
    head_box=HEAD if head else None,
    scores=np.ones(5),
  )


def at(track, x, y=50.0):
  """A person with all joints in a column."""
  return person(track, [(x, y + 200 * i) for i in range(5)])


def video(name, frames):
  """A video of lists of people."""
  return Video(
    name,
    tuple(
      Frame(f"{name}/{i}.jpg", i, bool(people), tuple(people))
      for i, people in enumerate(frames)
    ),
  )


def judge(truth, predictions, **rules):
  if not isinstance(truth[0], Video):
    truth, predictions = [video("a", truth)], [video("a", predictions)]
  case = matching.Case.of(truth, predictions, skeleton=SKELETON, **rules)
  return mota.measure(case)


def scene(rng):
  """Random videos of both sides: switches, misses, strangers, gaps."""
  sides = [], []
  for name in "cab"[: rng.integers(1, 4)]:
    frames = [], []
    names = rng.permutation(9).tolist()
    for i in range(rng.integers(3, 15)):
      labelled = bool(i == 1 or rng.random() < 0.9)
      sizes = [2, 3, 4] if i == 1 else [0, 2, 3, 4]
      crowd = rng.permutation(4)[: rng.choice(sizes)] if labelled else []
      if rng.random() < 0.3:
        names = rng.permutation(9).tolist()
      people = [jittered(rng, int(p), p, 5) for p in crowd]
      poses = [
        jittered(rng, names[p], p, rng.choice([3, 12]))
        for p in rng.permutation(5)[: rng.choice([0, 2, 3, 4])]
      ]
      regions = (np.array([(0, 0), (60, 0), (60, 999), (0, 999)], float),)
      regions = regions if rng.random() < 0.2 else ()
      frames[0].append(Frame(f"{i}", i, labelled, tuple(people), regions))
      frames[1].append(Frame(f"{i}", i, True, tuple(poses)))
    for side, made in zip(sides, frames, strict=True):
      side.append(Video(name, tuple(made)))
  return sides


def jittered(rng, track, place, spread):
  """A person near one of the places, which are less than half a head size apart."""
  places = [(50 + 12 * place, 50 + 200 * i) for i in range(5)]
  return person(
    track,
    [
      tuple(rng.normal(point, spread)) if rng.random() < 0.8 else None
      for point in places
    ],
  )


def plain(truth, predictions, poseval):
  """The rules of the module, one joint, frame and person at a time."""
  totals = {j: collections.Counter() for j in JOINTS}
  for true in truth:
    (other,) = [v for v in predictions if v.name == true.name]
    frames = [
      pair
      for pair in zip(true.frames, other.frames, strict=True)
      if pair[0].people
    ]
    for joint in JOINTS:
      plain_video(frames[:-1] if poseval else frames, joint, poseval, totals)
  result = {name: {} for name in NAMES}
  for joint, n in totals.items():
    wrong = n["objects"] + n["hypotheses"] - 2 * n["matches"] + n["switches"]
    predicted, objects = n["hypotheses"], n["objects"]
    result["mota"][joint] = 100 * (1 - wrong / objects) if objects else None
    result["rec"][joint] = 100 * n["matches"] / objects if objects else None
    known = predicted and (objects or poseval)
    result["pre"][joint] = 100 * n["matches"] / predicted if known else None
    result["motp"][joint] = 0 if poseval else None
    if n["matches"]:
      result["motp"][joint] = 100 * (1 - n["distance"] / n["matches"])
  for values in result.values():
    known = [value for value in values.values() if value is not None]
    values["total"] = sum(known) / len(known) if known else None
  return result


def plain_video(frames, joint, poseval, totals):
  last, owner = {}, {}
  n = totals[joint]
  channel = SKELETON.joints.index(joint)
  for frame, other in frames:
    hidden = bool(frame.ignore_regions)

    def seen(people, hidden=hidden):
      found = {}
      for one in people:
        x, y = one.joints[channel]
        if one.labelled[channel] and not (
          hidden and 0 < x < 60 and 0 < y < 999
        ):
          found[one.track_id] = (x, y)
      return found

    def left(people, hidden=hidden):
      if not hidden:
        return len(people)
      return sum(
        one.labelled[c] and not (0 < one.joints[c, 0] < 60)
        for one in people
        for c in SKELETON.evaluated
      )

    if poseval and not (left(frame.people) and left(other.people)):
      n["objects"] += 1
      n["hypotheses"] += 1
      continue
    people, poses = seen(frame.people), seen(other.people)
    n["objects"] += len(people)
    n["hypotheses"] += len(poses)
    near = {
      (p, q): math.dist(people[p], poses[q]) / 30
      for p in people
      for q in poses
      if math.dist(people[p], poses[q]) / 30 <= 0.5
    }
    if poseval:
      n["distance"] += sum(near.values())
    kept = {}
    for p in people:
      if (p, last.get(p)) in near and last[p] not in kept.values():
        kept[p] = last[p]
    rest = {
      (p, q): d
      for (p, q), d in near.items()
      if p not in kept and q not in kept.values()
    }
    new = best(rest, [p for p in people if p not in kept])
    for p, q in new.items():
      switch, taken = p in last, q in owner and owner[q] != p
      n["switches"] += switch
      events = (switch and q not in owner) + taken + (taken and p not in last)
      n["distance"] += events * near[p, q] if poseval else 0
    for p, q in (kept | new).items():
      n["matches"] += 1
      n["distance"] += near[p, q]
    last |= new
    owner |= {q: p for p, q in new.items()}


def best(near, people):
  """The largest matching with the smallest sum, by trying all."""
  choices = [[None, *(q for p, q in near if p == one)] for one in people]
  found = []
  for poses in itertools.product(*choices):
    some = [q for q in poses if q is not None]
    if len(set(some)) == len(some):
      chosen = {
        p: q for p, q in zip(people, poses, strict=True) if q is not None
      }
      found.append((-len(chosen), sum(near[c] for c in chosen.items()), chosen))
  return min(found, key=lambda one: one[:2])[2]


def same(got, want, tolerance=1e-9):
  assert set(got) == set(want)
  for name, values in want.items():
    assert list(got[name]) == list(values)
    for joint, value in values.items():
      if value is None:
        assert got[name][joint] is None, (name, joint)
      else:
        assert abs(got[name][joint] - value) <= tolerance, (name, joint)


@pytest.mark.parametrize("poseval", [True, False])
@pytest.mark.parametrize("seed", range(40))
def test_agrees_with_a_slow_reference_on_random_tracks(seed, poseval):
  truth, predictions = scene(np.random.default_rng(seed))
  got = judge(truth, predictions, poseval_compatible=poseval)["tracking"]
  want = plain(truth, predictions, poseval)
  same(got, want)


def test_the_random_tracks_have_everything():
  """Else the test above would say little."""
  seen = collections.Counter()
  for seed in range(40):
    truth, predictions = scene(np.random.default_rng(seed))
    totals = {j: collections.Counter() for j in JOINTS}
    for true in truth:
      (other,) = [v for v in predictions if v.name == true.name]
      pairs = zip(true.frames, other.frames, strict=True)
      frames = [pair for pair in pairs if pair[0].people]
      seen["empty"] += sum(not pair[1].people for pair in frames)
      plain_video(frames, "hip", False, totals)
    seen += totals["hip"]
  assert seen["switches"] > 50 and seen["matches"] > 400 and seen["empty"] > 40


@pytest.mark.parametrize("seed", range(20))
def test_agrees_with_motmetrics(seed):
  motmetrics = pytest.importorskip("motmetrics", reason="motmetrics is absent")
  rng = np.random.default_rng(100 + seed)
  frames = 11, 7, 6
  ids, spots = rng.permutation(8)[:7], rng.uniform(0, 60, (7, 2))
  truth, predictions = [], []
  for _ in range(frames[0]):
    spots = spots + rng.normal(0, 4, spots.shape)
    people = [p for p in range(7) if rng.random() < 0.8] or [0]
    poses = [p for p in range(7) if rng.random() < 0.8] or [1]
    if rng.random() < 0.3:
      ids = rng.permutation(8)[:7]
    truth.append([at(p, *spots[p]) for p in people])
    predictions.append(
      [at(int(ids[p]), *(spots[p] + rng.normal(0, 5, 2))) for p in poses]
    )
  got = judge(truth, predictions)["tracking"]
  tool = motmetrics.MOTAccumulator(auto_id=True)
  for people, poses in list(zip(truth, predictions, strict=True))[:-1]:
    apart = [
      [np.linalg.norm(one.joints[0] - other.joints[0]) / 30 for other in poses]
      for one in people
    ]
    tool.update(
      [one.track_id for one in people],
      [other.track_id for other in poses],
      np.where(np.array(apart) <= 0.5, apart, np.nan),
    )
  names = ["num_misses", "num_switches", "num_false_positives", "num_objects"]
  names.append("num_detections")
  n = motmetrics.metrics.create().compute(
    tool, metrics=names, return_dataframe=False
  )
  wrong = sum(n[name] for name in names[:3])
  matches = n["num_detections"]
  assert n["num_switches"] > 0
  want = {
    "mota": 1 - wrong / n["num_objects"],
    "motp": 1 - np.nansum(tool.events["D"]) / matches,
    "pre": matches / (matches + n["num_false_positives"]),
    "rec": matches / n["num_objects"],
  }
  for name, value in want.items():
    for joint in JOINTS:  # all joints of a person are moved alike
      assert got[name][joint] == pytest.approx(100 * value, abs=1e-9)


def test_agrees_with_poseval(shared_data):
  folder = shared_data / "poseval_reference"
  want = json.loads((folder / "expected.json").read_text())["tracking"]
  truth, predictions = (
    annotations.read_folder(
      folder / side,
      skeleton=skeleton.POSETRACK,
      dtype=np.float64,
      style="results",
    )
    for side in ("gt", "pred")
  )
  case = matching.Case.of(truth, predictions, skeleton=skeleton.POSETRACK)
  got = mota.measure(case)
  same(got["tracking"], want, 1e-6)
  json.dumps(got, allow_nan=False)
  # Videos of one frame are not in the reference: their last frame is left out.
  short = [one.name for one in truth if len(one.frames) == 1]
  assert len(short) == 3
  for name in short:
    values = mota.measure(case.only(name))["tracking"].values()
    assert {value for table in values for value in table.values()} == {None}


def test_real_truth_as_prediction(shared_data):
  truth = annotations.read_folder(
    shared_data / "poseval_reference" / "gt",
    skeleton=skeleton.POSETRACK,
    dtype=np.float64,
    style="results",
  )
  case = matching.Case.of(truth, truth, skeleton=skeleton.POSETRACK)
  table = mota.measure(case)["tracking"]
  plain_case = dataclasses.replace(case, poseval_compatible=False)
  clear = mota.measure(plain_case)["tracking"]
  for name in NAMES:
    assert set(clear[name].values()) == {100.0}
    if name != "motp":
      # The nose is nowhere labelled in the videos of several frames.
      assert {k for k, v in table[name].items() if v != 100} == {"nose"}
      assert table[name]["nose"] is None
  # poseval's own MOTP of the truth is below 100: people who walk close to each
  # other have joints within half a head size, and all of these distances are
  # in its sum. A joint that is nowhere labelled has 0.
  assert table["motp"]["nose"] == 0
  assert 80 < table["motp"]["total"] < 95
  bonn = mota.measure(case.only("002164179_bonn_train"))["tracking"]["motp"]
  assert {v for k, v in bonn.items() if k not in ("nose", "total")} == {100.0}
  assert bonn["total"] == pytest.approx(100 * 14 / 15)


def test_truth_where_everybody_is_ignored_is_not_100_for_poseval():
  region = (np.array([(-9, -9), (999, -9), (999, 9999), (-9, 9999)], float),)
  frames = [Frame(f"{i}", i, True, (at(0, 40),)) for i in range(4)]
  frames[1] = dataclasses.replace(frames[1], ignore_regions=region)
  truth = [Video("a", tuple(frames))]
  # Three frames are judged; the one of the region is one miss and one false
  # positive of people who do not exist.
  got = judge(truth, truth)["tracking"]
  assert got["mota"]["hip"] == pytest.approx(100 * (1 - 2 / 3))
  assert got["rec"]["hip"] == got["pre"]["hip"] == pytest.approx(200 / 3)
  clear = judge(truth, truth, poseval_compatible=False)["tracking"]
  assert {v for values in clear.values() for v in values.values()} == {100.0}


@hypothesis.settings(deadline=None, max_examples=30)
@hypothesis.given(st.integers(0, 2**32))
def test_truth_as_prediction_is_100(seed):
  truth, _ = scene(np.random.default_rng(seed))
  got = judge(truth, truth, poseval_compatible=False)["tracking"]
  assert {v for values in got.values() for v in values.values()} <= {
    100.0,
    None,
  }


@hypothesis.settings(deadline=None, max_examples=30)
@hypothesis.given(st.integers(0, 2**32), st.booleans())
def test_other_names_of_tracks_change_nothing(seed, poseval):
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

  first = judge(truth, predictions, poseval_compatible=poseval)
  again = judge(
    renamed(truth), renamed(predictions), poseval_compatible=poseval
  )
  assert first == again


def test_a_switch_by_hand():
  truth = [[at(7, 50), at(8, 500)]] * 5
  poses = [[at(1, 53), at(2, 500)]] * 2 + [[at(2, 53), at(1, 500)]] * 3
  got = judge(truth, poses, poseval_compatible=False)["tracking"]
  # Both people change their track once; of 10 joints none is missed.
  assert set(got["mota"].values()) == {80.0}
  assert set(got["pre"].values()) == set(got["rec"].values()) == {100.0}
  # One of the two is 3 pixels off, a tenth of a head size.
  for value in got["motp"].values():
    assert value == pytest.approx(95)


def test_a_track_that_comes_back_is_no_switch_and_a_nearer_one_no_reason():
  truth = [[at(7, 50)]] * 6
  poses = [
    [at(1, 50)],
    [],
    [at(1, 60), at(2, 50)],
    [],
    [at(2, 50)],
    [at(1, 50)],
  ]
  got = judge(truth, poses, poseval_compatible=False)["tracking"]
  # Two misses, one false positive, and switches to 2 and back to 1.
  assert got["mota"]["hip"] == pytest.approx(100 * (1 - 5 / 6))


def test_the_last_frame_that_counts_is_left_out_for_poseval_alone():
  truth = [[at(0, 50)], [at(0, 50)], [at(0, 50)], []]
  poses = [[at(0, 50)], [at(0, 50)], [at(0, 900)], [at(3, 50)]]
  got = judge(truth, poses)["tracking"]
  assert {
    v for name in NAMES if name != "motp" for v in got[name].values()
  } == {100.0}
  clear = judge(truth, poses, poseval_compatible=False)["tracking"]
  for value in (*clear["rec"].values(), *clear["pre"].values()):
    assert value == pytest.approx(200 / 3)


def test_no_poses_in_a_frame_by_hand():
  truth = [[at(0, 50), at(1, 500)]] * 4
  poses = [truth[0], [], truth[0], truth[0]]
  # poseval: of frames 0 to 2, 2 + 1 + 2 people, one missed, one false.
  got = judge(truth, poses)["tracking"]
  assert got["mota"]["nose"] == pytest.approx(100 * (1 - 2 / 5))
  assert got["pre"]["nose"] == got["rec"]["nose"] == pytest.approx(80)
  clear = judge(truth, poses, poseval_compatible=False)["tracking"]
  assert clear["mota"]["nose"] == clear["rec"]["nose"] == 75
  assert clear["pre"]["nose"] == 100


def test_distances_of_all_near_pairs_are_in_the_motp_of_poseval():
  truth = [[at(0, 50), at(1, 56)]] * 3
  poses = [[at(0, 53)]] * 3
  # 3 pixels, 0.1 head sizes, from both people: listed twice, and matched once.
  got = judge(truth, poses)["tracking"]
  assert got["motp"]["hip"] == pytest.approx(70)
  clear = judge(truth, poses, poseval_compatible=False)["tracking"]
  assert clear["motp"]["hip"] == pytest.approx(90)


def test_a_joint_nowhere_labelled():
  bare = [None, None, (50, 50), (50, 90), (50, 130)]
  truth = [[person(0, bare)]] * 3
  got = judge(truth, [[at(0, 50)]] * 3)["tracking"]
  assert [got[name]["nose"] for name in NAMES] == [None, 0, 0, None]
  clear = judge(truth, [[at(0, 50)]] * 3, poseval_compatible=False)["tracking"]
  assert [clear[name]["nose"] for name in NAMES] == [None] * 4
  assert (
    clear["mota"]["total"]
    == (clear["mota"]["hip"] + clear["mota"]["ankle"]) / 2
  )


def test_bad_tracks_are_named():
  good, none, twice = [at(0, 50)], [at(-1, 50)], [at(4, 50), at(4, 90)]
  for side, poses in (("the ground truth", 0), ("the predictions", 1)):
    for people, text in (
      (none, rf"a: a/1.jpg: person 0 of {side} has no track_id"),
      (
        twice,
        rf"a: a/1.jpg: track_id 4 is there twice in {side}, persons 0 and",
      ),
    ):
      sides = [[good] * 3, [good] * 3]
      sides[poses] = [good, people, good]
      with pytest.raises(ValueError, match=text):
        judge(*sides)
  with pytest.raises(ValueError, match="nobody is annotated"):
    judge([[]] * 2, [good] * 2)
  headless = [dataclasses.replace(good[0], head_box=None)]
  with pytest.raises(ValueError, match="a: a/0.jpg: person 0 .*no head box"):
    judge([headless] * 2, [good] * 2)


def test_tables():
  truth = [[at(0, 50)]] * 3
  result = judge(truth, truth)
  assert result["mota_groups"] == {"head": 100, "leg": 100, "total": 100}
  groups, means = mota.tables(result)
  assert isinstance(groups, metric.Table) and groups.groups
  assert groups.rows == {"MOTA": result["mota_groups"]}
  assert means.rows == {"mean": {"MOTP": 100, "precision": 100, "recall": 100}}
