"""Factors of the uncertainty, fitted to the errors of labelled joints."""

import dataclasses
import math

import numpy as np
from jaxtyping import Float
from scipy import optimize

from diffpose_jax.inference import calibration
from diffpose_jax.pose import uncertainty

LEAST = 200  # labelled joints to fit on
_TAILS = (2.0, 3.0, 5.0, 10.0, math.inf)
# samples, heatmap, floor, peak: where to begin, and between which logarithms.
_START = (1.0, 0.5, 1e-4, 1.0)
_BINS, _IN_BIN = 20, 20  # of the curve, at most; joints in each, at least
_LOWEST, _HIGHEST = (-16.0,) * 4, (7.0, 7.0, 7.0, 3.0)


def fit(
  joints: calibration.Joints,
  method: str,
  reach: Float[np.ndarray, "n"] | None = None,
) -> calibration.Factors:
  """Factors of the largest likelihood; with `reach`, its probability's curve.

  Args:
    joints: with their true errors.
    method: of `calibration.METHODS`.
    reach: pixels within which a joint is right.

  Raises ValueError for too few joints.
  """
  if len(joints) < LEAST:
    raise ValueError(
      f"{len(joints)} labelled joints are too few to calibrate on; {LEAST} are "
      "needed: take a larger split"
    )
  free = np.array(
    [method in ("samples", "both"), method in ("heatmap", "both"), True, True]
  )
  pick = lambda values: np.array(values)[free]  # noqa: E731
  bounds = list(zip(pick(_LOWEST), pick(_HIGHEST), strict=True))
  best = None
  for tail in _TAILS:

    def loss(logs: np.ndarray, tail: float = tail) -> float:
      return calibration.nll(joints, _factors(logs, free, tail))

    start = np.log(pick(_START))
    found = optimize.minimize(loss, start, method="L-BFGS-B", bounds=bounds)
    if best is None or found.fun < best[0]:
      best = found.fun, _factors(found.x, free, tail)
  assert best is not None
  return best[1] if reach is None else _with_curve(joints, best[1], reach)


def _factors(
  logs: np.ndarray, free: np.ndarray, tail: float
) -> calibration.Factors:
  values = np.zeros(len(free))
  values[free] = np.exp(logs)
  samples, heatmap, floor, peak = values.tolist()
  return calibration.Factors(samples, heatmap, floor, tail, peak)


def _with_curve(
  joints: calibration.Joints,
  factors: calibration.Factors,
  reach: Float[np.ndarray, "n"],
) -> calibration.Factors:
  """With the rising curve from stated probabilities to the share of right joints.

  Through bins of equal count; each counts as if it held one right and one wrong
  joint more, so that nothing is certain.
  """
  stated = uncertainty.within(factors.scale(joints), reach, factors.tail)
  right = np.linalg.norm(joints.error, axis=1) <= reach
  order = np.argsort(stated, kind="stable")
  bins = np.array_split(order, min(_BINS, len(order) // _IN_BIN) or 1)
  count = np.array([len(one) for one in bins])
  share = np.array([(right[one].sum() + 1) / (len(one) + 2) for one in bins])
  rising = optimize.isotonic_regression(share, weights=count).x
  return dataclasses.replace(
    factors,
    stated=tuple(float(np.mean(stated[one])) for one in bins),
    observed=tuple(rising.tolist()),
  )
