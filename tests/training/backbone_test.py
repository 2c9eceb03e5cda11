"""How the ViT learns: layer by layer slower, or not at all."""

from typing import Any

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


def _config(**changes):
  config = config_lib.default()
  config.data.size = (32, 24)
  config.data.span = 1
  config.model.size = "cpu"  # three layers
  config.model.patch = 8
  config.model.strl_depth = 1
  config.model.decoder_width = 16
  config.model.heatmap_width = 8
  config.train.batch = 8
  config.train.warmup = 0
  config.update_from_flattened_dict(
    {key.replace("__", "."): value for key, value in changes.items()}
  )
  return config


def _batch(count=8):
  rng = np.random.default_rng(3)
  return jax.device_put(
    {
      "frames": rng.integers(0, 256, (count, 3, 32, 24, 3), np.uint8),
      "joints": rng.uniform(0, 23, (count, 17, 2)).astype(np.float32),
      "labelled": rng.random((count, 17)) < 0.7,
      "valid": np.ones(count, bool),
      "index": np.arange(count, dtype=np.int32),
      "noise_id": np.zeros(count, np.uint32),
    }
  )


def _paths(tree):
  flat = jax.tree_util.tree_flatten_with_path(tree)[0]
  return {
    jax.tree_util.keystr(path, simple=True, separator="/") for path, _ in flat
  }


def _random(config, seed):
  """Parameters or the like of them: no leaf is zero throughout."""
  shapes = jax.eval_shape(
    lambda: network.init_params(config, POSETRACK, jax.random.key(0))
  )
  rng = np.random.default_rng(seed)
  return jax.tree.map(
    lambda s: 0.1 * rng.standard_normal(s.shape, np.float32), shapes
  )


def _state(config):
  """The optimiser and a state before the first step."""
  optimiser = optim.optimiser(config.train, 100)
  params = jax.device_put(_random(config, 0))
  begin = jax.jit(optimiser.init)
  return optimiser, step_lib.State(
    step=jnp.zeros((), jnp.int32),
    params=params,
    ema=params,
    optimiser=begin(optim.trained(config.train, params)),
  )


# With three blocks the last norm is layer 4, so 0.5^(4 - i) by hand.
BY_HAND = {
  "stem": 0.0625,
  "position": 0.0625,
  "block_00": 0.125,
  "block_01": 0.25,
  "block_02": 0.5,
  "norm": 1.0,
}


def test_layers_of_a_vit_of_three_blocks_learn_as_counted_by_hand():
  """Adam's first step is ± the learning rate, times the factor of the leaf."""
  config = _config(
    train__layer_decay=0.5,
    train__backbone_factor=0.2,
    train__learning_rate=1e-3,
    train__weight_decay=0.0,
  )
  optimiser, state = _state(config)
  assert set(state.params["vit"]) == set(BY_HAND)
  grads = jax.tree.map(np.sign, _random(config, 1))
  updates, _ = jax.jit(optimiser.update)(grads, state.optimiser, state.params)
  for part, factor in BY_HAND.items():
    for update, grad in zip(
      jax.tree.leaves(updates["vit"][part]),
      jax.tree.leaves(grads["vit"][part]),
      strict=True,
    ):
      np.testing.assert_allclose(update, -grad * 2e-4 * factor, rtol=1e-3)
  for part in ("strl", "decoder"):
    for update in jax.tree.leaves(updates[part]):
      np.testing.assert_allclose(np.abs(update), 1e-3, rtol=1e-3)


def test_decay_of_one_leaves_all_layers_alike():
  config = _config(train__backbone_factor=0.3)
  _, state = _state(config)
  factors = optim.backbone_factors(config.train, state.params["vit"])
  assert set(jax.tree.leaves(factors)) == {0.3}


def test_weight_decay_is_slower_in_lower_layers_too():
  """Decay is multiplied by the leaf's learning rate, as AdamW's is."""
  config = _config(
    train__layer_decay=0.5,
    train__backbone_factor=1.0,
    train__learning_rate=1.0,
    train__weight_decay=0.1,
  )
  optimiser, state = _state(config)
  zeros = jax.tree.map(np.zeros_like, _random(config, 0))
  updates, _ = jax.jit(optimiser.update)(zeros, state.optimiser, state.params)
  for block, factor in (("block_00", 0.125), ("block_02", 0.5)):
    kernel = state.params["vit"][block]["mlp"]["hidden"]["kernel"]
    found = updates["vit"][block]["mlp"]["hidden"]["kernel"]
    np.testing.assert_allclose(found, -0.1 * factor * kernel, rtol=1e-5)


@pytest.fixture(scope="module")
def frozen():
  config = _config(
    train__freeze_backbone=True,
    train__layer_decay=0.5,
    train__weight_decay=0.1,
    train__ema=0.9,
    model__init_from="somewhere",
    model__drop_path=0.2,
  )
  return config, *_state(config)


