"""Pose-Decoder with Lookup-based MultiScale Feature Interaction (LMSFI).

Source: Feng et al. 2023 (arXiv 2307.16687), section on the Pose-Decoder. Per
scale j = 1, 2, 3 (1x, 2x, 4x the token grid): the noisy heatmap, embedded and
modulated by time, gives a mask A of one channel in (0, 1); the mask looks up
the local-joint feature A * F; that and the plain feature F interact, by a
Transformer at the lowest scale and by convolutions at the two higher ones; the
three results are summed at heatmap size and one 3x3 convolution reads the
heatmaps.

What does not depend on the noise is computed once per clip by `prepare`: the
deconvolved features, and, since a convolution over a concatenation is the sum
of two convolutions, the plain feature's half of each fusing layer.

Differs: channels are normalised by layer norm, not by batch statistics, so
that a clip's result does not depend on its batch.
"""

import functools

import jax.numpy as jnp
from flax import linen as nn
from flax import struct
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from diffpose_jax.model import layers, transformer


@struct.dataclass
class Features:
  """What the Pose-Decoder needs of a clip, once for all steps and samples."""

  maps: tuple[Float[Array, "b _y _x d"], ...]  # the deconvolved features
  halves: tuple[Float[Array, "b _y _x d"], ...]  # their part of the fusions


def time_embedding(time: Float[Array, "b"], width: int) -> Float[Array, "b d"]:
  """Sines and cosines of 1000 * time. Source: Ho et al. 2020."""
  half = width // 2
  rate = jnp.exp(-jnp.log(10_000.0) * jnp.arange(half) / half)
  angle = 1000 * time[:, None] * rate[None, :]
  return jnp.concatenate([jnp.sin(angle), jnp.cos(angle)], axis=-1)


class PoseDecoder(nn.Module):
  """Clean heatmaps from noisy ones, a time and the clip's feature."""

  joints: int
  width: int = 128  # channels of the features at every scale
  heatmap_width: int = 64  # channels of the embedded noisy heatmap
  heads: int = 4  # of the Transformer at the lowest scale
  depth: int = 2  # layers of each interaction
  lookup: bool = True
  scales: int = 3
  self_condition: bool = False  # the estimate of the step before is seen too
  dtype: DTypeLike = jnp.float32

  def setup(self):
    names = [f"{j}" for j in range(4 - self.scales, 4)]  # '1' '2' '3'
    if self.self_condition:
      self.embed_previous = self._conv(
        self.heatmap_width, name="embed_previous"
      )
      self.down_previous = [
        layers.Down(
          self.heatmap_width, dtype=self.dtype, name=f"down_previous_{j}"
        )
        for j in names[:-1]
      ]
      self.fuse_previous = [
        self._fuse(j, f"fuse_previous_{j}", use_bias=False) for j in names
      ]
    self.raise_ = [
      Raise(self.width, int(j) - 1, self.dtype, name=f"raise_{j}")
      for j in names
    ]
    self.fuse_plain = [
      self._fuse(j, f"fuse_plain_{j}", use_bias=True) for j in names
    ]
    self.fuse_local = [
      self._fuse(j, f"fuse_local_{j}", use_bias=False) for j in names
    ]
    self.embed = self._conv(self.heatmap_width, name="embed")
    self.time_hidden = nn.Dense(4 * self.heatmap_width, name="time_hidden")
    self.time_out = nn.Dense(4 * self.heatmap_width, name="time_out")
    self.modulate = nn.Dense(
      2 * self.heatmap_width,
      kernel_init=nn.initializers.zeros,
      name="modulate",
    )
    self.down = [
      layers.Down(self.heatmap_width, dtype=self.dtype, name=f"down_{j}")
      for j in names[:-1]
    ]
    self.refine = [self._refiner(j) for j in names]
    self.interact = [self._interaction(j) for j in names]
    # Heatmaps are almost zero almost everywhere: so is the start.
    self.head = nn.Conv(
      self.joints,
      (3, 3),
      dtype=jnp.float32,
      kernel_init=nn.initializers.normal(0.001),
      name="head",
    )

  def _conv(self, channels: int, *, name: str, use_bias: bool = True):
    return nn.Conv(
      channels, (3, 3), dtype=self.dtype, use_bias=use_bias, name=name
    )

  def _fuse(self, scale: str, name: str, *, use_bias: bool):
    if scale == "1":
      return nn.Dense(
        self.width, dtype=self.dtype, use_bias=use_bias, name=name
      )
    return self._conv(self.width, name=name, use_bias=use_bias)

  def _refiner(self, scale: str):
    if scale == "1":
      return SelfRefine(self.heads, self.dtype, name="refine_1")
    return self._conv(self.heatmap_width, name=f"refine_{scale}")

  def _interaction(self, scale: str):
    depth = self.depth
    if scale == "1":
      return TransformerInteraction(
        self.heads, depth, self.dtype, name="interact_1"
      )
    return ConvInteraction(
      depth, int(scale), self.dtype, name=f"interact_{scale}"
    )

  def prepare(self, feature: Float[Array, "b y x d"]) -> Features:
    """The part that does not depend on noise: 1x, 2x, 4x features."""
    maps = tuple(raise_(feature) for raise_ in self.raise_)
    halves = tuple(
      fuse(m) for fuse, m in zip(self.fuse_plain, maps, strict=True)
    )
    return Features(maps, halves)

  def embed_heatmaps(
    self, noisy: Float[Array, "b y x k"], time: Float[Array, "b"]
  ) -> list[Float[Array, "b _y _x c"]]:
    """The noisy heatmap re-scaled by time, at each scale, low to high."""
    embedding = time_embedding(time, self.heatmap_width)
    embedding = self.time_out(nn.silu(self.time_hidden(embedding)))
    scale, shift = jnp.split(self.modulate(nn.silu(embedding)), 2, axis=-1)
    x = self.embed(noisy.astype(self.dtype))
    x = x * (1 + scale[:, None, None].astype(x.dtype))
    levels = [x + shift[:, None, None].astype(x.dtype)]
    for down in reversed(self.down):
      levels.append(down(levels[-1]))
    return levels[::-1]

  def masks(
    self, noisy: Float[Array, "b y x k"], time: Float[Array, "b"]
  ) -> list[Float[Array, "b _y _x 1"]]:
    """The lookup's mask at each scale: sigmoid of the channel maximum."""
    levels = self.embed_heatmaps(noisy, time)
    return [
      self._mask(refine(x))
      for refine, x in zip(self.refine, levels, strict=True)
    ]

  def _known(self, noisy, previous) -> list[Float[Array, "b _y _x e"]]:
    """What the estimate before says, at each scale, low to high.

    Source: Chen et al. 2022, Analog Bits (arXiv 2208.04202), for the idea; not
    of the paper, whose noisy heatmaps are seen as one mask for all joints.
    """
    if previous is None:
      previous = jnp.zeros_like(noisy)
    levels = [nn.gelu(self.embed_previous(previous.astype(self.dtype)))]
    for down in reversed(self.down_previous):
      levels.append(down(levels[-1]))
    return [
      fuse(level)
      for fuse, level in zip(self.fuse_previous, levels[::-1], strict=True)
    ]

  def _mask(self, refined):
    strongest = refined.max(axis=-1, keepdims=True)
    return nn.sigmoid(strongest.astype(jnp.float32)).astype(self.dtype)

  def __call__(
    self,
    noisy: Float[Array, "b y x k"],
    time: Float[Array, "b"],
    features: Features,
    previous: Float[Array, "b y x k"] | None = None,
  ) -> Float[Array, "b y x k"]:
    """Clean heatmaps, float32, peak 1 where the network is sure.

    `previous` are those of the step before, which only a decoder with
    `self_condition` looks at; zeros stand for none.
    """
    levels = self.embed_heatmaps(noisy, time)
    known = self._known(noisy, previous) if self.self_condition else None
    branches = []
    for j, level in enumerate(levels):
      refined = self.refine[j](level)
      if self.lookup:
        local = self._mask(refined) * features.maps[j]
      else:
        local = refined
      fused = self.fuse_local[j](local) + features.halves[j]
      if known is not None:
        fused = fused + known[j]
      branches.append(self.interact[j](fused))
    return self.head(functools.reduce(jnp.add, branches).astype(jnp.float32))


