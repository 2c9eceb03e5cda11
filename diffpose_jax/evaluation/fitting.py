"""Factors of the uncertainty, fitted to the errors of labelled joints."""

import math

import numpy as np
from scipy import optimize

from diffpose_jax.inference import calibration

LEAST = 200  # labelled joints to fit on
_TAILS = (2.0, 3.0, 5.0, 10.0, math.inf)


def fit(joints: calibration.Joints, method: str) -> calibration.Factors:
  """calibration.Factors of the largest likelihood.

  Raises ValueError for too few joints.
  """
  if len(joints) < LEAST:
    raise ValueError(
      f"{len(joints)} labelled joints are too few to calibrate on; {LEAST} are "
      "needed: take a larger split"
    )
  free = [
    method in ("samples", "both"), method in ("heatmap", "both"), True
  ]  # fmt: skip
  best = None
  for tail in _TAILS:

    def loss(logs: np.ndarray, tail: float = tail) -> float:
      values = np.zeros(3)
      values[free] = np.exp(logs)
      return calibration.nll(joints, _factors(values, tail))

    start = np.log(np.array([1.0, 0.5, 1e-4])[free])
    bounds = [(-16.0, 7.0)] * len(start)
    found = optimize.minimize(loss, start, method="L-BFGS-B", bounds=bounds)
    if best is None or found.fun < best[0]:
      values = np.zeros(3)
      values[free] = np.exp(found.x)
      best = found.fun, _factors(values, tail)
  assert best is not None
  return best[1]


def _factors(values: np.ndarray, tail: float) -> calibration.Factors:
  samples, heatmap, floor = values.tolist()
  return calibration.Factors(samples, heatmap, floor, tail)
