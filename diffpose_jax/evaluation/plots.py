"""Plots of the report: curves told apart without colour, and their numbers.

Each curve has a colour, a dash and a mark of its own; a table of the numbers
is folded away below each plot.
"""

import dataclasses
import html
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from diffpose_jax.evaluation import curves
from diffpose_jax.inference import page

MOST = 200  # points of a drawn curve
_MARKED = 8  # points of a curve that carry its mark, about
_LISTED = 21  # lines of the table of numbers, at most
# Paths from a mark's centre; as many kinds as the style has colours and dashes.
_SHAPES = (
  "m-4 0a4 4 0 1 0 8 0a4 4 0 1 0-8 0",
  "m-3.5-3.5h7v7h-7z",
  "m0-5 4.5 8h-9z",
  "m0-5.2 4.6 5.2-4.6 5.2-4.6-5.2z",
  "m0 5 4.5-8h-9z",
  "m-3.5-3.5 7 7m0-7-7 7",
  "m-4.5 0h9m-4.5-4.5v9",
)


@dataclasses.dataclass(frozen=True)
class Series:
  """A curve: positions that are known, in their order."""

  name: str
  x: np.ndarray
  y: np.ndarray
  count: np.ndarray | None = None  # what each point is the mean of


@dataclasses.dataclass(frozen=True)
class Plot:
  """Curves over one pair of axes."""

  title: str
  x_title: str
  y_title: str
  series: tuple[Series, ...]
  note: str = ""  # how to read it
  unit: bool = False  # both axes run from 0 to 1
  diagonal: bool = False  # where x equals y, the ideal


def series(
  name: str,
  x: Sequence[float | None],
  y: Sequence[float | None],
  count: Sequence[int] | None = None,
) -> Series:
  """A curve of the points of which both positions are known and finite.

  Raises ValueError where the lists differ in length.
  """
  lengths = [len(values) for values in (x, y, count) if values is not None]
  if len(set(lengths)) > 1:
    raise ValueError(
      f"curve {name!r}: lists of {lengths} values; give one for each point"
    )
  places = np.array([x, y], float)  # None becomes NaN
  kept = np.isfinite(places).all(axis=0)
  counts = None if count is None else np.array(count)[kept]
  return Series(name, places[0, kept], places[1, kept], counts)


def precision_recall(found: Mapping[str, Any]) -> Plot:
  """Of what `breakdown.precision_recall` gives."""
  return Plot(
    title="Precision and recall by group of joints",
    x_title="Recall",
    y_title="Precision",
    series=tuple(
      series(_heading(name), found["recall"], precision)
      for name, precision in found["precision"].items()
    ),
    note="At PCKh 0.5, best scores first. The area under a curve is its AP.",
    unit=True,
  )


def reliability(
  methods: Mapping[str, Mapping[str, Sequence[float | None]]],
) -> Plot:
  """Of method → {"predicted", "observed", "count"}, one value for each bin."""
  return Plot(
    title="Reliability",
    x_title="Predicted probability of being right",
    y_title="Share that is right",
    series=tuple(
      series(_heading(name), *_columns(bins, "predicted", "observed"))
      for name, bins in methods.items()
    ),
    note="On the diagonal, what is predicted comes true; below it, the "
    "network is too sure of itself.",
    unit=True,
    diagonal=True,
  )


def spread_error(
  bins: Mapping[str, Sequence[float | None]], *, unit: str = "head sizes"
) -> Plot:
  """Of {"spread", "error", "count"}, one value for each bin."""
  return Plot(
    title="Spread against error",
    x_title=f"Spread of the prediction, {unit}",
    y_title=f"Mean error, {unit}",
    series=(series("Error", *_columns(bins, "spread", "error")),),
    note="Where the spread says something, the error rises with it.",
  )


def pck(
  found: Mapping[str, Sequence[float | None]], *, unit: str = "head sizes"
) -> Plot:
  """Of {"thresholds", "all"}; each further list is a curve too."""
  return Plot(
    title="Share of joints within reach (PCK)",
    x_title=f"Threshold, {unit}",
    y_title="Share of joints",
    series=tuple(
      series(_heading(name), found["thresholds"], shares)
      for name, shares in found.items()
      if name != "thresholds"
    ),
  )


