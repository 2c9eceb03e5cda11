"""How far from the truth a joint may be: covariances and what follows of them.

Errors are of a two-dimensional Student distribution with covariance-like scale
S and `tail` degrees of freedom; with an infinite tail it is the Gaussian. In
polar coordinates the radius integrates in closed form, and what is left is
periodic in the angle, where the trapezoid rule converges exponentially.
"""

import math

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from scipy import special

_ANGLES = 128  # over half a turn; errors below 1e-8 up to axes of 1 : 10
_PART = 0.1  # of the peak; what is lower is taken for background


def heatmap_covariance(
  heatmaps: Float[Array, "b y x k"],
  joints: Float[Array, "b k 2"],
  *,
  stride: int | float,
) -> Float[Array, "b k 2 2"]:
  """Second moments of heatmaps about their joints, in crop pixels²; traceable.

  Cells below a tenth of the map's peak, or not finite, have no weight: else a
  faint background, which covers many cells, would outweigh the peak. A Gaussian
  of variance v gives 0.744 v. A map without a finite cell gives NaN.

  Args:
    heatmaps: peaks are positive.
    joints: crop pixels.
    stride: crop pixels a cell.
  """
  _, rows, columns, _ = heatmaps.shape
  finite = jnp.where(jnp.isfinite(heatmaps), heatmaps, 0)
  peak = jnp.max(finite, axis=(1, 2), keepdims=True)
  weight = jnp.where(finite >= _PART * peak, jnp.maximum(finite, 0), 0)
  total = jnp.sum(weight, axis=(1, 2))
  cells = (joints - (stride - 1) / 2) / stride
  x = jnp.arange(columns)[None, :, None] - cells[:, None, :, 0]
  y = jnp.arange(rows)[None, :, None] - cells[:, None, :, 1]
  xx = jnp.einsum("byxk,bxk->bk", weight, x * x)
  yy = jnp.einsum("byxk,byk->bk", weight, y * y)
  xy = jnp.einsum("byxk,bxk,byk->bk", weight, x, y)
  moments = jnp.stack([xx, xy, xy, yy], axis=-1) / total[..., None]
  return (moments * stride**2).reshape(*moments.shape[:-1], 2, 2)


def sample_covariance(
  samples: Float[np.ndarray, "m *n 2"],
) -> Float[np.ndarray, "*n 2 2"]:
  """Unbiased covariance over ensemble members, of which two are needed."""
  if len(samples) < 2:
    raise ValueError("one sample has no spread; take at least two samples")
  away = np.asarray(samples, np.float64)
  away = away - np.mean(away, axis=0)
  return np.einsum("m...i,m...j->...ij", away, away) / (len(samples) - 1)


def carried(
  linear: Float[np.ndarray, "*#n 2 2"],
  covariance: Float[np.ndarray, "*#n 2 2"],
) -> Float[np.ndarray, "*n 2 2"]:
  """Covariances after a linear map of the points; leading axes broadcast."""
  return linear @ covariance @ np.swapaxes(linear, -1, -2)


def within(
  scale: Float[np.ndarray, "*n 2 2"],
  radius: Float[np.ndarray, "*n"],
  tail: float = math.inf,
) -> Float[np.ndarray, "*n"]:
  """Probability that an error is at most as long as a radius.

  Args:
    scale: positive definite; the covariance, for the Gaussian.
    radius: in the unit of which the scale is the square.
    tail: degrees of freedom, above 0.
  """
  angle = np.arange(_ANGLES) * (np.pi / _ANGLES)
  ray = np.stack([np.cos(angle), np.sin(angle)], axis=-1)
  inverse = np.linalg.inv(scale)
  q = np.einsum("ai,...ij,aj->...a", ray, inverse, ray)
  far = _beyond(q * np.square(radius)[..., None], tail)
  density = 1 / (q * np.sqrt(np.linalg.det(scale))[..., None])
  return np.clip(np.mean(density * (1 - far), axis=-1), 0, 1)


def squared_distance(
  scale: Float[np.ndarray, "*n 2 2"], error: Float[np.ndarray, "*n 2"]
) -> Float[np.ndarray, "*n"]:
  """Squared Mahalanobis distance of errors."""
  solved = np.linalg.solve(scale, error[..., None])[..., 0]
  return np.sum(error * solved, axis=-1)


def region(share: float, tail: float = math.inf) -> float:
  """Squared Mahalanobis radius of the ellipse that holds a share of errors."""
  if math.isinf(tail):
    return -2 * math.log1p(-share)
  return tail * ((1 - share) ** (-2 / tail) - 1)


def interval(share: float, tail: float = math.inf) -> float:
  """Half the width of the interval along an axis that holds a share of errors.

  In roots of the scale's entry of that axis: of 68.27 % it is 1 where the tail
  is infinite, the standard deviation. Unlike that, it is finite for any tail.
  """
  if math.isinf(tail):
    return float(special.ndtri((1 + share) / 2))
  return float(special.stdtrit(tail, (1 + share) / 2))


def log_density(
  scale: Float[np.ndarray, "*n 2 2"],
  error: Float[np.ndarray, "*n 2"],
  tail: float = math.inf,
) -> Float[np.ndarray, "*n"]:
  """Logarithm of the density of errors, per pixel²."""
  d2 = squared_distance(scale, error)
  norm = -math.log(2 * math.pi) - 0.5 * np.linalg.slogdet(scale)[1]
  if math.isinf(tail):
    return norm - d2 / 2
  return norm - (tail / 2 + 1) * np.log1p(d2 / tail)


def _beyond(d2: Float[np.ndarray, "*n"], tail: float) -> np.ndarray:
  """Probability that a squared Mahalanobis distance is larger than `d2`."""
  if math.isinf(tail):
    return np.exp(-d2 / 2)
  return (1 + d2 / tail) ** (-tail / 2)
