"""The result table of the papers, as text."""

import math
from collections.abc import Mapping

COLUMNS = (
  ("head", "Head"),
  ("shoulder", "Shoulder"),
  ("elbow", "Elbow"),
  ("wrist", "Wrist"),
  ("hip", "Hip"),
  ("knee", "Knee"),
  ("ankle", "Ankle"),
  ("total", "Mean"),
)
_WIDTH = 10


def table(rows: Mapping[str, Mapping[str, float | None]]) -> str:
  """Lines of AP by group of joints, one for each row, without a last newline.

  Args:
    rows: name → `ap_groups`. What is absent, None or NaN is shown as `-`.
  """
  first = max([len(name) for name in rows], default=0)
  chosen = columns(rows)
  titles = [f"{title:>{_WIDTH}}" for _, title in chosen]
  lines = [" " * first + "".join(titles)]
  for name, values in rows.items():
    cells = [f"{_cell(values.get(key)):>{_WIDTH}}" for key, _ in chosen]
    lines.append(f"{name:<{first}}" + "".join(cells))
  return "\n".join(lines)


def columns(
  rows: Mapping[str, Mapping[str, float | None]],
) -> tuple[tuple[str, str], ...]:
  """(key, title) of the columns: the papers', or a skeleton's own groups."""
  keys = dict.fromkeys(key for values in rows.values() for key in values)
  if keys.keys() <= {key for key, _ in COLUMNS}:
    return COLUMNS
  names = [key for key in keys if key != "total"]
  return (*((key, key[: _WIDTH - 1]) for key in names), ("total", "Mean"))


def _cell(value: float | None) -> str:
  return "-" if value is None or math.isnan(value) else f"{value:.1f}"
