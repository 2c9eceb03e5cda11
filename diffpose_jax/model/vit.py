"""Vision Transformer backbone over single frames.

Source: Dosovitskiy et al. 2021 (arXiv 2010.11929); details as in ViTPose (Xu
et al. 2022, arXiv 2204.12484), whose public weights fit: patch convolution
padded by 2, position embedding without a class token, exact GELU, layer norms
with epsilon 1e-6.
"""

import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from diffpose_jax.model import layers, transformer


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
          nn.gelu(transformer.norm(f"norm_{i}_{j}")(x).astype(self.dtype))
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
  execution: transformer.Execution = transformer.Execution()

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
    position = self.param("position", transformer.INIT, (1, y, x_, d))
    x = (x + position.astype(x.dtype)).reshape(b, y * x_, d)
    most = self.drop_path if train else 0.0
    x = transformer.stack(
      self,
      x,
      [f"block_{i:02}" for i in range(self.depth)],
      {"heads": self.heads, "dtype": self.dtype},
      self.execution,
      [most * i / max(1, self.depth - 1) for i in range(self.depth)],
    )
    return transformer.norm("norm")(x).reshape(b, y, x_, d).astype(self.dtype)

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
