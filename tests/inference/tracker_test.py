"""Identities: by hand, whatever the order, the frame rate or an interruption."""

import dataclasses
import json

import numpy as np
import pytest

from diffpose_jax.inference import people, tracker

NOBODY = np.zeros((0, 4), np.float32)


def box(x, y=100.0, width=40.0, height=100.0):
  return [x - width / 2, y - height / 2, x + width / 2, y + height / 2]


def boxes(*centres):
  return np.array([box(x) for x in centres], np.float32).reshape(-1, 4)


def scores(values):
  return np.array(values, float)


def give(one, time, *centres, score=1.0):
  """Identities of people at these places."""
  sure = np.full(len(centres), score)
  return one.update(time, boxes(*centres), sure).tolist()


def crowd(seed, frames=60, rate=25.0):
  """(time, boxes, scores, joints, joint scores) of five people seen badly."""
  rng = np.random.default_rng(seed)
  start = rng.uniform(100, 500, (5, 2))
  pace = rng.uniform(-60, 60, (5, 2))
  body = rng.uniform(-0.5, 0.5, (5, 7, 2)) * [40, 100]
  for number in range(frames):
    time = number / rate
    there = rng.random(5) < 0.85
    centre = (start + pace * time)[there]
    half = np.array([20, 50])
    edges = np.concatenate([centre - half, centre + half], axis=1)
    edges += rng.normal(0, 2, edges.shape)
    joints = (
      centre[:, None] + body[there] + rng.normal(0, 2, (len(edges), 7, 2))
    )
    joints[rng.random(joints.shape[:2]) < 0.1] = np.nan
    yield (
      time,
      edges.astype(np.float32),
      rng.uniform(0.2, 1, len(edges)),
      joints,
      rng.uniform(0, 1, joints.shape[:2]),
    )


def test_people_of_the_first_frame_are_counted_from_the_left():
  one = tracker.Tracker()
  assert give(one, 0.0, 300, 100, 500) == [1, 0, 2]
  assert give(one, 0.04, 102, 498, 301) == [0, 2, 1]


def test_two_who_pass_each_other():
  one = tracker.Tracker()
  for number in range(75):
    time = number / 25
    left, right = 100 + 60 * time, 280 - 60 * time
    assert give(one, time, left, right) == [0, 1], number


def test_newcomers_wait_for_a_second_frame():
  one = tracker.Tracker()
  assert give(one, 0.0, 100) == [0]
  assert give(one, 0.04, 100, 500) == [0, -1]
  assert give(one, 0.08, 100, 500) == [0, 1]
  # One who is there once only takes no identity from anybody.
  assert give(one, 0.12, 100, 500, 900) == [0, 1, -1]
  assert give(one, 0.16, 100, 500) == [0, 1]
  assert give(one, 0.20, 100, 500, 900) == [0, 1, -1]
  assert give(one, 0.24, 100, 500, 900) == [0, 1, 2]


def test_confirmation_at_once():
  one = tracker.Tracker(tracker.Options(confirm=1))
  assert give(one, 0.0) == []
  assert give(one, 0.04, 100) == [0]


def test_scores_have_two_stages():
  one = tracker.Tracker()
  assert give(one, 0.0, 100) == [0]
  # Doubtful: somebody known, nobody new.
  row = one.update(0.04, boxes(100, 500), scores([0.2, 0.2]))
  assert row.tolist() == [0, -1]
  row = one.update(0.08, boxes(100, 500), scores([0.2, 0.2]))
  assert row.tolist() == [0, -1]
  # Sure enough to be known, not to be born.
  row = one.update(0.12, boxes(100, 500), scores([0.55, 0.55]))
  assert row.tolist() == [0, -1]
  row = one.update(0.16, boxes(100, 500), scores([0.55, 0.55]))
  assert row.tolist() == [0, -1]
  # Below everything.
  assert one.update(0.2, boxes(100), scores([0.05])).tolist() == [-1]
  # The sure box comes first although the doubtful one is nearer.
  row = one.update(0.24, boxes(100, 104), scores([0.3, 0.9]))
  assert row.tolist() == [-1, 0]


