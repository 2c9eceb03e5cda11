import math

import numpy as np
import pytest

from diffpose_jax.evaluation import reliability
from diffpose_jax.inference import calibration


def _isotropic(rng, count, factor=1.0):
  """Gaussian errors of known spread, and joints that state `factor` of it."""
  sigma = rng.uniform(1, 9, count)
  return calibration.Joints(
    error=sigma[:, None] * rng.normal(size=(count, 2)),
    samples=None,
    heatmap=factor * np.square(sigma)[:, None, None] * np.eye(2),
    side=np.full(count, 100.0),
    peak=np.ones(count),
  )


RAW = calibration.RAW["heatmap"]


def test_a_true_statement_is_reliable():
  count = 50_000
  joints = _isotropic(np.random.default_rng(0), count)
  got = reliability.scores(joints, RAW, np.full(count, 7.0))
  assert got["ece"] < 0.01
  for share, covered in got["coverage"].items():
    p = float(share)
    bound = 4 * math.sqrt(p * (1 - p) / count)
    assert abs(covered - p) < bound
  curve = got["reliability"]
  assert sum(curve["count"]) == count
  np.testing.assert_allclose(curve["predicted"], curve["observed"], atol=0.03)
  # Of two dimensions: the root mean square error is sqrt(2) sigma.
  spread = got["spread"]
  np.testing.assert_allclose(
    spread["error"], np.sqrt(2) * np.array(spread["spread"]), rtol=0.04
  )
  assert got["rank_correlation"] > 0.5
  # By hand: over pairs of a right and a wrong joint, the wrong one's sigma is
  # larger.
  sigma = np.sqrt(joints.heatmap[:2000, 0, 0])
  right = np.linalg.norm(joints.error[:2000], axis=1) <= 7
  above = np.mean(sigma[~right][:, None] > sigma[right][None])
  some = joints.take(np.arange(count) < 2000)
  few = reliability.scores(some, RAW, np.full(2000, 7.0))
  assert few["auroc"] == pytest.approx(above, abs=1e-3)


def test_overconfidence_is_seen():
  """A quarter of the variance: 50 % regions hold 1 - 0.5^(1/4)."""
  count = 50_000
  joints = _isotropic(np.random.default_rng(1), count, factor=0.25)
  got = reliability.scores(joints, RAW, np.full(count, 7.0))
  assert got["coverage"]["0.5"] == pytest.approx(1 - 0.5**0.25, abs=0.01)
  assert got["coverage"]["0.9"] == pytest.approx(1 - 0.1**0.25, abs=0.01)
  assert got["ece"] > 0.1


def test_a_constant_statement_has_the_error_of_its_mean():
  """Always the same probability p, right in a share q: ECE |p - q|."""
  count = 1000
  error = np.zeros((count, 2))
  error[:300, 0] = 99.0
  joints = calibration.Joints(
    error,
    None,
    np.tile(np.eye(2), (count, 1, 1)),
    np.full(count, 10.0),
    np.ones(count),
  )
  got = reliability.scores(joints, RAW, np.full(count, 1.5))
  p = 1 - math.exp(-(1.5**2) / 2)
  assert got["ece"] == pytest.approx(abs(p - 0.7), abs=1e-6)
  brier = 0.7 * (1 - p) ** 2 + 0.3 * p**2
  assert got["brier"] == pytest.approx(brier, abs=1e-6)
  assert got["sharpness"]["probability"] == pytest.approx(0, abs=1e-9)
  assert got["sharpness"]["spread"] == pytest.approx(0.1, rel=1e-5)
  assert got["rank_correlation"] is None
  assert got["auroc"] == pytest.approx(0.5)


def test_reliability_bins_by_hand():
  predicted = np.array([0.0, 0.05, 0.55, 0.56, 1.0])
  right = np.array([False, True, True, False, True])
  got = reliability.reliability(predicted, right)
  assert got["count"] == [2, 2, 1]
  np.testing.assert_allclose(got["predicted"], [0.025, 0.555, 1.0])
  np.testing.assert_allclose(got["observed"], [0.5, 0.5, 1.0])


def test_quarters_and_shares_by_hand():
  values = np.array([8.0, 1, 7, 2, np.nan, 6, 3, 5, 4])
  groups = reliability.quartiles(values, "speed")
  assert list(groups) == [f"speed quarter {i}" for i in (1, 2, 3, 4)]
  assert [values[g].tolist() for g in groups.values()] == [
    [1, 2], [3, 4], [6, 5], [8, 7]
  ]  # fmt: skip
  right = np.array([True, False, False, True, True, True, False, False, False])
  got = reliability.shares(right, groups | {"none": np.zeros(9, bool)})
  assert [row["right"] for row in got.values()] == [0.5, 0.0, 0.5, 0.5, None]
  assert [row["count"] for row in got.values()] == [2, 2, 2, 2, 0]
