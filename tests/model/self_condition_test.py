"""A decoder that sees its estimate of the step before, from end to end."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny

from diffpose_jax import config as config_lib
from diffpose_jax.diffusion import sampler
from diffpose_jax.inference import network
from diffpose_jax.inference import sampling as sampling_lib
from diffpose_jax.pose import heatmap
from diffpose_jax.pose.skeleton import POSETRACK
from diffpose_jax.training import step as step_lib

K = len(POSETRACK.joints)
SHAPE = (16, 12, K)


@pytest.fixture(scope="module")
def config():
  config = tiny.config()
  config.model.self_condition = True
  config.train.start_weight = 1.0
  config.augment.colour = 0.0
  config_lib.check(config)
  return config


@pytest.fixture(scope="module")
def params(config):
  return tiny.params(config, POSETRACK, spread=50)


@pytest.fixture(scope="module")
def frames():
  rng = np.random.default_rng(1)
  return jnp.asarray(rng.integers(0, 256, (2, 3, 32, 24, 3), np.uint8))


@pytest.fixture(scope="module")
def apply(config, params):
  model: Any = network.build_model(config, POSETRACK)
  return jax.jit(
    lambda *given, method=None: model.apply(
      {"params": params}, *given, method=method
    ),
    static_argnames="method",
  )


def test_the_estimate_before_counts_joint_by_joint(apply, frames):
  features = apply(frames, method="encode")
  noise = jax.random.normal(jax.random.key(0), (2, *SHAPE))
  time = jnp.array([1.0, 0.4])
  none = apply(noise, time, features, method="denoise")
  zeros = jnp.zeros_like(noise)
  np.testing.assert_allclose(
    none, apply(noise, time, features, zeros, method="denoise"), atol=1e-6
  )
  found = []
  for joint in (3, 4):
    before = zeros.at[:, 8, 6, joint].set(1.0)
    found.append(apply(noise, time, features, before, method="denoise"))
  assert float(jnp.abs(found[0] - none).max()) > 1e-3
  # The paper's mask would not tell which joint it was.
  assert float(jnp.abs(found[0] - found[1]).max()) > 1e-3


def test_the_sampler_gives_what_the_step_before_found(config, params, frames):
  """As a loop by hand, whose first step has nothing before it."""
  options = sampling_lib.Options(3, 1, False, seed=5, eta=0.0)
  times = jnp.asarray(sampler.time_grid(3, 3))
  identity = jnp.array([3, 9], jnp.uint32)
  found = jax.jit(
    lambda params: sampling_lib.heatmaps(
      config,
      POSETRACK,
      params,
      frames,
      identity,
      (times, jnp.int32(3)),
      options,
    )
  )(params)[0]
  model: Any = network.build_model(config, POSETRACK)
  call = jax.jit(
    lambda *given: model.apply({"params": params}, *given, method="denoise")
  )
  features = model.apply({"params": params}, frames, method="encode")
  seed = jax.random.key(5)
  fold = lambda key, number: jax.random.fold_in(key, number)  # noqa: E731
  xt = jnp.stack(
    [
      jax.random.normal(fold(fold(fold(seed, one), 0), jnp.uint32(0)), SHAPE)
      for one in identity
    ]
  )
  maps = jnp.zeros_like(xt)
  spec = dataclasses.replace(network.build_process(config), conditioned=False)
  for i in range(3):
    maps = call(xt, jnp.broadcast_to(times[i], (2,)), features, maps)
    xt = sampler.ddim_step(xt, maps, (times[i], times[i + 1]), None, spec)
  np.testing.assert_allclose(found, maps, atol=1e-5)


def test_flip_mirrors_what_was_found_before(
  config, params, frames, monkeypatch
):
  monkeypatch.setattr(
    sampler, "_normal", lambda keys, shape, tag: jnp.zeros((2, *shape))
  )
  options = sampling_lib.Options(2, 1, True, seed=0, eta=0.0)
  times = jnp.asarray(sampler.time_grid(2, 2))

  @jax.jit
  def run(frames):
    return sampling_lib.heatmaps(
      config,
      POSETRACK,
      params,
      frames,
      jnp.zeros(2, jnp.uint32),
      (times, 2),
      options,
    )[0]

  mirrored = heatmap.flip(run(frames[:, :, :, ::-1]), POSETRACK.flip)
  np.testing.assert_allclose(mirrored, run(frames), atol=1e-5)


def test_training_shows_the_first_estimate(config, params, frames):
  model: Any = network.build_model(config, POSETRACK)
  rng = np.random.default_rng(2)
  batch = {
    "frames": frames,
    "joints": jnp.asarray(rng.uniform(0, 24, (2, K, 2)), jnp.float32),
    "labelled": jnp.ones((2, K), bool),
    "valid": jnp.ones(2, bool),
    "index": jnp.arange(2),
    "key": jax.random.split(jax.random.key(3), 2),
  }
  found = jax.jit(
    lambda params: step_lib.loss_sum(
      config, POSETRACK, params, jax.random.key(0), batch
    )
  )(params)
  target = step_lib.targets(config, batch)
  time, noise, _ = step_lib.draws(config, batch["key"], SHAPE)
  kept = jax.vmap(lambda t: _alpha_bar(t))(time)[:, None, None, None]
  xt = jnp.sqrt(kept) * (2 * target - 1) + jnp.sqrt(1 - kept) * noise
  call = lambda *given, method: model.apply(  # noqa: E731
    {"params": params}, *given, method=method
  )
  features = call(frames, method="encode")
  start = call(noise, jnp.ones(2), features, method="denoise")
  own = jnp.clip(start, 0, 1)
  later = call(xt, time, features, own, method="denoise")
  error = [
    np.square(m - target).mean(axis=(1, 2)).sum() for m in (start, later)
  ]
  np.testing.assert_allclose(found, sum(error) / 2, rtol=1e-4)


def _alpha_bar(time):
  """Nichol & Dhariwal's cosine, where nothing is clipped."""
  f = lambda u: jnp.cos((u + 0.008) / 1.008 * jnp.pi / 2) ** 2  # noqa: E731
  return f(time) / f(0.0)


def test_without_an_error_at_the_start_it_is_refused(config):
  config = config_lib.copy(config)
  config.train.start_weight = 0.0
  with pytest.raises(ValueError, match="model.self_condition: the first step"):
    config_lib.check(config)
