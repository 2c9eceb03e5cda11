"""One optimiser step: a pure function of the state and a batch."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import ml_collections
import optax
from flax import struct
from jaxtyping import Array, Bool, Float

from diffpose_jax import config as config_lib
from diffpose_jax.diffusion import process
from diffpose_jax.inference import network
from diffpose_jax.model import sharding
from diffpose_jax.pose import heatmap
from diffpose_jax.pose import skeleton as skeletons
from diffpose_jax.training import (
  distillation,
  distort,
  freezing,
  guard,
  norms,
  optim,
)

Batch = dict[str, jax.Array]
# Folded into a clip's key for what happens to its pictures: far from the
# numbers of `draws`, which splitting folds in.
_DISTORT = 1 << 16


@struct.dataclass
class State:
  """Everything that changes from step to step."""

  # Steps done, int32; in trees made like this one, whatever JAX puts here.
  step: Any
  params: Any
  ema: Any
  optimiser: Any


def init_state(
  config: ml_collections.ConfigDict,
  skeleton: skeletons.Skeleton,
  optimiser: optax.GradientTransformation,
) -> State:
  """The state before the first step; traceable."""
  key = jax.random.key(config.seed)
  params = network.init_params(config, skeleton, key)
  return State(
    step=jnp.zeros((), jnp.int32),
    params=params,
    ema=params,
    optimiser=optimiser.init(optim.trained(config.train, params)),
  )


def clip_keys(
  config: ml_collections.ConfigDict, step: jax.Array, batch: Batch
) -> jax.Array:
  """One key per clip, a function of seed, step and place in the batch."""
  key = jax.random.fold_in(jax.random.key(config.seed), step)
  places = jnp.arange(batch["index"].shape[0], dtype=jnp.uint32)
  fold = lambda place: jax.random.fold_in(key, place)  # noqa: E731
  return jax.vmap(fold)(places)


def pictures(config: ml_collections.ConfigDict, batch: Batch) -> jax.Array:
  """The frames as the network gets them, by the clips' keys; traceable."""
  fold = functools.partial(jax.random.fold_in, data=_DISTORT)
  return distort.distort(
    jax.vmap(fold)(batch["key"]), batch["frames"], config.augment
  )


def targets(
  config: ml_collections.ConfigDict, batch: Batch
) -> Float[Array, "b y x k"]:
  """Target heatmaps.

  A joint that is not labelled has an empty one, so that it shows nothing to
  the others.
  """
  maps = heatmap.encode(
    batch["joints"],
    size=config_lib.heatmap_size(config),
    stride=config.model.patch / 4,
    spread=config.diffusion.spread,
  )
  return jnp.where(batch["labelled"][:, None, None], maps, 0.0)


def draws(
  config: ml_collections.ConfigDict, keys: jax.Array, shape: tuple[int, ...]
) -> tuple[Float[Array, "b"], Float[Array, "b y x k"], Bool[Array, "b"]]:
  """Time, noise and "align to itself" of each clip, functions of its key.

  `shape` is that of a clip's heatmaps (y, x, k). The time is uniform over the
  schedule's T steps.
  """
  number_key, noise_key, coin_key = jax.vmap(
    functools.partial(jax.random.split, num=3), out_axes=1
  )(keys)
  last = config.diffusion.steps
  number = jax.vmap(lambda k: jax.random.randint(k, (), 1, last + 1))(
    number_key
  )
  noise = jax.vmap(lambda k: jax.random.normal(k, shape))(noise_key)
  coin = jax.vmap(lambda k: jax.random.bernoulli(k, config.train.self_aligned))(
    coin_key
  )
  return number / last, noise, coin


def loss_sum(
  config: ml_collections.ConfigDict,
  skeleton: skeletons.Skeleton,
  params: Any,
  key: jax.Array,
  batch: Batch,
) -> jax.Array:
  """Squared error summed over labelled joints, mean over heatmap cells.

  With `train.self_aligned` > 0, that share of the clips is noised from the
  model's own estimate out of pure noise instead of the truth, which is what it
  meets at inference. `train.start_weight` w adds the error of that estimate
  itself: (error + w error at the start) / (1 + w). A network with
  `self_condition` sees it beside the noisy heatmaps, and nothing at the start.

  Source: Feng et al. 2023 (arXiv 2307.16687): L2 between predicted and true
  heatmaps; self-aligned denoising: Ji et al. 2023, DDP (arXiv 2303.17559).
  Differs: joints that are not labelled, or outside the crop, have no part in
  it, as in the rest of the family.
  """
  d = config.diffusion
  apply: Any = functools.partial(
    network.build_model(config, skeleton).apply, {"params": params}
  )
  frames = pictures(config, batch)
  features = apply(frames, train=True, method="encode", rngs={"dropout": key})
  target = targets(config, batch)
  time, noise, aligned = draws(config, batch["key"], target.shape[1:])
  clean = target
  start_weight, start, before = config.train.start_weight, target, ()
  if config.train.self_aligned > 0 or start_weight > 0:
    start = apply(noise, jnp.ones_like(time), features, method="denoise")
    own = jax.lax.stop_gradient(jnp.clip(start, 0, 1))
    clean = jnp.where(aligned[:, None, None, None], own, target)
    before = (own,) if config.model.self_condition else ()
  kept = process.alpha_bar(time, schedule=d.schedule, steps=d.steps)
  x0 = process.to_signal(clean, d.signal_scale)
  noisy = process.add_noise(x0, noise, kept)
  predicted = apply(noisy, time, features, *before, method="denoise")
  error = jnp.square(predicted - target).mean(axis=(1, 2))
  if start_weight > 0:
    at_start = jnp.square(start - target).mean(axis=(1, 2))
    error = (error + start_weight * at_start) / (1 + start_weight)
  return jnp.where(_weighed(batch), error, 0).sum()


