"""What a tensor of another program's file becomes here: one rule a layer.

A rule says which tensors it takes, of which shapes, and which of our leaves it
makes of them. Rules of PyTorch's layers and of Flax's are below.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np

Leaves = dict[str, np.ndarray]
_BATCH_NORM_EPSILON = 1e-5


@dataclasses.dataclass(frozen=True)
class Rule:
  """`make` gets the arrays of `sources`, float32, in their order."""

  sources: dict[str, tuple[int, ...]]
  make: Callable[..., Leaves]


def plain(leaf: str, source: str, shape: tuple[int, ...]) -> Rule:
  """A tensor that stays as it is."""
  return Rule({source: shape}, lambda w: {leaf: w})


def norm(leaf: str, source: str, width: int) -> Rule:
  """A layer norm of PyTorch."""
  return Rule(
    {f"{source}.weight": (width,), f"{source}.bias": (width,)},
    lambda w, b: {f"{leaf}/scale": w, f"{leaf}/bias": b},
  )


def linear(leaf: str, sources: list[str], wide: int, narrow: int) -> Rule:
  """Linear layers of PyTorch with `narrow` inputs, their outputs side by side."""
  shapes: dict[str, tuple[int, ...]] = {}
  for source in sources:
    shapes[f"{source}.weight"] = (wide, narrow)
    shapes[f"{source}.bias"] = (wide,)
  return Rule(
    shapes,
    lambda *arrays: {
      f"{leaf}/kernel": np.concatenate(arrays[::2]).T,
      f"{leaf}/bias": np.concatenate(arrays[1::2]),
    },
  )


def convolution(
  leaf: str, source: str, wide: int, narrow: int, side: int
) -> Rule:
  """A convolution of PyTorch."""
  return Rule(
    {f"{source}.weight": (wide, narrow, side, side), f"{source}.bias": (wide,)},
    lambda w, b: {f"{leaf}/kernel": w.transpose(2, 3, 1, 0), f"{leaf}/bias": b},
  )


def deconvolution(
  leaf: str, source: str, batch_norm: str, wide: int, narrow: int
) -> Rule:
  """A deconvolution of PyTorch, the batch norm that follows it folded in."""
  names = ("weight", "bias", "running_mean", "running_var")

  def make(kernel, weight, bias, mean, variance) -> Leaves:
    if variance.min() < 0:
      raise ValueError(f"{batch_norm}.running_var has a negative variance")
    scale = weight / np.sqrt(variance.astype(np.float64) + _BATCH_NORM_EPSILON)
    kernel = kernel.transpose(2, 3, 1, 0) * scale.reshape(1, 1, -1, 1)
    return {f"{leaf}/kernel": kernel, f"{leaf}/bias": bias - mean * scale}

  shapes: dict[str, tuple[int, ...]] = {
    f"{source}.weight": (narrow, wide, 4, 4)
  }
  shapes |= {f"{batch_norm}.{name}": (wide,) for name in names}
  return Rule(shapes, make)


def flax_norm(leaf: str, source: str, width: int) -> Rule:
  """A layer norm of Flax."""
  return Rule(
    {f"{source}/scale": (width,), f"{source}/bias": (width,)},
    lambda w, b: {f"{leaf}/scale": w, f"{leaf}/bias": b},
  )


def flax_layer(leaf: str, source: str, shape: tuple[int, ...]) -> Rule:
  """A dense layer or a convolution of Flax."""
  return Rule(
    {f"{source}/kernel": shape, f"{source}/bias": shape[-1:]},
    lambda w, b: {f"{leaf}/kernel": w, f"{leaf}/bias": b},
  )


def flax_attention(
  leaf: str, source: str, width: int, heads: int
) -> list[Rule]:
  """The attention of Flax, whose kernels keep the heads as an axis."""
  split = (heads, width // heads)
  shapes: dict[str, tuple[int, ...]] = {}
  for name in ("query", "key", "value"):
    shapes[f"{source}/{name}/kernel"] = (width, *split)
    shapes[f"{source}/{name}/bias"] = split

  def make(*arrays: Any) -> Leaves:
    kernels = [a.reshape(width, width) for a in arrays[::2]]
    biases = [a.reshape(width) for a in arrays[1::2]]
    return {
      f"{leaf}/qkv/kernel": np.concatenate(kernels, axis=1),
      f"{leaf}/qkv/bias": np.concatenate(biases),
    }

  out: dict[str, tuple[int, ...]] = {
    f"{source}/out/kernel": (*split, width),
    f"{source}/out/bias": (width,),
  }
  return [
    Rule(shapes, make),
    Rule(
      out,
      lambda w, b: {
        f"{leaf}/out/kernel": w.reshape(width, width),
        f"{leaf}/out/bias": b,
      },
    ),
  ]
