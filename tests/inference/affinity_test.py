"""Similarity of people, and who is who."""

import itertools
import math

import numpy as np
import pytest

from diffpose_jax.inference import affinity, motion, people


def expected(place, variance):
  place = np.asarray(place, float)
  covariance = np.zeros((*place.shape[:2], 3))
  covariance[..., 0] = variance
  return motion.Points(place, np.zeros_like(place), covariance)


def test_oks_by_hand():
  # Without doubt: exp(-d² / (2 (2σ)² area)), 3-4-5 and 0.1 of 20 pixels.
  seen = np.array([[[3.0, 4], [0, 0]], [[3, 4], [np.nan, np.nan]]])
  got = affinity.widened_oks(
    expected([[[0, 0], [0, 1]]], 0.0),
    np.array([20.0]),
    seen,
    np.array([20.0, 5.0]),
    np.array([0.1, 0.2]),
  )
  assert got.shape == (1, 2, 2)
  assert got[0, 0, 0] == pytest.approx(math.exp(-25 / (2 * 0.01 * 400)))
  assert got[0, 0, 1] == pytest.approx(math.exp(-1 / (2 * 0.04 * 400)))
  assert got[0, 1, 0] == pytest.approx(math.exp(-25 / (2 * 0.01 * 100)))
  assert math.isnan(got[0, 1, 1])
  # 21 pixels² of doubt beside 4 of OKS itself.
  wide = affinity.widened_oks(
    expected([[[0, 0]]], 21.0),
    np.array([20.0]),
    seen[:1, :1],
    np.array([20.0]),
    np.array([0.1]),
  )
  assert wide[0, 0, 0] == pytest.approx(math.exp(-25 / (2 * (4 + 21))))


def test_means_of_what_is_known():
  values = np.array([[[0.5, 1.0, np.nan], [np.nan, np.nan, np.nan]]])
  weights = np.array([[1.0, 0.5, 1.0], [1.0, 1.0, 1.0]])
  mean, share = affinity.weighted_mean(values, weights)
  assert mean[0].tolist() == [pytest.approx((0.5 + 0.5) / 1.5), 0]
  assert share[0].tolist() == [0.5, 0]
  none, share = affinity.weighted_mean(np.zeros((2, 3, 0)), np.zeros((3, 0)))
  assert none.tolist() == share.tolist() == [[0.0] * 3] * 2


def test_assignment_is_the_best_of_all():
  rng = np.random.default_rng(0)
  for rows, columns in ((3, 5), (5, 3), (4, 4)):
    similarity = rng.uniform(0, 1, (rows, columns))
    i, j = affinity.assign(similarity, 0.3)
    assert np.all(similarity[i, j] >= 0.3)
    assert len(set(i.tolist())) == len(i) and len(set(j.tolist())) == len(j)
    gain = np.maximum(similarity - 0.3, 0)
    gain = gain if rows <= columns else gain.T
    best = max(
      sum(gain[r, c] for r, c in enumerate(order))
      for order in itertools.permutations(range(gain.shape[1]), len(gain))
    )
    assert np.sum(similarity[i, j] - 0.3) == pytest.approx(best)


def test_nobody_is_assigned():
  for shape in ((0, 3), (2, 0), (0, 0)):
    i, j = affinity.assign(np.zeros(shape), 0.3)
    assert len(i) == len(j) == 0
  i, j = affinity.assign(np.full((2, 2), 0.29), 0.3)
  assert len(i) == len(j) == 0


def test_similarity_by_hand():
  """IoU of 1/3, a centre 10 away, one of two joints in common, 5 away."""
  edges = np.array([[0.0, 0, 20, 20]])
  none = np.full((1, 2, 2), np.nan)
  joints = none.copy()
  joints[0, 0] = [3, 4]
  seen = people.seen(edges, np.ones(1), joints, np.full((1, 2), 0.8), "here")
  points = expected([[[20, 10], [20, 20], [0, 0], [7, 7]]], 0.0)
  one = np.array([0])
  known = people.Known(one, one, np.zeros(1), points)
  falloff = np.array([0.5, 0.5, 0.3, 0.3])
  got = affinity.similarity(known, seen, falloff, near=0.4, pose=0.9)
  likeness = 0.4 * math.exp(-100 / (2 * 100)) + 0.6 / 3
  share = 0.9 * 0.8 / 2
  oks = math.exp(-25 / (2 * 36))
  assert got[0, 0] == pytest.approx(share * oks + (1 - share) * likeness)
  # Without joints, the box alone counts.
  seen = people.seen(edges, np.ones(1), none, None, "here")
  got = affinity.similarity(known, seen, falloff, near=0.4, pose=0.9)
  assert got[0, 0] == pytest.approx(likeness)
