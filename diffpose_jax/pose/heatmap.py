"""Joints to heatmaps and back, under one coordinate convention.

Cell i of a heatmap lies at crop coordinate i * stride + (stride - 1) / 2, so
that the map covers the crop exactly and mirrors onto itself.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

_FLOOR = 1e-6  # smallest value whose logarithm the second-order fit takes


def to_cells(
  joints: Float[Array, "*b 2"], stride: int | float
) -> Float[Array, "*b 2"]:
  """Crop pixels as (fractional) heatmap cells."""
  return (joints - (stride - 1) / 2) / stride


def to_pixels(
  cells: Float[Array, "*b 2"], stride: int | float
) -> Float[Array, "*b 2"]:
  """Heatmap cells as crop pixels."""
  return cells * stride + (stride - 1) / 2


def encode(
  joints: Float[Array, "b k 2"],
  *,
  size: tuple[int, int],
  stride: int | float,
  spread: float,
) -> Float[Array, "b y x k"]:
  """Gaussians of peak 1 at the joints, neither rounded nor cut.

  Args:
    joints: (x, y) in crop pixels.
    size: rows and columns of the heatmap.
    stride: crop pixels a cell.
    spread: standard deviation for a heatmap of 64 rows, in cells; it scales
      with the number of rows.

  Source: Feng et al. 2023 (arXiv 2307.16687) for Gaussians as x0.
  Differs: the family rounds the centre to a cell and cuts at three sigma,
  which costs up to half a cell.
  """
  rows, columns = size
  cells = to_cells(joints, stride)
  sigma = spread * rows / 64
  x = _bell(cells[..., 0], columns, sigma)
  y = _bell(cells[..., 1], rows, sigma)
  return jnp.einsum("bky,bkx->byxk", y, x)


def _bell(
  centre: Float[Array, "b k"], count: int, sigma: float
) -> Float[Array, "b k n"]:
  distance = jnp.arange(count)[None, None, :] - centre[..., None]
  return jnp.exp(-jnp.square(distance) / (2 * sigma**2))


def decode(
  heatmaps: Float[Array, "b y x k"],
  *,
  stride: int | float,
  method: str = "refine",
) -> tuple[Float[Array, "b k 2"], Float[Array, "b k"]]:
  """Joints in crop pixels and their peak values in [0, 1].

  `method` "refine" fits a parabola to the logarithm of the three cells around
  the peak on each axis, which is exact for a Gaussian; on the border the cell
  centre stands. "quarter" is the family's rule: a quarter cell towards the
  higher neighbour. Cells that are not finite count as empty; a map without a
  finite cell gives score 0 and the centre of the crop.
  """
  _, rows, columns, _ = heatmaps.shape
  finite = jnp.isfinite(heatmaps)
  maps = jnp.where(finite, heatmaps, -jnp.inf)
  flat = jnp.moveaxis(maps, -1, 1).reshape(*_leading(maps), rows * columns)
  peak = jnp.argmax(flat, axis=-1)
  row, column = peak // columns, peak % columns
  score = jnp.take_along_axis(flat, peak[..., None], axis=-1)[..., 0]
  offset = _quarter if method == "quarter" else _parabola
  x = column + offset(flat, peak, column, columns, 1)
  y = row + offset(flat, peak, row, rows, columns)
  alive = finite.any(axis=(1, 2))
  middle = jnp.array([(columns - 1) / 2, (rows - 1) / 2])[None, None, :]
  cells = jnp.where(alive[..., None], jnp.stack([x, y], axis=-1), middle)
  return (
    to_pixels(cells, stride),
    jnp.where(alive, jnp.clip(score, 0.0, 1.0), 0.0),
  )


def _leading(maps: Float[Array, "b y x k"]) -> tuple:
  # The number of clips may be symbolic.
  return maps.shape[0], maps.shape[-1]


def _neighbours(flat, peak, position, count, step):
  """Cells before, at and after the peak on one axis, and whether both exist."""
  last = flat.shape[-1] - 1
  take = lambda index: jnp.take_along_axis(  # noqa: E731
    flat, jnp.clip(index, 0, last)[..., None], axis=-1
  )[..., 0]
  inside: Bool[Array, "b k"] = (position > 0) & (position < count - 1)
  return take(peak - step), take(peak), take(peak + step), inside


def _parabola(flat, peak, position, count, step):
  before, at, after, inside = _neighbours(flat, peak, position, count, step)
  before, at, after = (
    jnp.log(jnp.maximum(v, _FLOOR)) for v in (before, at, after)
  )
  bend = before - 2 * at + after
  offset = jnp.where(
    bend < 0, (before - after) / jnp.where(bend < 0, 2 * bend, 1), 0
  )
  return jnp.where(inside, jnp.clip(offset, -0.5, 0.5), 0.0)


def _quarter(flat, peak, position, count, step):
  before, _, after, inside = _neighbours(flat, peak, position, count, step)
  # Compared, not subtracted: both may be empty, which is -inf.
  side = (after > before).astype(flat.dtype) - (after < before)
  return jnp.where(inside, 0.25 * side, 0.0)


def flip(
  heatmaps: Float[Array, "*b y x k"], order: tuple[int, ...]
) -> Float[Array, "*b y x k"]:
  """Heatmaps of the mirrored picture: columns reversed, pairs swapped."""
  return jax.lax.rev(heatmaps, (heatmaps.ndim - 2,))[..., jnp.array(order)]
