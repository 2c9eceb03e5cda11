"""Heatmaps by sampling, and the poses in them: what an estimator compiles."""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import ml_collections
from jaxtyping import Float

from diffpose_jax.diffusion import sampler
from diffpose_jax.inference import adaptive as adaptive_lib
from diffpose_jax.inference import network
from diffpose_jax.pose import heatmap, uncertainty
from diffpose_jax.pose import skeleton as skeletons

# The padded time grid and the number of steps to walk on it.
Walk = tuple[jax.Array, int | jax.Array]
CLIPS_OUT = (0, 0, 1, 0, 0, 1)  # the axis of the clips in what `read` gives


@dataclasses.dataclass(frozen=True)
class Options:
  """How to sample, as the keys `evaluate.*` of the config."""

  steps: int
  samples: int
  flip: bool
  seed: int
  eta: float
  solver: str = "ddim"  # of `sampler.SOLVERS`
  # Spread of two samples of one step up to which a person is done, as a share
  # of the crop's height; 0: everybody has all steps and samples.
  adaptive: float = 0.0


def heatmaps(  # noqa: PLR0913 - the network, its input, and how to sample
  config: ml_collections.ConfigDict,
  skeleton: skeletons.Skeleton,
  params: Any,
  frames: jax.Array,
  noise_id: jax.Array,
  walk: Walk,
  options: Options,
  halves: network.Halves | None = None,
) -> jax.Array:
  """Heatmaps f32[m b y x k] of each ensemble member; traceable.

  The clip is encoded once. The mirrored pass sees the same noise, mirrored.
  `halves` are the network's own unless they are given.
  """
  halves = halves or network.halves(config, skeleton)
  features = [halves.encode(params, view) for view in views(frames, options)]
  return sampled(
    config, skeleton, params, features, noise_id, walk, options, halves
  )


def views(frames: jax.Array, options: Options) -> list[jax.Array]:
  """The pictures [... h w 3] that are looked at: mirrored too, with `flip`."""
  if not options.flip:
    return [frames]
  return [frames, jax.lax.rev(frames, (frames.ndim - 2,))]


def sampled(  # noqa: PLR0913 - what `heatmaps` takes
  config: ml_collections.ConfigDict,
  skeleton: skeletons.Skeleton,
  params: Any,
  features: Sequence[Any],
  noise_id: jax.Array,
  walk: Walk,
  options: Options,
  halves: network.Halves | None = None,
) -> jax.Array:
  """Heatmaps f32[m b y x k] from the features of each of `views`; traceable."""
  halves = halves or network.halves(config, skeleton)
  denoise: Any = functools.partial(halves.denoise, params)
  order = skeleton.flip
  key = jax.random.key(options.seed)
  keys = jax.vmap(functools.partial(jax.random.fold_in, key))(noise_id)
  _, noisy, _ = network.inputs(config, skeleton, 1)

  def run(features, keys, members, steps=walk[1]):
    ensemble = functools.partial(
      sampler.ensemble,
      keys=keys,
      shape=noisy.shape[1:],
      times=walk[0],
      steps=steps,
      spec=network.build_process(config, options.eta, options.solver),
      samples=members,
      together=not halves.exported,
    )
    maps = ensemble(
      lambda xt, time, *before: denoise(xt, time, features[0], *before)
    )
    if not options.flip:
      return maps

    def mirrored(xt, time, *before):
      xt, *before = (heatmap.flip(maps, order) for maps in (xt, *before))
      return heatmap.flip(denoise(xt, time, features[1], *before), order)

    return (maps + ensemble(mirrored)) / 2

  if not options.adaptive:
    return run(features, keys, options.samples)
  height = config.data.size[0]
  return adaptive_lib.ensemble(
    functools.partial(run, steps=1),
    run,
    list(features),
    keys,
    lambda maps: _decoder(config)(maps)[0] / height,
    samples=options.samples,
    threshold=options.adaptive,
  )


def merge(
  maps: Float[jax.Array, "m b y x k"],
) -> Float[jax.Array, "b y x k"]:
  """The mean over members, leaving out members that are not finite."""
  good = jnp.isfinite(maps).all(axis=(2, 3), keepdims=True)
  total = jnp.where(good, maps, 0).sum(axis=0)
  count = good.sum(axis=0)
  return jnp.where(count > 0, total / jnp.maximum(count, 1), jnp.nan)


def options_of(config: ml_collections.ConfigDict, **given: Any) -> Options:
  """Sampling options: those given, the config's where None or not given.

  Raises ValueError for what is out of range or does not fit together.
  """
  names = [field.name for field in dataclasses.fields(Options)]
  stored = {name: config.evaluate[name] for name in names}
  chosen = {name: value for name, value in given.items() if value is not None}
  options = Options(**stored | chosen)
  if options.samples < 1:
    raise ValueError(f"samples is {options.samples}, must be at least 1")
  if not 0 <= options.eta <= 1:
    raise ValueError(f"eta is {options.eta}, must be from 0 to 1")
  if options.solver not in sampler.SOLVERS:
    raise ValueError(
      f"solver is {options.solver!r}, must be one of "
      + ", ".join(sampler.SOLVERS)
    )
  if options.solver == "dpm2m" and options.eta > 0:
    raise ValueError(
      f"solver is 'dpm2m', whose steps have no noise of their own; eta is "
      f"{options.eta}, must be 0"
    )
  adaptive_lib.check(options.adaptive, options.samples)
  sampler.time_grid(options.steps, config.evaluate.max_steps)
  return options


def _decoder(config: ml_collections.ConfigDict) -> Callable[..., Any]:
  """Heatmaps [b y x k] → joints in crop pixels [b k 2] and scores [b k]."""
  return functools.partial(
    heatmap.decode, stride=config.model.patch / 4, method=config.evaluate.decode
  )


def read(config: ml_collections.ConfigDict, maps: jax.Array) -> tuple:
  """What `Pending` holds, of the heatmaps [m b y x k] of members; traceable."""
  decode = _decoder(config)
  mean = merge(maps)
  joints, score = decode(mean)
  samples, _ = jax.vmap(decode)(maps)
  shape = uncertainty.heatmap_covariance(
    mean, joints, stride=config.model.patch / 4
  )
  seen = jnp.nan_to_num(mean.max(axis=-1))
  heat = jnp.round(255 * jnp.clip(seen, 0, 1)).astype(jnp.uint8)
  broken = ~jnp.isfinite(maps).all(axis=(2, 3))
  return joints, score, samples, shape, heat, broken
