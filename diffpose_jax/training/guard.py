"""Updates that are not finite are not made: all or nothing, within a step."""

import collections
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp


def made(
  sound: jax.Array, update: Callable[..., tuple[Any, Any]], state: tuple
) -> tuple[Any, Any]:
  """What `update(*state)` gives where `sound`, else `state` as it was.

  A branch, not a choice between two results, which would read and write all
  of a state once more.

  Args:
    sound: whether the update may be made.
    update: gives the new state and a tree of numbers about it.
    state: what it takes.

  Returns the state, and the numbers, 0 where no update was made.
  """
  shapes = jax.eval_shape(update, *state)[1]

  def keep(*state):
    return state, jax.tree.map(lambda v: jnp.zeros(v.shape, v.dtype), shapes)

  return jax.lax.cond(sound, update, keep, *state)


def is_sound(state: Any) -> jax.Array:
  """Whether all of a state is finite, and a step from it can be; traceable.

  What gradients of finite norm make of such a state is such a state again: they
  are clipped, so that averages of them and of their squares stay below the
  largest number, and their quotient and what it adds to a parameter do, too.
  So it is not looked at in each step, but before it is written.

  Args:
    state: tree of parameters, averages and optimiser states.

  Returns true where each array has a finite norm (no number above 1.8e19), and
  second moments, leaves of the name `nu`, have a finite root: no negative one.
  """
  # What belongs to one parameter is added up together: one pass of each, and
  # one number between devices.
  groups = collections.defaultdict(list)
  for path, leaf in jax.tree_util.tree_flatten_with_path(state)[0]:
    if not jnp.issubdtype(leaf.dtype, jnp.inexact):
      continue
    names = tuple(
      key.key for key in path if isinstance(key, jax.tree_util.DictKey)
    )
    moment = jax.tree_util.GetAttrKey("nu") in path
    size = jnp.sqrt(leaf) if moment else jnp.square(leaf)
    groups[names, leaf.shape].append(size)
  total = jnp.zeros(())
  for sizes in groups.values():
    total += jnp.sum(sum(sizes[1:], sizes[0]))
  return jnp.isfinite(total)
