"""The online filter: closed forms, a plain loop, gaps and frame rates."""

import json
import math

import numpy as np
import pytest

from diffpose_jax.inference import one_euro

SIZE = np.array([100.0])


def run(points, times, options=None, one=None):
  """A track's points, steadied."""
  one = one_euro.OneEuro(options) if one is None else one
  rows = [
    one.update(float(t), [7], p[None], SIZE)
    for t, p in zip(times, points, strict=True)
  ]
  return np.concatenate(rows)


def test_what_rests_stays_to_the_last_bit():
  rng = np.random.default_rng(0)
  point = rng.normal(size=(1, 3, 2)) * 1e3 / 3
  times = np.cumsum(rng.uniform(0.01, 0.1, 50))
  points = np.repeat(point, 50, axis=0)
  np.testing.assert_array_equal(run(points, times), points)


@pytest.mark.parametrize("rate", [10, 30, 90])
def test_a_step_is_answered_alike_at_any_frame_rate(rate):
  """1 - exp(-2 pi cutoff seconds) of it is done, where speed plays no part."""
  options = one_euro.Options(cutoff=1.5, rise=0.0, gap=0.5)
  times = np.arange(rate + 1) / rate
  points = np.zeros((rate + 1, 1, 2))
  points[1:] = [40.0, -10.0]
  got = run(points, times, options)
  done = 1 - np.exp(-2 * np.pi * 1.5 * times)
  np.testing.assert_allclose(got[:, 0, 0], 40 * done, rtol=1e-12, atol=1e-12)
  np.testing.assert_allclose(got[:, 0, 1], -10 * done, rtol=1e-12, atol=1e-12)


def test_uneven_times_answer_as_even_ones():
  options = one_euro.Options(cutoff=1.5, rise=0.0, gap=0.5)
  times = np.cumsum(np.random.default_rng(0).uniform(0.01, 0.3, 30))
  points = np.full((30, 1, 2), 40.0)
  points[0] = 0
  got = run(points, times, options)
  done = 1 - np.exp(-2 * np.pi * 1.5 * (times - times[0]))
  np.testing.assert_allclose(got[:, 0, 0], 40 * done, rtol=1e-12)


def test_as_a_plain_loop():
  rng = np.random.default_rng(0)
  times = np.cumsum(rng.uniform(0.01, 0.1, 40))
  points = np.cumsum(rng.normal(0, 5, (40, 1, 2)), axis=0)
  options = one_euro.Options(cutoff=1.1, rise=3.0, speed_cutoff=0.7)
  x, y, u, v = *points[0, 0], 0.0, 0.0
  plain = [(x, y)]
  for n in range(1, 40):
    dt = times[n] - times[n - 1]
    dx, dy = (points[n, 0] - points[n - 1, 0]) / dt
    a = 1 - math.exp(-2 * math.pi * 0.7 * dt)
    u, v = a * dx + (1 - a) * u, a * dy + (1 - a) * v
    cutoff = 1.1 + 3.0 * math.hypot(u, v) / 100
    a = 1 - math.exp(-2 * math.pi * cutoff * dt)
    x = a * points[n, 0, 0] + (1 - a) * x
    y = a * points[n, 0, 1] + (1 - a) * y
    plain.append((x, y))
  got = run(points, times, options)
  np.testing.assert_allclose(got[:, 0], plain, rtol=1e-12)


def test_trembling_falls_and_motion_is_followed():
  rng = np.random.default_rng(0)
  times = np.arange(250) / 25
  noise = rng.normal(0, 2, (250, 1, 2))
  still = run(noise, times)
  assert np.std(still[50:]) < 0.65 * np.std(noise)
  walk = np.stack([150 * times, 0 * times], -1)[:, None]
  slow = run(walk, times, one_euro.Options(rise=0.0))
  fast = run(walk, times)
  # The lag of a low-pass in motion is speed over 2 pi cutoff.
  assert (walk - fast)[-1, 0, 0] < 0.3 * (walk - slow)[-1, 0, 0]


def test_near_and_far_people_are_steadied_alike():
  rng = np.random.default_rng(0)
  points = np.cumsum(rng.normal(0, 5, (1, 30, 3, 2)), axis=1)[0]
  one = one_euro.OneEuro()
  for n in range(30):
    both = np.stack([points[n], 5 * points[n]])
    got = one.update(n / 25, [0, 1], both, np.array([60.0, 300.0]))
    np.testing.assert_allclose(got[1], 5 * got[0], rtol=1e-9)


def test_absent_points_and_gaps():
  times = np.arange(12) / 10
  points = np.arange(12.0)[:, None, None] * np.ones((12, 2, 2))
  points[4:6, 1] = np.nan
  got = run(points, times, one_euro.Options(gap=0.25))
  assert np.isnan(got[4:6, 1]).all()
  assert np.isfinite(got[:, 0]).all() and np.isfinite(got[6:, 1]).all()
  # Away for 0.3 s, longer than the gap: it starts afresh.
  np.testing.assert_array_equal(got[6, 1], [6, 6])
  assert np.all(got[6, 0] < 6)
  wide = run(points, times, one_euro.Options(gap=0.3))
  assert np.all(wide[6, 1] < 6)


def test_people_without_identity_and_people_who_go():
  one = one_euro.OneEuro(one_euro.Options(gap=0.25))
  points = np.random.default_rng(0).normal(size=(9, 2, 3, 2))
  for n in range(9):
    ids = [-1, 3 + (n > 4)]
    got = one.update(n / 10, ids, points[n], np.ones(2))
    np.testing.assert_array_equal(got[0], points[n, 0])
  assert list(one.state["tracks"]) == ["4"]
  empty = one.update(1.0, [], np.zeros((0, 3, 2)), np.zeros(0))
  assert empty.shape == (0, 3, 2)


def test_an_interrupted_run_goes_on_alike():
  rng = np.random.default_rng(0)
  times = np.cumsum(rng.uniform(0.0, 0.1, 20))
  points = rng.normal(0, 50, (20, 1, 5, 2))
  points[rng.random((20, 1, 5)) < 0.3] = np.nan
  whole, parts = one_euro.OneEuro(), one_euro.OneEuro()
  for time, row in zip(times.tolist(), points, strict=True):
    text = json.dumps(parts.state, allow_nan=False)
    parts = one_euro.OneEuro()
    parts.restore(json.loads(text))
    np.testing.assert_array_equal(
      parts.update(time, [5], row, SIZE), whole.update(time, [5], row, SIZE)
    )
  assert parts.state == whole.state


def test_what_cannot_be_is_refused():
  one = one_euro.OneEuro()
  one.update(1.0, [0], np.zeros((1, 3, 2)), SIZE)
  with pytest.raises(ValueError, match="0.5 s after one at 1.0 s"):
    one.update(0.5, [0], np.zeros((1, 3, 2)), SIZE)
  with pytest.raises(ValueError, match="identity 4 is there 2 times"):
    one.update(2.0, [4, 1, 4], np.zeros((3, 3, 2)), np.ones(3))
  with pytest.raises(ValueError, match="cutoff is 0.0, must be above 0"):
    one_euro.Options(cutoff=0.0)
  with pytest.raises(ValueError, match="rise is -1.0, must be 0 or above"):
    one_euro.Options(rise=-1.0)
