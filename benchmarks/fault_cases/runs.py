"""Faults of all that a workdir holds, found by the next start.

As in `files`, each function gives the injections for one column.
"""

import functools
import json
import os
import pathlib
import shutil
import zlib
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from fault_cases import judging, toy
from fault_cases.columns import Column
from fault_cases.files import Cases, Change
from fault_cases.judging import Injection, NotApplicable


def _flip_largest(place: pathlib.Path) -> None:
  path = max(place.rglob("*"), key=lambda path: path.stat().st_size)
  content = bytearray(path.read_bytes())
  content[len(content) // 3] ^= 4
  path.write_bytes(bytes(content))


def _remove_all(place: pathlib.Path) -> None:
  shutil.rmtree(place)
  place.mkdir()


def _each(change: Change, place: pathlib.Path) -> None:
  for path in place.rglob("*"):
    if path.is_file():
      change(path)


def _remove_metadata(place: pathlib.Path) -> None:
  for path in place.rglob("*"):
    if path.name in ("_METADATA", "manifest.json", "_CHECKPOINT_METADATA"):
      path.unlink()


def all_lost(column: Column, base: pathlib.Path, count: int) -> Cases:
  """F10: the same damage to every step there is."""
  del base, count
  empty = lambda path: path.write_bytes(b"")  # noqa: E731
  changes: dict[str, Change] = {
    "a bit of the largest file": _flip_largest,
    "all files emptied": functools.partial(_each, empty),
    "all files removed": functools.partial(_each, pathlib.Path.unlink),
    "metadata removed": _remove_metadata,
    "steps are empty folders": _remove_all,
  }

  def act(label: str, change: Change, folder: pathlib.Path) -> Injection:
    for step in (1, 2):
      change(column.place(folder, step))
    names = (str(column.place(folder, 2).parent), "manifest", "_METADATA")
    return judging.of_start(label, lambda: column.go_on(folder), names=names)

  return {k: functools.partial(act, k, v) for k, v in changes.items()}


def _kernel(like: Any, shape: Sequence[int] | None = None, dtype: Any = None):
  """`like` with another kernel."""
  vit = like["params"]["vit"]
  old = vit["kernel"]
  vit["kernel"] = jax.ShapeDtypeStruct(
    shape or old.shape, dtype or old.dtype, sharding=old.sharding
  )


def _more(like: Any) -> None:
  like["params"]["vit"]["shift"] = like["params"]["vit"]["scale"]


def _less(like: Any) -> None:
  del like["params"]["vit"]["scale"]


def other_networks(column: Column, base: pathlib.Path, count: int) -> Cases:
  """F12: asked for leaves of another dtype, shape or name."""
  del base, count
  changes: dict[str, tuple[Change, tuple[str, ...]]] = {
    "int32 for float32": (
      lambda like: _kernel(like, dtype=jnp.int32),
      ("kernel",),
    ),
    "bfloat16 for float32": (
      lambda like: _kernel(like, dtype=jnp.bfloat16),
      ("kernel",),
    ),
    "other shape": (
      lambda like: _kernel(like, shape=(256, 509)),
      ("kernel", "(256, 509)"),
    ),
    "a leaf more": (_more, ("shift",)),
    "a leaf less": (_less, ("scale",)),
  }

  def act(label: str, change: Change, names, folder) -> Injection:
    like = toy.abstract(toy.state(0))
    change(like)
    try:
      column.restored(folder, like)
    except Exception as error:
      return judging.of_error(label, error, names)
    told = f"{names[0]}: taken for what was asked, without a word"
    return Injection(label, judging.SILENT, told)

  return {k: functools.partial(act, k, *v) for k, v in changes.items()}


def newer_versions(column: Column, base: pathlib.Path, count: int) -> Cases:
  """F13: all steps are of a newer format, undamaged."""
  del base, count
  if column.name != "ours":
    return NotApplicable("its checkpoints carry no version of their format")
  changes: dict[str, dict[str, int]] = {
    "another number": {"format": 2},
    "an unknown field": {"more": 1},
    "both": {"format": 2, "more": 1},
  }

  def act(label: str, change: dict[str, int], folder) -> Injection:
    form = functools.partial(json.dumps, indent=1, sort_keys=True)
    for step in (1, 2):
      path = column.place(folder, step) / "manifest.json"
      content = json.loads(path.read_text())["content"] | change
      total = zlib.crc32(form(content).encode())
      path.write_text(form({"content": content, "crc32": total}) + "\n")
    start = lambda: column.go_on(folder)  # noqa: E731
    return judging.of_start(label, start, names=("reads format",))

  return {k: functools.partial(act, k, v) for k, v in changes.items()}


def _moved(folder: pathlib.Path) -> pathlib.Path:
  return folder.rename(folder.with_name("moved"))


def _linked(folder: pathlib.Path) -> pathlib.Path:
  link = folder.with_name("link")
  link.symlink_to(folder, target_is_directory=True)
  return link


def _timed(seconds: int, folder: pathlib.Path) -> pathlib.Path:
  for path in folder.rglob("*"):
    os.utime(path, (seconds, seconds))
  return folder


def moves(column: Column, base: pathlib.Path, count: int) -> Cases:
  """F17: another name, a link, another time."""
  del base, count
  changes: dict[str, Change] = {
    "workdir moved": _moved,
    "workdir through a link": _linked,
    "all files of 1970": functools.partial(_timed, 1),
    "all files of 2100": functools.partial(_timed, 4_102_444_800),
  }

  def act(label: str, change: Change, folder: pathlib.Path) -> Injection:
    place = change(folder)
    return judging.of_start(
      label,
      lambda: column.go_on(place),
      names=(str(place),),
      at_least=2,
    )

  return {k: functools.partial(act, k, v) for k, v in changes.items()}
