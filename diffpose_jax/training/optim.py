"""The optimiser: schedule, clipping, weight decay, what the ViT learns, EMA."""

import jax
import jax.numpy as jnp
import ml_collections
import optax

from diffpose_jax.training import freezing


def schedule(config: ml_collections.ConfigDict, steps: int) -> optax.Schedule:
  """Learning rate by step: linear warm-up, then a decay over `steps`.

  "step" multiplies by 0.1 at two thirds and five sixths of the run, as the
  family does; "cosine" falls to zero.
  """
  peak = config.learning_rate
  warmup = min(config.warmup, max(steps - 1, 0))
  rest = max(steps - warmup, 1)
  if config.schedule == "cosine":
    decay = optax.cosine_decay_schedule(peak, rest)
  else:
    drops = {
      max(int(steps * share) - warmup, 1): 0.1 for share in (2 / 3, 5 / 6)
    }
    decay = optax.piecewise_constant_schedule(peak, drops)
  if not warmup:
    return decay
  rise = optax.linear_schedule(peak / warmup, peak, warmup)
  return optax.join_schedules([rise, decay], [warmup])


def _decayed(params) -> dict:
  """True for kernels; biases, norms and embeddings are not decayed."""
  return jax.tree_util.tree_map_with_path(
    lambda path, _: path[-1].key == "kernel", params
  )


def _group(params) -> dict:
  """Which learning rate each leaf has: "backbone" (the ViT's) or "rest"."""
  return jax.tree_util.tree_map_with_path(
    lambda path, _: "backbone" if path[0].key == "vit" else "rest", params
  )


def trained(config: ml_collections.ConfigDict, params) -> dict:
  """The parameters that learn: all, or all but a frozen ViT's.

  With a teacher, the Pose-Decoder's alone.
  """
  if config.teacher.steps:
    return {"decoder": params["decoder"]}
  if not config.freeze_backbone:
    return params
  return {name: tree for name, tree in params.items() if name != "vit"}


def backbone_factors(config: ml_collections.ConfigDict, vit) -> dict:
  """Share of the learning rate for each leaf of the ViT's parameters.

  With n - 1 blocks, layer i of n learns at `layer_decay`^(n - i): stem and
  position are layer 0, the blocks 1 to n - 1, the last norm is layer n.

  Source: Bao et al. 2022, BEiT (arXiv 2106.08254), whose layers are these.
  """
  last = 1 + sum(name.startswith("block_") for name in vit)

  def factor(path, _) -> float:
    name = path[0].key
    layer = last if name == "norm" else 0
    if name.startswith("block_"):
      layer = 1 + int(name.removeprefix("block_"))
    return config.backbone_factor * config.layer_decay ** (last - layer)

  return jax.tree_util.tree_map_with_path(factor, vit)


def _scale_backbone(config: ml_collections.ConfigDict):
  """Updates of the ViT times `backbone_factors`; the others are masked out."""

  def scale(updates, params):
    del params
    vit = updates.get("vit")
    if vit is None:  # It is frozen.
      return updates
    factors = backbone_factors(config, vit)
    return updates | {"vit": jax.tree.map(lambda u, f: u * f, vit, factors)}

  return optax.stateless(scale)


def optimiser(
  config: ml_collections.ConfigDict, steps: int
) -> optax.GradientTransformation:
  """AdamW on globally clipped gradients; the ViT learns at its own factors.

  It takes what `trained` gives of the parameters.

  Source: Loshchilov & Hutter 2019 (arXiv 1711.05101).
  """
  rate = schedule(config, steps)
  late = config.freeze_steps
  return optax.chain(
    optax.clip_by_global_norm(config.clip),
    freezing.adam(late) if late else optax.scale_by_adam(b2=0.999),
    optax.add_decayed_weights(config.weight_decay, mask=_decayed),
    optax.partition(
      {
        "backbone": _scale_backbone(config),
        "rest": optax.identity(),
      },
      _group,
    ),
    optax.scale_by_learning_rate(rate),
  )


def average(ema, params, step: jax.Array, decay: float):
  """The exponential moving average after one more step.

  The decay is shorter over the first steps, so that the initial weights are
  forgotten.
  """
  rate = jnp.minimum(decay, (1.0 + step) / (10.0 + step))
  return jax.tree.map(lambda a, p: a + (1 - rate) * (p - a), ema, params)
