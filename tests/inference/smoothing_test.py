"""Fixed-lag smoothing: no lag, gaps, absent points, streams and states."""

import json

import numpy as np
import pytest

from diffpose_jax.inference import smoothing

SIZE = np.array([100.0])


def run(points, times, weights=None, **options):
  """A track's points (t, p, 2), smoothed."""
  one = smoothing.FixedLag(smoothing.Options(**options))
  rows = []
  for n, time in enumerate(times):
    weight = None if weights is None else weights[n : n + 1]
    rows += one.push(float(time), [7], points[n : n + 1], SIZE, weight)
  return np.concatenate(rows + one.finish())


def curve(times):
  """Somewhere smooth, pixels."""
  return np.stack([40 * np.sin(2 * times), 25 * np.cos(3 * times + 1)], -1)[
    :, None
  ]


def uneven(seed, count=60):
  return np.cumsum(np.random.default_rng(seed).uniform(0.01, 0.07, count))


def test_what_rests_stays_to_the_last_bit():
  points = np.repeat([[[100 / 3, 200 / 7], [1e4 / 3, -1 / 9]]], 60, axis=0)
  np.testing.assert_array_equal(run(points, uneven(0)), points)


def test_straight_motion_has_no_lag_even_at_the_ends():
  times = uneven(1)
  points = np.stack([300 * times, 5 - 80 * times], -1)[:, None]
  for options in ({}, {"degree": 1}, {"outlier": 0.0}):
    np.testing.assert_allclose(run(points, times, **options), points, atol=1e-5)


def test_a_step_is_answered_before_and_after_alike():
  """Half-way in the middle, mirrored about it; done within the reach."""
  times = np.arange(-25, 26) / 25
  points = np.where(times > 0, 10.0, 0.0)[:, None, None] * np.ones((1, 1, 2))
  points[25] = 5
  got = run(points, times, degree=1, outlier=0.0)[:, 0, 0]
  np.testing.assert_allclose(got + got[::-1], 10, atol=1e-9)
  assert got[25] == pytest.approx(5)
  np.testing.assert_allclose(got[times < -0.2], 0, atol=1e-9)
  np.testing.assert_allclose(got[times > 0.2], 10, atol=1e-9)
  assert np.all(np.diff(got[20:31]) > 0)


def test_time_may_run_the_other_way():
  times = uneven(2)
  points = np.random.default_rng(2).normal(size=(60, 3, 2))
  forth = run(points, times)
  back = run(points[::-1], -times[::-1])
  np.testing.assert_allclose(forth, back[::-1], atol=1e-7)


def test_uneven_times_are_as_even_ones():
  even, odd = np.arange(120) / 60, uneven(3)
  odd = odd[odd < 1.9]
  middle = (odd > 0.3) & (odd < 1.6)
  smooth = run(curve(even), even)
  there = np.stack(
    [np.interp(odd, even, smooth[:, 0, axis]) for axis in (0, 1)], -1
  )
  got = run(curve(odd), odd)
  np.testing.assert_allclose(got[middle, 0], there[middle], atol=0.06)
  np.testing.assert_allclose(got[middle], curve(odd)[middle], atol=0.06)


def test_the_frame_rate_is_of_no_account():
  slow, fast = np.arange(50) / 25, np.arange(200) / 100
  options = {"degree": 1, "reach": 0.3, "outlier": 0.0}
  a = run(curve(slow), slow, **options)[8:-8]
  b = run(curve(fast), fast, **options)[::4][8:-8]
  # Both cut the same from the peaks: far more than they differ by.
  assert np.max(abs(a - curve(slow)[8:-8])) > 1.2
  np.testing.assert_allclose(a, b, atol=0.06)


def test_noise_falls_and_an_outlier_goes():
  rng = np.random.default_rng(0)
  times = np.arange(100) / 25
  noise = rng.normal(0, 2, (100, 1, 2))
  got = run(curve(times) + noise, times)
  assert np.std(got - curve(times)) < 0.65 * 2
  noise[50] = [60, -80]
  got = run(curve(times) + noise, times)
  assert np.max(abs(got[45:56] - curve(times)[45:56])) < 6
  raw = run(curve(times) + noise, times, outlier=0.0)
  assert np.max(abs(raw[45:56] - curve(times)[45:56])) > 20


def test_weights_count():
  rng = np.random.default_rng(0)
  times = np.arange(50) / 25
  points = curve(times) + rng.normal(0, 1, (50, 1, 2))
  weights = np.ones((50, 1))
  weights[::2] = 1e-6
  points[::2] += 30
  got = run(points, times, weights, outlier=0.0)
  alone = run(points[1::2], times[1::2], outlier=0.0)
  np.testing.assert_allclose(got[1::2], alone, atol=1e-3)


def test_absent_points_stay_absent_unless_filled():
  times = np.arange(40) / 20
  points = np.repeat(curve(times), 3, axis=1)
  points[10:13, 1] = np.nan  # 0.2 s from the last to the next
  points[20:25, 1] = np.nan  # 0.3 s
  points[:3, 2] = np.nan  # none before
  got = run(points, times)
  np.testing.assert_array_equal(np.isnan(got), np.isnan(points))
  got = run(points, times, fill=True)
  there = np.isfinite(got[:, 1, 0])
  assert there[10:13].all() and not there[20:25].any()
  assert np.isnan(got[:3, 2]).all()
  np.testing.assert_allclose(got[10:13, 1], curve(times)[10:13, 0], atol=1.0)
  # A score of 0 is absence, too.
  weights = np.where(np.isfinite(points[..., 0]), 1.0, 0.0)
  again = run(np.where(np.isnan(points), 1e9, points), times, weights)
  np.testing.assert_array_equal(np.isnan(again), np.isnan(points))