@pytest.mark.parametrize("parts", [1, 4])
def test_a_frozen_vit_stays_bit_for_bit_while_the_rest_moves(frozen, parts):
  config, optimiser, start = frozen
  config = config_lib.copy(config)
  config.train.accumulate = parts
  step = jax.jit(step_lib.make_step(config, POSETRACK, optimiser))
  state = start
  for _ in range(3):
    state, metrics = step(state, _batch())
  assert metrics["gradient_norm"] > 0
  for tree in (state.params, state.ema):
    for before, after in zip(
      jax.tree.leaves(start.params["vit"]),
      jax.tree.leaves(tree["vit"]),
      strict=True,
    ):
      assert np.asarray(before).tobytes() == np.asarray(after).tobytes()
    for part in ("strl", "decoder"):
      for before, after in zip(
        jax.tree.leaves(start.params[part]),
        jax.tree.leaves(tree[part]),
        strict=True,
      ):
        assert (np.asarray(before) != np.asarray(after)).any()


def test_the_optimiser_keeps_nothing_of_a_frozen_vit(frozen):
  _, _, state = frozen
  assert not any("vit" in path for path in _paths(state.optimiser))
  # Two moments of every other parameter, and two counts.
  others = [state.params[part] for part in ("strl", "decoder")]
  assert len(jax.tree.leaves(state.optimiser)) == 2 + 2 * len(
    jax.tree.leaves(others)
  )


def _step_flops(config):
  optimiser = optim.optimiser(config.train, 100)
  init = lambda: vars(step_lib.init_state(config, POSETRACK, optimiser))  # noqa: E731
  step = step_lib.make_step(config, POSETRACK, optimiser)
  run = jax.jit(lambda state, batch: step(step_lib.State(**state), batch))
  cost: Any = run.lower(jax.eval_shape(init), _batch()).cost_analysis()
  return cost["flops"]


def _vit_flops(config):
  """Of the ViT's forward pass over a batch of clips."""
  model = network.build_model(config, POSETRACK)
  frames, noisy, time = network.inputs(config, POSETRACK, 8)
  params = jax.eval_shape(
    lambda: network.init_params(config, POSETRACK, jax.random.key(0))
  )

  def run(params, frames):
    images = frames.reshape(-1, *frames.shape[2:]).astype(jnp.float32)
    bound: Any = model.bind({"params": params})
    return bound.vit(images)

  del noisy, time
  cost: Any = jax.jit(run).lower(params, frames).cost_analysis()
  return cost["flops"]


def test_the_backward_pass_of_a_frozen_vit_is_not_computed(frozen):
  """A backward pass costs twice the forward one, which is all that is saved.

  Less the gradient of the picture, which nobody asks for, and the updates.
  """
  config = frozen[0]
  learning = config_lib.copy(config)
  learning.train.freeze_backbone = False
  learning.model.drop_path = 0.0
  saved = _step_flops(learning) - _step_flops(config)
  assert saved / _vit_flops(config) == pytest.approx(2, rel=0.1)


def test_a_frozen_vit_drops_no_path_in_training(frozen):
  """Its features are those of evaluation; STRL's paths are still dropped."""
  config, _, state = frozen
  model: Any = network.build_model(config, POSETRACK)
  frames = _batch(2)["frames"]

  def tokens(train):
    _, seen = model.apply(
      {"params": state.params},
      frames,
      train=train,
      method="encode",
      rngs={"dropout": jax.random.key(1)},
      capture_intermediates=lambda module, _: module.name in ("vit", "strl"),
    )
    seen = seen["intermediates"]
    return seen["vit"]["__call__"][0], seen["strl"]["__call__"][0]

  (vit, strl), (vit_trained, strl_trained) = tokens(False), tokens(True)
  np.testing.assert_array_equal(vit, vit_trained)
  assert not np.allclose(strl, strl_trained)


def test_gradients_of_the_rest_are_those_without_freezing(frozen):
  config = config_lib.copy(frozen[0])
  config.model.drop_path = 0.0
  learning = config_lib.copy(config)
  learning.train.freeze_backbone = False
  params, batch = frozen[2].params, _batch()
  batch = batch | {"key": step_lib.clip_keys(config, jnp.asarray(0), batch)}

  def gradient(config):
    loss = lambda p: step_lib.loss_sum(  # noqa: E731
      config, POSETRACK, p, jax.random.key(0), batch
    )
    return jax.jit(jax.grad(loss))(params)

  found, expected = gradient(config), gradient(learning)
  for part in ("strl", "decoder"):
    for a, b in zip(
      jax.tree.leaves(found[part]), jax.tree.leaves(expected[part]), strict=True
    ):
      np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5)
  assert float(optax.tree.norm(found["vit"])) == 0
  assert float(optax.tree.norm(expected["vit"])) > 0
