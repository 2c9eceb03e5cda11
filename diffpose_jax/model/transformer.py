"""Pre-norm Transformer layers and how a stack of them is run.

The parameters of a stack are those of its layers one by one, `block_00` and
so on, however it is run: a checkpoint fits every `Execution`.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from diffpose_jax.model import sharding

INIT = nn.initializers.truncated_normal(0.02)
ATTENTION = ("auto", "plain", "cudnn")
REMAT = ("none", "dots", "full")
# From how many tokens on `auto` takes the fused kernel: below, the logits are
# small, and XLA fuses the softmax well enough.
_FUSED_TOKENS = 512


@dataclasses.dataclass(frozen=True)
class Execution:
  """How layers are run; nothing here changes what they compute.

  Attributes:
    attention: plain: two matrix products around a float32 softmax, whose logits
      are in memory; cudnn: NVIDIA's fused kernel (bfloat16 or float16 only);
      auto: cudnn on GPU for long clips, else plain.
    remat: what the backward pass computes again instead of keeping: none; dots:
      all but matrix products; full: all but the input of each layer.
    scan: one compiled layer in a loop instead of all of them in a row: compiles
      in a fraction of the time, and copies the layers' weights once a call.
  """

  attention: str = "auto"
  remat: str = "none"
  scan: bool = False


def attention_kernel(
  wanted: str, platform: str, dtype: DTypeLike, tokens: int, width: int
) -> str:
  """`plain` or `cudnn`, for heads of `width` channels on a JAX platform.

  Raises ValueError where `cudnn` is asked for and cannot be.
  """
  half = jnp.dtype(dtype) in (jnp.bfloat16, jnp.float16)
  fits = platform == "gpu" and half and width % 8 == 0 and width <= 128
  if wanted == "cudnn" and not fits:
    raise ValueError(
      f"attention 'cudnn' needs a GPU, bfloat16 and heads of at most 128 "
      f"channels, a multiple of 8; here are {platform}, {jnp.dtype(dtype)} "
      f"and {width}: take 'auto'"
    )
  if wanted == "auto":
    return "cudnn" if fits and tokens >= _FUSED_TOKENS else "plain"
  return wanted


def norm(name: str) -> nn.LayerNorm:
  """Layer norm in float32, whatever the dtype of the matrix products."""
  return nn.LayerNorm(epsilon=1e-6, dtype=jnp.float32, name=name)


class Heads(nn.Module):
  """A dense layer to queries, keys and values of heads.

  Its parameters are those of `nn.Dense` with three times as many channels. On a
  mesh they are arranged by heads before the product, not its result after.
  """

  heads: int
  dtype: DTypeLike = jnp.float32

  @nn.compact
  def __call__(self, x: Float[Array, "b n d"]) -> Float[Array, "b n 3 heads w"]:
    d = x.shape[-1]
    kernel = self.param("kernel", INIT, (d, 3 * d))
    bias = self.param("bias", nn.initializers.zeros, (3 * d,))
    shape = (3, self.heads, d // self.heads)
    kernel = sharding.over_tensor(
      kernel.astype(self.dtype).reshape(d, *shape), 2
    )
    result = jnp.einsum("bnd,dihw->bnihw", x.astype(self.dtype), kernel)
    bias = bias.astype(self.dtype).reshape(1, 1, *shape)
    return sharding.over_tensor(result, 3) + bias


class Attention(nn.Module):
  """Multi-head self-attention; the softmax is float32."""

  heads: int
  dtype: DTypeLike = jnp.float32
  kernel: str = "auto"

  @nn.compact
  def __call__(self, x: Float[Array, "b n d"]) -> Float[Array, "b n d"]:
    b, n, d = x.shape
    width = d // self.heads
    out = nn.Dense(d, dtype=self.dtype, kernel_init=INIT, name="out")
    qkv = Heads(self.heads, self.dtype, name="qkv")(x)
    kernel = attention_kernel(
      self.kernel, jax.default_backend(), self.dtype, n, width
    )
    if kernel == "cudnn":
      q, k, v = (qkv[:, :, i] for i in range(3))
      mixed = jax.nn.dot_product_attention(q, k, v, implementation="cudnn")
      return out(mixed.reshape(b, n, d))
    q, k, v = (qkv[:, :, i].swapaxes(1, 2) for i in range(3))
    logits = jnp.einsum("bhqd,bhkd->bhqk", q * width**-0.5, k)
    logits = logits.astype(jnp.float32)
    highest = jax.lax.stop_gradient(logits.max(axis=-1, keepdims=True))
    weights = jnp.exp(logits - highest)
    # The softmax's division comes last, where there are fewer numbers to divide.
    total = weights.sum(axis=-1, keepdims=True)
    mixed = jnp.einsum("bhqk,bhkd->bhqd", weights.astype(v.dtype), v)
    mixed = (mixed / total).astype(v.dtype)
    return out(mixed.swapaxes(1, 2).reshape(b, n, d))


class Mlp(nn.Module):
  """Two dense layers, the hidden one `ratio` times as wide."""

  ratio: int = 4
  dtype: DTypeLike = jnp.float32

  @nn.compact
  def __call__(self, x: Float[Array, "*b d"]) -> Float[Array, "*b d"]:
    d = x.shape[-1]
    dense = lambda size, name: nn.Dense(  # noqa: E731
      size, dtype=self.dtype, kernel_init=INIT, name=name
    )
    hidden = sharding.over_tensor(dense(self.ratio * d, "hidden")(x), -1)
    return dense(d, "out")(nn.gelu(hidden, approximate=False))


def drop_path(
  x: Float[Array, "b n d"],
  rate: float | Float[Array, ""],
  make_key: Callable[[], jax.Array],
) -> Float[Array, "b n d"]:
  """A residual branch left out per clip (stochastic depth).

  Source: Huang et al. 2016 (arXiv 1603.09382).
  """
  if isinstance(rate, float | int) and rate == 0:
    return x
  keep = jax.random.bernoulli(make_key(), 1 - rate, (x.shape[0], 1, 1))
  return jnp.where(keep, x / jnp.asarray(1 - rate, x.dtype), 0)


class Block(nn.Module):
  """Pre-norm Transformer layer; token count and width stay as they are."""

  heads: int
  dtype: DTypeLike = jnp.float32
  attention: str = "auto"

  @nn.compact
  def __call__(
    self,
    x: Float[Array, "b n d"],
    drop: float | Float[Array, ""] = 0.0,
  ) -> Float[Array, "b n d"]:
    """The layer's result; `drop` is the rate of stochastic depth.

    It uses the "dropout" stream where it is not 0.
    """
    key = lambda: self.make_rng("dropout")  # noqa: E731
    mixed = Attention(self.heads, self.dtype, self.attention, name="attention")(
      norm("norm_1")(x).astype(self.dtype)
    )
    x = x + drop_path(mixed, drop, key)
    mixed = Mlp(dtype=self.dtype, name="mlp")(
      norm("norm_2")(x).astype(self.dtype)
    )
    return x + drop_path(mixed, drop, key)


def stack(
  parent: nn.Module,
  x: Float[Array, "b n d"],
  names: Sequence[str],
  block: dict[str, Any],
  execution: Execution,
  drop: Sequence[float],
) -> Float[Array, "b n d"]:
  """Layers one after the other, as submodules `names` of `parent`.

  Args:
    parent: the module whose compact method calls this.
    x: tokens.
    names: of the layers, from first to last.
    block: fields of every `Block`.
    execution: how to run them.
    drop: rate of stochastic depth of each; all 0 when not training.
  """
  block = block | {"attention": execution.attention}
  if not execution.scan or parent.is_initializing() or len(names) < 2:
    layer = _rematerialised(Block, execution.remat)
    for name, rate in zip(names, drop, strict=True):
      x = layer(**block, name=name)(x, rate)
    return x
  return _scanned(
    parent, x, names, Block(**block, parent=None), execution, drop
  )


def _scanned(parent, x, names, layer: Any, execution, drop) -> Any:
  """`stack` as one layer in a loop over the layers' weights."""
  tree = parent.variables["params"]
  weights = jax.tree_util.tree_map_with_path(
    lambda path, *leaves: jnp.stack(
      [_cast(path, leaf, layer.dtype) for leaf in leaves]
    ),
    *(tree[name] for name in names),
  )
  dropping = any(rate > 0 for rate in drop)
  keys = rates = None
  if dropping:
    keys = jax.random.split(parent.make_rng("dropout"), len(names))
    rates = jnp.asarray(drop, jnp.float32)

  def one(x, given):
    weights, key, rate = given
    rngs = {"dropout": key} if dropping else {}
    rate = rate if dropping else 0.0
    return layer.apply({"params": weights}, x, rate, rngs=rngs), None

  one = _rematerialised(one, execution.remat)
  return jax.lax.scan(one, x, (weights, keys, rates))[0]


def _cast(path, leaf, dtype):
  """A kernel or bias in the dtype it is used in: half the copy in bfloat16."""
  return leaf if path[0].key.startswith("norm") else leaf.astype(dtype)


def _rematerialised(layer: Any, remat: str) -> Any:
  """A module class or function that keeps less for its backward pass."""
  if remat == "none":
    return layer
  policy = {
    "dots": jax.checkpoint_policies.dots_with_no_batch_dims_saveable,
    "full": jax.checkpoint_policies.nothing_saveable,
  }[remat]
  if isinstance(layer, type):
    return nn.remat(layer, policy=policy, prevent_cse=True, static_argnums=(2,))
  return jax.checkpoint(layer, policy=policy, prevent_cse=False)
