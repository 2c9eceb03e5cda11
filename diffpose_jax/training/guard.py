"""Updates that are not finite are not made: all or nothing, within a step."""

import collections
from typing import Any

import jax
import jax.numpy as jnp


def choose(sound: jax.Array, new: Any, old: Any) -> Any:
  """`new` where `sound` is true, else the very bits of `old`; traceable.

  A choice, not a product: 0 times NaN is NaN.
  """
  return jax.tree.map(lambda n, o: jnp.where(sound, n, o), new, old)


def is_sound(state: Any) -> jax.Array:
  """Whether all of a state is finite, and a step from it can be; traceable.

  What gradients of finite norm make of a sound state is finite again: they are
  clipped, so that averages of them and of their squares stay below the largest
  number, and their quotient and what it adds to a parameter do, too. So it is
  the state before a step that is looked at, which costs one reading; to look at
  what is about to be written, it would have to be computed twice.

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
