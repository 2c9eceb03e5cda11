"""The sampler on problems whose answer is known."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffpose_jax.diffusion import process, sampler

SHAPE = (5, 7, 3)


def _keys(count):
  return jax.random.split(jax.random.key(3), count)


def test_time_grid_runs_from_noise_to_clean_and_is_padded():
  np.testing.assert_allclose(
    sampler.time_grid(4, 6), [1, 0.75, 0.5, 0.25, 0, 0, 0]
  )
  for steps in (0, 7):
    with pytest.raises(ValueError, match=f"steps is {steps}"):
      sampler.time_grid(steps, 6)


@pytest.mark.parametrize("steps", [1, 2, 5])
@pytest.mark.parametrize("eta", [0.0, 1.0])
def test_oracle_gives_the_truth_for_any_number_of_steps(steps, eta):
  truth = jax.random.uniform(jax.random.key(1), (2, *SHAPE))
  found = sampler.sample(
    lambda xt, time: truth,
    _keys(2),
    SHAPE,
    jnp.asarray(sampler.time_grid(steps, 8)),
    jnp.asarray(steps),
    sampler.Process(eta=eta),
  )
  np.testing.assert_array_equal(found, truth)


def _exact_denoiser(mean, deviation, xt, time, schedule="cosine"):
  """E[heatmap | xt] where the signal is Gaussian; scale 1."""
  kept = process.alpha_bar(time, schedule=schedule)[:, None, None, None]
  gain = jnp.sqrt(kept) * deviation**2 / (kept * deviation**2 + 1 - kept)
  signal = mean + gain * (xt - jnp.sqrt(kept) * mean)
  return (signal + 1) / 2


def _errors_on_gaussian_data(schedule, solver, grids):
  """Largest error of the noisy signal half way, for so many steps to there."""
  mean, deviation = 0.1, 0.15
  start = jax.random.normal(jax.random.key(5), (1, *SHAPE))
  at = lambda t: process.alpha_bar(jnp.float32(t), schedule=schedule)  # noqa: E731
  deviations = lambda kept: jnp.sqrt(kept * deviation**2 + 1 - kept)  # noqa: E731
  first, last = 0.9, 0.3
  away = (start - jnp.sqrt(at(first)) * mean) / deviations(at(first))
  exact = jnp.sqrt(at(last)) * mean + away * deviations(at(last))
  spec = sampler.Process(schedule=schedule, solver=solver)
  errors = []
  for steps in grids:
    times = jnp.linspace(first, last, steps + 1)
    xt, previous = start, start  # before the first step there are none
    for i in range(steps):
      heatmaps = _exact_denoiser(
        mean, deviation, xt, times[i : i + 1], schedule
      )
      used = heatmaps
      if solver == "dpm2m" and i:
        around = times[i - 1], times[i], times[i + 1]
        used = sampler.extrapolated(heatmaps, previous, around, spec)
      xt = sampler.ddim_step(xt, used, (times[i], times[i + 1]), None, spec)
      previous = heatmaps
    errors.append(float(jnp.abs(xt - exact).max()))
  return np.array(errors)


@pytest.mark.parametrize("schedule", ["cosine", "linear"])
def test_dpm2m_is_of_second_order_where_ddim_is_of_first(schedule):
  """A known solution on part of the way, away from the singular ends."""
  grids = (8, 16, 32, 64)
  first = _errors_on_gaussian_data(schedule, "ddim", grids)
  second = _errors_on_gaussian_data(schedule, "dpm2m", grids)
  ratios = first[:-1] / first[1:]
  assert (ratios > 1.7).all() and (ratios < 2.4).all(), (first, ratios)
  ratios = second[:-1] / second[1:]
  assert (ratios[:2] > 3.0).all(), (second, ratios)
  assert (second < first / 3).all()


@pytest.mark.parametrize("traced", [True, False])
def test_dpm2m_takes_the_step_before_into_account(traced):
  """As a loop by hand; its first step is DDIM's."""
  denoise = lambda xt, time: jax.nn.sigmoid(xt) * 0.9  # noqa: E731
  spec = sampler.Process(solver="dpm2m")
  times = jnp.asarray(sampler.time_grid(3, 8))
  key = _keys(1)
  xt = jax.random.normal(jax.random.fold_in(key[0], jnp.uint32(0)), SHAPE)[None]
  maps = []
  for i in range(2):
    maps.append(denoise(xt, None))
    used = maps[-1]
    if i:
      used = sampler.extrapolated(used, maps[-2], tuple(times[:3]), spec)
    xt = sampler.ddim_step(xt, used, (times[i], times[i + 1]), None, spec)
  steps = jnp.asarray(3) if traced else 3
  found = sampler.sample(denoise, key, SHAPE, times, steps, spec)
  np.testing.assert_allclose(found, denoise(xt, None), atol=1e-6)
  plain = sampler.sample(denoise, key, SHAPE, times, steps)
  assert float(jnp.abs(plain - found).max()) > 1e-4


