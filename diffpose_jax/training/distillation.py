"""A Pose-Decoder that does in one step what a trained one does in many.

The teacher is the network of `train.init_from`. It walks `train.teacher.steps`
steps from each of `train.teacher.samples` noises, and the mean of the heatmaps is
what the student has to find at once, from one noise; also from that mean noised
to any time, so that more steps keep what the first one found. Encoder and
features are the teacher's and stay.

Source: the idea is that of Song et al. 2023, Consistency Models (arXiv
2303.01469), and of Salimans & Ho 2022, Progressive Distillation (arXiv
2202.00512). Differs: the target is the merged ensemble at the end of the walk,
not the next point of one walk, because merged heatmaps are the result here.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np

from diffpose_jax.diffusion import process, sampler
from diffpose_jax.inference import averaged, network, shipped
from diffpose_jax.model import sharding
from diffpose_jax.pose import skeleton as skeletons

_START = 0.5  # share of the clips whose time is 1
_NOISES, _COIN, _NUMBER, _NOISE = range(1 << 17, (1 << 17) + 4)


def is_on(config: ml_collections.ConfigDict) -> bool:
  """Whether training is by a teacher."""
  return config.train.teacher.steps > 0


def teacher(
  config: ml_collections.ConfigDict, skeleton: skeletons.Skeleton
) -> Any:
  """The Pose-Decoder's parameters of `train.init_from`, on the host; or None.

  Raises ValueError where it learned other joints, or is of another network.
  """
  if not is_on(config):
    return None
  origin = averaged.find(shipped.place(config.train.init_from))
  if origin.skeleton.joints != skeleton.joints:
    raise ValueError(
      f"{origin.path}: learned other joints than the data has, so it cannot "
      "teach; distil on data of the same joints"
    )
  init = functools.partial(
    network.init_params, config, skeleton, jax.random.key(0)
  )
  shapes = jax.eval_shape(init)
  here = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
  params, _ = origin.params(
    sharding.placed(shapes, jax.tree.map(lambda _: here, shapes))
  )
  # Part of the program as constants: on several hosts arrays of devices cannot.
  return jax.tree.map(np.asarray, jax.device_get(params["decoder"]))


def loss_sum(
  config: ml_collections.ConfigDict,
  skeleton: skeletons.Skeleton,
  params: Any,
  taught_by: Any,
  frames: jax.Array,
  batch: dict[str, jax.Array],
) -> jax.Array:
  """Squared error to the teacher's heatmaps summed over labelled joints.

  Args:
    config: of the run.
    skeleton: of both.
    params: the student's.
    taught_by: what `teacher` gives.
    frames: as the network gets them.
    batch: as of `step.loss_sum`.
  """
  d = config.diffusion
  model: Any = network.build_model(config, skeleton)
  apply = lambda params, *given, method: model.apply(  # noqa: E731
    {"params": params}, *given, method=method
  )
  features = jax.lax.stop_gradient(apply(params, frames, method="encode"))
  keys = batch["key"]
  _, noisy, _ = network.inputs(config, skeleton, 1)
  shape = noisy.shape[1:]
  fixed = params | {"decoder": taught_by}
  count = config.train.teacher.steps
  walked = sampler.ensemble(
    lambda *given: apply(
      fixed, given[0], given[1], features, *given[2:], method="denoise"
    ),
    _folded(keys, _NOISES),
    shape,
    jnp.asarray(sampler.time_grid(count, count)),
    jnp.int32(count),
    network.build_process(config),
    samples=config.train.teacher.samples,
  )
  target = jax.lax.stop_gradient(jnp.clip(walked.mean(axis=0), 0, 1))
  time = jax.vmap(lambda k: jax.random.randint(k, (), 1, d.steps + 1))(
    _folded(keys, _NUMBER)
  )
  first = jax.vmap(lambda k: jax.random.bernoulli(k, _START))(
    _folded(keys, _COIN)
  )
  noise = jax.vmap(lambda k: jax.random.normal(k, shape))(_folded(keys, _NOISE))
  kept = process.alpha_bar(time / d.steps, schedule=d.schedule, steps=d.steps)
  xt = process.add_noise(process.to_signal(target, d.signal_scale), noise, kept)
  # As the sampler begins: noise alone.
  xt = jnp.where(first[:, None, None, None], noise, xt)
  time = jnp.where(first, 1.0, time / d.steps)
  before = ()
  if config.model.self_condition:
    before = (jnp.where(first[:, None, None, None], 0.0, target),)
  found = apply(params, xt, time, features, *before, method="denoise")
  error = jnp.square(found - target).mean(axis=(1, 2))
  weighed = batch["labelled"] & batch["valid"][:, None]
  return jnp.where(weighed, error, 0).sum()


def _folded(keys: jax.Array, number: int) -> jax.Array:
  return jax.vmap(functools.partial(jax.random.fold_in, data=number))(keys)
