"""Faults of the disk below a run: full, not writable, gone.

As in `files`, each function gives the injections for one column.
"""

import contextlib
import functools
import os
import pathlib
import resource
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from typing import Any
from unittest import mock

from diffpose_jax.weights import checkpoint
from fault_cases import judging, toy
from fault_cases.columns import Column, Ours, save_both
from fault_cases.files import Cases
from fault_cases.judging import Injection

_NOBODY = 65534
_PLENTY = 3 << 19  # bytes: half as much again as a checkpoint takes
_FULL = ("No space left", "File too large", "RESOURCE_EXHAUSTED")


class _Disk:
  """A file system of its own that can be made full."""

  def __init__(self, folder: pathlib.Path):
    self._folder = folder
    self.run = folder / "run"
    self.run.mkdir()
    self._filler = folder / "filler"

  def fill(self, left: int) -> None:
    """Leaves so many bytes."""
    free = shutil.disk_usage(self._folder).free
    self._filler.write_bytes(bytes(max(0, free - left)))

  def give(self, size: int) -> None:
    """Makes so many bytes free."""
    left = max(0, self._filler.stat().st_size - size)
    os.truncate(self._filler, left)

  def used(self) -> int:
    """Bytes that the run takes."""
    files = (path for path in self.run.rglob("*") if path.is_file())
    return sum(path.stat().st_size for path in files)


class _Limit(_Disk):
  """Where none can be mounted: no file may become large."""

  def fill(self, left: int) -> None:
    """No large file can be written."""
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (left, hard))

  def give(self, size: int) -> None:
    """Files of any size again."""
    del size
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))


@contextlib.contextmanager
def _disk(parent: pathlib.Path) -> Iterator[_Disk]:
  """A context with a disk of 8 MB."""
  with tempfile.TemporaryDirectory(dir=parent) as name:
    command = ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", name]
    mounted = subprocess.run(command, capture_output=True).returncode == 0
    try:
      disk = (_Disk if mounted else _Limit)(pathlib.Path(name))
      yield disk
      disk.give(0)
    finally:
      if mounted:
        subprocess.run(["umount", "-l", name], check=True)


def _small(number: int) -> dict[str, Any]:
  """A state of about 1 MB."""
  state = toy.first(seed=number)
  return {"params": state["params"], "ema": state["ema"]}


def _save(column: Column, opened: Any, number: int) -> None:
  """Saves as training does: the next save tells of the one before."""
  if isinstance(column, Ours):
    opened.save(_small(number), number, toy.quality(number))
    while opened._saving and not opened._saving[1].done():
      time.sleep(0.01)
    return
  batches = toy.iterator(toy.dataset())
  save_both(opened, _small(number), batches, number)
  opened.wait_until_finished()


def _holds(column: Column, folder: pathlib.Path, number: int) -> str:
  """Empty where a new start finds the state of a step; else what is wrong."""
  try:
    found = column.restored(folder, toy.abstract(_small(0)))
  except Exception as error:
    return judging.brief(f"then {type(error).__name__}: {error}")
  if found is None:
    return "then starts from scratch"
  if found[1] != number:
    return f"then at step {found[1]} instead of {number}"
  same = toy.digest(found[0]) == toy.digest(_small(number))
  return "" if same else "then other numbers"


def full(column: Column, base: pathlib.Path, count: int) -> Cases:
  """F8: no room for the second save."""
  del base, count
  given = {
    "full for one save, then half as much again as it takes is free": _PLENTY,
    "full for one save, then all is free": 1 << 30,
    "stays full": 0,
  }

  def act(label: str, given: int, folder: pathlib.Path) -> Injection:
    with (
      _disk(folder.parent) as disk,
      mock.patch.object(checkpoint, "_PAUSES", (0.05, 0.05)),
    ):
      return _filled(column, disk, label, given)

  return {k: functools.partial(act, k, v) for k, v in given.items()}


def _filled(column: Column, disk: _Disk, label: str, given: int) -> Injection:
  refused, left = None, 0
  try:
    with column.opened(disk.run) as opened:
      _save(column, opened, 1)
      before = disk.used()
      disk.fill(300_000)
      try:
        _save(column, opened, 2)
      finally:
        disk.give(given)
        left = disk.used() - before
      _save(column, opened, 3)
  except Exception as error:
    refused = judging.of_error(label, error, _FULL)
  wrong = _holds(column, disk.run, 1 if refused else 3)
  if not wrong and refused:
    disk.give(given or 1 << 30)
    wrong = _saves_again(column, disk)
  if wrong and refused:
    told = f"{refused.told}; {wrong} ({left} bytes were left behind)"
    return Injection(label, judging.UNCLEAR, told)
  if wrong:
    return Injection(label, judging.SILENT, wrong)
  if refused:
    return Injection(label, refused.outcome, refused.told)
  return Injection(label, judging.RECOVERED, "the next step is saved")


def _saves_again(column: Column, disk: _Disk) -> str:
  """What is wrong with a save after a new start, now that there is room."""
  try:
    with column.opened(disk.run) as opened:
      _save(column, opened, 4)
  except Exception as error:
    return judging.brief(f"then cannot save: {type(error).__name__}: {error}")
  return _holds(column, disk.run, 4)


@contextlib.contextmanager
def _as_nobody() -> Iterator[None]:
  """A context without root's rights, for which no folder is read-only."""
  if os.geteuid() != 0:
    yield
    return
  os.seteuid(_NOBODY)
  try:
    yield
  finally:
    os.seteuid(0)


def _read_only(column: Column, folder: pathlib.Path) -> None:
  folder.mkdir()
  folder.chmod(0o555)
  with _as_nobody():
    column.save(folder, [1])


def _a_file(column: Column, folder: pathlib.Path) -> None:
  folder.write_text("mine")
  column.save(folder, [1])


def _loop(column: Column, folder: pathlib.Path) -> None:
  folder.symlink_to(folder)
  column.save(folder, [1])


def _removed(column: Column, folder: pathlib.Path) -> None:
  folder.mkdir()
  with column.opened(folder) as opened:
    column.save_one(opened, toy.state(1), 1)
    shutil.rmtree(folder)
    column.save_one(opened, toy.state(2), 2)


def folders(column: Column, base: pathlib.Path, count: int) -> Cases:
  """F9: a place that cannot be written to, from the start or later."""
  del base, count
  cases: dict[str, Callable[[Column, pathlib.Path], None]] = {
    "read-only folder": _read_only,
    "path is a file": _a_file,
    "link to itself": _loop,
    "folder removed between two saves": _removed,
  }

  def act(label: str, attempt, folder: pathlib.Path) -> Injection:
    folder.parent.chmod(0o755)
    place = folder.with_name("other")
    names = (str(place),)
    try:
      with mock.patch.object(checkpoint, "_PAUSES", (0.05, 0.05)):
        attempt(column, place)
    except Exception as error:
      return judging.of_error(label, error, names)
    # Nothing was said: then what was saved last must be there.
    start = lambda: column.go_on(place)  # noqa: E731
    return judging.of_start(label, start, names=names, at_least=2)

  return {k: functools.partial(act, k, v) for k, v in cases.items()}
