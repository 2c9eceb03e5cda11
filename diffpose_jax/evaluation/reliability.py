"""How far stated uncertainty can be believed: scores against true errors."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Bool, Float
from scipy import stats

from diffpose_jax.inference import calibration
from diffpose_jax.pose import uncertainty

_BINS = 10
_SHARES = (0.5, 0.9)  # of the regions whose coverage is reported


def scores(
  joints: calibration.Joints,
  factors: calibration.Factors,
  reach: Float[np.ndarray, "n"],
) -> dict[str, Any]:
  """How well a method's distribution describes the errors of joints.

  Args:
    joints: with their true errors.
    factors: of the method.
    reach: pixels within which a joint is right, for the probabilities. It may
      not be made from the truth.

  Returns:
    `nll`; `reliability`: mean predicted probability, observed share and count
    in ten bins; `ece`: their mean absolute difference, weighted by count;
    `brier`; `auroc`, the chance that a wrong joint is stated less probable than
    a right one, null where there are none of either; `sharpness`: median of the geometric mean of the axes over the box
    side, and the standard deviation of the probabilities; `coverage` of 50 %
    and 90 % regions; `spread`: spread and root mean square error over the box
    side in ten bins of equal count; `rank_correlation` (Spearman) of the two.
  """
  scale = factors.scale(joints)
  length = np.linalg.norm(joints.error, axis=1)
  right = length <= reach
  predicted = factors.within(scale, reach)
  curve = reliability(predicted, right)
  count = np.array(curve["count"])
  gap = np.abs(np.array(curve["predicted"]) - np.array(curve["observed"]))
  spread = np.linalg.det(scale) ** 0.25 / joints.side
  error = length / joints.side
  d2 = uncertainty.squared_distance(scale, joints.error)
  return {
    "nll": calibration.nll(joints, factors),
    "reliability": curve,
    "ece": float(np.sum(gap * count) / np.sum(count)),
    "brier": float(np.mean(np.square(predicted - right))),
    "auroc": _auroc(predicted, right),
    "sharpness": {
      "spread": float(np.median(spread)),
      "probability": float(np.std(predicted)),
    },
    "coverage": {
      f"{share:g}": float(
        np.mean(d2 <= uncertainty.region(share, factors.tail))
      )
      for share in _SHARES
    },
    "spread": _by_spread(spread, error),
    "rank_correlation": _rank_correlation(spread, error),
  }


def _auroc(
  predicted: Float[np.ndarray, "n"], right: Bool[np.ndarray, "n"]
) -> float | None:
  """Ties count half."""
  count = int(right.sum())
  if not 0 < count < len(right):
    return None
  above = stats.rankdata(predicted)[right].sum() - count * (count + 1) / 2
  return float(above / (count * (len(right) - count)))


def reliability(
  predicted: Float[np.ndarray, "n"], right: Bool[np.ndarray, "n"]
) -> dict[str, list]:
  """Ten bins of equal width; those without joints are left out."""
  place = np.minimum((predicted * _BINS).astype(int), _BINS - 1)
  bins = [place == i for i in range(_BINS) if np.any(place == i)]
  return {
    "predicted": [float(np.mean(predicted[one])) for one in bins],
    "observed": [float(np.mean(right[one])) for one in bins],
    "count": [int(np.sum(one)) for one in bins],
  }


def _by_spread(spread: np.ndarray, error: np.ndarray) -> dict[str, list]:
  parts = np.array_split(np.argsort(spread, kind="stable"), _BINS)
  parts = [part for part in parts if len(part)]
  return {
    "spread": [float(np.mean(spread[part])) for part in parts],
    "error": [float(np.sqrt(np.mean(error[part] ** 2))) for part in parts],
    "count": [len(part) for part in parts],
  }


def _rank_correlation(spread: np.ndarray, error: np.ndarray) -> float | None:
  if np.ptp(spread) == 0 or np.ptp(error) == 0:
    return None  # flat: no order to compare
  value = float(stats.spearmanr(spread, error).statistic)
  return None if math.isnan(value) else value


def shares(
  right: Bool[np.ndarray, "n"], groups: Mapping[str, Bool[np.ndarray, "n"]]
) -> dict[str, dict[str, Any]]:
  """Share of right joints and their count, of each group; None if empty."""
  return {
    name: {
      "right": float(np.mean(right[group])) if np.any(group) else None,
      "count": int(np.sum(group)),
    }
    for name, group in groups.items()
  }


def quartiles(
  values: Float[np.ndarray, "n"], name: str
) -> dict[str, np.ndarray]:
  """Four groups of equal count by value, NaN left out: bool (n,) each."""
  order = np.argsort(values, kind="stable")
  order = order[~np.isnan(values[order])]
  groups = {}
  for i, part in enumerate(np.array_split(order, 4)):
    group = np.zeros(len(values), bool)
    group[part] = True
    groups[f"{name} quarter {i + 1}"] = group
  return groups
