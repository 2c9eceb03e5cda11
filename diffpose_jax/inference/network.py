"""The network and the process that a config and a skeleton describe."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import ml_collections

from diffpose_jax import config as config_lib
from diffpose_jax.diffusion import sampler
from diffpose_jax.model import diffpose, transformer
from diffpose_jax.pose import skeleton as skeletons


def build_model(
  config: ml_collections.ConfigDict, skeleton: skeletons.Skeleton
) -> diffpose.DiffPose:
  """The network, with one heatmap a joint of the skeleton."""
  m = config.model
  return diffpose.DiffPose(
    joints=len(skeleton.joints),
    size=m.size,
    patch=m.patch,
    stem=m.stem,
    strl_depth=m.strl_depth,
    decoder_width=m.decoder_width,
    heatmap_width=m.heatmap_width,
    drop_path=m.drop_path,
    dtype=compute_dtype(config),
    diffusion=m.diffusion,
    lookup=m.lookup,
    scales=m.scales,
    self_condition=m.self_condition,
    execution=transformer.Execution(m.attention, m.remat, m.scan),
    heads=m.heads,
    depth=m.depth,
    frozen=config.train.freeze_backbone,
  )


def compute_dtype(config: ml_collections.ConfigDict) -> jnp.dtype:
  """Dtype of matrix products: `model.dtype`, with `auto` by the platform."""
  wanted = config.model.dtype
  if wanted == "auto":
    wanted = "float32" if jax.default_backend() == "cpu" else "bfloat16"
  return jnp.dtype(wanted)


def backbone(config: ml_collections.ConfigDict) -> diffpose.Size:
  """Width, depth and heads of the ViT.

  Raises ValueError naming the keys that ask for one that cannot be.
  """
  try:
    return diffpose.backbone(
      config.model.size, config.model.heads, config.model.depth
    )
  except ValueError as error:
    raise ValueError(f"model.size, model.heads: {error}") from error


@dataclasses.dataclass(frozen=True)
class Halves:
  """The two functions that inference is made of; traceable."""

  encode: Callable[..., Any]  # (params, frames) → features, once for a clip
  # (params, noisy, time, features) → heatmaps, at each step; and, where the
  # network is conditioned on itself, those of the step before.
  denoise: Callable[..., jax.Array]
  # Whether they are programs of `export`, which cannot be mapped over an axis.
  exported: bool = False


def halves(
  config: ml_collections.ConfigDict, skeleton: skeletons.Skeleton
) -> Halves:
  """Those of the network itself."""
  model = build_model(config, skeleton)

  def apply(method: str) -> Any:
    return lambda params, *given: model.apply(
      {"params": params}, *given, method=method
    )

  return Halves(apply("encode"), apply("denoise"))


def build_process(
  config: ml_collections.ConfigDict, eta: float = 0.0, solver: str = "ddim"
) -> sampler.Process:
  """The diffusion process."""
  d = config.diffusion
  return sampler.Process(
    d.schedule,
    d.steps,
    d.signal_scale,
    eta,
    solver,
    conditioned=config.model.self_condition,
  )


def inputs(
  config: ml_collections.ConfigDict, skeleton: skeletons.Skeleton, batch: int
) -> tuple[jax.ShapeDtypeStruct, ...]:
  """Shapes of (frames, noisy heatmaps, times) of a batch."""
  y, x = config_lib.heatmap_size(config)
  joints = len(skeleton.joints)
  frames = (batch, config_lib.frames(config), *config.data.size, 3)
  return (
    jax.ShapeDtypeStruct(frames, jnp.uint8),
    jax.ShapeDtypeStruct((batch, y, x, joints), jnp.float32),
    jax.ShapeDtypeStruct((batch,), jnp.float32),
  )


def init_params(
  config: ml_collections.ConfigDict,
  skeleton: skeletons.Skeleton,
  key: jax.Array,
) -> Any:
  """Freshly initialised parameters; traceable."""
  zeros = (jnp.zeros(s.shape, s.dtype) for s in inputs(config, skeleton, 1))
  return build_model(config, skeleton).init(key, *zeros)["params"]
