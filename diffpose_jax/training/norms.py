"""How large gradients and updates are, of the network and of its parts."""

from typing import Any

import jax
import jax.numpy as jnp
import optax


def measured(grads: Any, updates: Any, params: Any) -> dict[str, jax.Array]:
  """Norms of a step by name, scalars; traceable.

  `gradient_norm` is over all that learns and before clipping,
  `gradient_norm/PART` of one part; `update_ratio/PART` is the norm of the step
  that its parameters make over their own norm.

  Args:
    grads: gradients by part, a dict of trees.
    updates: what is added to the parameters, likewise.
    params: before that, likewise.
  """
  # Each leaf is summed once: under `fsdp` a sum is one more message.
  squares = {part: _square(tree) for part, tree in sorted(grads.items())}
  found = {"gradient_norm": jnp.sqrt(sum(squares.values()))}
  for part, square in squares.items():
    found[f"gradient_norm/{part}"] = jnp.sqrt(square)
    size = _square(params[part])
    # Parameters that are all zero have no ratio.
    ratio = jnp.sqrt(_square(updates[part]) / jnp.where(size > 0, size, 1))
    found[f"update_ratio/{part}"] = jnp.where(size > 0, ratio, jnp.nan)
  return found


def made(norms: dict[str, jax.Array], sound: jax.Array) -> dict[str, jax.Array]:
  """`norms` with update ratios of 0 where an update is not made."""
  return {
    name: jnp.where(sound, value, 0) if name.startswith("update") else value
    for name, value in norms.items()
  }


def _square(tree: Any) -> jax.Array:
  return optax.tree.norm(tree, squared=True)
