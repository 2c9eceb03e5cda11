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
_LOWEST, _HIGHEST = (-16.0,) * 4, (7.0, 7.0, 7.0, 3.0)


def fit(
  joints: calibration.Joints,
  method: str,
  reach: Float[np.ndarray, "n"] | None = None,
) -> calibration.Factors:
  """Factors of the largest likelihood; with `reach`, its probability's line too.

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
  return best[1] if reach is None else _with_line(joints, best[1], reach)


def _factors(
  logs: np.ndarray, free: np.ndarray, tail: float
) -> calibration.Factors:
  values = np.zeros(len(free))
  values[free] = np.exp(logs)
  samples, heatmap, floor, peak = values.tolist()
  return calibration.Factors(samples, heatmap, floor, tail, peak)


def _with_line(
  joints: calibration.Joints,
  factors: calibration.Factors,
  reach: Float[np.ndarray, "n"],
) -> calibration.Factors:
  """The line in log-odds of the largest likelihood of right and wrong.

  Right and wrong are smoothed as by Platt, so that all right is no certainty.
  The slope is not negative: what is surer stays so.
  """
  stated = uncertainty.within(factors.scale(joints), reach, factors.tail)
  odds = calibration.log_odds(stated)
  right = np.linalg.norm(joints.error, axis=1) <= reach
  count = right.sum()
  target = np.where(
    right, (count + 1) / (count + 2), 1 / (len(right) - count + 2)
  )

  def loss(line: np.ndarray) -> tuple[float, np.ndarray]:
    at = line[0] * odds + line[1]
    value = np.mean(np.logaddexp(0, at) - target * at)
    away = 1 / (1 + np.exp(-at)) - target
    return float(value), np.array([np.mean(away * odds), np.mean(away)])

  found = optimize.minimize(
    loss,
    np.array([1.0, 0.0]),
    jac=True,
    method="L-BFGS-B",
    bounds=[(0.0, 20.0), (-20.0, 20.0)],
  )
  slope, shift = found.x.tolist()
  return dataclasses.replace(factors, slope=slope, shift=shift)
