"""Ticks are round and enclose the data; the curve runs where the points are."""

import re
from xml.etree import ElementTree

import numpy as np
import pytest

from diffpose_jax.evaluation import curves


@pytest.mark.parametrize(
  ("low", "high", "expected"),
  [
    (0, 10, [0, 2, 4, 6, 8, 10]),
    (3, 97, [0, 20, 40, 60, 80, 100]),
    (0.0041, 0.0226, [0, 0.005, 0.01, 0.015, 0.02, 0.025]),
    (-1, 1, [-1, -0.5, 0, 0.5, 1]),
  ],
)
def test_ticks(low, high, expected):
  np.testing.assert_allclose(
    curves.ticks(float(low), float(high)), expected, atol=1e-12
  )


@pytest.mark.parametrize("value", [0.0, 5.0, -2.0, 1e-9, 3e8])
def test_ticks_around_one_value(value):
  ticks = curves.ticks(value, value)
  assert len(ticks) >= 2
  assert ticks[0] <= value <= ticks[-1]
  assert ticks[0] < ticks[-1]


def test_running_mean_is_the_slow_one():
  values = np.random.default_rng(0).normal(size=181)
  half = 3  # 181 // 60
  slow = [
    values[max(0, i - half) : i + half + 1].mean() for i in range(len(values))
  ]
  np.testing.assert_allclose(curves.running_mean(values), slow, atol=1e-12)


def _parts(points):
  tree = ElementTree.fromstring(curves.svg(points, title="Loss <x>"))
  lines = {
    line.get("class"): line.get("points") for line in tree.iter("polyline")
  }
  return tree, {
    kind: np.array([p.split(",") for p in (text or "").split()], float)
    for kind, text in lines.items()
  }


def test_few_points_are_marked_and_placed_in_proportion():
  tree, lines = _parts([(0.0, 0.0), (50.0, 10.0), (100.0, 5.0)])
  assert list(lines) == ["curve"]
  assert len(list(tree.iter("circle"))) == 3
  (x0, y0), (x1, y1), (x2, y2) = lines["curve"]
  assert x1 - x0 == pytest.approx(x2 - x1, abs=0.11)
  assert y0 > y2 > y1  # SVG's y points down
  assert y0 - y2 == pytest.approx(y2 - y1, abs=0.11)
  assert "Loss <x>: 5 at step 100" in "".join(tree.itertext())


def test_many_points_are_smoothed():
  _, lines = _parts([(float(i), float(i % 2)) for i in range(600)])
  assert list(lines) == ["raw", "curve"]
  assert np.ptp(lines["curve"][50:-50, 1]) < 0.2 * np.ptp(lines["raw"][:, 1])


def test_one_point_is_fine():
  text = curves.svg([(20.0, 0.5)], title="Loss")
  assert "nan" not in text
  assert not re.search(r"\binf", text)