@pytest.mark.parametrize("schedule", ["cosine", "linear"])
def test_ddim_error_halves_with_each_doubling_of_steps(schedule):
  """On Gaussian data with the exact denoiser, DDIM is of first order.

  At ᾱ the signal is normal with mean √ᾱ mean and variance ᾱ deviation² + 1 -
  ᾱ, and the exact solution of DDIM's differential equation keeps how many
  deviations a point is from the mean: closed form. The last evaluation returns
  the denoiser's mean at the last time, which tends to that too.
  """
  mean, deviation = 0.1, 0.15
  denoise = functools.partial(
    _exact_denoiser, mean, deviation, schedule=schedule
  )
  keys = _keys(2)
  start = jax.vmap(
    lambda k: jax.random.normal(jax.random.fold_in(k, 0), SHAPE)
  )(keys)
  kept = float(process.alpha_bar(jnp.asarray(1.0), schedule=schedule))
  spread = np.sqrt(kept * deviation**2 + 1 - kept)
  exact = mean + deviation * (start - np.sqrt(kept) * mean) / spread
  errors = []
  for steps in (16, 32, 64, 128, 256):
    out = sampler.sample(
      denoise,
      keys,
      SHAPE,
      jnp.asarray(sampler.time_grid(steps, 256)),
      jnp.asarray(steps),
      sampler.Process(schedule=schedule),
    )
    errors.append(float(jnp.abs((2 * out - 1) - exact).max()))
  ratios = np.array(errors[:-1]) / np.array(errors[1:])
  assert (ratios > 1.6).all() and (ratios < 2.6).all(), (errors, ratios)


def test_eta_one_leaves_the_distribution_of_gaussian_data():
  mean, deviation = 0.1, 0.15
  out = sampler.sample(
    functools.partial(_exact_denoiser, mean, deviation),
    _keys(32),
    (11, 13, 2),
    jnp.asarray(sampler.time_grid(256, 256)),
    jnp.asarray(256),
    sampler.Process(eta=1.0),
  )
  signal = 2 * out - 1
  np.testing.assert_allclose(signal.mean(), mean, atol=0.01)
  np.testing.assert_allclose(signal.std(), deviation, rtol=0.05)


def test_traced_and_unrolled_steps_agree():
  denoise = lambda xt, time: jax.nn.sigmoid(xt) * 0.9  # noqa: E731
  times = jnp.asarray(sampler.time_grid(3, 8))
  run = functools.partial(sampler.sample, denoise, _keys(2), SHAPE, times)
  np.testing.assert_allclose(run(3), run(jnp.asarray(3)), atol=1e-6)


def test_changing_the_steps_does_not_compile_again():
  traces = []

  @jax.jit
  def run(times, steps):
    traces.append(1)
    denoise = lambda xt, time: jax.nn.sigmoid(xt)  # noqa: E731
    return sampler.sample(denoise, _keys(2), SHAPE, times, steps)

  outs = [
    run(jnp.asarray(sampler.time_grid(n, 8)), jnp.asarray(n)) for n in (1, 4, 8)
  ]
  assert len(traces) == 1
  assert not np.allclose(outs[0], outs[1])


@pytest.mark.parametrize("eta", [0.0, 0.7])
def test_a_result_does_not_depend_on_the_rest_of_the_batch(eta):
  denoise = lambda xt, time: jax.nn.sigmoid(xt)  # noqa: E731
  times = jnp.asarray(sampler.time_grid(3, 4))
  keys = _keys(5)
  run = functools.partial(
    sampler.sample,
    denoise,
    shape=SHAPE,
    times=times,
    steps=3,
    spec=sampler.Process(eta=eta),
  )
  np.testing.assert_allclose(
    run(keys=keys)[1:3], run(keys=keys[1:3]), atol=1e-6
  )


