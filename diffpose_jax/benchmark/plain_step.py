"""A train step written out in one function, to compare the program's with.

The same loss, draws and optimiser, with nothing that a framework adds: what
`training.step` computes for float32 or bfloat16, one batch a step, without
self-alignment, stochastic depth or distortion of the pictures.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import ml_collections
import optax

from diffpose_jax import config as config_lib
from diffpose_jax.diffusion import process
from diffpose_jax.inference import network
from diffpose_jax.pose import heatmap
from diffpose_jax.pose import skeleton as skeletons

Carry = tuple[jax.Array, Any, Any, Any]  # step, params, averaged, optimiser


def settings(config: ml_collections.ConfigDict) -> ml_collections.ConfigDict:
  """The config with what the plain step leaves out turned off."""
  config = config_lib.copy(config)
  config.model.drop_path = 0.0
  config.augment.colour = config.augment.erase_probability = 0.0
  config.train.accumulate = 1
  config.model.self_condition = False
  config.train.self_aligned = config.train.start_weight = 0.0
  config.train.backbone_factor = 1.0
  config.train.warmup = 0
  config.train.schedule = "cosine"
  return config


def make(
  config: ml_collections.ConfigDict, skeleton: skeletons.Skeleton, steps: int
) -> tuple[Callable[[Any], Carry], Callable[[Carry, Any], tuple[Carry, Any]]]:
  """Functions params → carry, and (carry, batch) → (carry, loss)."""
  model = network.build_model(config, skeleton)
  c, d = config.train, config.diffusion
  optimiser = optax.chain(
    optax.clip_by_global_norm(c.clip),
    optax.adamw(
      optax.cosine_decay_schedule(c.learning_rate, steps),
      weight_decay=c.weight_decay,
      mask=_kernels,
    ),
  )

  def loss(params, step, batch):
    target = heatmap.encode(
      batch["joints"],
      size=config_lib.heatmap_size(config),
      stride=config.model.patch / 4,
      spread=d.spread,
    )
    target = target * batch["labelled"][:, None, None]

    def draw(place):
      key = jax.random.fold_in(jax.random.key(config.seed), step)
      key = jax.random.fold_in(key, place)
      for_number, for_noise, _ = jax.random.split(key, 3)
      number = jax.random.randint(for_number, (), 1, d.steps + 1)
      return number / d.steps, jax.random.normal(for_noise, target.shape[1:])

    places = jnp.arange(target.shape[0], dtype=jnp.uint32)
    time, noise = jax.vmap(draw)(places)
    kept = process.alpha_bar(time, schedule=d.schedule, steps=d.steps)
    kept = kept[:, None, None, None]
    signal = (2 * target - 1) * d.signal_scale
    noisy = jnp.sqrt(kept) * signal + jnp.sqrt(1 - kept) * noise
    found: Any = model.apply({"params": params}, batch["frames"], noisy, time)
    error = ((found - target) ** 2).mean(axis=(1, 2))
    weighed = batch["labelled"] & batch["valid"][:, None]
    return (error * weighed).sum() / weighed.sum()

  def start(params):
    averaged = jax.tree.map(jnp.copy, params)
    return jnp.int32(0), params, averaged, optimiser.init(params)

  def step(carry, batch):
    number, params, averaged, state = carry
    value, gradients = jax.value_and_grad(loss)(params, number, batch)
    updates, state = optimiser.update(gradients, state, params)
    params = optax.apply_updates(params, updates)
    rate = 1 - jnp.minimum(c.ema, (1.0 + number) / (10.0 + number))
    averaged = jax.tree.map(
      lambda old, new: old + rate * (new - old), averaged, params
    )
    return (number + 1, params, averaged, state), value

  return start, step


def _kernels(params: Any) -> Any:
  """True for the leaves that decay."""
  return jax.tree_util.tree_map_with_path(
    lambda path, _: path[-1].key == "kernel", params
  )