class Raise(nn.Module):
  """The clip's feature at 2^times its resolution, by deconvolutions."""

  width: int
  times: int
  dtype: DTypeLike = jnp.float32

  @nn.compact
  def __call__(self, x: Float[Array, "b y x d"]) -> Float[Array, "b _y _x e"]:
    if self.times == 0:
      x = nn.Conv(self.width, (1, 1), dtype=self.dtype, name="up_0")(x)
      return _act("norm_0", x)
    for i in range(self.times):
      x = _act(
        f"norm_{i}", layers.Up(self.width, self.dtype, name=f"up_{i}")(x)
      )
    return x


class SelfRefine(nn.Module):
  """The lowest heatmap level refined by one Transformer layer over cells."""

  heads: int
  dtype: DTypeLike = jnp.float32

  @nn.compact
  def __call__(self, x: Float[Array, "b y x c"]) -> Float[Array, "b y x c"]:
    b, y, x_, c = x.shape
    tokens = nn.Dense(c, dtype=self.dtype, name="embed")(x)
    tokens = tokens.reshape(b, y * x_, c)
    tokens = transformer.Block(self.heads, self.dtype, name="block")(tokens)
    return tokens.reshape(b, y, x_, c)


class TransformerInteraction(nn.Module):
  """Transformer layers over the fused cells, then up to heatmap size."""

  heads: int
  depth: int
  dtype: DTypeLike = jnp.float32

  @nn.compact
  def __call__(self, x: Float[Array, "b y x d"]) -> Float[Array, "b _y _x d"]:
    b, y, x_, d = x.shape
    tokens = x.reshape(b, y * x_, d)
    for i in range(self.depth):
      tokens = transformer.Block(self.heads, self.dtype, name=f"block_{i}")(
        tokens
      )
    x = transformer.norm("norm")(tokens).astype(self.dtype).reshape(b, y, x_, d)
    x = _act("norm_up_0", layers.Up(d, self.dtype, name="up_0")(x))
    return layers.Up(d, self.dtype, name="up_1")(x)


class ConvInteraction(nn.Module):
  """Convolutions over the fused cells, then up to heatmap size."""

  depth: int
  scale: int
  dtype: DTypeLike = jnp.float32

  @nn.compact
  def __call__(self, x: Float[Array, "b y x d"]) -> Float[Array, "b _y _x d"]:
    x = _act("norm_0", x)
    for i in range(1, self.depth):
      x = nn.Conv(x.shape[-1], (3, 3), dtype=self.dtype, name=f"conv_{i}")(x)
      x = _act(f"norm_{i}", x)
    for i in range(3 - self.scale):
      x = layers.Up(x.shape[-1], self.dtype, name=f"up_{i}")(x)
    return x


def _act(name: str, x: Float[Array, "b y x d"]) -> Float[Array, "b y x d"]:
  return nn.gelu(transformer.norm(name)(x)).astype(x.dtype)
