"""Strided convolutions written as matrix products.

They compute what `nn.Conv` and `nn.ConvTranspose` compute, with the same
kernels. XLA's gradients of strided convolutions are several times slower on
CPU (`benchmarks/strided_convolutions.py` prints both).
"""

import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike
from jaxtyping import Array, Float


class Down(nn.Module):
  """Convolution with a kernel and stride of `step`, without padding."""

  width: int
  step: int = 2
  dtype: DTypeLike = jnp.float32

  @nn.compact
  def __call__(self, x: Float[Array, "b y x c"]) -> Float[Array, "b _y _x d"]:
    b, y, x_, c = x.shape
    s = self.step
    kernel = self.param(
      "kernel", nn.initializers.lecun_normal(), (s, s, c, self.width)
    )
    bias = self.param("bias", nn.initializers.zeros, (self.width,))
    blocks = x.reshape(b, y // s, s, x_ // s, s, c)
    out = jnp.einsum(
      "byixjc,ijcd->byxd", blocks.astype(self.dtype), kernel.astype(self.dtype)
    )
    return out + bias.reshape(1, 1, 1, self.width).astype(self.dtype)


class Up(nn.Module):
  """Deconvolution of kernel 4, stride 2, padding 1: twice the resolution.

  The kernel has the layout (4, 4, out, in), that of a transposed convolution's
  gradient (`transpose_kernel=True` in Flax, turned from PyTorch's).
  """

  width: int
  dtype: DTypeLike = jnp.float32
  use_bias: bool = True

  @nn.compact
  def __call__(self, x: Float[Array, "b y x c"]) -> Float[Array, "b _y _x d"]:
    # Four of the sixteen taps reach a cell, so its fan-in is a quarter.
    init = nn.initializers.variance_scaling(
      4.0, "fan_in", "truncated_normal", in_axis=-1, out_axis=-2
    )
    kernel = self.param("kernel", init, (4, 4, self.width, x.shape[-1]))
    out = _overlap_add(
      jnp.einsum(
        "byxc,ijdc->byxijd", x.astype(self.dtype), kernel.astype(self.dtype)
      )
    )
    if self.use_bias:
      bias = self.param("bias", nn.initializers.zeros, (self.width,))
      out = out + bias.reshape(1, 1, 1, self.width).astype(self.dtype)
    return out


def _overlap_add(
  patches: Float[Array, "b y x 4 4 d"],
) -> Float[Array, "b _y _x d"]:
  """Patches laid down every two cells and summed, one cell cut off around."""
  b, y, x, _, _, d = patches.shape
  rows = patches.reshape(b, y, x, 2, 2, 2, 2, d)
  parts = []
  for i in range(2):
    for j in range(2):
      part = rows[:, :, :, i, :, j].transpose(0, 1, 3, 2, 4, 5)
      pad = ((0, 0), (i, 1 - i), (0, 0), (j, 1 - j), (0, 0), (0, 0))
      parts.append(jnp.pad(part, pad))
  total = parts[0] + parts[1] + parts[2] + parts[3]
  return total.reshape(b, 2 * y + 2, 2 * x + 2, d)[:, 1:-1, 1:-1]
