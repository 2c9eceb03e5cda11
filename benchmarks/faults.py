"""The same faults for our checkpoints and training, and for plain Orbax.

  python benchmarks/faults.py --out=benchmarks/results/faults.json

Plain is Orbax's `CheckpointManager` and Grain as their documentation shows them
(`fault_cases/columns.py`). Every injection ends in one outcome, by one rule for
both columns (`fault_cases/judging.py`):

  recovered  the same bits as without the fault, or those of the last good step
  refused    an error that names the file, step, leaf or reason
  unclear    an error that names nothing
  silent     wrong or lost without a word
  hang       nothing for half a minute

After a kill, what was saved must be there; after a signal that asks to stop,
all steps that were done. Prints a table, what was not recovered, and writes
JSON.
"""

import argparse
import collections
import dataclasses
import json
import os
import pathlib
import tempfile
import time
from collections.abc import Callable, Iterator
from typing import Any

from fault_cases import (
  disks,
  files,
  judging,
  numbers,
  repeats,
  running,
  runs,
  stops,
)
from fault_cases.columns import COLUMNS, Column
from fault_cases.judging import Injection, NotApplicable

from diffpose_jax.benchmark import machine, verb

Counts = dict[str, int]
_COMPILING = 240.0  # seconds


@dataclasses.dataclass(frozen=True)
class Fault:
  """A kind of fault; of `cases` and `stop` one is given."""

  id: str
  title: str
  cases: Callable[[Column, pathlib.Path, int], files.Cases] | None = None
  stop: Callable[..., Iterator[Injection]] | None = None
  count: int = 0  # injections, where they are a matter of choice
  limit: float = running.LIMIT  # seconds for one


FAULTS = (
  Fault("F1", "SIGKILL at random times of saving", None, stops.killed, 20),
  Fault("F2", "SIGTERM, SIGINT within a step", None, stops.signalled),
  Fault("F3", "SIGTERM while saving", None, stops.signalled_saving, 5),
  Fault("F4", "a bit flips", files.flips, None, 104),
  Fault("F5", "a file cut, zeroed, removed", files.cuts),
  Fault("F6", "metadata is garbage", files.garbage),
  Fault("F7", "what only looks like a step", files.lookalikes),
  Fault("F8", "disk full", disks.full),
  Fault("F9", "folder not writable, gone", disks.folders),
  Fault("F10", "every step damaged", runs.all_lost),
  Fault("F12", "another network asked for", runs.other_networks),
  Fault("F13", "a newer format", runs.newer_versions),
  Fault("F14", "two trainers in a workdir", None, stops.two_trainers),
  Fault("F15", "SIGKILL while clearing away", None, stops.killed_cleaning, 8),
  Fault("F16", "resumed after 0, 1, k, all steps", None, stops.resumed),
  Fault("F17", "workdir moved, other times", runs.moves),
  Fault("F18", "NaN in a batch", numbers.nan_batch, limit=_COMPILING),
  Fault("F20", "NaN in a sample", numbers.nan_sample, limit=_COMPILING),
  Fault(
    "F22", "the same again, other workers", repeats.repeats, limit=_COMPILING
  ),
)


def inject(
  fault: Fault, column: Column, folder: pathlib.Path
) -> list[Injection] | NotApplicable:
  """What becomes of a fault's injections; `folder` is for their files."""
  folder.mkdir()
  folder.chmod(0o755)  # Some act without root's rights.
  if fault.stop is not None:
    return list(fault.stop(column, folder, fault.count))
  assert fault.cases is not None
  base = files.make_base(column, folder)
  cases = fault.cases(column, base, fault.count)
  if isinstance(cases, NotApplicable):
    return cases
  labels = list(cases)

  def start(number: int) -> running.Child:
    return running.Child(_act, fault.id, column.name, base, number)

  found = []
  for number, what in running.all_of(start, labels, fault.limit):
    if isinstance(what, running.Hang):
      what = Injection(labels[number], judging.HANG, str(what))
    elif isinstance(what, running.Ended):
      what = Injection(labels[number], judging.UNCLEAR, str(what))
    found.append(what)
  return found


def _act(
  say: Callable[..., None], name: str, column: str, base: pathlib.Path, at: int
) -> None:
  """Injects from number `at` on; the target of a process."""
  (fault,) = (fault for fault in FAULTS if fault.id == name)
  assert fault.cases is not None
  cases = fault.cases(COLUMNS[column], base, fault.count)
  assert isinstance(cases, dict)
  say("ready")
  for number, act in list(enumerate(cases.values()))[at:]:
    with files.copied(base) as folder:
      say("outcome", number, act(folder))