def test_ensemble_members_are_samples_of_folded_keys():
  denoise = lambda xt, time: jax.nn.sigmoid(xt)  # noqa: E731
  times = jnp.asarray(sampler.time_grid(2, 4))
  keys = _keys(3)
  members = sampler.ensemble(denoise, keys, SHAPE, times, 2, samples=5)
  assert members.shape == (5, 3, *SHAPE)
  for m in range(5):
    folded = jax.vmap(lambda k: jax.random.fold_in(k, m))(keys)  # noqa: B023
    one = sampler.sample(denoise, folded, SHAPE, times, 2)
    np.testing.assert_allclose(members[m], one, atol=1e-6)
  assert float(jnp.abs(members[0] - members[1]).max()) > 0.1
  some = jnp.asarray([1, 4], jnp.uint32)
  chosen = sampler.ensemble(denoise, keys, SHAPE, times, 2, samples=some)
  np.testing.assert_allclose(chosen, members[some], atol=1e-6)


def test_ensemble_of_equal_noise_equals_one_sample():
  truth = jax.random.uniform(jax.random.key(1), (3, *SHAPE))
  times = jnp.asarray(sampler.time_grid(2, 4))
  members = sampler.ensemble(
    lambda xt, time: truth, _keys(3), SHAPE, times, 2, samples=4
  )
  np.testing.assert_allclose(members.mean(axis=0), truth, atol=1e-6)


@pytest.mark.parametrize("steps", [1, 7, 13])
@pytest.mark.parametrize("eta", [0.0, 1.0])
@pytest.mark.parametrize("schedule", ["cosine", "linear"])
def test_more_steps_than_the_schedule_has_are_exact(steps, eta, schedule):
  """Between the steps of the chain alpha_bar is linear."""
  truth = jax.random.uniform(jax.random.key(1), (2, *SHAPE))
  seen = []

  def denoise(xt, time):
    seen.append(xt)
    return truth

  found = sampler.sample(
    denoise,
    _keys(2),
    SHAPE,
    jnp.asarray(sampler.time_grid(steps, 16)),
    steps,
    sampler.Process(schedule=schedule, steps=4, eta=eta),
  )
  np.testing.assert_array_equal(found, truth)
  assert len(seen) == steps and np.isfinite(seen).all()


def test_no_step_and_no_sample_are_refused():
  times = jnp.asarray(sampler.time_grid(1, 4))
  denoise = lambda xt, time: xt  # noqa: E731
  with pytest.raises(ValueError, match="steps is 0, must be at least 1"):
    sampler.sample(denoise, _keys(2), SHAPE, times, 0)
  with pytest.raises(ValueError, match="samples is 0, must be at least 1"):
    sampler.ensemble(denoise, _keys(2), SHAPE, times, 1, samples=0)


@pytest.mark.parametrize("eta", [0.0, 1.0])
@pytest.mark.parametrize("schedule", ["cosine", "linear"])
def test_a_bfloat16_network_is_sampled_in_float32(schedule, eta):
  """From time 1, where nearly no signal is, to 0, where there is no noise."""
  truth = jax.random.uniform(jax.random.key(1), (2, *SHAPE))
  rounded = truth.astype(jnp.bfloat16)

  def move(xt, times):
    xt = xt.astype(jnp.bfloat16).astype(jnp.float32)
    maps = rounded.astype(jnp.float32)
    noise = jnp.ones_like(maps)
    spec = sampler.Process(schedule=schedule, eta=eta)
    at, to = (jnp.asarray(t, jnp.float32) for t in times)
    return sampler.ddim_step(xt, maps, (at, to), noise, spec)

  signal = 2 * np.asarray(rounded, np.float32) - 1
  for start in (1.0, 0.5, 1e-3, 0.0):
    np.testing.assert_allclose(
      move(jnp.ones((2, *SHAPE)), (start, 0.0)), signal, atol=1e-6
    )
  stays = move(jnp.ones((2, *SHAPE)), (1.0, 1.0))
  assert np.isfinite(stays).all()