def figure(plot: Plot) -> str:
  """The plot as HTML with its legend and numbers; nothing without points."""
  shown = [one for one in plot.series if len(one.x)]
  if not shown:
    return ""
  area = _area(plot, shown)
  marks = "".join(_curve(area, one, i) for i, one in enumerate(shown))
  if plot.diagonal:
    ends = np.array([0.0, 1.0])
    marks = curves.line(area.across(ends), area.up(ends), "ideal") + marks
  note = f"<span>{html.escape(plot.note)}</span>" if plot.note else ""
  return (
    f"<figure><figcaption>{html.escape(plot.title)}{note}</figcaption>"
    f"{area.svg(marks, title=_spoken(plot, shown))}{_legend(shown)}"
    f"{page.details('Numbers', _numbers(plot, shown))}</figure>"
  )


def thin(count: int, most: int) -> np.ndarray:
  """At most `most` of `count` indices, evenly, the first and last among them.

  As integers, rising. `most` is at least 2.
  """
  return np.unique(np.rint(np.linspace(0, count - 1, min(count, most)))).astype(
    int
  )


def _columns(bins: Mapping[str, Sequence], x: str, y: str) -> tuple:
  return bins[x], bins[y], bins.get("count")


def _heading(name: str) -> str:
  words = name.replace("_", " ")
  return words[:1].upper() + words[1:]


def _spoken(plot: Plot, shown: Sequence[Series]) -> str:
  """What a screen reader says of the picture."""
  names = ", ".join(one.name for one in shown)
  return (
    f"{plot.title}: {plot.y_title} over {plot.x_title}; curves: {names}. "
    "The numbers are in the table below."
  )


def _area(plot: Plot, shown: Sequence[Series]) -> curves.Area:
  """Axes around all points; from 0, or just [0, 1]."""

  def ticks(values: list[np.ndarray]) -> list[float]:
    low, high = np.concatenate(values).min(), np.concatenate(values).max()
    return curves.ticks(min(0.0, float(low)), float(high))

  x, y = ticks([s.x for s in shown]), ticks([s.y for s in shown])
  if plot.unit:
    x = y = curves.ticks(0.0, 1.0)
  return curves.Area(x, y, plot.x_title, plot.y_title)


def _curve(area: curves.Area, one: Series, number: int) -> str:
  """The line, and its mark on some points: on others for each curve."""
  kept = thin(len(one.x), MOST)
  across, up = area.across(one.x[kept]), area.up(one.y[kept])
  step = max(1, len(kept) // _MARKED)
  marked = range((number * 2) % step, len(kept), step)
  marks = "".join(_mark(across[i], up[i], number) for i in marked)
  return curves.line(across, up, f"curve s{_kind(number)}") + marks


def _mark(x: float, y: float, number: int) -> str:
  kind = _kind(number)
  return f'<path class="mark s{kind}" d="M{x:.1f} {y:.1f}{_SHAPES[kind]}"/>'


def _kind(number: int) -> int:
  return number % len(_SHAPES)


def _legend(shown: Sequence[Series]) -> str:
  """A line, a mark and a name for each curve; none for one alone."""
  if len(shown) < 2:
    return ""
  left, level = np.array([2.0, 38.0]), np.array([8.0, 8.0])
  entries = [
    '<li><svg viewBox="0 0 40 16" aria-hidden="true">'
    f"{curves.line(left, level, f'curve s{_kind(i)}')}{_mark(20.0, 8.0, i)}</svg>"
    f"{html.escape(one.name)}</li>"
    for i, one in enumerate(shown)
  ]
  return f"<ul class=legend>{''.join(entries)}</ul>"


def _numbers(plot: Plot, shown: Sequence[Series]) -> str:
  """A table: a column for each curve, or a line for each point of each."""
  first = shown[0]
  if all(one.count is None and _same(one.x, first.x) for one in shown):
    rows = [
      (f"{first.x[i]:.3g}", [f"{one.y[i]:.3f}" for one in shown])
      for i in thin(len(first.x), _LISTED)
    ]
    names = [one.name for one in shown]
    names = [plot.y_title] if len(names) == 1 else names
    return page.table(names, [page.Body(rows)], corner=plot.x_title)
  rows = []
  for one in shown:
    for i in thin(len(one.x), _LISTED):
      count = [] if one.count is None else [str(int(one.count[i]))]
      rows.append((one.name, [f"{one.x[i]:.3f}", f"{one.y[i]:.3f}", *count]))
  counted = any(one.count is not None for one in shown)
  columns = [plot.x_title, plot.y_title, *(["Count"] if counted else [])]
  return page.table(columns, [page.Body(rows)], corner="Curve")


def _same(a: np.ndarray, b: np.ndarray) -> bool:
  return a.shape == b.shape and bool(np.all(a == b))
