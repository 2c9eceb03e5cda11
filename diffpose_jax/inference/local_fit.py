"""Polynomials in time fitted to what is near, steadily against outliers.

Source: Savitzky and Golay, Smoothing and differentiation of data by simplified
least squares procedures (Anal. Chem. 1964), for the fit by time; Cleveland,
Robust locally weighted regression and smoothing scatterplots (JASA 1979), for
the tricube weights, times that are not even, and the repeated fit with bisquare
weights of the residuals. Differs: the repetition starts from the least sum of
absolute residuals, which one outlier in the middle of few points cannot draw.
"""

import numpy as np
from jaxtyping import Bool, Float

_ABSOLUTE, _BISQUARE = 4, 2  # repetitions with either kind of weights
_CUT = 4.685  # robust standard deviations; 95 % efficient for normal errors
_NORMAL = 1.4826  # standard deviation over median of the absolute values
_RIDGE = 1e-10  # on slopes: none where there are too few points for one


def fit(
  away: Float[np.ndarray, "w"],
  points: Float[np.ndarray, "w m 2"],
  weights: Float[np.ndarray, "w m"],
  *,
  reach: float,
  degree: int,
  floor: Float[np.ndarray, "m"] | None,
) -> Float[np.ndarray, "m 2"]:
  """m points at the moment that is `away` = 0; NaN without any weight.

  A polynomial of the time is reproduced, and what does not change stays as it
  is to the last bit.

  Args:
    away: seconds from that moment; `points` count by the tricube of their share
      of `reach`, those at `reach` or farther not at all.
    points: at these times; anything where the weight is 0.
    weights: from 0.
    reach: seconds.
    degree: of the polynomial; as much of it as there are points for.
    floor: residuals, in pixels, below which nothing is an outlier; None:
      nothing ever is.
  """
  near = np.clip(1 - np.abs(away / reach) ** 3, 0, None) ** 3
  weights = near[:, None] * weights
  there = weights > 0
  # From one of the points themselves, so that equal ones leave nothing over.
  nearest = np.argmin(np.where(there, np.abs(away)[:, None], np.inf), axis=0)
  base = points[nearest, np.arange(points.shape[1])]
  left = np.where(there[..., None], points - base, 0)
  # By what is there, so that the powers of few short times do not vanish.
  widest = np.max(np.abs(away), where=np.any(there, axis=1), initial=0)
  powers = (away / (widest or 1))[:, None] ** np.arange(degree + 1)
  total = weights
  if floor is not None:
    total = _robust(powers, left, weights, there, floor)
  result = base + _solve(powers, left, total)[:, 0]
  known = np.any(there, axis=0)
  return np.where(known[:, None], result, np.nan)


def _robust(
  powers: Float[np.ndarray, "w d"],
  left: Float[np.ndarray, "w m 2"],
  weights: Float[np.ndarray, "w m"],
  there: Bool[np.ndarray, "w m"],
  floor: Float[np.ndarray, "m"],
) -> Float[np.ndarray, "w m"]:
  """The weights, with those of outliers lowered."""
  total = weights
  for step in range(_ABSOLUTE + _BISQUARE):
    curve = np.einsum("wd,mdc->wmc", powers, _solve(powers, left, total))
    residual = np.hypot(*np.moveaxis(left - curve, -1, 0))
    if step < _ABSOLUTE:
      total = weights / np.maximum(residual, floor)
    else:
      scale = np.maximum(_NORMAL * _median(residual, there), floor)
      share = np.minimum(residual / (_CUT * scale), 1)
      total = weights * (1 - share**2) ** 2
  return total


def _median(
  values: Float[np.ndarray, "w m"], there: Bool[np.ndarray, "w m"]
) -> Float[np.ndarray, "m"]:
  """Upper medians of what is there; infinite where nothing is."""
  ordered = np.sort(np.where(there, values, np.inf), axis=0)
  middle = there.sum(axis=0) // 2
  return ordered[np.minimum(middle, len(values) - 1), range(values.shape[1])]


def _solve(
  powers: Float[np.ndarray, "w d"],
  left: Float[np.ndarray, "w m 2"],
  weights: Float[np.ndarray, "w m"],
) -> Float[np.ndarray, "m d 2"]:
  """Coefficients of the weighted least squares."""
  degrees = powers.shape[1]
  mass = weights.sum(axis=0)
  share = weights / np.where(mass > 0, mass, 1)
  products = powers[:, :, None] * powers[:, None, :]  # w d d
  matrix = np.tensordot(share.T, products, axes=1)
  ridge = np.full(degrees, _RIDGE)
  ridge[0] = 0
  matrix = matrix + np.diag(ridge)
  matrix[mass <= 0, 0, 0] = 1
  right = np.einsum("wd,wm,wmc->mdc", powers, share, left)
  return np.linalg.solve(matrix, right)
