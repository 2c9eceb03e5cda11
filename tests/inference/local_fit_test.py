"""Local polynomials: SciPy's Savitzky-Golay, plain least squares, outliers."""

import numpy as np
import pytest
from scipy import signal

from diffpose_jax.inference import local_fit


def fitted(away, points, weights=None, *, reach=0.5, degree=2, floor=None):
  points = np.asarray(points, float)
  weights = np.ones(points.shape[:2]) if weights is None else weights
  return local_fit.fit(
    away, points, weights, reach=reach, degree=degree, floor=floor
  )


@pytest.mark.parametrize("degree", [0, 1, 2, 3])
def test_as_plain_weighted_least_squares(degree):
  rng = np.random.default_rng(degree)
  away = np.sort(rng.uniform(-0.6, 0.6, 17))
  away[8] = 0
  points = rng.normal(size=(17, 3, 2))
  weights = rng.uniform(0.1, 2, (17, 3))
  got = fitted(away, points, weights, degree=degree)
  near = np.where(abs(away) < 0.5, (1 - abs(away / 0.5) ** 3) ** 3, 0)
  for j in range(3):
    for axis in range(2):
      root = np.sqrt(near * weights[:, j])
      curve = np.polyfit(away, points[:, j, axis], degree, w=root)
      assert got[j, axis] == pytest.approx(curve[-1], rel=1e-6, abs=1e-7)


def test_polynomials_pass_through_at_uneven_times():
  rng = np.random.default_rng(0)
  away = np.concatenate([[0], rng.uniform(-0.5, 0.5, 12)])
  for degree in (1, 2, 3):
    curves = rng.normal(size=(degree + 1, 5, 2)) * 100
    points = sum(
      curve * away[:, None, None] ** power for power, curve in enumerate(curves)
    )
    for floor in (None, np.full(5, 1e-3)):
      got = fitted(away, points, degree=degree, floor=floor)
      np.testing.assert_allclose(got, curves[0], atol=1e-5)


def test_a_wide_reach_is_savitzky_golays():
  """Where the tricube is flat, within 1e-6, even times give SciPy's filter."""
  points = np.random.default_rng(0).normal(size=(7, 1, 2))
  got = fitted(np.arange(-3, 4) / 25, points, reach=30.0, degree=2)
  want = signal.savgol_filter(points, 7, 2, axis=0)[3]
  np.testing.assert_allclose(got, want, atol=1e-3)


def test_what_rests_stays_to_the_last_bit():
  rng = np.random.default_rng(0)
  point = rng.normal(size=(1, 4, 2)) * 1e3 / 3
  away = np.append(rng.uniform(-0.5, 0.5, 10), 0)
  weights = rng.uniform(0.1, 1, (11, 4))
  for floor in (None, np.full(4, 0.1)):
    got = fitted(away, np.repeat(point, 11, axis=0), weights, floor=floor)
    np.testing.assert_array_equal(got, point[0])


def test_too_few_points_for_the_degree():
  away = np.array([-0.1, 0.0, 0.2])
  points = np.array([[1.0, 2], [5, 7], [11, 3]])[:, None]
  one = np.array([[0.0], [1], [0]])
  np.testing.assert_array_equal(fitted(away, points, one), points[1])
  other = np.array([[1.0], [0], [0]])
  np.testing.assert_array_equal(fitted(away, points, other), points[0])
  # Two make a line.
  two = np.array([[1.0], [0], [1]])
  line = points[0] + (points[2] - points[0]) / 3
  np.testing.assert_allclose(fitted(away, points, two, degree=1), line)
  assert np.isnan(fitted(away, points, np.zeros((3, 1)))).all()


@pytest.mark.parametrize("bad", [[5], [5, 7], [4, 5], [0, 10]])
def test_outliers_are_left_out(bad):
  rng = np.random.default_rng(0)
  away = np.arange(-5, 6) / 12
  line = np.stack([100 * away, 3 - 40 * away], -1)[:, None]
  noise = rng.normal(0, 0.1, line.shape)
  points = line + noise
  points[bad] += [70, -90]
  weights = np.ones((11, 1))
  clean = weights.copy()
  clean[bad] = 0
  want = fitted(away, points, clean, degree=1)
  got = fitted(away, points, weights, degree=1, floor=np.array([0.1]))
  np.testing.assert_allclose(got, want, atol=0.15)
  plain = fitted(away, points, weights, degree=1)
  if 5 in bad:
    assert np.max(abs(plain - want)) > 5


def test_points_do_not_meddle_with_each_other():
  rng = np.random.default_rng(0)
  away = np.arange(-5, 6) / 12
  points = rng.normal(size=(11, 3, 2))
  weights = rng.uniform(0, 1, (11, 3))
  floor = np.full(3, 0.01)
  together = fitted(away, points, weights, floor=floor)
  for j in range(3):
    alone = fitted(
      away, points[:, j : j + 1], weights[:, j : j + 1], floor=floor[:1]
    )
    np.testing.assert_allclose(alone[0], together[j], rtol=1e-9)
