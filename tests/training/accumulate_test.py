"""Micro-batches: the gradients of the whole batch, whatever is in each."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from diffpose_jax import config as config_lib
from diffpose_jax.inference import network
from diffpose_jax.pose.skeleton import POSETRACK
from diffpose_jax.training import optim
from diffpose_jax.training import step as step_lib


def _config(parts, drop_path=0.0):
  config = config_lib.default()
  config.data.size = (32, 24)
  config.data.span = 1
  config.model.size = "cpu"
  config.model.patch = 8
  config.model.strl_depth = 1
  config.model.decoder_width = 8
  config.model.heatmap_width = 4
  config.model.scales = 1
  config.model.drop_path = drop_path
  config.augment.colour = 0.3
  config.augment.erase_probability = 0.5
  config.train.self_aligned = 0.5
  config.train.batch = 8
  config.train.accumulate = parts
  config.train.warmup = 0
  config.train.clip = 1e9  # so that what the optimiser keeps is the gradient
  return config


@functools.cache
def _batch():
  """Clips with 0 to 17 labelled joints, which differ between micro-batches."""
  rng = np.random.default_rng(5)
  labelled = np.zeros((8, 17), bool)
  for clip, count in enumerate((17, 1, 0, 3, 2, 13, 0, 5)):
    labelled[clip, rng.permutation(17)[:count]] = True
  return jax.device_put(
    {
      "frames": rng.integers(0, 256, (8, 3, 32, 24, 3), np.uint8),
      "joints": rng.uniform(0, 23, (8, 17, 2)).astype(np.float32),
      "labelled": labelled,
      "valid": np.arange(8) != 5,  # the clip with 13 joints is padding
      "index": np.arange(8, dtype=np.int32),
      "noise_id": np.zeros(8, np.uint32),
    }
  )


WEIGHED = 17 + 1 + 0 + 3 + 2 + 0 + 5  # joints in the loss, counted by hand


@functools.cache
def _params():
  shapes = jax.eval_shape(
    lambda: network.init_params(_config(1), POSETRACK, jax.random.key(0))
  )
  rng = np.random.default_rng(0)
  return jax.tree.map(
    lambda s: jnp.asarray(0.1 * rng.standard_normal(s.shape, np.float32)),
    shapes,
  )


def _step(config):
  """Loss, gradients and norm of one step, as Adam keeps a tenth of them."""
  optimiser = optim.optimiser(config.train, 100)
  params = _params()
  state = step_lib.State(
    step=jnp.asarray(3, jnp.int32),
    params=params,
    ema=params,
    optimiser=jax.jit(optimiser.init)(params),
  )
  run = jax.jit(step_lib.make_step(config, POSETRACK, optimiser))
  state, metrics = run(state, _batch())
  grads = jax.tree.map(lambda v: 10 * v, state.optimiser[1].mu)
  return metrics["loss"], grads, metrics["gradient_norm"]


def _assert_same(a, b):
  np.testing.assert_allclose(a[0], b[0], rtol=1e-5)
  np.testing.assert_allclose(a[2], b[2], rtol=1e-4)
  largest = max(float(jnp.abs(v).max()) for v in jax.tree.leaves(a[1]))
  for x, y in zip(jax.tree.leaves(a[1]), jax.tree.leaves(b[1]), strict=True):
    np.testing.assert_allclose(x, y, rtol=1e-3, atol=1e-5 * largest)


@pytest.mark.parametrize("parts", [2, 4])
def test_masks_that_differ_between_micro_batches_change_nothing(parts):
  """With augmentation, noise and self-alignment: each clip has its own."""
  whole, split = _step(_config(1)), _step(_config(parts))
  assert whole[2] > 0
  _assert_same(whole, split)


def test_with_dropped_paths_only_their_keys_differ():
  """Each micro-batch has a key of its own, and the sum is over all joints."""
  config = _config(4, drop_path=0.5)
  found = _step(config)
  key = jax.random.fold_in(jax.random.key(config.seed + 1), 3)
  batch = _batch() | {
    "key": step_lib.clip_keys(config, jnp.asarray(3), _batch())
  }

  @jax.jit
  def gradients(params, key, batch):
    return jax.value_and_grad(
      lambda p: step_lib.loss_sum(config, POSETRACK, p, key, batch)
    )(params)

  # The clips of micro-batch i are i, i + 4: neighbours go to different ones,
  # so that each has clips of every device.
  parts = [
    gradients(
      _params(),
      jax.random.fold_in(key, i),
      jax.tree.map(lambda v, i=i: v[i::4], batch),
    )
    for i in range(4)
  ]
  loss, grads = functools.reduce(
    lambda a, b: jax.tree.map(jnp.add, a, b), parts
  )
  grads = jax.tree.map(lambda v: v / WEIGHED, grads)
  _assert_same(found, (loss / WEIGHED, grads, optax.tree.norm(grads)))
