"""Vision Transformer backbone over single frames.

Source: Dosovitskiy et al. 2021 (arXiv 2010.11929); details as in ViTPose (Xu
et al. 2022, arXiv 2204.12484), whose public weights fit: patch convolution
padded by 2, position embedding without a class token, exact GELU, layer norms
with epsilon 1e-6.
"""

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from diffpose_jax.model import layers

_init = nn.initializers.truncated_normal(0.02)


def norm(name: str) -> nn.LayerNorm:
  """Layer norm in float32, whatever the dtype of the matrix products."""
  return nn.LayerNorm(epsilon=1e-6, dtype=jnp.float32, name=name)


class Attention(nn.Module):
  """Multi-head self-attention; the softmax is float32."""

  heads: int
  dtype: DTypeLike = jnp.float32

  @nn.compact
  def __call__(self, x: Float[Array, "b n d"]) -> Float[Array, "b n d"]:
    b, n, d = x.shape
    dense = lambda size, name: nn.Dense(  # noqa: E731
      size, dtype=self.dtype, kernel_init=_init, name=name
    )
    qkv = dense(3 * d, "qkv")(x).reshape(b, n, 3, self.heads, d // self.heads)
    q, k, v = (qkv[:, :, i].swapaxes(1, 2) for i in range(3))
    scale = (d // self.heads) ** -0.5
    logits = jnp.einsum("bhqd,bhkd->bhqk", q * scale, k)
    weights = jax.nn.softmax(logits.astype(jnp.float32)).astype(v.dtype)
    mixed = jnp.einsum("bhqk,bhkd->bhqd", weights, v)
    return dense(d, "out")(mixed.swapaxes(1, 2).reshape(b, n, d))


class Mlp(nn.Module):
  """Two dense layers, the hidden one `ratio` times as wide."""

  ratio: int = 4
  dtype: DTypeLike = jnp.float32

  @nn.compact
  def __call__(self, x: Float[Array, "*b d"]) -> Float[Array, "*b d"]:
    d = x.shape[-1]
    dense = lambda size, name: nn.Dense(  # noqa: E731
      size, dtype=self.dtype, kernel_init=_init, name=name
    )
    hidden = nn.gelu(dense(self.ratio * d, "hidden")(x), approximate=False)
    return dense(d, "out")(hidden)


class DropPath(nn.Module):
  """Leaves out a residual branch per clip in training (stochastic depth).

  Source: Huang et al. 2016 (arXiv 1603.09382). Uses the "dropout" stream.
  """

  rate: float

  @nn.compact
  def __call__(self, x: Float[Array, "b n d"], train: bool):
    if not train or self.rate == 0:
      return x
    keep = jax.random.bernoulli(
      self.make_rng("dropout"), 1 - self.rate, (x.shape[0], 1, 1)
    )
    return jnp.where(keep, x / (1 - self.rate), 0)


class Block(nn.Module):
  """Pre-norm Transformer layer; token count and width stay as they are."""

  heads: int
  dtype: DTypeLike = jnp.float32
  drop_path: float = 0.0

  @nn.compact
  def __call__(
    self, x: Float[Array, "b n d"], train: bool = False
  ) -> Float[Array, "b n d"]:
    drop = DropPath(self.drop_path)
    mixed = Attention(self.heads, self.dtype, name="attention")(
      norm("norm_1")(x).astype(self.dtype)
    )
    x = x + drop(mixed, train)
    mixed = Mlp(dtype=self.dtype, name="mlp")(
      norm("norm_2")(x).astype(self.dtype)
    )
    return x + drop(mixed, train)


class PatchStem(nn.Module):
  """One strided convolution, as in ViT."""

  width: int
  patch: int
  dtype: DTypeLike = jnp.float32

  @nn.compact
  def __call__(self, x: Float[Array, "b h w 3"]) -> Float[Array, "b y x d"]:
    return nn.Conv(
      self.width,
      (self.patch, self.patch),
      (self.patch, self.patch),
      padding=2,
      dtype=self.dtype,
      name="embed",
    )(x)


class ConvStem(nn.Module):
  """A small convolutional network that ends at the patch grid.

  Differs: DiffPose embeds patches by one convolution. From scratch and on
  little data a convolutional stem learns far sooner (Xiao et al. 2021, arXiv
  2106.14881), which is what the CPU size is for.
  """

  width: int
  patch: int
  dtype: DTypeLike = jnp.float32

  @nn.compact
  def __call__(self, x: Float[Array, "b h w 3"]) -> Float[Array, "b y x d"]:
    stages = self.patch.bit_length() - 2
    for i in range(stages):
      channels = max(16, self.width >> (stages - 1 - i))
      step = 2 if i else 4
      x = layers.Down(channels, step, self.dtype, name=f"down_{i}")(x)
      for j in range(2):
        kept = x
        x = nn.Conv(channels, (3, 3), dtype=self.dtype, name=f"conv_{i}_{j}")(
          nn.gelu(norm(f"norm_{i}_{j}")(x).astype(self.dtype))
        )
        x = kept + x
    return x


class ViT(nn.Module):
  """Tokens of each frame, on the patch grid."""

  width: int
  depth: int
  heads: int
  patch: int = 16
  stem: str = "patch"
  drop_path: float = 0.0
  dtype: DTypeLike = jnp.float32

  @nn.compact
  def __call__(
    self, images: Float[Array, "b h w 3"], train: bool = False
  ) -> Float[Array, "b y x d"]:
    """Features of normalised frames.

    Raises ValueError where the picture is not divisible by the patch, or the
    conv stem is asked for a patch that is no power of two.
    """
    self._check(images.shape[1], images.shape[2])
    stem = {"patch": PatchStem, "conv": ConvStem}[self.stem]
    x = stem(self.width, self.patch, self.dtype, name="stem")(
      images.astype(self.dtype)
    )
    b, y, x_, d = x.shape
    position = self.param("position", _init, (1, y, x_, d))
    x = (x + position.astype(x.dtype)).reshape(b, y * x_, d)
    for i in range(self.depth):
      rate = self.drop_path * i / max(1, self.depth - 1)
      x = Block(self.heads, self.dtype, rate, name=f"block_{i:02}")(x, train)
    return norm("norm")(x).reshape(b, y, x_, d).astype(self.dtype)

  def _check(self, height: int, width: int) -> None:
    if height % self.patch or width % self.patch:
      raise ValueError(
        f"picture of {height}x{width} is not divisible by patch {self.patch}"
      )
    if self.stem == "conv" and (
      self.patch < 4 or self.patch & (self.patch - 1)
    ):
      raise ValueError(
        f"conv stem needs a patch of 4, 8, 16…, not {self.patch}"
      )
