"""Several results in one table, if their protocols allow it."""

import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from diffpose_jax.data import strict_json
from diffpose_jax.evaluation import protocol, table


def compare(
  results: Sequence[pathlib.Path], *, mixed: bool = False
) -> dict[str, Mapping[str, float | None]]:
  """AP by group of each result, printed as one table; keyed by file.

  Args:
    results: JSON files that `evaluate` wrote.
    mixed: allow results of different protocols; the differences are printed.

  Raises:
    ValueError: a file is no such result, two are the same file, or protocols
      differ and `mixed` is not set.
  """
  if len(results) < 2:
    raise ValueError(
      f"give at least two results to compare, not {len(results)}"
    )
  read = {path: _read(path) for path in results}
  if len(read) < len(results):
    raise ValueError("a result is given twice; give each once")
  first, *others = results
  notes = []
  for other in others:
    found = protocol.differences(
      read[first]["protocol"], read[other]["protocol"]
    )
    notes += [
      f"{key}: {_short(a)} in {first}, {_short(b)} in {other}"
      for key, (a, b) in found.items()
    ]
  if notes and not mixed:
    raise ValueError(
      f"the results are of different protocols ({'; '.join(notes)}); they "
      "cannot be compared. --mixed-protocols prints them all the same"
    )
  for note in notes:
    print(f"differs: {note}")
  rows = {str(path): read[path]["ap_groups"] for path in results}
  print(table.table(rows))
  return rows


def _read(path: pathlib.Path) -> dict[str, Any]:
  content = strict_json.require(
    strict_json.load(path), ("ap_groups", "protocol"), str(path)
  )
  for key in ("ap_groups", "protocol"):
    strict_json.require(content[key], (), f"{path}: {key}")
  return content


def _short(value: Any) -> str:
  return "not said" if value is None else strict_json.describe(value)
