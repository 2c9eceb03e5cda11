"""How large gradients and updates are, of the network and of its parts."""

from typing import Any

import jax
import jax.numpy as jnp
import optax


def of_gradients(grads: Any) -> dict[str, jax.Array]:
  """Norms of gradients, a dict of trees by part, before clipping; traceable.

  `gradient_norm` is over all that learns, `gradient_norm/PART` of one part.
  """
  # Each leaf is summed once: under `fsdp` a sum is one more message.
  squares = {part: _square(tree) for part, tree in sorted(grads.items())}
  found = {"gradient_norm": jnp.sqrt(sum(squares.values()))}
  return found | {
    f"gradient_norm/{part}": jnp.sqrt(square)
    for part, square in squares.items()
  }


def of_updates(updates: Any, params: Any) -> dict[str, jax.Array]:
  """`update_ratio/PART`: norm of the step that a part makes over its own.

  Args:
    updates: what is added to the parameters, a dict of trees by part.
    params: before that, likewise.
  """
  found = {}
  for part, tree in sorted(updates.items()):
    size = _square(params[part])
    # Parameters that are all zero have no ratio.
    ratio = jnp.sqrt(_square(tree) / jnp.where(size > 0, size, 1))
    found[f"update_ratio/{part}"] = jnp.where(size > 0, ratio, jnp.nan)
  return found


def _square(tree: Any) -> jax.Array:
  return optax.tree.norm(tree, squared=True)