def test_nothing_is_smoothed_across_a_gap():
  times = np.concatenate([np.arange(10) / 25, 0.36 + 0.3 + np.arange(10) / 25])
  points = np.zeros((20, 1, 2))
  points[10:] = 50
  got = run(points, times, reach=0.5, outlier=0.0)
  np.testing.assert_array_equal(got, points)
  over = run(points, times, reach=0.5, outlier=0.0, gap=0.35)
  assert np.max(abs(over - points)) > 1


def test_people_are_smoothed_by_themselves():
  rng = np.random.default_rng(0)
  times = np.arange(30) / 25
  tracks = {i: rng.normal(0, 10, (30, 2, 2)) for i in (4, 9, -1)}
  one = smoothing.FixedLag()
  orders, rows = [], []
  for n in range(30):
    orders.append(rng.permutation([4, 9, -1]))
    points = np.stack([tracks[i][n] for i in orders[n].tolist()])
    rows += one.push(times[n], orders[n], points, np.full(3, 100.0))
  rows += one.finish()
  for identity, raw in tracks.items():
    got = [
      row[order == identity] for row, order in zip(rows, orders, strict=True)
    ]
    want = raw if identity < 0 else run(raw, times)
    np.testing.assert_allclose(np.concatenate(got), want, atol=1e-9)


def test_what_comes_out_when():
  one = smoothing.FixedLag(smoothing.Options(reach=0.2))
  points = np.zeros((1, 1, 2))
  counts = [len(one.push(n / 20, [0], points, SIZE)) for n in range(8)]
  assert counts == [0, 0, 0, 0, 1, 1, 1, 1]
  assert len(one.finish()) == 4
  assert one.push(0.0, [0], points, SIZE) == []  # A new video.
  empty = np.zeros((0, 1, 2))
  assert one.push(0.1, [], empty, np.zeros(0)) == []
  assert [len(rows) for rows in one.finish()] == [1, 0]


def test_memory_is_bounded():
  one = smoothing.FixedLag(smoothing.Options(reach=5.0, most=11))
  point = np.zeros((1, 1, 2))
  done = sum(len(one.push(1.0, [0], point, SIZE)) for _ in range(100))
  assert done == 100 - 11
  assert len(one.state) <= 11
  one = smoothing.FixedLag(smoothing.Options(reach=0.2))
  for n in range(200):
    one.push(n / 10, [n], point, SIZE)
    assert len(one.state) <= 2


@pytest.mark.parametrize("stop", [0, 1, 7, 23])
def test_an_interrupted_run_goes_on_alike(stop):
  """Restored, and given again all that had not come out."""
  rng = np.random.default_rng(0)
  times = uneven(4, 30).tolist()
  points = rng.normal(0, 10, (30, 2, 3, 2))
  points[rng.random((30, 2, 3)) < 0.2] = np.nan
  weights = rng.uniform(0, 1, (30, 2, 3))

  def go(one, first, last):
    rows = []
    for n in range(first, last):
      rows += one.push(
        times[n], [3, 5], points[n], np.full(2, 90.0), weights[n]
      )
    return rows

  whole = smoothing.FixedLag()
  want = go(whole, 0, 30) + whole.finish()
  part = smoothing.FixedLag()
  done = go(part, 0, stop)
  text = json.dumps(part.state, allow_nan=False)
  again = smoothing.FixedLag()
  again.restore(json.loads(text))
  done += go(again, len(done), 30) + again.finish()
  np.testing.assert_array_equal(np.array(done), np.array(want))


def test_boxes_there_and_back():
  boxes = np.array([[1, 2, 11, 22], [5, 5, 9, 9]], np.float32)
  points = smoothing.corners(boxes)
  np.testing.assert_array_equal(points[0], [[1, 2], [11, 22]])
  np.testing.assert_array_equal(smoothing.boxes_of(points, boxes + 1), boxes)
  crossed = points.astype(float)
  crossed[1] = [[9, 5], [5, 9]]
  got = smoothing.boxes_of(crossed, boxes)
  np.testing.assert_array_equal(got, boxes)
  crossed[1] = np.nan
  np.testing.assert_array_equal(smoothing.boxes_of(crossed, boxes), boxes)


def test_weights_by_covariance():
  covariance = np.array([[[[4.0, 1], [1, 12]], [[np.nan, 0], [0, 1]]]])
  assert smoothing.precision(covariance).tolist() == [[0.125, 0.0]]


def test_what_cannot_be_is_refused():
  one = smoothing.FixedLag()
  one.push(1.0, [0], np.zeros((1, 3, 2)), SIZE)
  with pytest.raises(ValueError, match="0.5 s after one at 1.0 s"):
    one.push(0.5, [0], np.zeros((1, 3, 2)), SIZE)
  with pytest.raises(ValueError, match="identity 4 is there 2 times"):
    one.push(2.0, [4, 4], np.zeros((2, 3, 2)), np.ones(2))
  with pytest.raises(ValueError, match="reach is 0.0 s, must be above 0"):
    smoothing.Options(reach=0.0)
  with pytest.raises(ValueError, match="degree is 4, must be from 0 to 3"):
    smoothing.Options(degree=4)
  with pytest.raises(ValueError, match="most 0 1 or above"):
    smoothing.Options(most=0)
