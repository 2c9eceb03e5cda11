"""Result tables as text; average precision has the papers' columns."""

import math
from collections.abc import Mapping, Sequence

from diffpose_jax.evaluation import metric

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

  Returns:
    One line that says why, where no number of any row is known.
  """
  values = [value for row in rows.values() for value in row.values()]
  if values and all(map(_is_unknown, values)):
    return "not known: AP needs head boxes of the people, PCK does not"
  return _lines(columns(rows), rows, digits=1)


def text(table: metric.Table) -> str:
  """Lines of a metric's table under its title."""
  chosen = (
    columns(table.rows)
    if table.groups
    else [(key, key) for key in _keys(table.rows)]
  )
  lines = _lines(chosen, table.rows, digits=table.digits)
  return f"{table.title}\n{lines}"


def _lines(
  chosen: Sequence[tuple[str, str]],
  rows: Mapping[str, Mapping[str, float | None]],
  digits: int,
) -> str:
  first = max([len(name) for name in rows], default=0)
  width = max([_WIDTH, *(len(title) + 2 for _, title in chosen)])
  lines = [" " * first + "".join(f"{title:>{width}}" for _, title in chosen)]
  for name, values in rows.items():
    cells = [f"{_cell(values.get(key), digits):>{width}}" for key, _ in chosen]
    lines.append(f"{name:<{first}}" + "".join(cells))
  return "\n".join(lines)


def _keys(rows: Mapping[str, Mapping[str, float | None]]) -> list[str]:
  return list(dict.fromkeys(key for values in rows.values() for key in values))


def columns(
  rows: Mapping[str, Mapping[str, float | None]],
) -> tuple[tuple[str, str], ...]:
  """(key, title) of the columns: the papers', or a skeleton's own groups."""
  keys = _keys(rows)
  if set(keys) <= {key for key, _ in COLUMNS}:
    return COLUMNS
  names = [key for key in keys if key != "total"]
  return (*((key, key[: _WIDTH - 1]) for key in names), ("total", "Mean"))


def _cell(value: float | None, digits: int) -> str:
  return "-" if _is_unknown(value) else f"{value:.{digits}f}"


def _is_unknown(value: float | None) -> bool:
  return value is None or math.isnan(value)
