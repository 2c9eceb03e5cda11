"""One person's box follows known motions by its joints."""

import dataclasses
import json
import math
from typing import Any

import numpy as np
import pytest

from diffpose_jax.inference import following

OPTIONS = following.Options()
# Five joints in a box of 20 x 100: margins of 0.05, 0.1, 0.05 and 0.15 of the
# joints' longer extent of 80.
JOINTS = np.array([[10, 18], [14, 40], [6, 60], [14, 98.0], [10, 70]])
BOX = np.array([2, 10, 18, 110.0])
MARGINS = [4 / 80, 8 / 80, 4 / 80, 12 / 80]
STEP = 0.04  # seconds


def pose(points, trust: Any = 0.9):
  points = np.asarray(points, float)
  return following.Pose(
    points, np.broadcast_to(trust, len(points)).astype(float)
  )


def start(box=BOX, points=JOINTS, trust: Any = 0.9) -> Any:
  nobody = following.Person(
    number=3,
    score=0.5,
    track_id=7,
    centre=(0.0, 0.0),
    sides=(0.0, 0.0),
    velocity=(0.0, 0.0),
    margins=None,
    places=(None,) * len(points),
  )
  return following.begun(nobody, box, pose(points, trust), OPTIONS)


def box_of(person):
  return following.expected(person, 0.0, OPTIONS)


def test_a_given_box_teaches_its_margins():
  person = start()
  assert person.centre == (10.0, 60.0)
  assert person.sides == (16.0, 100.0)
  np.testing.assert_allclose(person.margins, MARGINS, atol=1e-12)
  np.testing.assert_allclose(person.places[0], (8 / 16, 8 / 100))
  np.testing.assert_allclose(person.places[3], (12 / 16, 88 / 100))
  assert (person.number, person.score, person.track_id) == (3, 0.5, 7)


def test_margins_are_bounded():
  # The left joint is outside; the lowest is 200 pixels above the lower edge.
  person = start(box=np.array([8.0, 10, 18, 298]))
  wanted = [0, 8 / 80, 4 / 80, 1]
  np.testing.assert_allclose(person.margins, wanted, atol=1e-12)


def test_who_stands_still_keeps_the_box():
  person = start()
  for _ in range(50):
    person = following.moved(person, STEP, pose(JOINTS), OPTIONS)
  np.testing.assert_allclose(box_of(person), BOX, atol=1e-9)


@pytest.mark.parametrize("rate", [10.0, 25.0, 120.0])
def test_constant_velocity_has_no_lag(rate):
  velocity = np.array([170.0, -30.0])
  person, step = start(), 1 / rate
  for frame in range(1, round(3 * rate)):
    shift = velocity * frame * step
    person = following.moved(person, step, pose(JOINTS + shift), OPTIONS)
  ahead = following.expected(person, step, OPTIONS)
  shift = velocity * round(3 * rate) * step
  np.testing.assert_allclose(ahead, BOX + np.tile(shift, 2), atol=1e-3)
  np.testing.assert_allclose(person.velocity, velocity, rtol=1e-3)


def test_one_step_by_hand():
  # α = 1 - exp(-0.04 / 0.05); the joints are 10 pixels further right.
  person = following.moved(
    start(), STEP, pose(JOINTS + np.array([10, 0])), OPTIONS
  )
  alpha = 1 - math.exp(-0.8)
  beta = 2 * (2 - alpha) - 4 * math.sqrt(1 - alpha)
  np.testing.assert_allclose(person.centre, (10 + 10 * alpha, 60))
  np.testing.assert_allclose(person.velocity, (beta * 10 / STEP, 0))
  np.testing.assert_allclose(person.sides, (16, 100))


def test_one_step_of_growth_by_hand():
  # Joints twice as far apart around the centre of the box: so is the box.
  centre = np.array([10, 60.0])
  person = following.moved(
    start(), STEP, pose((JOINTS - centre) * 2 + centre), OPTIONS
  )
  share = 1 - math.exp(-0.04 / 0.25)
  np.testing.assert_allclose(person.sides, np.array([16, 100]) * 2**share)
  np.testing.assert_allclose(person.centre, (10, 60))


def test_no_frame_makes_a_box_more_than_twice_as_large():
  joints = JOINTS * 50
  person = following.moved(start(), STEP, pose(joints), OPTIONS)
  share = 1 - math.exp(-0.04 / 0.25)
  np.testing.assert_allclose(person.sides, np.array([16, 100]) * 2**share)


def test_who_comes_nearer_is_followed_at_last():
  centre = np.array([10, 60.0])
  person = start()
  for _ in range(60):
    person = following.moved(
      person, STEP, pose((JOINTS - centre) * 1.7 + centre), OPTIONS
    )
  np.testing.assert_allclose(person.sides, (16 * 1.7, 170), rtol=1e-3)
  np.testing.assert_allclose(person.centre, centre, atol=1e-6)


@pytest.mark.parametrize("hidden", [[3], [0, 3], [3, 4]])
def test_hidden_joints_do_not_shrink_the_box(hidden):
  trust = np.full(5, 0.9)
  trust[hidden] = 0.1
  noise = np.random.default_rng(0)
  person = start()
  for _ in range(50):
    points = JOINTS.copy()
    points[hidden] = noise.uniform(-20, 140, (len(hidden), 2))
    person = following.moved(person, STEP, pose(points, trust), OPTIONS)
  np.testing.assert_allclose(box_of(person), BOX, atol=1e-9)


