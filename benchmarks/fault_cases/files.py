"""Faults in the files of saved steps, found by the next start.

Each function gives the injections of a fault for one column, by their labels:
what each does to a copy of `base`, a workdir with steps 1, the best, and 2, the
newest.
"""

import contextlib
import functools
import json
import os
import pathlib
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from fault_cases import judging
from fault_cases.columns import Column
from fault_cases.judging import Injection, NotApplicable

Act = Callable[[pathlib.Path], Injection]
Cases = dict[str, Act] | NotApplicable
Change = Callable[[pathlib.Path], Any]
_GARBAGE = {
  "an empty object": lambda text: b"{}",
  "other bytes": lambda text: b"\x80\xff garbage",
  "its first half": lambda text: text[: len(text) // 2],
}


@contextlib.contextmanager
def copied(base: pathlib.Path) -> Iterator[pathlib.Path]:
  """A context with a copy of a workdir."""
  with tempfile.TemporaryDirectory(dir=base.parent) as name:
    folder = pathlib.Path(name) / "run"
    shutil.copytree(base, folder, symlinks=True)
    yield folder


def kinds(place: pathlib.Path) -> dict[str, list[pathlib.Path]]:
  """The files of a step by their kind, small ones first.

  A name that is made up anew in each run is a star.
  """
  found: dict[str, list[pathlib.Path]] = {}
  for path in sorted(place.rglob("*")):
    if path.is_file():
      name = path.relative_to(place).as_posix()
      name = re.sub(r"[0-9a-f]{32}", "*", name)
      if name.endswith("*"):
        large = path.stat().st_size > 1 << 12
        name += " (numbers)" if large else " (index)"
      found.setdefault(name, []).append(path)
  size = lambda path: path.stat().st_size  # noqa: E731
  return {name: sorted(paths, key=size) for name, paths in found.items()}


def _judged(
  column: Column, folder: pathlib.Path, label: str, place: pathlib.Path
) -> Injection:
  """A new start after damage to the file at `place` of the newest step."""
  step = column.place(folder, 2)
  names = (str(place.relative_to(step)), place.name, str(step))
  return judging.of_start(label, lambda: column.go_on(folder), names=names)


def _flipped(column: Column, number: int, folder: pathlib.Path) -> Injection:
  rng = np.random.default_rng((4, number))
  by_kind = kinds(column.place(folder, 2))
  kind = list(by_kind)[number % len(by_kind)]
  path = by_kind[kind][int(rng.integers(len(by_kind[kind])))]
  content = bytearray(path.read_bytes())
  place, bit = int(rng.integers(len(content))), int(rng.integers(8))
  content[place] ^= 1 << bit
  path.write_bytes(bytes(content))
  return _judged(column, folder, f"{kind}: bit {bit} of byte {place}", path)


def flips(column: Column, base: pathlib.Path, count: int) -> Cases:
  """F4: single bits, all kinds of files in turn."""
  del base
  return {
    f"flip {number}": functools.partial(_flipped, column, number)
    for number in range(count)
  }


def _cut(path: pathlib.Path) -> None:
  os.truncate(path, path.stat().st_size // 2)


def _hole(path: pathlib.Path) -> None:
  content = bytearray(path.read_bytes())
  middle = len(content) // 2
  size = min(1 << 12, len(content) - middle)
  content[middle : middle + size] = bytes(size)
  path.write_bytes(bytes(content))


_CUTS: dict[str, Change] = {
  "cut in half": _cut,
  "zeros in the middle": _hole,
  "removed": pathlib.Path.unlink,
}


def _damaged(
  column: Column,
  kind: str,
  name: str,
  damage: Change,
  folder: pathlib.Path,
) -> Injection:
  path = kinds(column.place(folder, 2))[kind][-1]
  damage(path)
  return _judged(column, folder, f"{kind}: {name}", path)


def cuts(column: Column, base: pathlib.Path, count: int) -> Cases:
  """F5: one file of each kind cut in half, with a hole, removed."""
  del count
  return {
    f"{kind}: {name}": functools.partial(_damaged, column, kind, name, damage)
    for kind in kinds(column.place(base, 2))
    for name, damage in _CUTS.items()
  }


def _is_json(path: pathlib.Path) -> bool:
  try:
    json.loads(path.read_text())
  except ValueError:
    return False
  return True


def _rewritten(make: Callable[[bytes], bytes], path: pathlib.Path) -> None:
  path.write_bytes(make(path.read_bytes()))


def garbage(column: Column, base: pathlib.Path, count: int) -> Cases:
  """F6: every file that is JSON, made something else."""
  del count
  return {
    f"{kind}: {name}": functools.partial(
      _damaged, column, kind, name, functools.partial(_rewritten, make)
    )
    for kind, paths in kinds(column.place(base, 2)).items()
    for name, make in _GARBAGE.items()
    if _is_json(paths[-1])
  }


def lookalikes(column: Column, base: pathlib.Path, count: int) -> Cases:
  """F7: what is no step, beside steps; then one more save and start."""
  del base, count

  def partly(third):
    shutil.copytree(third.with_name("2"), third)
    files = sorted(path for path in third.rglob("*") if path.is_file())
    for path in files[len(files) // 2 :]:
      path.unlink()

  def leftover(third):
    shutil.copytree(third.with_name("2"), third.with_name(column.leftover))

  def strangers(third):
    third.with_name("notes.txt").write_text("mine")
    third.with_name("old").mkdir()

  changes: dict[str, Change] = {
    "empty folder 3": lambda third: third.mkdir(),
    "folder 3 with half of its files": partly,
    "file 3": lambda third: third.write_text("mine"),
    "what a killed save leaves": leftover,
    "a file and a folder of the user's": strangers,
  }

  def act(label: str, change: Change, folder: pathlib.Path) -> Injection:
    third = column.place(folder, 3)
    change(third)

    def start():
      found = column.go_on(folder)
      if found is not None and found.step == 2:
        column.save(folder, [3])
        return column.go_on(folder)
      return found

    return judging.of_start(label, start, names=(str(third),), at_least=3)

  return {k: functools.partial(act, k, v) for k, v in changes.items()}


def make_base(column: Column, folder: pathlib.Path) -> pathlib.Path:
  """A workdir of a column with steps 1 and 2."""
  base = folder / f"base_{column.name}"
  base.mkdir()
  column.save(base, [1, 2])
  return base
