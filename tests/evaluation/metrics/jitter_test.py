import dataclasses
import json
import math

import numpy as np
import pytest

from diffpose_jax.data import annotations
from diffpose_jax.data.annotations import Frame, Person, Video
from diffpose_jax.evaluation import matching, table
from diffpose_jax.evaluation.metrics import jitter
from diffpose_jax.pose import skeleton as skeleton_lib

SKELETON = skeleton_lib.POSETRACK
HEAD_SIZE = 12.0  # of everybody, unless said otherwise
GROUPS = [*(name for name, _ in SKELETON.groups), "total"]
NOSE, LEFT_KNEE = 0, 13
EVERY = np.stack([3.0 * np.arange(17), 7.0 * np.arange(17)], axis=1)


def person(joints, track=5, **more):
  """Someone with those joints, (17, 2), all labelled, and a head box."""
  # Sides 3 : 4 have a diagonal of 5; 0.6 of that is 3.
  head = HEAD_SIZE / 3 * np.array([0, 0, 3, 4])
  fields = {
    "box": np.array([0.0, 0, 60, 130]),
    "joints": np.array(joints, float),
    "labelled": np.ones(17, bool),
    "track_id": track,
    "head_box": head,
    "scores": np.ones(17),
  }
  return Person(**fields | more)


def without(who, *channels):
  labelled = who.labelled.copy()
  labelled[list(channels)] = False
  return dataclasses.replace(who, labelled=labelled)


def case_of(*videos):
  """Of lists of frames (people, poses, name or number, ignore regions)."""
  truth, predictions = [], []
  for v, frames in enumerate(videos):
    sides = [], []
    for i, frame in enumerate(frames):
      people, poses, *more = frame
      name, regions = [*more, *(f"{i:06}", ())[len(more) :]]
      name = f"v{v}/{name}.jpg"
      sides[0].append(Frame(name, i, True, tuple(people), tuple(regions)))
      sides[1].append(Frame(name, i, True, tuple(poses)))
    truth.append(Video(f"v{v}", tuple(sides[0])))
    predictions.append(Video(f"v{v}", tuple(sides[1])))
  return matching.Case.of(truth, predictions, skeleton=SKELETON)


def measure(*videos):
  return jitter.measure(case_of(*videos))["jitter"]


def one(truth, pose, **more):
  """A video of one person: places (t, 17, 2) of the truth and the pose."""
  return [
    ([person(a, **more)], [person(b)]) for a, b in zip(truth, pose, strict=True)
  ]


def test_a_steady_offset_and_the_truth_itself_cost_nothing():
  time = np.arange(7.0)[:, None, None]
  truth = EVERY + np.concatenate([5 * time, 2 * time**2], axis=-1)
  for off in ([0.0, 0], [2.0, -3]):
    got = measure(one(truth, truth + off))
    for unit in ("pixels", "heads"):
      assert list(got["acceleration_error"][unit]) == GROUPS
      assert got["acceleration_error"][unit] == pytest.approx(
        dict.fromkeys(GROUPS, 0.0), abs=1e-12
      )
    assert got["triples"] == {"labelled": 75, "judged": 75, "still": 0}
  # Nothing is still: all move by at least 5 pixels.
  for values in got["still"].values():
    assert values["heads"] == values["pixels"] == dict.fromkeys(GROUPS)


def test_a_pose_that_swings_beside_truth_that_is_still():
  time = np.arange(9.0)
  swing = 2.5 * np.sin(1.1 * time)
  pose = EVERY + np.stack([0 * time, swing], axis=1)[:, None]
  got = measure(one(np.tile(EVERY, (9, 1, 1)), pose))
  pull = np.mean(4 * math.sin(0.55) ** 2 * np.abs(swing[1:-1]))
  # From frame to frame: 2 sin(w / 2) cos(w (t + 1/2)); inner steps count twice.
  steps = 2.5 * 2 * math.sin(0.55) * np.abs(np.cos(1.1 * (time[:-1] + 0.5)))
  walk = np.mean((steps[:-1] + steps[1:]) / 2)
  for unit, size in (("pixels", 1), ("heads", HEAD_SIZE)):
    for values, want in (
      (got["acceleration_error"], pull),
      (got["still"]["acceleration"], pull),
      (got["still"]["movement"], walk),
      (got["still"]["true_acceleration"], 0),
      (got["still"]["true_movement"], 0),
    ):
      assert values[unit] == pytest.approx(
        dict.fromkeys(GROUPS, want / size), abs=1e-12
      )
  assert got["triples"] == {"labelled": 105, "judged": 105, "still": 105}