def test_a_doubtful_box_is_nobody_who_was_long_away():
  one = tracker.Tracker()
  give(one, 0.0, 100)
  assert give(one, 0.5, 100, score=0.3) == [-1]
  assert give(one, 0.6, 100) == [0]
  assert give(one, 0.7, 100, score=0.3) == [0]


@pytest.mark.parametrize("rate", [10, 50])
@pytest.mark.parametrize("gap", [0.4, 1.0])
def test_gaps_are_counted_in_seconds(rate, gap):
  options = tracker.Options(gap=gap, confirm=1)
  for away, same in ((gap, True), (gap + 0.1, False)):
    one = tracker.Tracker(options)
    for number in range(rate):
      assert give(one, number / rate, 100) == [0]
    last = (rate - 1) / rate
    for number in range(1, round(away * rate)):
      assert give(one, last + number / rate) == []
    assert give(one, last + away, 100) == ([0] if same else [1])


def test_motion_carries_across_a_gap():
  """90 pixels on, where the box no longer touches, is somebody who walked."""
  for pace, same in ((150, True), (0, False)):
    one = tracker.Tracker()
    for number in range(26):
      give(one, number / 25, 100 + pace * number / 25)
    at = 100 + pace + 90
    assert give(one, 1.6, at) == ([0] if same else [-1]), pace


def test_uneven_times():
  rng = np.random.default_rng(0)
  one = tracker.Tracker()
  times = np.concatenate([[0], np.cumsum(rng.uniform(0.005, 0.25, 60))])
  for time in times:
    assert give(one, float(time), 100 + 120 * time, 700 - 90 * time) == [0, 1]


@pytest.mark.parametrize("rate", [12, 30, 120])
def test_the_same_at_any_frame_rate(rate):
  one = tracker.Tracker()
  for number in range(2 * rate):
    time = number / rate
    x = 350 + 100 * np.sin(3 * time)
    assert give(one, time, x, 300.0, 950 - x) == [1, 0, 2]


def test_joints_tell_people_in_one_box_apart():
  rng = np.random.default_rng(0)
  poses = rng.uniform(0, 1, (2, 11, 2)) * [40, 100] + [80, 50]
  one = tracker.Tracker()
  edges, sure = boxes(100, 100), scores([1, 1])
  first = one.update(0.0, edges, sure, poses)
  assert sorted(first.tolist()) == [0, 1]
  for number in range(1, 9):
    row = one.update(0.04 * number, edges, sure, poses[::-1])
    assert row.tolist() == first[::-1].tolist()
    row = one.update(0.04 * number, edges, sure, poses)
    assert row.tolist() == first.tolist()


def test_joints_that_score_nothing_are_absent():
  runs = []
  for replace in (np.nan, 1e6):
    one = tracker.Tracker()
    ids = []
    for time, edges, sure, joints, points in crowd(3):
      points = np.where(points < 0.3, 0, points)
      joints = np.where((points == 0)[..., None], replace, joints)
      ids.append(one.update(time, edges, sure, joints, points).tolist())
    runs.append(ids)
  assert runs[0] == runs[1]


def test_joints_may_come_later_and_stay_away():
  one = tracker.Tracker()
  assert give(one, 0.0, 100, 300) == [0, 1]
  joints = np.zeros((2, 3, 2)) + boxes(100, 300)[:, None, :2]
  row = one.update(0.04, boxes(100, 300), scores([1, 1]), joints)
  assert row.tolist() == [0, 1]
  assert give(one, 0.08, 100, 300) == [0, 1]
  with pytest.raises(ValueError, match="4 joints a person, 3 were expected"):
    one.update(0.12, boxes(100), scores([1]), np.zeros((1, 4, 2)))


@pytest.mark.parametrize("seed", range(5))
def test_the_order_of_people_is_of_no_account(seed):
  rng = np.random.default_rng(seed)
  one, other = tracker.Tracker(), tracker.Tracker()
  found = set()
  for time, edges, sure, joints, points in crowd(seed):
    order = rng.permutation(len(edges))
    ids = one.update(time, edges, sure, joints, points)
    mixed = other.update(
      time, edges[order], sure[order], joints[order], points[order]
    )
    assert mixed.tolist() == ids[order].tolist()
    found |= set(ids.tolist())
  assert {0, 1, 2} <= found
  assert one.state == other.state


