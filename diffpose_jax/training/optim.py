"""The optimiser: schedule, clipping, weight decay mask, backbone factor, EMA."""

import jax
import jax.numpy as jnp
import ml_collections
import optax


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


def optimiser(
  config: ml_collections.ConfigDict, steps: int
) -> optax.GradientTransformation:
  """AdamW on globally clipped gradients; the ViT learns at its own factor.

  Source: Loshchilov & Hutter 2019 (arXiv 1711.05101).
  """
  rate = schedule(config, steps)
  return optax.chain(
    optax.clip_by_global_norm(config.clip),
    optax.scale_by_adam(b2=0.999),
    optax.add_decayed_weights(config.weight_decay, mask=_decayed),
    optax.partition(
      {
        "backbone": optax.scale(config.backbone_factor),
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
