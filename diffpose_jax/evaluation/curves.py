"""A chart's axes, and a curve over training steps, as inline SVG.

The page's style gives the colours, so that a chart is right in light and dark.
"""

import dataclasses
import html
import math
from collections.abc import Sequence

import numpy as np

WIDTH, HEIGHT = 480.0, 260.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 56.0, 14.0, 12.0, 30.0  # margins for the axes
_TITLE = 22.0  # more margin for an axis's title
_MANY = 60  # points from which on a smoothed curve is drawn over the raw one
_TICKS = 5


@dataclasses.dataclass(frozen=True)
class Area:
  """Where values lie in a chart; the outer ticks of both axes are its borders.

  The title of the x axis stands below its labels, that of the y axis above.
  """

  x_ticks: Sequence[float]
  y_ticks: Sequence[float]
  x_title: str = ""
  y_title: str = ""

  def across(self, values: Sequence[float] | np.ndarray) -> np.ndarray:
    """Horizontal positions of x values."""
    return _place(values, self.x_ticks, _LEFT, WIDTH - _RIGHT)

  def up(self, values: Sequence[float] | np.ndarray) -> np.ndarray:
    """Vertical positions of y values, counted from the top."""
    top = _TOP + (_TITLE if self.y_title else 0)
    return _place(values, self.y_ticks, self._floor, top)

  @property
  def _floor(self) -> float:
    return HEIGHT - _BOTTOM - (_TITLE if self.x_title else 0)

  def axes(self) -> str:
    """Grid lines, labels and titles."""
    parts = []
    for value, at in zip(self.y_ticks, self.up(self.y_ticks), strict=True):
      parts.append(
        f'<line class="grid" x1="{_LEFT}" x2="{WIDTH - _RIGHT}" '
        f'y1="{at:.1f}" y2="{at:.1f}"/>'
        f'<text x="{_LEFT - 8}" y="{at + 4:.1f}" text-anchor="end">'
        f"{_label(value)}</text>"
      )
    places = self.across(self.x_ticks)
    for i, (value, at) in enumerate(zip(self.x_ticks, places, strict=True)):
      anchor = "end" if i and i == len(self.x_ticks) - 1 else "middle"
      parts.append(
        f'<text x="{at:.1f}" y="{self._floor + 22:g}" text-anchor="{anchor}">'
        f"{_label(value)}</text>"
      )
    parts.append(_text(8.0, 16.0, "start", self.y_title))
    parts.append(_text(WIDTH - _RIGHT, HEIGHT - 6, "end", self.x_title))
    return "".join(parts)

  def svg(self, marks: str, *, title: str) -> str:
    """The whole picture: the axes and what is drawn over them."""
    name = html.escape(title)
    return (
      f'<svg viewBox="0 0 {WIDTH:g} {HEIGHT:g}" role="img" '
      f'aria-label="{name}">{self.axes()}{marks}</svg>'
    )


def svg(points: Sequence[tuple[float, float]], *, title: str) -> str:
  """A figure with the curve through (step, value) points, in their order.

  Few points are marked each; many are drawn pale under their running mean.
  The last value stands in the caption.
  """
  x, y = np.array(points, float).reshape(-1, 2).T
  x_ticks, y_ticks = (ticks(float(v.min()), float(v.max())) for v in (x, y))
  area = Area(x_ticks, y_ticks)
  across, up = area.across(x), area.up(y)
  if len(x) >= _MANY:
    smooth = area.up(running_mean(y))
    marks = line(across, up, "raw") + line(across, smooth, "curve")
  else:
    marks = line(across, up, "curve") + "".join(
      f'<circle class="point" cx="{a:.1f}" cy="{b:.1f}" r="3"/>'
      for a, b in zip(across, up, strict=True)
    )
  last = f"{y[-1]:.4g} at step {x[-1]:.0f}"
  return (
    f"<figure><figcaption>{html.escape(title)}: {last}</figcaption>"
    f"{area.svg(marks, title=title)}</figure>"
  )


def line(across: np.ndarray, up: np.ndarray, kind: str) -> str:
  """A line through positions; `kind` is its classes."""
  path = " ".join(f"{a:.1f},{b:.1f}" for a, b in zip(across, up, strict=True))
  return f'<polyline class="{kind}" points="{path}"/>'


def ticks(low: float, high: float) -> list[float]:
  """Round numbers, about five, from at most `low` to at least `high`."""
  if high <= low:  # one value: room around it
    low, high = low - abs(low) / 10 - 1e-6, high + abs(high) / 10 + 1e-6
  rough = (high - low) / _TICKS
  power = 10.0 ** math.floor(math.log10(rough))
  step = next(m * power for m in (1, 2, 5, 10) if m * power >= rough * 0.999)
  first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
  return [round(i * step, 12) for i in range(first, last + 1)]


def running_mean(values: np.ndarray) -> np.ndarray:
  """Means over a centred window of a thirtieth of all, cut at the ends."""
  half = max(1, len(values) // 60)
  total = np.concatenate([[0.0], np.cumsum(values)])
  at = np.arange(len(values))
  low, high = np.maximum(at - half, 0), np.minimum(at + half + 1, len(values))
  return (total[high] - total[low]) / (high - low)


def _place(
  values: Sequence[float] | np.ndarray,
  ticks: Sequence[float],
  start: float,
  end: float,
) -> np.ndarray:
  """Values as positions: the first tick at the start, the last at the end."""
  share = (np.asarray(values, float) - ticks[0]) / (ticks[-1] - ticks[0])
  return start + share * (end - start)


def _text(x: float, y: float, anchor: str, words: str) -> str:
  if not words:
    return ""
  return (
    f'<text class="title" x="{x:g}" y="{y:g}" text-anchor="{anchor}">'
    f"{html.escape(words)}</text>"
  )


def _label(value: float) -> str:
  if value and abs(value) >= 1e5:
    return f"{value / 1000:g}k"
  return f"{value:.4g}"
