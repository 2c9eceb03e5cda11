import dataclasses
import math

import numpy as np
import pytest

from diffpose_jax.evaluation import fitting, reliability
from diffpose_jax.inference.calibration import Factors, Joints

TRUTH = Factors(2.0, 0.5, 0.0004, 5.0)


def _spreads(rng, count):
  root = rng.normal(size=(count, 2, 2))
  return root @ np.swapaxes(root, 1, 2) + 0.1 * np.eye(2)


def _joints(factors=TRUTH, count=20_000, seed=0, ensemble=True):
  """Joints whose errors are drawn from the model."""
  rng = np.random.default_rng(seed)
  side = rng.uniform(30, 300, count)
  relative = np.square(side / 50)[:, None, None]
  joints = Joints(
    error=np.zeros((count, 2)),
    samples=_spreads(rng, count) * relative if ensemble else None,
    heatmap=_spreads(rng, count) * relative,
    side=side,
    peak=rng.uniform(0, 1, count),
  )
  root = np.linalg.cholesky(factors.scale(joints))
  error = np.einsum("nij,nj->ni", root, rng.normal(size=(count, 2)))
  if not math.isinf(factors.tail):
    error /= np.sqrt(rng.chisquare(factors.tail, count) / factors.tail)[:, None]
  return dataclasses.replace(joints, error=error)


@pytest.mark.parametrize(
  ("method", "truth"),
  [
    ("both", TRUTH),
    ("samples", Factors(3.0, 0.0, 0.001, math.inf)),
    ("heatmap", Factors(0.0, 0.7, 0.0005, 3.0)),
    ("both", Factors(2.0, 0.5, 0.004, 5.0, peak=3.0)),
  ],
)
def test_a_fit_recovers_what_the_errors_were_drawn_from(method, truth):
  got = fitting.fit(_joints(truth), method)
  assert got.tail == truth.tail
  for name in ("samples", "heatmap", "floor"):
    want = getattr(truth, name)
    # Three standard errors of 20 000 draws, and some room.
    assert getattr(got, name) == pytest.approx(want, rel=0.12, abs=1e-9), name
  assert got.peak == pytest.approx(truth.peak, abs=0.3)
  assert got.stated == got.observed == ()


def test_the_curve_makes_probabilities_of_a_mixture_true():
  """A tenth of the joints are elsewhere, the less the higher their peak."""
  rng = np.random.default_rng(3)
  joints = _joints(Factors(0.0, 1.0, 0.0, math.inf), seed=3, ensemble=False)
  lost = rng.uniform(size=len(joints)) < 0.2 * (1 - joints.peak)
  error = joints.error + np.where(
    lost[:, None], joints.side[:, None] * rng.normal(size=(len(joints), 2)), 0
  )
  joints = dataclasses.replace(joints, error=error)
  reach = 0.03 * joints.side
  half = np.arange(len(joints)) % 2 == 0
  plain = fitting.fit(joints.take(half), "heatmap")
  bent = fitting.fit(joints.take(half), "heatmap", reach[half])
  assert dataclasses.replace(bent, stated=(), observed=()) == plain
  assert len(bent.stated) == len(bent.observed) == 20
  for curve in (bent.stated, bent.observed):
    assert (np.diff(curve) >= 0).all() and curve[0] > 0 and curve[-1] < 1
  before, after = (
    reliability.scores(joints.take(~half), factors, reach[~half])
    for factors in (plain, bent)
  )
  assert after["ece"] < 0.02 < before["ece"], (before["ece"], after["ece"])
  assert after["brier"] < before["brier"]
  assert after["auroc"] == pytest.approx(before["auroc"], abs=0.01)


@pytest.mark.parametrize("right", [True, False])
def test_where_all_are_right_or_wrong_nothing_is_certain(right):
  joints = _joints(count=400)
  reach = np.full(400, 1e9 if right else 1e-9)
  factors = fitting.fit(joints, "both", reach)
  stated = factors.within(factors.scale(joints), reach)
  assert np.isfinite(stated).all()
  assert ((stated > 0) & (stated < 1)).all()
  assert (stated > 0.9).all() if right else (stated < 0.1).all()


def test_without_an_ensemble_the_heatmap_is_fitted():
  joints = _joints(Factors(0.0, 0.7, 0.0005, 3.0), count=500, ensemble=False)
  assert fitting.fit(joints, "heatmap").samples == 0


def test_too_few_joints_are_refused():
  with pytest.raises(ValueError, match="7 labelled joints are too few.*200"):
    fitting.fit(_joints(count=7), "both")
