"""Colour jitter and erasing of clips, on the device that trains on them."""

import functools
import math

import jax
import jax.numpy as jnp
import ml_collections
from jaxtyping import Array, Float, UInt8

_ERASE_AREA = (0.02, 0.15)  # share of the crop
_ERASE_ASPECT = (0.4, 2.5)  # height over width
_GRAIN = 4  # cells of the texture on each side


def distort(
  keys: jax.Array,
  frames: UInt8[Array, "b t h w 3"],
  config: ml_collections.ConfigDict,
) -> UInt8[Array, "b t h w 3"]:
  """Clips with the colours and the occluders that `config.augment` says.

  Args:
    keys: one for each clip, the only source of randomness.
    frames: clips, all frames of which are changed alike.
    config: `config.augment`: `colour` and `erase_probability`.
  """
  colour_keys, coin_keys, erase_keys = jax.vmap(
    functools.partial(jax.random.split, num=3), out_axes=1
  )(keys)
  if config.colour > 0:
    jitter = functools.partial(jitter_colour, strength=config.colour)
    frames = jax.vmap(jitter)(colour_keys, frames)
  if config.erase_probability > 0:
    draw = lambda key: jax.random.bernoulli(  # noqa: E731
      key, config.erase_probability
    )
    chosen = jax.vmap(draw)(coin_keys)[:, None, None, None, None]
    frames = jnp.where(chosen, jax.vmap(erase)(erase_keys, frames), frames)
  return frames


def jitter_colour(
  key: jax.Array, clip: UInt8[Array, "t h w 3"], strength: float
) -> UInt8[Array, "t h w 3"]:
  """The clip with another brightness, contrast and tint.

  Each of the factors is uniform in [1 - strength, 1 + strength]; the tint's
  has half that range, a channel.
  """
  draws = jax.random.uniform(key, (5,), minval=-strength, maxval=strength)
  contrast, brightness, tint = draws[0], draws[1], draws[2:] / 2
  levels = (clip - 127.5) * (1 + contrast) + 127.5 * (1 + brightness)
  tinted = levels * (1 + tint).reshape(1, 1, 1, 3)
  return jnp.clip(jnp.rint(tinted), 0, 255).astype(jnp.uint8)


def erase(
  key: jax.Array, clip: UInt8[Array, "t h w 3"]
) -> UInt8[Array, "t h w 3"]:
  """The clip with one coarsely textured rectangle over all its frames.

  It covers 2 to 15 % of the crop, as an occluder would; labels stay.
  """
  _, height, width, _ = clip.shape
  shape_key, place_key, grain_key = jax.random.split(key, 3)
  area, aspect = jax.random.uniform(shape_key, (2,))
  area = _ERASE_AREA[0] + area * (_ERASE_AREA[1] - _ERASE_AREA[0])
  low, high = (math.log(v) for v in _ERASE_ASPECT)
  aspect = jnp.exp(low + aspect * (high - low))
  area = area * height * width
  rows = jnp.clip(jnp.round(jnp.sqrt(area * aspect)), 1, height)
  columns = jnp.clip(jnp.round(jnp.sqrt(area / aspect)), 1, width)
  top, left = jax.random.uniform(place_key, (2,))
  top = jnp.floor(top * (height - rows + 1))
  left = jnp.floor(left * (width - columns + 1))
  y, x = jnp.arange(height) - top, jnp.arange(width) - left
  grain = jax.random.uniform(grain_key, (_GRAIN, _GRAIN, 3), maxval=255.0)
  # Bilinear between the centres of the cells.
  patch = jnp.einsum(
    "ha,wb,abc->hwc", _weights(y, rows), _weights(x, columns), grain
  )
  down, across = (y >= 0) & (y < rows), (x >= 0) & (x < columns)
  inside = down[:, None] & across[None]
  patch = jnp.rint(patch).astype(jnp.uint8)
  return jnp.where(inside[None, ..., None], patch[None], clip)


def _weights(
  place: Float[Array, "n"], length: Float[Array, ""]
) -> Float[Array, "n 4"]:
  """Of each cell of the texture at each place of a side of `length`."""
  cell = (place + 0.5) * _GRAIN / length - 0.5
  cell = jnp.clip(cell, 0, _GRAIN - 1)
  near = 1 - jnp.abs(cell[:, None] - jnp.arange(_GRAIN)[None])
  return jnp.maximum(near, 0)
