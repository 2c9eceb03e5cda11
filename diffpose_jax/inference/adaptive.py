"""Steps and samples for those alone of whom a first look says different things.

The first look is two samples of one step. Where they agree, they are the answer;
all others get all samples, of all steps. All is one compiled program: how many
people go on is not known when it is compiled, so they are gathered to the front
and taken in groups of a fixed size, as many as there are; nothing waits for the
host.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Key, Shaped

FIRST = 2  # samples of the first look
_GROUPS = 8  # of people in a batch

# (features of each view, keys, numbers of members) → heatmaps [m b y x k]
Run = Callable[[Any, Key[Array, "b"], Shaped[Array, "m"]], jax.Array]


def check(threshold: float, samples: int) -> None:
  """Raises ValueError for a threshold or a number of samples that cannot be."""
  if not 0 <= threshold < np.inf:
    raise ValueError(f"adaptive is {threshold}, must be at least 0")
  if threshold and (samples <= FIRST or samples % FIRST):
    raise ValueError(
      f"samples is {samples}; with adaptive, some have {FIRST} and others all, "
      "so it must be an even number from 4 on"
    )


def evaluations(share: float, steps: int, samples: int) -> float:
  """Of the decoder, a person, where a share of the people goes on."""
  return FIRST + share * steps * samples


def ensemble(
  look: Run,
  run: Run,
  features: Any,
  keys: Key[Array, "b"],
  decode: Callable[[jax.Array], jax.Array],
  *,
  samples: int,
  threshold: float,
) -> Float[Array, "m b y x k"]:
  """Heatmaps of `samples` members; who is done has the first look's, repeated.

  So the mean over all members and their covariance are those of the samples that
  count, and whoever gets them need not know how many these are. What a person
  gets does not depend on who else is in the batch.

  Args:
    look: samples members by one step.
    run: the same by all steps.
    features: trees whose leaves begin with b.
    keys: one per person.
    decode: joints [b k 2] of heatmaps [b y x k], as shares of the crop's height.
    samples: an even number above `FIRST`.
    threshold: spread up to which a person is done, see `spread`.
  """
  first = look(features, keys, jnp.arange(FIRST, dtype=jnp.uint32))
  go_on = spread(jax.vmap(decode)(first)) > threshold
  count = len(keys)
  size = -(-count // _GROUPS)
  # Those who go on come first; the end is filled up with the last ones.
  order = jnp.argsort(~go_on, stable=True)
  places = np.minimum(np.arange(_GROUPS * size), count - 1)
  order = order[places]
  numbers = jnp.arange(samples, dtype=jnp.uint32)

  def group(state):
    done, maps = state
    rows = jax.lax.dynamic_slice(order, (done * size,), (size,))
    some = jax.tree.map(lambda leaf: leaf[rows], features)
    more = run(some, keys[rows], numbers)
    kept = go_on[rows][:, None, None, None]
    more = jnp.where(kept, more, maps[:, rows])
    return done + 1, maps.at[:, rows].set(more)

  again = jnp.tile(first, (samples // FIRST, 1, 1, 1, 1))
  _, maps = jax.lax.while_loop(
    lambda state: state[0] * size < go_on.sum(), group, (jnp.int32(0), again)
  )
  return maps


def spread(joints: Float[Array, "m b k 2"]) -> Float[Array, "b"]:
  """Root mean square distance of members' joints from their mean, over joints.

  A member that is not finite makes it infinite: such a person goes on.
  """
  away = jnp.square(joints - joints.mean(axis=0, keepdims=True)).sum(axis=-1)
  found = jnp.sqrt(away.mean(axis=(0, 2)))
  return jnp.where(jnp.isfinite(found), found, jnp.inf)


def whole(samples: Float[np.ndarray, "m b k 2"]) -> Bool[np.ndarray, "b"]:
  """Who has all members of an ensemble, of the joints of each."""
  return (samples[FIRST:] != samples[:-FIRST]).any(axis=(0, 2, 3))