def counted(found: list[Injection] | NotApplicable) -> Counts:
  """How many injections ended in which outcome."""
  outcomes = collections.Counter(
    [] if isinstance(found, NotApplicable) else [i.outcome for i in found]
  )
  return {"injected": outcomes.total()} | {
    name: outcomes[name] for name in judging.OUTCOMES
  }


Row = tuple[Fault, dict[str, list[Injection] | NotApplicable]]


def table(rows: list[Row]) -> str:
  """Per fault and column the counts, as aligned Markdown."""
  short = ["n", *(name.split()[0] for name in judging.OUTCOMES)]
  lines = [
    ["fault", "", *(f"{name} {word}" for name in COLUMNS for word in short)]
  ]
  total = {name: collections.Counter() for name in COLUMNS}
  for fault, columns in rows:
    cells = []
    for name, found in columns.items():
      counts = counted(found)
      total[name].update(counts)
      none = isinstance(found, NotApplicable)
      cells += ["n/a" if none else str(n) for n in counts.values()]
    lines.append([fault.id, fault.title, *cells])
  sums = [str(n) for counts in total.values() for n in counts.values()]
  lines.append(["total", "", *sums])
  widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
  rule = ["-" * width for width in widths]
  rule[2:] = [f"{dashes[1:]}:" for dashes in rule[2:]]
  return "\n".join(_line(row, widths) for row in (lines[0], rule, *lines[1:]))


def _line(row: list[str], widths: list[int]) -> str:
  cells = [
    cell.ljust(width) if i < 2 else cell.rjust(width)
    for i, (cell, width) in enumerate(zip(row, widths, strict=True))
  ]
  return f"| {' | '.join(cells)} |"


def told(rows: list[Row]) -> Iterator[str]:
  """A line on each kind of outcome that is no good one, with an example."""
  for fault, columns in rows:
    for name, found in columns.items():
      if isinstance(found, NotApplicable):
        yield f"{fault.id} {name}: not applicable: {found.reason}"
        continue
      for outcome in judging.OUTCOMES[2:]:
        some = [i for i in found if i.outcome == outcome]
        if some:
          example = f"{some[0].label}: {some[0].told}"
          yield f"{fault.id} {name}: {len(some)} × {outcome}, as {example}"


def as_json(rows: list[Row], seconds: float) -> dict[str, Any]:
  """Everything, with versions and the command."""
  return {
    "command": verb.command(),
    "machine": machine.describe(("orbax-checkpoint", "grain")),
    "seconds": round(seconds),
    "faults": [
      {
        "id": fault.id,
        "title": fault.title,
        "columns": {name: _described(found) for name, found in columns.items()},
      }
      for fault, columns in rows
    ],
  }


def _described(found: list[Injection] | NotApplicable) -> dict[str, Any]:
  if isinstance(found, NotApplicable):
    return {"not_applicable": found.reason}
  injections = [dataclasses.asdict(injection) for injection in found]
  return counted(found) | {"injections": injections}


def _without(text: str, folder: pathlib.Path) -> str:
  """The text without where this run had its files."""
  return text.replace(str(folder), "…").replace(
    f"{tempfile.gettempdir()}/", "…"
  )


def main() -> None:
  """Injects, prints and writes."""
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument("--only", help="faults, as F4,F8")
  parser.add_argument("--out", type=pathlib.Path)
  given = parser.parse_args()
  wanted = given.only.split(",") if given.only else [f.id for f in FAULTS]
  unknown = set(wanted) - {fault.id for fault in FAULTS}
  if unknown:
    parser.error(f"no fault {', '.join(sorted(unknown))}")
  running.quiet()
  began = time.monotonic()
  rows: list[Row] = []
  with tempfile.TemporaryDirectory() as name:
    folder = pathlib.Path(name)
    folder.chmod(0o755)
    # What the many processes compile alike.
    os.environ["JAX_COMPILATION_CACHE_DIR"] = str(folder / "compiled")
    os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
    for fault in (fault for fault in FAULTS if fault.id in wanted):
      columns = {
        name: inject(fault, column, folder / f"{fault.id}_{name}")
        for name, column in COLUMNS.items()
      }
      rows.append((fault, columns))
      print(table(rows[-1:]).splitlines()[2], flush=True)
  print(f"\n{table(rows)}\n")
  for line in told(rows):
    print(_without(line, folder))
  if given.out is not None:
    tree = as_json(rows, time.monotonic() - began)
    text = json.dumps(tree, indent=1, ensure_ascii=False)
    given.out.write_text(_without(text, folder) + "\n")
    print(f"written: {given.out}")


if __name__ == "__main__":
  main()
