"""Rows of a benchmark: as JSON, and as the lines of a table."""

import dataclasses
import json
import math
import pathlib
from collections.abc import Sequence
from typing import Any

from diffpose_jax.benchmark import measure

SCHEMA = 1
_SIGNS = {"at most": "≤", "at least": "≥"}


@dataclasses.dataclass(frozen=True)
class Bar:
  """What a ratio should be."""

  side: str  # "at most" or "at least"
  value: float

  def __str__(self) -> str:
    return f"{_SIGNS[self.side]} {self.value:g}"


@dataclasses.dataclass(frozen=True)
class Row:
  """One comparison, or figures that stand by themselves (no ratio)."""

  id: str  # P3
  name: str  # what was run
  ratio_of: str = ""  # "time of the whole / sum of its parts"
  ratio: measure.Spread | None = None
  bar: Bar | None = None
  error: float | None = None  # relative, of the outputs; None: none to compare
  clock: str = ""  # of the times
  figures: dict[str, float] = dataclasses.field(default_factory=dict)
  note: str = ""
  refused: str = ""  # why nothing was measured

  @property
  def verdict(self) -> str:
    """Empty where the row is as it should be, or has no bar."""
    if self.refused:
      return "refused"
    if self.ratio is None or self.bar is None:
      return ""
    if self.bar.side == "at most":
      return "" if self.ratio.median <= self.bar.value else "OVER THE BAR"
    return "" if self.ratio.median >= self.bar.value else "BELOW THE BAR"


@dataclasses.dataclass(frozen=True)
class Result:
  """All rows of one command on one machine."""

  command: str
  machine: dict[str, Any]
  sizes: dict[str, Any]  # of what was measured
  rows: tuple[Row, ...]


def figure(value: float) -> str:
  """A number with three digits that count."""
  if value == 0 or not math.isfinite(value):
    return f"{value:g}"
  if abs(value) >= 100:
    return f"{value:.0f}"
  if abs(value) < 0.01:
    return f"{value:.1e}"
  return f"{value:.{2 - math.floor(math.log10(abs(value)))}f}"


def cells(row: Row) -> dict[str, str]:
  """What a table says of a row, by the heading of the column."""
  ratio, figures = row.ratio, row.figures
  spread = ""
  if ratio is not None:
    spread = figure(ratio.median)
    if ratio.low != ratio.high:
      spread += f" ({figure(ratio.low)}–{figure(ratio.high)})"
  told = [f"{name} {figure(value)}" for name, value in figures.items()]
  if row.clock == "cpu":
    told.append("CPU time")
  if row.note:
    told.append(row.note)
  if row.refused:
    told.append(row.refused)
  return {
    "row": row.id,
    "what": row.name,
    "ratio of": row.ratio_of,
    "ratio": spread,
    "bar": str(row.bar) if row.bar else "",
    "": row.verdict,
    "error": "" if row.error is None else figure(row.error),
    "figures": "; ".join(told),
  }


def lines(row: Row) -> str:
  """A row for the terminal, what it says of itself below it."""
  cell = cells(row)
  first = (
    f"{cell['row']:4}{cell['what']:50} {cell['ratio']:>22} "
    f"{cell['bar']:>7} {cell['']}"
  )
  rest = [cell["ratio of"], cell["figures"]]
  if cell["error"]:
    rest.insert(1, f"outputs differ by {cell['error']}")
  rest = [text for text in rest if text]
  return "\n".join([first.rstrip(), *(f"      {text}" for text in rest)])


def write(path: pathlib.Path, result: Result) -> None:
  """Writes the JSON file, whole or not at all."""
  tree = {"schema": SCHEMA} | dataclasses.asdict(result)
  text = json.dumps(tree, indent=1, ensure_ascii=False, allow_nan=False)
  part = path.with_name(path.name + ".part")
  path.parent.mkdir(parents=True, exist_ok=True)
  part.write_text(text + "\n")
  part.replace(path)


def read(path: pathlib.Path) -> Result:
  """What `write` wrote. Raises ValueError where the file is not that."""
  try:
    tree = json.loads(path.read_text())
    schema = tree.pop("schema")
    if schema != SCHEMA:
      raise ValueError(f"schema {schema}, this version reads {SCHEMA}")
    tree["rows"] = tuple(_row(row) for row in tree["rows"])
    return Result(**tree)
  except (ValueError, TypeError, KeyError, AttributeError) as error:
    raise ValueError(
      f"{path}: not a result of `benchmark` ({error}); measure again"
    ) from error


def _row(tree: dict[str, Any]) -> Row:
  if tree["ratio"] is not None:
    tree["ratio"] = measure.Spread(**tree["ratio"])
  if tree["bar"] is not None:
    tree["bar"] = Bar(**tree["bar"])
  return Row(**tree)


def refused(rows: Sequence[Row]) -> list[str]:
  """Which rows measured nothing, and why."""
  return [f"{row.id} {row.name}: {row.refused}" for row in rows if row.refused]
