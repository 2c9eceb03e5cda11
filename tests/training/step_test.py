"""One optimiser step, against slow references and its invariances."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import tiny

from diffpose_jax import config as config_lib
from diffpose_jax.diffusion import process
from diffpose_jax.inference import network
from diffpose_jax.pose.skeleton import POSETRACK
from diffpose_jax.training import optim
from diffpose_jax.training import step as step_lib


def _config():
  config = tiny.config(model__scales=1)
  config.train.batch = 8
  config.train.learning_rate = 1e-2
  config.train.warmup = 0
  return config


def _batch(count=8, seed=0):
  rng = np.random.default_rng(seed)
  batch = {
    "frames": rng.integers(0, 256, (count, 3, 32, 24, 3), np.uint8),
    "joints": rng.uniform(0, 23, (count, 17, 2)).astype(np.float32),
    "labelled": rng.random((count, 17)) < 0.7,
    "valid": np.arange(count) != 2,
    "index": np.arange(count, dtype=np.int32),
    "noise_id": np.zeros(count, np.uint32),
  }
  return jax.device_put(batch)


@pytest.fixture(scope="module")
def start():
  """A config, its optimiser and a state whose head is not near zero."""
  config = _config()
  optimiser = optim.optimiser(config.train, 100)
  state = jax.jit(lambda: step_lib.init_state(config, POSETRACK, optimiser))()
  params = jax.tree.map(
    lambda v: v + 0.02 * jax.random.normal(jax.random.key(v.size), v.shape),
    state.params,
  )
  return config, optimiser, state.replace(params=params, ema=params)


@pytest.fixture(scope="module")
def step(start):
  """The step of `start`, traced and compiled once for all tests."""
  config, optimiser, _ = start
  return jax.jit(step_lib.make_step(config, POSETRACK, optimiser))


@pytest.fixture(scope="module")
def apply(start):
  """The network of `start` at clips, noisy heatmaps and times."""
  config, _, state = start
  model: Any = network.build_model(config, POSETRACK)
  return functools.partial(jax.jit(model.apply), {"params": state.params})


def _sum(config, state, batch):
  """The loss that the step takes the gradient of, before the mean."""
  loss = jax.jit(functools.partial(step_lib.loss_sum, config, POSETRACK))
  return loss(state.params, jax.random.key(0), batch)


def _noisy(config, keys, batch):
  """Targets, the same with noise, and times: the recipe, step by step."""
  target = step_lib.targets(config, batch)
  time, noise, aligned = step_lib.draws(config, keys, (16, 12, 17))
  x0 = process.to_signal(target, config.diffusion.signal_scale)
  kept = process.alpha_bar(time)
  return target, process.add_noise(x0, noise, kept), time, noise, aligned


def _mean_error(batch, predicted, target):
  errors = []
  for b in range(8):
    for k in range(17):
      if b != 2 and batch["labelled"][b, k]:
        errors.append(
          np.square(predicted[b, ..., k] - target[b, ..., k]).mean()
        )
  return np.mean(errors)


def test_loss_is_the_mean_over_labelled_joints_of_valid_clips(
  start, step, apply
):
  config, _, state = start
  batch = _batch()
  keys = step_lib.clip_keys(config, jnp.asarray(3), batch)
  target, noisy, time, _, _ = _noisy(config, keys, batch)
  predicted = apply(batch["frames"], noisy, time)
  _, metrics = step(state.replace(step=jnp.asarray(3, jnp.int32)), batch)
  expected = _mean_error(batch, predicted, target)
  np.testing.assert_allclose(metrics["loss"], expected, rtol=1e-5)


def test_self_aligned_clips_are_noised_from_the_model_s_own_estimate(
  start, apply
):
  config, _, state = start
  config = config_lib.copy(config)
  config.train.self_aligned = 0.5
  batch = _batch()
  keys = step_lib.clip_keys(config, jnp.asarray(3), batch)
  target, noisy, time, noise, aligned = _noisy(config, keys, batch)
  assert 0 < aligned.sum() < 8
  apply = functools.partial(apply, batch["frames"])
  own = jnp.clip(apply(noise, jnp.ones(8)), 0, 1)
  again = process.add_noise(
    process.to_signal(own, 1.0), noise, process.alpha_bar(time)
  )
  predicted = np.where(
    aligned[:, None, None, None], apply(again, time), apply(noisy, time)
  )
  found = _sum(config, state, batch | {"key": keys})
  count = int((batch["labelled"] & batch["valid"][:, None]).sum())
  expected = _mean_error(batch, predicted, target)
  np.testing.assert_allclose(found / count, expected, rtol=1e-4)


def test_the_first_estimate_s_error_has_its_weight(start, apply):
  config, _, state = start
  config = config_lib.copy(config)
  config.train.start_weight = 3.0
  batch = _batch()
  keys = step_lib.clip_keys(config, jnp.asarray(3), batch)
  target, noisy, time, noise, _ = _noisy(config, keys, batch)
  apply = functools.partial(apply, batch["frames"])
  first = _mean_error(batch, apply(noise, jnp.ones(8)), target)
  later = _mean_error(batch, apply(noisy, time), target)
  found = _sum(config, state, batch | {"key": keys})
  count = int((batch["labelled"] & batch["valid"][:, None]).sum())
  expected = (later + 3 * first) / 4
  np.testing.assert_allclose(found / count, expected, rtol=1e-4)


def test_an_unlabelled_joint_has_an_empty_target():
  config, batch = _config(), _batch()
  target = np.asarray(step_lib.targets(config, batch))
  labelled = np.asarray(batch["labelled"])
  assert (target.max(axis=(1, 2))[~labelled] == 0).all()
  assert (target.max(axis=(1, 2))[labelled] > 0.5).all()


def test_times_are_uniform_over_the_schedule_and_noise_is_normal():
  config = _config()
  keys = jax.random.split(jax.random.key(1), 512)
  time, noise, aligned = step_lib.draws(config, keys, (16, 12, 17))
  assert time.min() >= 1 / 1000 and time.max() <= 1
  counts = np.histogram(time, 4, (0, 1))[0]
  np.testing.assert_allclose(counts / 512, 0.25, atol=0.08)
  np.testing.assert_allclose(noise.std(), 1, rtol=0.01)
  np.testing.assert_allclose(noise.mean(), 0, atol=0.01)
  assert not aligned.any()


def test_noise_is_a_function_of_seed_step_and_place():
  config, batch = _config(), _batch()
  keys = functools.partial(step_lib.clip_keys, config)
  data = lambda keys: np.asarray(jax.random.key_data(keys))  # noqa: E731
  a, b = data(keys(jnp.asarray(1), batch)), data(keys(jnp.asarray(2), batch))
  assert len(np.unique(np.concatenate([a, b]), axis=0)) == 16
  np.testing.assert_array_equal(a, data(keys(jnp.asarray(1), batch)))


def test_accumulated_gradients_equal_the_large_batch(start, step):
  config, optimiser, state = start
  split = config_lib.copy(config)
  split.train.accumulate = 4
  batch = _batch()
  whole, one = step(state, batch)
  parts, four = jax.jit(step_lib.make_step(split, POSETRACK, optimiser))(
    state, batch
  )
  np.testing.assert_allclose(one["loss"], four["loss"], rtol=1e-5)
  np.testing.assert_allclose(
    one["gradient_norm"], four["gradient_norm"], rtol=1e-4
  )
  # Adam's first step is the sign of the gradient: compare what it keeps.
  moments = lambda s: jax.tree.leaves(s.optimiser)  # noqa: E731
  for a, b in zip(moments(whole), moments(parts), strict=True):
    np.testing.assert_allclose(a, b, atol=1e-6)


def test_labels_outside_and_padding_do_not_matter(start, step):
  state = start[2]
  batch = _batch()
  changed = {k: np.array(v) for k, v in batch.items()}
  changed["frames"][2] = 255 - changed["frames"][2]
  changed["joints"][~np.asarray(batch["labelled"])] = -999.0
  changed = jax.device_put(changed)
  (a, _), (b, _) = step(state, batch), step(state, changed)
  # Adam's first step is the sign of the gradient: compare what it keeps.
  for x, y in zip(
    jax.tree.leaves(a.optimiser), jax.tree.leaves(b.optimiser), strict=True
  ):
    np.testing.assert_allclose(x, y, atol=1e-8)


def test_a_clip_without_a_joint_in_the_crop_adds_nothing(start, step):
  state = start[2]
  batch = {k: np.array(v) for k, v in _batch().items()}
  batch["labelled"][5] = False
  batch["joints"][5] = 0.0
  other = {k: v.copy() for k, v in batch.items()}
  other["frames"][5] = 255 - other["frames"][5]
  a, found = step(state, jax.device_put(batch))
  b, same = step(state, jax.device_put(other))
  assert np.isfinite(found["loss"]) and found["loss"] == same["loss"]
  for x, y in zip(
    jax.tree.leaves(a.optimiser), jax.tree.leaves(b.optimiser), strict=True
  ):
    np.testing.assert_allclose(x, y, atol=1e-8)
  batch["labelled"][:] = False
  _, none = step(state, jax.device_put(batch))
  assert none["loss"] == 0 and none["gradient_norm"] == 0


def test_loss_falls_on_one_batch(start, step):
  state = start[2]
  losses = []
  for _ in range(30):
    state, metrics = step(state, _batch())
    losses.append(float(metrics["loss"]))
  assert np.mean(losses[-5:]) < 0.5 * losses[0]


def test_steady_state_compiles_once_and_moves_nothing_by_itself(start, step):
  state, _ = step(start[2], _batch())
  programs = step._cache_size()
  with jax.transfer_guard("disallow"):
    for i in range(4):
      state, metrics = step(state, _batch(seed=i))
  assert step._cache_size() == programs
  assert int(state.step) == 5 and np.isfinite(float(metrics["loss"]))


def test_average_follows_the_weights():
  ema = optim.average(
    {"a": jnp.zeros(3)}, {"a": jnp.ones(3)}, jnp.asarray(0), 0.9
  )
  np.testing.assert_allclose(ema["a"], 0.9)  # young: 1 - 1/10
  ema = optim.average(
    {"a": jnp.zeros(3)}, {"a": jnp.ones(3)}, jnp.asarray(10_000), 0.9
  )
  np.testing.assert_allclose(ema["a"], 0.1, rtol=1e-5)


def test_schedules_by_hand():
  config = _config().train
  config.learning_rate, config.warmup = 1.0, 10
  step = optim.schedule(config, 60)
  np.testing.assert_allclose(
    [step(0), step(5), step(10), step(39), step(41), step(51)],
    [0.1, 0.55, 1, 1, 0.1, 0.01],
    rtol=1e-5,
  )
  config.schedule = "cosine"
  cosine = optim.schedule(config, 60)
  np.testing.assert_allclose(
    [cosine(10), cosine(35), cosine(60)], [1, 0.5, 0], atol=1e-6
  )


def test_only_kernels_decay_and_the_backbone_is_slower():
  config = _config().train
  config.learning_rate, config.weight_decay = 1.0, 0.5
  config.backbone_factor = 0.1
  params = {
    "vit": {"kernel": jnp.full((2, 3), 2.0), "bias": jnp.full(3, 2.0)},
    "strl": {"kernel": jnp.full((2, 3), 2.0), "position": jnp.full(3, 2.0)},
  }
  optimiser = optim.optimiser(config, 100)
  zeros = jax.tree.map(jnp.zeros_like, params)
  updates, _ = optimiser.update(zeros, optimiser.init(params), params)
  moved = optax.apply_updates(params, updates)
  np.testing.assert_allclose(moved["vit"]["kernel"], 2 - 0.1 * 0.5 * 2)
  np.testing.assert_allclose(moved["strl"]["kernel"], 2 - 0.5 * 2)
  np.testing.assert_allclose(moved["vit"]["bias"], 2)
  np.testing.assert_allclose(moved["strl"]["position"], 2)