def _weighed(batch: Batch) -> jax.Array:
  return batch["labelled"] & batch["valid"][:, None]


def make_step(
  config: ml_collections.ConfigDict,
  skeleton: skeletons.Skeleton,
  optimiser: optax.GradientTransformation,
  mesh: jax.sharding.Mesh | None = None,
  teacher: Any = None,
) -> Callable[[State, Batch], tuple[State, dict[str, jax.Array]]]:
  """The function (state, batch) → (state, metrics), to be jitted.

  Where loss or gradients are not finite, only `step` changes and
  `metrics["skipped"]` is 1.

  On a mesh, the state is where `sharding.places` says. `teacher` is that of
  `distillation`, where there is one.
  """
  late = config.train.freeze_steps  # from which the ViT learns
  early = config_lib.copy(config)
  early.train.freeze_backbone = True

  def gradients(config, state, batch):
    loss = functools.partial(_loss, config, skeleton, mesh, teacher)
    return lambda params: _gradients(config, loss, mesh, params, state, batch)

  def step(state: State, batch: Batch) -> tuple[State, dict[str, jax.Array]]:
    batch = _with_keys(config, state, batch)
    frozen = state.step < late
    whole = gradients(config, state, batch)
    if late:
      loss, grads = freezing.gradients(
        frozen, gradients(early, state, batch), whole, state.params
      )
      grads = sharding.scattered(grads, mesh)
    else:
      loss, grads = whole(state.params)
    found = norms.of_gradients(grads)
    sound = jnp.isfinite(loss) & jnp.isfinite(found["gradient_norm"])
    (learning, average, optimiser_state), ratios = _updated(
      config, optimiser, state, grads, sound
    )
    skipped = jnp.where(sound, 0.0, 1.0)
    metrics = {"loss": loss, "skipped": skipped} | found | ratios
    # What is frozen stays: the same array in, the same array out.
    params, ema = state.params | learning, state.ema | average
    if late:
      params = freezing.kept(frozen, state.params, params)
      ema = freezing.kept(frozen, state.ema, ema)
      metrics["update_ratio/vit"] *= 1 - frozen
    return State(state.step + 1, params, ema, optimiser_state), metrics

  return step


def _with_keys(
  config: ml_collections.ConfigDict, state: State, batch: Batch
) -> Batch:
  """The batch with a key for each clip, and no label without weight."""
  batch = batch | {"key": clip_keys(config, state.step, batch)}
  # A label without weight is no number: 0 times NaN would be a gradient.
  joints = jnp.where(_weighed(batch)[..., None], batch["joints"], 0)
  return batch | {"joints": joints}


def _loss(
  config: ml_collections.ConfigDict,
  skeleton: skeletons.Skeleton,
  mesh: jax.sharding.Mesh | None,
  teacher: Any,
  params: Any,
  key: jax.Array,
  batch: Batch,
) -> jax.Array:
  """The summed loss of a batch, or of one part of it, on a mesh."""
  with sharding.traced_for(mesh):
    whole = sharding.gathered(params, mesh)
    if teacher is not None:
      frames = pictures(config, batch)
      return distillation.loss_sum(
        config, skeleton, whole, teacher, frames, batch
      )
    return loss_sum(config, skeleton, whole, key, batch)


def _gradients(
  config: ml_collections.ConfigDict,
  loss: Callable[[Any, jax.Array, Batch], jax.Array],
  mesh: jax.sharding.Mesh | None,
  params: Any,
  state: State,
  batch: Batch,
) -> tuple[jax.Array, Any]:
  """Loss of the mean over the whole batch; gradients of what learns."""
  parts = config.train.accumulate
  learning = optim.trained(config.train, params)
  count = jnp.maximum(_weighed(batch).sum(), 1).astype(jnp.float32)

  def grad(key, batch):
    total, grads = jax.value_and_grad(
      lambda learning: loss(params | learning, key, batch)
    )(learning)
    return total, sharding.scattered(grads, mesh)

  def add(total, numbered):
    number, part = numbered
    more = grad(jax.random.fold_in(key, number), part)
    return jax.tree.map(jnp.add, total, more), None

  key = jax.random.fold_in(jax.random.key(config.seed + 1), state.step)
  if parts == 1:
    total = grad(key, batch)
  else:
    split = _split(batch, parts)
    zeros = (jnp.zeros(()), jax.tree.map(jnp.zeros_like, learning))
    total, _ = jax.lax.scan(add, zeros, (jnp.arange(parts), split))
  return jax.tree.map(lambda v: v / count, total)


def _split(batch: Batch, parts: int) -> Batch:
  """The micro-batches along a new first axis; each takes every n-th clip."""
  return jax.tree.map(
    lambda v: v.reshape(v.shape[0] // parts, parts, *v.shape[1:]).swapaxes(
      0, 1
    ),
    batch,
  )


def _updated(
  config: ml_collections.ConfigDict,
  optimiser: optax.GradientTransformation,
  state: State,
  grads: Any,
  sound: jax.Array,
) -> tuple[tuple[Any, Any, Any], dict[str, jax.Array]]:
  """What learns, its average and the optimiser after an update, if `sound`.

  And the sizes of the updates over those of the parameters.
  """

  def update(learning, average, old):
    updates, new = optimiser.update(grads, old, learning)
    ratios = norms.of_updates(updates, learning)
    learning = optax.apply_updates(learning, updates)
    average = optim.average(average, learning, state.step, config.train.ema)
    return (learning, average, new), ratios

  learning = optim.trained(config.train, state.params)
  average = optim.trained(config.train, state.ema)
  return guard.made(sound, update, (learning, average, state.optimiser))
