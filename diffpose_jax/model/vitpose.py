"""ViTPose: heatmaps of single frames, by the backbone that DiffPose shares.

Source: Xu et al. 2022 (arXiv 2204.12484), section 3.1 and its two decoders.
"""

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from diffpose_jax.model import diffpose, layers, vit


class ClassicHead(nn.Module):
  """Two deconvolutions with ReLU, then one value a joint.

  The batch norms that follow the deconvolutions are part of their kernels and
  biases: they are folded in when weights are converted.
  """

  joints: int
  width: int = 256
  dtype: DTypeLike = jnp.float32

  @nn.compact
  def __call__(self, x: Float[Array, "b y x d"]) -> Float[Array, "b _y _x k"]:
    for i in range(2):
      x = nn.relu(layers.Up(self.width, self.dtype, name=f"up_{i}")(x))
    return nn.Conv(self.joints, (1, 1), dtype=self.dtype, name="final")(x)


class SimpleHead(nn.Module):
  """ReLU, four times the resolution, then a 3x3 convolution."""

  joints: int
  dtype: DTypeLike = jnp.float32

  @nn.compact
  def __call__(self, x: Float[Array, "b y x d"]) -> Float[Array, "b _y _x k"]:
    b, y, x_, d = x.shape
    large = jax.image.resize(
      nn.relu(x), (b, 4 * y, 4 * x_, d), "linear", antialias=False
    )
    return nn.Conv(self.joints, (3, 3), dtype=self.dtype, name="final")(large)


class ViTPose(nn.Module):
  """Backbone and head; its parameters are what `convert` writes.

  `size` is a name of `diffpose.SIZES`, or a size of one's own; `heads` 0 means
  that size's.
  """

  joints: int
  size: str | diffpose.Size = "B"
  patch: int = 16
  heads: int = 0
  head: str = "classic"
  dtype: DTypeLike = jnp.float32

  def setup(self):
    size = self.size
    if isinstance(size, str):
      if size not in diffpose.SIZES:
        raise ValueError(f"model size {size!r}; known: {list(diffpose.SIZES)}")
      size = diffpose.SIZES[size]
    heads = {"classic": ClassicHead, "simple": SimpleHead}
    if self.head not in heads:
      raise ValueError(f"head {self.head!r}; known are {list(heads)}")
    self.vit = vit.ViT(
      size.width,
      size.depth,
      self.heads or size.heads,
      patch=self.patch,
      dtype=self.dtype,
    )
    self.keypoint_head = heads[self.head](self.joints, dtype=self.dtype)

  def features(
    self, images: Float[Array, "b h w 3"]
  ) -> Float[Array, "b y x d"]:
    """Tokens of normalised frames (see `diffpose.normalise`)."""
    return self.vit(images)

  def __call__(
    self, images: Float[Array, "b h w 3"]
  ) -> Float[Array, "b _y _x k"]:
    """Heatmaps, float32, of normalised frames: a value a pixel, unbounded."""
    return self.keypoint_head(self.vit(images)).astype(jnp.float32)
