"""A curve over training steps as inline SVG, coloured by the page's style."""

import html
import math
from collections.abc import Sequence

import numpy as np

_WIDTH, _HEIGHT = 480.0, 260.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 56.0, 14.0, 12.0, 30.0  # margins for the axes
_MANY = 60  # points from which on a smoothed curve is drawn over the raw one
_TICKS = 5


def svg(points: Sequence[tuple[float, float]], *, title: str) -> str:
  """A figure with the curve through (step, value) points, in their order.

  Few points are marked each; many are drawn pale under their running mean.
  The last value stands in the caption.
  """
  x, y = np.array(points, float).reshape(-1, 2).T
  x_ticks, y_ticks = (ticks(float(v.min()), float(v.max())) for v in (x, y))
  x_span, y_span = (x_ticks[0], x_ticks[-1]), (y_ticks[0], y_ticks[-1])
  across = _place(x, x_span, _LEFT, _WIDTH - _RIGHT)
  up = _place(y, y_span, _HEIGHT - _BOTTOM, _TOP)
  if len(x) >= _MANY:
    smooth = _place(running_mean(y), y_span, _HEIGHT - _BOTTOM, _TOP)
    marks = _line(across, up, "raw") + _line(across, smooth, "curve")
  else:
    marks = _line(across, up, "curve") + "".join(
      f'<circle class="point" cx="{a:.1f}" cy="{b:.1f}" r="3"/>'
      for a, b in zip(across, up, strict=True)
    )
  last = f"{y[-1]:.4g} at step {x[-1]:.0f}"
  name = html.escape(title)
  return (
    f"<figure><figcaption>{name}: {last}</figcaption>"
    f'<svg viewBox="0 0 {_WIDTH:g} {_HEIGHT:g}" role="img" aria-label="{name}">'
    f"{_axes(x_ticks, x_span, y_ticks, y_span)}{marks}</svg></figure>"
  )


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
  values: np.ndarray, span: tuple[float, float], start: float, end: float
) -> np.ndarray:
  """Values of a span as positions from start to end."""
  share = (np.asarray(values, float) - span[0]) / (span[1] - span[0])
  return start + share * (end - start)


def _line(across: np.ndarray, up: np.ndarray, kind: str) -> str:
  path = " ".join(f"{a:.1f},{b:.1f}" for a, b in zip(across, up, strict=True))
  return f'<polyline class="{kind}" points="{path}"/>'


def _axes(x_ticks, x_span, y_ticks, y_span) -> str:
  """Grid lines and labels."""
  parts = []
  heights = _place(np.array(y_ticks), y_span, _HEIGHT - _BOTTOM, _TOP)
  for value, at in zip(y_ticks, heights, strict=True):
    parts.append(
      f'<line class="grid" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" '
      f'y1="{at:.1f}" y2="{at:.1f}"/>'
      f'<text x="{_LEFT - 8}" y="{at + 4:.1f}" text-anchor="end">'
      f"{_label(value)}</text>"
    )
  places = _place(np.array(x_ticks), x_span, _LEFT, _WIDTH - _RIGHT)
  for i, (value, at) in enumerate(zip(x_ticks, places, strict=True)):
    anchor = "end" if i and i == len(x_ticks) - 1 else "middle"
    parts.append(
      f'<text x="{at:.1f}" y="{_HEIGHT - 8}" text-anchor="{anchor}">'
      f"{_label(value)}</text>"
    )
  return "".join(parts)


def _label(value: float) -> str:
  if value and abs(value) >= 1e5:
    return f"{value / 1000:g}k"
  return f"{value:.4g}"
