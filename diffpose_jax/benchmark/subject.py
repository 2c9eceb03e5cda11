"""What is measured: the network of a config with made-up weights and clips."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np

from diffpose_jax import config as config_lib
from diffpose_jax.diffusion import sampler
from diffpose_jax.inference import network
from diffpose_jax.inference import sampling as sampling_lib
from diffpose_jax.model import diffpose, flops
from diffpose_jax.pose import skeleton as skeletons

SKELETON = skeletons.POSETRACK
# Of outputs that were computed in another order, by the dtype of the products.
TOLERANCES = {"float32": 1e-3, "bfloat16": 5e-2}


@dataclasses.dataclass(frozen=True)
class Subject:
  """A network, its weights, and functions of them that are yet to compile."""

  config: ml_collections.ConfigDict
  params: Any

  @property
  def model(self) -> diffpose.DiffPose:
    """The network."""
    return network.build_model(self.config, SKELETON)

  @property
  def process(self) -> sampler.Process:
    """The diffusion process."""
    return network.build_process(self.config)

  @property
  def tolerance(self) -> float:
    """How far equal outputs may be apart."""
    return TOLERANCES[str(network.compute_dtype(self.config))]

  @property
  def count(self) -> flops.Count:
    """Operations of a clip, by hand."""
    frames = config_lib.frames(self.config)
    return flops.count(self.model, frames, tuple(self.config.data.size))

  @property
  def heatmap(self) -> tuple[int, int, int]:
    """(y, x, k) of a clip's heatmaps."""
    return (*config_lib.heatmap_size(self.config), len(SKELETON.joints))

  def clips(self, batch: int) -> tuple[jax.Array, jax.Array]:
    """Frames uint8 (b, t, h, w, 3) of noise, and the people's noise ids."""
    shape, _, _ = network.inputs(self.config, SKELETON, batch)
    frames = np.random.default_rng(0).integers(0, 256, shape.shape, np.uint8)
    return jnp.asarray(frames), jnp.arange(batch, dtype=jnp.uint32)

  def keys(self, noise_id: jax.Array) -> jax.Array:
    """A key for each clip."""
    fold = functools.partial(jax.random.fold_in, jax.random.key(0))
    return jax.vmap(fold)(noise_id)

  def walk(self, steps: int) -> tuple[jax.Array, int]:
    """Times of so many steps, and their number."""
    times = sampler.time_grid(steps, self.config.evaluate.max_steps)
    return jnp.asarray(times), steps

  def traced_walk(self, steps: int) -> tuple[jax.Array, jax.Array]:
    """The same, as arguments that need no compilation for another number."""
    times, _ = self.walk(steps)
    return times, jnp.asarray(steps, jnp.int32)

  def encode(self, params: Any, frames: jax.Array) -> Any:
    """Features of clips; traceable."""
    return self.model.apply({"params": params}, frames, method="encode")

  def denoise(
    self, params: Any, noisy: jax.Array, time: jax.Array, features: Any
  ) -> Any:
    """Clean heatmaps of every sample (m, b, y, x, k) at times (b,)."""

    def one(noisy):
      variables = {"params": params}
      return self.model.apply(
        variables, noisy, time, features, method="denoise"
      )

    return jax.vmap(one)(noisy)

  def whole(self, samples: int) -> Callable[..., jax.Array]:
    """The function (params, frames, noise ids, walk) → every sample's maps."""
    options = sampling_lib.Options(
      steps=1, samples=samples, flip=False, seed=0, eta=0.0
    )

    def run(params, frames, noise_id, walk):
      return sampling_lib.heatmaps(
        self.config, SKELETON, params, frames, noise_id, walk, options
      )

    return run


def make(config: ml_collections.ConfigDict) -> Subject:
  """The subject of a config.

  Its weights are drawn on the host, which needs no compilation. None is zero,
  as some are when they are initialised, so that each does something.
  """
  init = functools.partial(network.init_params, config, SKELETON)
  shapes = jax.eval_shape(init, jax.random.key(0))
  rng = np.random.default_rng(0)

  def draw(path, leaf):
    noise = rng.standard_normal(leaf.shape, np.float32)
    if path[-1].key == "kernel":  # Keeps the size of what comes in.
      return noise * np.float32(leaf.size // leaf.shape[-1]) ** -0.5
    return (path[-1].key == "scale") + np.float32(0.05) * noise

  params = jax.tree_util.tree_map_with_path(draw, shapes)
  return Subject(config, jax.device_put(params))


def sizes(subject: Subject) -> dict[str, Any]:
  """What a result says of what was measured."""
  config: Any = subject.config
  count = sum(leaf.size for leaf in jax.tree.leaves(subject.params))
  return {
    "model": config.model.size,
    "stem": config.model.stem,
    "strl_depth": config.model.strl_depth,
    "decoder_width": config.model.decoder_width,
    "parameters": int(count),
    "frames": config_lib.frames(config),
    "picture": list(config.data.size),
    "dtype": str(network.compute_dtype(config)),
    "gflop_encoder": subject.count.encoder / 1e9,
    "gflop_decoder": subject.count.decoder / 1e9,
  }


def blocking(function: Callable[..., Any], *arguments: Any) -> Callable:
  """A call of a function that waits until its result is there."""
  return lambda: jax.block_until_ready(function(*arguments))


def counted(function: Callable[..., Any], *arguments: Any) -> float:
  """Operations as XLA counts them; nothing is compiled or run."""
  cost: Any = jax.jit(function).lower(*arguments).cost_analysis()
  return float(cost["flops"])
