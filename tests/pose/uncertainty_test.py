import math

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from diffpose_jax.pose import heatmap, uncertainty

TAILS = (2.0, 5.0, math.inf)
INSIDE = 1 - math.log(10) * 0.1 / 0.9  # of the variance, above a tenth


def _turned(long, short, angle):
  c, s = math.cos(angle), math.sin(angle)
  turn = np.array([[c, -s], [s, c]])
  return turn @ np.diag([long**2, short**2]) @ turn.T


@pytest.mark.parametrize("stride", [4, 7.5])
def test_the_moments_of_a_gaussian_are_known(stride):
  joints = jnp.array([[[90.3, 110.7], [70.0, 141.4]]])
  maps = heatmap.encode(joints, size=(67, 53), stride=stride, spread=3.0)
  got = uncertainty.heatmap_covariance(maps, joints, stride=stride)
  want = INSIDE * (3.0 * 67 / 64 * stride) ** 2 * np.eye(2)
  np.testing.assert_allclose(got[0, 0], want, rtol=0.02, atol=0.02 * want[0, 0])


def test_background_and_broken_cells_do_not_count():
  joints = jnp.array([[[100.0, 120.0]]])
  maps = heatmap.encode(joints, size=(64, 48), stride=4, spread=2.0)
  clean = uncertainty.heatmap_covariance(maps, joints, stride=4)
  noisy = jnp.maximum(maps, 0.05).at[0, 0, 0].set(jnp.nan)
  got = uncertainty.heatmap_covariance(noisy, joints, stride=4)
  np.testing.assert_allclose(got, clean, rtol=1e-5, atol=1e-4)
  broken = jnp.full_like(maps, jnp.nan)
  got = uncertainty.heatmap_covariance(broken, joints, stride=4)
  assert jnp.isnan(got).all()


def test_a_line_of_cells_lies_along_its_axis():
  maps = jnp.zeros((1, 11, 13, 1)).at[0, 5, 4:9, 0].set(1.0)
  joints = heatmap.to_pixels(jnp.array([[[6.0, 5.0]]]), 2)
  got = uncertainty.heatmap_covariance(maps, joints, stride=2)
  # Cells at -2 ... 2 have a variance of 2, in pixels 4 times that.
  np.testing.assert_allclose(got[0, 0], [[8, 0], [0, 0]], atol=1e-5)


def test_samples_have_the_covariance_of_numpy():
  samples = np.random.default_rng(0).normal(size=(7, 3, 5, 2))
  got = uncertainty.sample_covariance(samples)
  np.testing.assert_allclose(got[1, 2], np.cov(samples[:, 1, 2].T), rtol=1e-12)
  with pytest.raises(ValueError, match="at least two samples"):
    uncertainty.sample_covariance(samples[:1])


def test_a_covariance_is_carried_like_its_points():
  rng = np.random.default_rng(1)
  linear = rng.normal(size=(3, 2, 2))
  points = rng.normal(size=(11, 3, 2))
  got = uncertainty.carried(linear, uncertainty.sample_covariance(points))
  moved = np.einsum("nij,mnj->mni", linear, points)
  np.testing.assert_allclose(got, uncertainty.sample_covariance(moved))


def test_within_is_the_closed_form_for_circles():
  radius = np.array([0.1, 1.0, 2.5])
  scale = np.broadcast_to(4 * np.eye(2), (3, 2, 2))
  got = uncertainty.within(scale, radius)
  np.testing.assert_allclose(got, 1 - np.exp(-(radius**2) / 8), rtol=1e-12)
  got = uncertainty.within(scale, radius, 3.0)
  want = 1 - (1 + radius**2 / 12) ** -1.5
  np.testing.assert_allclose(got, want, rtol=1e-12)


def _drawn(scale, tail, count):
  rng = np.random.default_rng(2)
  normal = rng.multivariate_normal(np.zeros(2), scale, count)
  if math.isinf(tail):
    return normal
  return normal / np.sqrt(rng.chisquare(tail, count) / tail)[:, None]


@pytest.mark.parametrize("tail", TAILS)
@pytest.mark.parametrize(("long", "short"), [(2.0, 1.0), (5.0, 0.5)])
def test_within_region_and_density_agree_with_drawn_errors(tail, long, short):
  scale = _turned(long, short, 0.7)
  count = 200_000
  errors = _drawn(scale, tail, count)
  length = np.linalg.norm(errors, axis=1)
  for radius in (0.5, 2.0, 6.0):
    got = uncertainty.within(scale[None], np.array([radius]), tail)
    assert abs(got[0] - np.mean(length <= radius)) < 4 * 0.5 / math.sqrt(count)
  d2 = uncertainty.squared_distance(np.tile(scale, (count, 1, 1)), errors)
  for share in (0.5, 0.9):
    found = np.mean(d2 <= uncertainty.region(share, tail))
    assert abs(found - share) < 4 * 0.5 / math.sqrt(count)


@pytest.mark.parametrize("tail", TAILS)
def test_the_density_integrates_to_within(tail):
  scale = _turned(1.5, 0.8, 0.3)
  step = 0.02
  axis = np.arange(-2, 2, step) + step / 2
  grid = np.stack(np.meshgrid(axis, axis), axis=-1).reshape(-1, 2)
  grid = grid[np.linalg.norm(grid, axis=1) <= 1.2]
  scales = np.tile(scale, (len(grid), 1, 1))
  density = np.exp(uncertainty.log_density(scales, grid, tail))
  (want,) = uncertainty.within(scale[None], np.array([1.2]), tail)
  assert np.sum(density) * step**2 == pytest.approx(want, rel=3e-3)


@given(
  long=st.floats(0.5, 9),
  ratio=st.floats(0.1, 1),
  angle=st.floats(0, math.pi),
  radius=st.floats(0, 30),
  more=st.floats(0, 30),
  tail=st.sampled_from(TAILS),
)
def test_within_grows_with_the_radius_and_ignores_turns(
  long, ratio, angle, radius, more, tail
):
  turned, plain = (
    _turned(long, long * ratio, turn)[None] for turn in (angle, 0.0)
  )
  near, far = (
    float(uncertainty.within(turned, np.array([r]), tail)[0])
    for r in (radius, radius + more)
  )
  assert 0 <= near <= far + 1e-9 <= 1 + 2e-9
  other = uncertainty.within(plain, np.array([radius]), tail)
  assert near == pytest.approx(float(other[0]), abs=1e-6)


@pytest.mark.parametrize("tail", [0.7, *TAILS])
def test_an_interval_holds_its_share_of_the_errors_along_an_axis(tail):
  """By SciPy's Student distribution, which is the marginal one."""
  for share in (0.1, 0.5, math.erf(math.sqrt(0.5)), 0.99):
    half = uncertainty.interval(share, tail)
    inside = stats.t(tail).cdf(half) - stats.t(tail).cdf(-half)
    assert inside == pytest.approx(share, abs=1e-12)
  if math.isinf(tail):
    assert uncertainty.interval(math.erf(math.sqrt(0.5))) == pytest.approx(1)