def test_hidden_joints_go_with_the_person():
  trust = np.array([0.9, 0.9, 0.9, 0.1, 0.9])
  person = start()
  for frame in range(1, 76):
    shift = np.array([2.0 * frame, frame])
    person = following.moved(person, STEP, pose(JOINTS + shift, trust), OPTIONS)
  np.testing.assert_allclose(box_of(person), BOX + [150, 75] * 2, atol=0.05)


def test_joints_never_seen_do_not_count():
  trust = np.array([0.9, 0.9, 0.9, 0.0, 0.9])
  person = start(trust=trust)
  assert person.places[3] is None
  for _ in range(20):
    person = following.moved(person, STEP, pose(JOINTS, trust), OPTIONS)
  np.testing.assert_allclose(box_of(person), BOX, atol=1e-9)


def test_a_joint_seen_for_the_first_time_does_not_widen_the_box():
  trust = np.array([0.9, 0.9, 0.9, 0.0, 0.9])
  person = start(trust=trust)
  for _ in range(20):
    person = following.moved(person, STEP, pose(JOINTS), OPTIONS)
  np.testing.assert_allclose(box_of(person), BOX, atol=1e-9)
  assert person.margins == pytest.approx(MARGINS, abs=1e-9)


def test_who_is_not_seen_slows_down():
  person = dataclasses.replace(start(), velocity=(100.0, 0.0))
  first = following.moved(person, STEP, pose(JOINTS, 0.1), OPTIONS)
  # The first frame was expected at full speed, as nobody knew.
  np.testing.assert_allclose(first.centre, (10 + 100 * STEP, 60))
  np.testing.assert_allclose(first.velocity, (100 * math.exp(-STEP / 0.2), 0))
  person = dataclasses.replace(first, unseen=STEP)
  for _ in range(500):
    person = following.moved(person, STEP, pose(JOINTS, 0.1), OPTIONS)
    person = dataclasses.replace(person, unseen=person.unseen + STEP)
  # Speed times the time in which it ebbs away, whatever the frame rate.
  end = 10 + 100 * STEP + 100 * math.exp(-STEP / 0.2) * 0.2
  np.testing.assert_allclose(person.centre, (end, 60), rtol=1e-9)
  np.testing.assert_allclose(person.sides, (16, 100), rtol=1e-12)


def test_too_few_joints_do_not_move_the_box():
  trust = np.array([1.0, 0.5, 0.1, 0.1, 0.1])  # 2 of 5 seen, 0.36 on average
  options = dataclasses.replace(OPTIONS, joints=0.5)
  person = following.moved(start(), STEP, pose(JOINTS + 30, trust), options)
  np.testing.assert_allclose(box_of(person), BOX)
  person = following.moved(start(), STEP, pose(JOINTS + 30, trust), OPTIONS)
  assert person.centre[0] > 20


def test_margins_are_learned_later_where_the_given_box_showed_nothing():
  person = start(trust=0.05)
  assert person.margins is None
  person: Any = following.moved(person, STEP, pose(JOINTS), OPTIONS)
  np.testing.assert_allclose(person.margins, MARGINS)
  np.testing.assert_allclose(box_of(person), BOX)


def test_a_corrected_box_is_taken_as_it_is():
  box = BOX + np.array([30, 0, 38, 20])
  person: Any = following.corrected(
    start(), STEP, box, pose(JOINTS + 30), OPTIONS
  )
  np.testing.assert_allclose(box_of(person), box)
  # Joints from (36, 48) to (44, 128); the box from (32, 10) to (56, 130).
  wanted = np.array([36 - 32, 48 - 10, 56 - 44, 130 - 128]) / 80
  np.testing.assert_allclose(person.margins, np.clip(wanted, 0, 1))


def test_long_gaps_do_not_throw_anybody_out():
  person = dataclasses.replace(start(), velocity=(100.0, 0.0))
  ahead = following.expected(person, 60.0, OPTIONS)
  np.testing.assert_allclose(ahead, BOX + np.array([50, 0, 50, 0]))


def test_a_single_point_has_a_box():
  person = start()
  person = following.moved(
    person, STEP, pose(np.tile([10.0, 60.0], (5, 1))), OPTIONS
  )
  assert min(person.sides) > 0
  assert np.isfinite(box_of(person)).all()


def test_records_come_back_to_the_last_bit():
  person = start(trust=np.array([0.9, 0.9, 0.9, 0.0, 0.9]))
  person = following.moved(person, 1 / 3, pose(JOINTS + 1 / 7), OPTIONS)
  text = json.dumps(dataclasses.asdict(person), allow_nan=False)
  assert following.Person.from_record(json.loads(text)) == person


@pytest.mark.parametrize(
  ("name", "value"),
  [("patience", -1.0), ("motion", 0.0), ("same", math.nan), ("joints", 0.0)],
)
def test_options_that_cannot_work(name, value):
  with pytest.raises(ValueError, match=f"{name} is"):
    following.Options(**{name: value}).check()