def test_white_noise_has_its_known_expectation():
  rng = np.random.default_rng(0)
  spread = 0.4
  truth = np.tile(EVERY, (401, 1, 1))
  got = measure(one(truth, truth + rng.normal(0, spread, truth.shape)))
  # 1 + 4 + 1 variances in x and y: Rayleigh, of mean sqrt(6 pi / 2). One step
  # has two. 6000 triples, neighbours depend: 0.01 is about three deviations.
  assert got["acceleration_error"]["pixels"]["total"] == pytest.approx(
    spread * math.sqrt(3 * math.pi), rel=0.02
  )
  assert got["still"]["movement"]["pixels"]["total"] == pytest.approx(
    spread * math.sqrt(math.pi), rel=0.02
  )
  assert got["still"]["acceleration"] == got["acceleration_error"]


def test_gaps_and_missed_people_are_left_out_and_counted():
  still = [([person(EVERY)], [person(EVERY)]) for _ in range(5)]
  assert measure(still)["triples"]["judged"] == 3 * 15
  missed = [*still]
  missed[0] = ([person(EVERY)], [])
  count = measure(missed)["triples"]
  assert count == {"labelled": 45, "judged": 30, "still": 30}
  # In the middle the pose is another's: the nose is not labelled, either.
  away = [*still]
  away[2] = ([without(person(EVERY), NOSE)], [person(EVERY + 99)])
  assert measure(away)["triples"] == {"labelled": 42, "judged": 0, "still": 0}
  # Nobody is annotated in the second frame: one triple of frames is left.
  gone = [*still]
  gone[1] = ([], [person(EVERY)])
  assert measure(gone)["triples"]["labelled"] == 15
  # A knee that is not predicted once, or is in an ignore region once.
  knee = [*still]
  knee[4] = ([person(EVERY)], [without(person(EVERY), LEFT_KNEE)])
  count = measure(knee)["triples"]
  assert count == {"labelled": 45, "judged": 44, "still": 44}
  around = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) + EVERY[LEFT_KNEE]
  hidden = [*still[:4], (*still[4], "000004", [around])]
  assert measure(hidden)["triples"]["labelled"] == 44
  # Of two videos, no triple goes from one to the other.
  assert measure(still[:3], still[:2])["triples"]["labelled"] == 15


def test_frames_that_are_missing_in_the_file_make_a_gap():
  video = [
    ([person(EVERY)], [person(EVERY)], name)
    for name in ("000007", "000008", "000009", "000011", "000012", "000013")
  ]
  assert measure(video)["triples"]["judged"] == 2 * 15


@pytest.mark.parametrize(
  ("names", "want"),
  [
    (("a/1.jpg", "a/2.jpg", "a/3.jpg"), True),
    (("a/0009.jpg", "a/0010.jpg", "a/0011.jpg"), True),
    (("a/1.jpg", "a/2.jpg", "a/4.jpg"), False),
    (("a/4.jpg", "a/8.jpg", "a/12.jpg"), False),
    (("a/x1.png", "a/x2.png", "a/x4.png"), False),
    # These are no numbers of frames.
    (("a/first.jpg", "a/second.jpg", "a/third.jpg"), True),
    (("a/3e1.jpg", "a/4f7.jpg", "a/5a9.jpg"), True),
    (("a/7.jpg", "a/8.jpg", "a/last.jpg"), True),
  ],
)
def test_neighbours_by_their_names(names, want):
  assert jitter.follow(names) is want


