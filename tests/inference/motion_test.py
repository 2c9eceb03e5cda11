"""The filter of moving points: closed forms and a plain Kalman filter."""

import json

import numpy as np
import pytest
from scipy import linalg

from diffpose_jax.inference import motion


def some(seed=0, people=3, points=5):
  rng = np.random.default_rng(seed)
  root = rng.normal(size=(people, points, 2, 2))
  full = root @ np.moveaxis(root, -1, -2)
  return motion.Points(
    rng.normal(size=(people, points, 2)),
    rng.normal(size=(people, points, 2)),
    full[..., (0, 0, 1), (0, 1, 1)],
  )


def test_two_steps_are_one():
  points, speed = some(), np.full((3, 5), 1.7)
  once = motion.predict(points, 0.7, speed, 0.5)
  twice = motion.predict(
    motion.predict(points, 0.11, speed, 0.5), 0.59, speed, 0.5
  )
  for a, b in zip(once.arrays(), twice.arrays(), strict=True):
    np.testing.assert_allclose(a, b, rtol=1e-12)


def test_prediction_is_the_solution_of_its_equation():
  """dx = v dt, dv = -v/τ dt + noise, integrated by Van Loan's exponential."""
  memory, speed, seconds = 0.5, 1.7, 0.3
  drift = np.array([[0, 1], [0, -1 / memory]])
  noise = np.diag([0, 2 * speed**2 / memory])
  block = np.block([[-drift, noise], [np.zeros((2, 2)), drift.T]]) * seconds
  block = linalg.expm(block)
  move = block[2:, 2:].T
  added = move @ block[:2, 2:]
  points = some()
  got = motion.predict(points, seconds, np.full((3, 5), speed), memory)
  before = np.stack([points.place[1, 2], points.velocity[1, 2]])
  a, b, c = points.covariance[1, 2]
  after = move @ np.array([[a, b], [b, c]]) @ move.T + added
  np.testing.assert_allclose(
    np.stack([got.place[1, 2], got.velocity[1, 2]]), move @ before, rtol=1e-12
  )
  np.testing.assert_allclose(
    got.covariance[1, 2], after[(0, 0, 1), (0, 1, 1)], rtol=1e-12
  )


def test_velocities_are_forgotten():
  points, speed = some(), np.full((3, 5), 1.7)
  late = motion.predict(points, 1e3, speed, 0.5)
  np.testing.assert_allclose(
    late.place, points.place + 0.5 * points.velocity, rtol=1e-12
  )
  np.testing.assert_allclose(late.velocity, 0, atol=1e-12)
  np.testing.assert_allclose(late.covariance[..., 2], 1.7**2)


def test_no_time_changes_nothing():
  points = some()
  same = motion.predict(points, 0.0, np.full((3, 5), 1.7), 0.5)
  for a, b in zip(points.arrays(), same.arrays(), strict=True):
    np.testing.assert_array_equal(a, b)
  # In a very short step, variances grow and rounding makes none negative.
  short = motion.predict(points, 1e-9, np.full((3, 5), 1.7), 0.5)
  assert np.all(np.abs(short.covariance - points.covariance) < 1e-6)


def test_correction_is_kalmans():
  points = some()
  seen = np.random.default_rng(1).normal(size=(3, 5, 2))
  there = np.ones((3, 5), bool)
  there[1, 4] = False
  noise = np.full((3, 5), 0.7)
  got = motion.correct(points, seen, there, noise, noise)
  a, b, c = points.covariance[2, 3]
  prior = np.array([[a, b], [b, c]])
  look = np.array([[1.0, 0.0]])
  gain = prior @ look.T / (look @ prior @ look.T + 0.49)
  before = np.stack([points.place[2, 3], points.velocity[2, 3]])
  after = before + gain @ (seen[2, 3] - points.place[2, 3])[None]
  np.testing.assert_allclose(
    np.stack([got.place[2, 3], got.velocity[2, 3]]), after, rtol=1e-12
  )
  posterior = (np.eye(2) - gain @ look) @ prior
  np.testing.assert_allclose(
    got.covariance[2, 3], posterior[(0, 0, 1), (0, 1, 1)], rtol=1e-12
  )
  for new, old in zip(got.arrays(), points.arrays(), strict=True):
    np.testing.assert_array_equal(new[1, 4], old[1, 4])


def test_the_first_sight_is_taken_as_it_is():
  nothing = motion.unseen(2, 3)
  seen = np.arange(12.0).reshape(2, 3, 2)
  there = np.array([[True, False, True], [True, True, True]])
  got = motion.correct(
    nothing, seen, there, np.full((2, 3), 0.3), np.full((2, 3), 7.0)
  )
  np.testing.assert_array_equal(got.place[there], seen[there])
  np.testing.assert_array_equal(got.velocity[there], 0)
  np.testing.assert_allclose(got.covariance[there], [[0.09, 0, 49]] * 5)
  assert np.isnan(got.place[0, 1]).all()
  assert np.isnan(got.covariance[0, 1]).all()


def test_parts_and_json():
  points = some()
  points.place[0, 1] = np.nan
  text = json.dumps(motion.to_json(points), allow_nan=False)
  again = motion.from_json(json.loads(text), 3, 5)
  for a, b in zip(points.arrays(), again.arrays(), strict=True):
    np.testing.assert_array_equal(a, b)
  two = points.at(np.array([2, 0]))
  np.testing.assert_array_equal(two.place, points.place[[2, 0]])
  put = points.put(np.array([1]), some(1, people=1))
  np.testing.assert_array_equal(put.place[[0, 2]], points.place[[0, 2]])
  np.testing.assert_array_equal(put.velocity[1], some(1, people=1).velocity[0])
  assert motion.join(points, two, axis=0).place.shape == (5, 5, 2)
  assert motion.join(points, points, axis=1).covariance.shape == (3, 10, 3)


def test_a_straight_walk_is_learnt():
  speed, noise = np.full((1, 1), 100.0), np.full((1, 1), 1.0)
  points = motion.unseen(1, 1)
  there = np.ones((1, 1), bool)
  for step in range(25):
    at = np.array([[[30.0 * step / 25, 7.0]]])
    points = motion.predict(points, 0.04, speed, 0.5)
    points = motion.correct(points, at, there, noise, speed)
  assert points.velocity[0, 0] == pytest.approx([30, 0], abs=2)
