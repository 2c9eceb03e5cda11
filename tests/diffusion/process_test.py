"""The forward process against closed forms."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffpose_jax.diffusion import process


@pytest.mark.parametrize("schedule", ["cosine", "linear"])
def test_schedule_starts_clean_ends_in_noise_and_falls(schedule):
  times = jnp.linspace(0, 1, 1001)
  kept = np.asarray(process.alpha_bar(times, schedule=schedule))
  assert kept[0] == 1
  assert 0 < kept[-1] < 1e-4
  assert (np.diff(kept) < 0).all()


def test_cosine_schedule_is_the_paper_s_where_beta_is_not_clipped():
  def f(u):
    return np.cos((u + 0.008) / 1.008 * np.pi / 2) ** 2

  for number in (1, 250, 500, 900):
    np.testing.assert_allclose(
      process.alpha_bar(jnp.asarray(number / 1000)),
      f(number / 1000) / f(0),
      rtol=1e-4,
    )


def test_linear_schedule_by_product():
  beta = 1e-4 + (0.02 - 1e-4) * np.arange(1000) / 999
  for number in (1, 10, 700, 1000):
    np.testing.assert_allclose(
      process.alpha_bar(jnp.asarray(number / 1000), schedule="linear"),
      np.prod(1 - beta[:number]),
      rtol=2e-4,
    )


def test_unknown_schedule_is_refused():
  with pytest.raises(ValueError, match="schedule is 'square'"):
    process.alpha_bar(jnp.asarray(0.5), schedule="square")


@pytest.mark.parametrize("scale", [0.5, 1.0, 2.0])
def test_signal_range(scale):
  signal = process.to_signal(jnp.array([0.0, 0.5, 1.0]), scale)
  np.testing.assert_allclose(signal, [-scale, 0, scale])


def test_noising_has_the_variance_of_its_schedule(key):
  shape = (2, 31, 37, 3)
  noise = jax.random.normal(key, shape)
  kept = jnp.array([0.9, 0.2])
  xt = process.add_noise(jnp.ones(shape), noise, kept)
  np.testing.assert_allclose(xt.mean(axis=(1, 2, 3)), np.sqrt(kept), atol=0.03)
  np.testing.assert_allclose(xt.var(axis=(1, 2, 3)), 1 - kept, rtol=0.05)


def test_noise_of_recovers_the_noise(key):
  x0, noise = jax.random.normal(key, (2, 1, 5, 7, 3))
  for kept in (0.999, 0.5, 1e-5):
    xt = process.add_noise(x0, noise, jnp.array([kept]))
    found = process.noise_of(xt, x0, jnp.asarray(kept))
    np.testing.assert_allclose(found, noise, atol=1e-3)
  assert (process.noise_of(x0, x0, jnp.asarray(1.0)) == 0).all()


@pytest.mark.parametrize("schedule", ["cosine", "linear"])
@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16, jnp.float32])
def test_the_ends_of_time_are_exact_in_every_dtype(schedule, dtype):
  """There is no noise at 0, and at 1 nothing overflows or divides by 0."""
  ends = jnp.array([0, 1], dtype)
  kept = process.alpha_bar(ends, schedule=schedule)
  assert kept.dtype == jnp.float32
  exact = process.alpha_bar(jnp.array([0.0, 1.0]), schedule=schedule)
  np.testing.assert_array_equal(kept, exact)
  x0 = jnp.array([-1, 0.5], dtype).reshape(2, 1, 1, 1)
  noise = jnp.array([3, -2], dtype).reshape(2, 1, 1, 1)
  xt = process.add_noise(x0, noise, kept)
  assert xt[0, 0, 0, 0] == -1
  np.testing.assert_allclose(xt[1, 0, 0, 0], -2, atol=1e-2)
  assert (process.noise_of(xt, x0, kept[0]) == 0).all()
  found = process.noise_of(xt[1:], x0[1:], kept[1])
  np.testing.assert_allclose(found[0, 0, 0, 0], -2, atol=1e-5)


@pytest.mark.parametrize("schedule", ["cosine", "linear"])
@pytest.mark.parametrize("steps", [1, 2])
def test_the_shortest_schedules(schedule, steps):
  kept = process.alpha_bar(
    jnp.array([0.0, 0.5, 1.0]), schedule=schedule, steps=steps
  )
  assert kept[0] == 1 and np.isfinite(kept).all()
  assert (np.diff(kept) < 0).all() and kept[-1] > 0