def test_an_interrupted_run_goes_on_alike():
  options = tracker.Options(sigmas=(0.05,) * 7)
  whole = tracker.Tracker(options)
  parts = tracker.Tracker(options)
  for seen in crowd(1):
    text = json.dumps(parts.state, allow_nan=False)
    parts = tracker.Tracker(options)
    parts.restore(json.loads(text))
    assert parts.state == json.loads(text)
    assert parts.update(*seen).tolist() == whole.update(*seen).tolist()
  assert parts.state == whole.state
  assert json.loads(json.dumps(whole.state)) == whole.state


def test_a_state_of_something_else_is_refused():
  one = tracker.Tracker()
  state = one.state
  with pytest.raises(ValueError, match="the same options or start over"):
    tracker.Tracker(tracker.Options(gap=3.0)).restore(state)
  with pytest.raises(ValueError, match="has version 0"):
    one.restore(state | {"version": 0})


def test_memory_is_bounded():
  rng = np.random.default_rng(0)
  one = tracker.Tracker(tracker.Options(most=31, confirm=1, gap=1e6))
  for number in range(300):
    centres = rng.uniform(0, 1e5, 7)
    names = give(one, float(number), *centres)
  assert len(one.state["known"]["ids"]) <= 31 + 7
  # Who was seen last is kept, and known again.
  assert give(one, 299.0, *centres) == names
  late = tracker.Tracker(tracker.Options(gap=0.5, confirm=1))
  for number in range(60):
    give(late, number / 10, *rng.uniform(0, 1e5, 7))
    assert len(late.state["known"]["ids"]) <= 6 * 7


def test_nothing_drifts_away_after_hours():
  one = tracker.Tracker()
  for number in range(200):
    assert give(one, 4e4 + 0.5 * number, 100 + 3 * np.sin(number)) == [0]


def test_empty_frames_and_equal_times():
  one = tracker.Tracker()
  assert one.update(0.0, NOBODY, np.zeros(0)).shape == (0,)
  assert one.update(0.0, NOBODY, np.zeros(0), np.zeros((0, 5, 2))).shape == (0,)
  assert give(one, 0.1, 100) == [-1]
  assert give(one, 0.1, 100) == [0]
  assert give(one, 0.1, 100) == [0]


@pytest.mark.parametrize(
  ("time", "edges", "sure", "message"),
  [
    (0.5, boxes(100), [1.0], "0.5 s after one at 1.0 s"),
    (np.nan, boxes(100), [1.0], "nan s after one at 1.0 s"),
    (2.0, boxes(np.nan), [1.0], "at 2.0 s, person 0: box .* not finite"),
    (2.0, boxes(1, 1)[:, ::-1], [1.0, 1.0], "at 2.0 s, person 0: .* no area"),
    (2.0, boxes(1, 9), [1.0, np.nan], "at 2.0 s, person 1: .* score is nan"),
  ],
)
def test_what_cannot_be_is_refused(time, edges, sure, message):
  one = tracker.Tracker()
  give(one, 1.0, 100)
  before = one.state
  with pytest.raises(ValueError, match=message):
    one.update(time, edges, scores(sure))
  assert one.state == before


@pytest.mark.parametrize(
  ("name", "value"),
  [
    ("memory", 0.0),
    ("gap", -1.0),
    ("gap", float("nan")),
    ("least", 1.5),
    ("low", 0.7),
    ("confirm", 0),
    ("falloff", 0.0),
  ],
)
def test_options_that_cannot_work(name, value):
  with pytest.raises(ValueError, match=f"{name}.*must"):
    dataclasses.replace(tracker.Options(), **{name: value})


def test_people_are_sorted_by_what_they_are():
  rng = np.random.default_rng(0)
  edges = boxes(*[300, 100, 100, 200, 100])
  joints = rng.normal(size=(5, 3, 2))
  sure = scores([1, 0.5, 1, 1, 1])
  seen = people.seen(edges, sure, joints, None, "here")
  order = people.order(seen)
  assert order.tolist()[-2:] == [3, 0]
  assert order[0] == 1  # The lower score of three equal boxes.
  mixed = np.array([4, 2, 0, 1, 3])
  again = people.order(seen.at(mixed))
  assert mixed[again].tolist() == order.tolist()
