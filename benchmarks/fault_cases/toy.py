"""A run of a few megabytes whose every number is known beforehand.

Nested leaves of several dtypes, an update with noise, and batches in a shuffled
order with random changes: all a function of (seed, step).
"""

import hashlib
from collections.abc import Iterator
from typing import Any

import grain
import jax
import jax.numpy as jnp
import numpy as np

from diffpose_jax.weights import checkpoint

ITEMS, BATCH = 97, 4
_KEPT = 8  # first states that are kept whole


class _Jitter(grain.transforms.RandomMap):
  """A random change of an item."""

  def random_map(self, element: Any, rng: np.random.Generator) -> Any:
    return np.float32(element + rng.uniform())


def dataset(seed: int = 0) -> grain.MapDataset:
  """Endless batches."""
  items = grain.MapDataset.range(ITEMS).seed(seed).shuffle().repeat(None)
  return items.random_map(_Jitter()).batch(BATCH)


def iterator(data: grain.MapDataset) -> Any:
  """An iterator of Grain's over batches, read ahead by a thread."""
  return iter(data.to_iter_dataset(grain.ReadOptions(1, 2)))


def first(seed: int = 0, rows: int = 256) -> dict[str, Any]:
  """The state before the first step: 2 MB for 256 rows."""
  rng = np.random.default_rng(seed)
  kernel = rng.standard_normal((rows, 512)).astype(np.float32)
  params = {
    "vit": {"kernel": kernel, "scale": np.ones(512, np.float32)},
    "head": [np.zeros(7, jnp.bfloat16), np.full((3, 5), 0.5, np.float32)],
  }
  zeros = jax.tree.map(np.zeros_like, params)
  state = {
    "step": np.int32(0),
    "params": params,
    "ema": params,
    "optimiser": ({"mu": zeros}, {"nu": zeros, "count": np.int32(0)}),
  }
  place = jax.sharding.SingleDeviceSharding(jax.devices()[0])
  return jax.device_put(state, place)


@jax.jit
def step(state: dict[str, Any], batch: jax.Array) -> dict[str, Any]:
  """The state after one more step."""
  key = jax.random.fold_in(jax.random.key(7), state["step"])
  moved = jnp.tanh(batch.mean() / ITEMS)

  def gradient(p):
    noise = jax.random.normal(key, p.shape, p.dtype)
    return (jnp.sin(p) * moved.astype(p.dtype) + noise / 8).astype(p.dtype)

  def mix(a, b, share):
    return (share * a + (1 - share) * b).astype(a.dtype)

  grads = jax.tree.map(gradient, state["params"])
  first_moment, second = state["optimiser"]
  mu = jax.tree.map(lambda m, g: mix(m, g, 0.9), first_moment["mu"], grads)
  nu = jax.tree.map(lambda v, g: mix(v, g * g, 0.99), second["nu"], grads)
  params = jax.tree.map(
    lambda p, m, v: (p - 0.01 * m / (jnp.sqrt(v) + 1e-3)).astype(p.dtype),
    *(state["params"], mu, nu),
  )
  return {
    "step": state["step"] + 1,
    "params": params,
    "ema": jax.tree.map(lambda a, b: mix(a, b, 0.9), state["ema"], params),
    "optimiser": ({"mu": mu}, {"nu": nu, "count": second["count"] + 1}),
  }


def abstract(state: Any) -> Any:
  """The state as ShapeDtypeStructs with places."""
  return jax.tree.map(
    lambda v: jax.ShapeDtypeStruct(v.shape, v.dtype, sharding=v.sharding), state
  )


def digest(state: Any) -> str:
  """Of all names, dtypes, shapes and bytes."""
  return checkpoint.weights_hash(state)


def batch_digest(batch: np.ndarray) -> str:
  """Of the bytes of a batch."""
  return hashlib.sha256(np.ascontiguousarray(batch).tobytes()).hexdigest()


def quality(step_number: int) -> float:
  """What "best" is measured by: the first step is the best."""
  return -float(step_number)


class _Chain:
  """The uninterrupted run of seed 0, as far as was asked for."""

  def __init__(self):
    self._state = first()
    self._batches: Iterator[np.ndarray] = iterator(dataset())
    self._next = next(self._batches)
    self.kept = [self._state]
    self.digests = [(digest(self._state), batch_digest(self._next))]

  def reach(self, number: int) -> None:
    while len(self.digests) <= number:
      self._state = step(self._state, self._next)
      self._next = next(self._batches)
      self.digests.append((digest(self._state), batch_digest(self._next)))
      if len(self.kept) < _KEPT:
        self.kept.append(self._state)


_chains: list[_Chain] = []  # none or one, so that importing runs nothing


def _chain(number: int) -> _Chain:
  if not _chains:
    _chains.append(_Chain())
  _chains[0].reach(number)
  return _chains[0]


def expected(number: int) -> tuple[str, str]:
  """Digests of the state after so many steps and of the batch that follows."""
  return _chain(number).digests[number]


def state(number: int) -> dict[str, Any]:
  """The state after so many steps, a few at most."""
  return _chain(number).kept[number]