def slow_reference(case):
  """Lists of (error, head) for each joint, and of what is still, plainly."""
  errors, still = {}, {}
  for frames in case.videos.values():
    for i in range(len(frames) - 2):
      three = frames[i : i + 3]
      for track in {p.track_id for p in three[0].truth.people} - {-1}:
        for j, channel in enumerate(SKELETON.evaluated):
          true, pose = [], []
          for frame in three:
            for p, who in enumerate(frame.truth.people):
              if who.track_id == track and frame.true_there[p, j]:
                true.append(frame.true_joints[p, j])
                pose += [
                  frame.joints[q, j]
                  for q in range(len(frame.owner))
                  if frame.owner[q] == p and frame.there[q, j]
                ]
                if frame is three[1]:
                  box = who.head_box
          if len(true) < 3 or len(pose) < 3:
            continue
          unit = 0.6 * math.dist(box[:2], box[2:])
          pull_true, pull_pose = (
            [x - 2 * y + z for x, y, z in zip(*places, strict=True)]
            for places in (true, pose)
          )
          error = math.dist(pull_true, pull_pose)
          errors.setdefault(channel, []).append((error, unit))
          far = max(math.dist(x, y) for x in true for y in true)
          if far <= 0.05 * unit:
            walk = math.dist(pose[0], pose[1]) + math.dist(pose[1], pose[2])
            still.setdefault(channel, []).append((walk / 2, unit))
  return errors, still


def group_means(lists):
  """{unit: {group: mean over joints of means}} of a slow reference's lists."""
  table = {"pixels": {}, "heads": {}}
  groups = dict(SKELETON.groups) | {"total": range(17)}
  for name, channels in groups.items():
    for unit in table:
      means = [
        np.mean([v / (h if unit == "heads" else 1) for v, h in lists[c]])
        for c in channels
        if c in lists
      ]
      table[unit][name] = float(np.mean(means)) if means else None
  return table


def random_video(rng):
  """People who come and go in any order, joints and poses missing."""
  frames = []
  places = 150 * rng.random((4, 1, 2)) + EVERY
  pace = rng.choice([0.1, 3.0], (4, 1, 1)) * rng.normal(0, 1, (4, 17, 2))
  for i in range(13):
    people, poses = [], []
    for track in rng.permutation(4):
      if rng.random() < 0.1:
        continue
      size = rng.uniform(0.7, 1.4)
      joints = places[track] + i * pace[track]
      who = person(joints, track=int(track) - 1)  # one has none
      who = dataclasses.replace(who, head_box=size * who.head_box)
      people.append(without(who, 3, 4, *rng.choice(17, rng.integers(0, 3))))
      pose = person(joints + rng.normal(0, 1, (17, 2)), track=-1)
      if rng.random() < 0.95:
        poses.append(without(pose, *rng.choice(17, rng.integers(0, 2))))
    frames.append((people, [poses[k] for k in rng.permutation(len(poses))]))
  return frames


@pytest.mark.parametrize("seed", range(4))
def test_agrees_with_a_slow_reference(seed):
  rng = np.random.default_rng(seed)
  case = case_of(random_video(rng), random_video(rng))
  got = jitter.measure(case)["jitter"]
  errors, still = slow_reference(case)
  for unit, want in group_means(errors).items():
    assert got["acceleration_error"][unit] == pytest.approx(want, abs=1e-9)
  for unit, want in group_means(still).items():
    assert got["still"]["movement"][unit] == pytest.approx(want, abs=1e-9)
  judged = sum(map(len, errors.values()))
  assert got["triples"]["judged"] == judged > 300
  assert got["triples"]["labelled"] > judged
  assert 0 < got["triples"]["still"] == sum(map(len, still.values())) < judged


def test_still_is_within_a_twentieth_of_a_head():
  # 0.6 pixels of 12 between the first and the last; 0.59 is within.
  for far, count in ((0.59, 15), (0.61, 0)):
    truth = np.stack(
      [EVERY, EVERY + np.array([far / 2, 0]), EVERY + np.array([far, 0])]
    )
    got = measure(one(truth, truth))
    assert got["triples"]["still"] == count
    # There and back, too.
    truth = np.stack([EVERY, EVERY + np.array([0, far]), EVERY])
    assert measure(one(truth, truth))["triples"]["still"] == count
  # So does the way from the second to the third.
  truth = np.stack([EVERY, EVERY + np.array([0.4, 0]), EVERY - [0.4, 0]])
  assert measure(one(truth, truth))["triples"]["still"] == 0
  truth = np.stack([EVERY, EVERY + np.array([0, 0.3]), EVERY])
  still = measure(one(truth, truth))["still"]
  for name in ("acceleration", "true_acceleration"):
    assert still[name]["pixels"]["elbow"] == pytest.approx(0.6)
    assert still[name]["heads"]["elbow"] == pytest.approx(0.05)
  for name in ("movement", "true_movement"):
    assert still[name]["pixels"]["total"] == pytest.approx(0.3)


