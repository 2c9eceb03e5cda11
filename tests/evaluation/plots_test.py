import html.parser

import numpy as np
import pytest

from diffpose_jax.evaluation import plots


class _Balance(html.parser.HTMLParser):
  """Fails where a tag is closed that was not opened last."""

  VOID = ("br", "img", "meta", "line", "circle", "path", "polyline")

  def __init__(self):
    super().__init__()
    self.open = []
    self.text = []

  def handle_starttag(self, tag, attrs):
    if tag not in self.VOID:
      self.open.append(tag)

  def handle_endtag(self, tag):
    if tag not in self.VOID:
      assert self.open.pop() == tag

  def handle_data(self, data):
    self.text.append(data)


def _read(text):
  reader = _Balance()
  reader.feed(text)
  assert reader.open == []
  return " ".join(reader.text)


def test_unknown_points_are_left_out_with_their_counts():
  nan = float("nan")
  got = plots.series(
    "a", [0.0, 1.0, None, 3.0], [5.0, nan, 6.0, 7.0], [1, 2, 3, 4]
  )
  assert (got.x.tolist(), got.y.tolist()) == ([0, 3], [5, 7])
  assert got.count is not None and got.count.tolist() == [1, 4]
  with pytest.raises(ValueError, match="curve 'a': lists of"):
    plots.series("a", [0.0, 1.0], [1.0])


def test_a_reliability_plot_has_its_curves_numbers_and_ideal():
  bins = {"predicted": [0.1, 0.9], "observed": [0.2, 0.7], "count": [30, 41]}
  text = plots.figure(plots.reliability({"both": bins, "<raw>": bins}))
  words = _read(text)
  for word in ("Reliability", "Both", "<raw>", "0.700", "41"):
    assert word in words
  assert "<raw>" not in text  # escaped
  assert "ideal" in text and "aria-label" in text
  assert text.count('class="curve s0"') == 2  # the curve and its legend
  assert text.count('class="curve s1"') == 2


def test_one_curve_needs_no_legend_and_none_no_figure():
  found = {"thresholds": [0.0, 0.25, 0.5], "all": [0.0, 0.5, 0.75]}
  text = plots.figure(plots.pck(found))
  assert "legend" not in text
  assert "0.750" in _read(text)
  assert plots.figure(plots.pck({"thresholds": [], "all": []})) == ""
  gone = plots.spread_error({"spread": [None], "error": [1.0], "count": [1]})
  assert plots.figure(gone) == ""


def test_points_of_a_curve_lie_where_they_should():
  """On axes from 0 to 1 the middle is the mean of the ends."""
  bins = {"predicted": [0.0, 0.5, 1.0], "observed": [0.0, 0.5, 1.0]}
  text = plots.figure(plots.reliability({"a": bins}))
  start = text.index('class="curve s0" points="') + 25
  points = text[start : text.index('"', start)].split()
  (x0, y0), (x1, y1), (x2, y2) = (map(float, p.split(",")) for p in points)
  assert x1 == pytest.approx((x0 + x2) / 2, abs=0.1)
  assert y1 == pytest.approx((y0 + y2) / 2, abs=0.1)
  assert x0 < x2 and y0 > y2  # up is smaller


def test_thin_keeps_the_ends():
  assert plots.thin(5, 9).tolist() == [0, 1, 2, 3, 4]
  got = plots.thin(1001, 11)
  assert got.tolist() == list(range(0, 1001, 100))
  assert np.all(np.diff(plots.thin(997, 200)) > 0)
