"""A ViT that stays as it was loaded for the first steps, and then learns.

One compiled step does both: it decides by its own number. The state has the
same leaves throughout.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

_B1, _B2, _EPSILON = 0.9, 0.999, 1e-8
_PART = "vit"


def gradients(
  frozen: jax.Array,
  rest: Callable[[Any], tuple[jax.Array, Any]],
  whole: Callable[[Any], tuple[jax.Array, Any]],
  params: Any,
) -> tuple[jax.Array, Any]:
  """Loss and gradients of all parameters; zero for a ViT that is frozen.

  Its backward pass is not run then.

  Args:
    frozen: whether it is.
    rest: gives the loss, and the gradients of the others.
    whole: gives the loss and all gradients.
    params: all parameters.
  """

  def without(params):
    loss, grads = rest(params)
    return loss, grads | {_PART: jax.tree.map(jnp.zeros_like, params[_PART])}

  return jax.lax.cond(frozen, without, whole, params)


def kept(frozen: jax.Array, before: Any, after: Any) -> Any:
  """`after`, but with the ViT of `before` where it is frozen, bit for bit."""
  part = jax.tree.map(
    lambda old, new: jnp.where(frozen, old, new), before[_PART], after[_PART]
  )
  return after | {_PART: part}


def adam(steps: int) -> optax.GradientTransformation:
  """Adam, for which a ViT that learns after `steps` begins only then.

  Its moments are zero until then, as its gradients are, and their correction
  for that counts from there: the first updates are as large as those of a run
  that begins. The state is that of `optax.scale_by_adam`.

  Source: Kingma & Ba 2015 (arXiv 1412.6980), algorithm 1.
  """

  def update(grads, state, params=None):
    del params
    mu = optax.tree.update_moment(grads, state.mu, _B1, 1)
    nu = optax.tree.update_moment(grads, state.nu, _B2, 2)
    count = optax.safe_increment(state.count)
    # At least 1, as the correction of no step is 0 / 0.
    own = jnp.maximum(count - steps, 1)

    def scaled(name):
      number = own if name == _PART else count
      return jax.tree.map(
        lambda m, v: m / (jnp.sqrt(v) + _EPSILON),
        optax.tree.bias_correction(mu[name], _B1, number),
        optax.tree.bias_correction(nu[name], _B2, number),
      )

    updates = {name: scaled(name) for name in grads}
    return updates, optax.ScaleByAdamState(count, mu, nu)

  whole = optax.scale_by_adam(b1=_B1, b2=_B2, eps=_EPSILON)
  return optax.GradientTransformation(whole.init, update)