def test_people_without_a_head_box_are_in_the_pixels_alone():
  truth = np.tile(EVERY, (3, 1, 1))
  pose = truth.copy()
  pose[1] += (0, 3)  # |0 - 2 * 3 + 0| = 6
  got = measure(one(truth, pose, head_box=None))
  assert got["acceleration_error"]["pixels"]["total"] == pytest.approx(6)
  assert got["acceleration_error"]["heads"] == dict.fromkeys(GROUPS)
  assert got["triples"] == {"labelled": 15, "judged": 15, "still": 0}
  pose[1] -= (0, 1)
  both = measure(one(truth, pose), one(truth, truth, head_box=None))
  assert both["acceleration_error"]["pixels"]["total"] == pytest.approx(2)
  assert both["acceleration_error"]["heads"]["total"] == pytest.approx(4 / 12)


def test_people_without_a_track_are_left_out():
  got = measure(one(*[np.tile(EVERY, (5, 1, 1))] * 2, track=-1))
  assert got["triples"] == {"labelled": 0, "judged": 0, "still": 0}
  assert got["acceleration_error"]["pixels"] == dict.fromkeys(GROUPS)
  json.dumps(got, allow_nan=False)
  # Nor is it an error that there are two of them.
  two = [([person(EVERY, -1), person(EVERY, -1)], [person(EVERY)])] * 3
  assert measure(two)["triples"]["labelled"] == 0


def test_a_picture_alone_has_no_triples():
  got = measure([([person(EVERY)], [person(EVERY)])])
  assert got["triples"] == {"labelled": 0, "judged": 0, "still": 0}


def test_errors_name_the_place():
  twice = ([person(EVERY), person(EVERY + 200)], [])
  with pytest.raises(
    ValueError, match="v0: v0/000000.jpg: track 5 is there tw"
  ):
    measure([twice])
  bad = EVERY.copy()
  bad[3] = math.nan  # an ear: never judged
  measure([([person(EVERY)], [person(bad)])])
  bad[5] = math.nan
  with pytest.raises(ValueError, match="v0: v0/000000.jpg: a predicted joint"):
    measure([([person(EVERY)], [person(bad)])])


def test_real_truth_as_prediction_has_no_error(shared_data):
  truth = annotations.read_folder(
    shared_data / "bonn_tracks_mini/annotations/train", skeleton=SKELETON
  )
  case = matching.Case.of(truth, truth, skeleton=SKELETON)
  got = jitter.measure(case)["jitter"]
  assert got["triples"]["judged"] == got["triples"]["labelled"] > 5000
  for values in got["acceleration_error"].values():
    assert set(values.values()) <= {0.0, None}
  for name in ("acceleration", "movement"):
    assert got["still"][name] == got["still"][f"true_{name}"]


def test_the_tables():
  truth = np.tile(EVERY, (3, 1, 1))
  pose = truth.copy()
  pose[1] += (0, 3)
  pixels, heads = jitter.tables({"jitter": measure(one(truth, pose))})
  title, columns, row = table.text(pixels).split("\n")
  assert title == "Jitter, pixels per frame²"
  assert columns.split()[-1] == "Mean"
  assert row.split() == ["acceleration", "error"] + ["6.00"] * 8
  *_, error, push, walk, true_push, true_walk = table.text(heads).split("\n")
  assert error.split()[2:] == push.split()[2:] == ["0.500"] * 8
  assert walk.split() == ["still:", "movement"] + ["0.250"] * 8
  assert true_push.split()[:2] == ["truth:", "acceleration"]
  assert set(true_walk.split()[2:]) == {"0.000"}
