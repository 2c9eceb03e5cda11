"""The folder of a run's checkpoints: its steps, leftovers and quarantine.

A step lies under its number once it is sealed: it is written under another name
and renamed. What is damaged is moved to `quarantine`, never deleted.
"""

import os
import pathlib
import re
import shutil

from absl import logging

from diffpose_jax.weights import seal

FOLDER = "checkpoints"
QUARANTINE = "quarantine"
_WRITING, _REMOVED = "diffpose-writing", "diffpose-removed"
# What this program, or Orbax for it, leaves behind where it is killed.
_OWN = re.compile(rf"\d+\.({_WRITING}|{_REMOVED}|orbax-checkpoint-tmp)")


def being_written(folder: pathlib.Path, step: int) -> pathlib.Path:
  """Where a step is written before it is sealed."""
  return folder / f"{step}.{_WRITING}"


def usable(folder: pathlib.Path) -> list[int]:
  """Steps that have a manifest, good or bad; ascending."""
  return [
    step
    for step in _numbered(folder)
    if (folder / str(step) / seal.NAME).is_file()
  ]


def _numbered(folder: pathlib.Path) -> list[int]:
  if not folder.is_dir():
    return []
  names = [path.name for path in folder.iterdir()]
  return sorted(
    int(name) for name in names if name.isdecimal() and str(int(name)) == name
  )


def incomplete(folder: pathlib.Path) -> list[str]:
  """What looks like a step and is none, and was not put away."""
  good = usable(folder)
  return [str(step) for step in _numbered(folder) if step not in good]


def tidy(folder: pathlib.Path) -> None:
  """Clears away what a killed run left; says what does not belong here."""
  for path in sorted(folder.iterdir()):
    if _OWN.match(path.name):
      shutil.rmtree(path)
      logging.warning("%s: left by a run that was stopped; removed", path)
  good = usable(folder)
  for step in _numbered(folder):
    if step not in good:
      _put_away(folder, step, beside_good=bool(good))
  known = {QUARANTINE, *map(str, good)}
  strangers = sorted({path.name for path in folder.iterdir()} - known)
  if strangers:
    logging.warning("%s: ignored: %s", folder, ", ".join(strangers))


def _put_away(folder: pathlib.Path, step: int, *, beside_good: bool) -> None:
  """Moves what only looks like a step out of the way of the real one.

  An empty folder is nothing, unless it may be all that is left of a run.
  """
  place = folder / str(step)
  if beside_good and place.is_dir() and not any(place.iterdir()):
    place.rmdir()
    logging.warning("%s: an empty folder, no checkpoint; removed", place)
  else:
    moved = quarantine(folder, step)
    logging.warning("%s: no whole checkpoint; moved to %s", place, moved)


def quarantine(folder: pathlib.Path, step: int) -> pathlib.Path:
  """Moves a step where it is not in the way; returns where it is now."""
  (folder / QUARANTINE).mkdir(exist_ok=True)
  number = 0
  while (target := folder / QUARANTINE / f"{step}-{number}").exists():
    number += 1
  (folder / str(step)).rename(target)
  return target


def quarantined(folder: pathlib.Path) -> list[str]:
  """Names of what lies in quarantine."""
  place = folder / QUARANTINE
  return sorted(p.name for p in place.iterdir()) if place.is_dir() else []


def drop_unneeded(folder: pathlib.Path) -> None:
  """Removes steps with a good manifest other than the newest and the best.

  Before an old one goes, the newest is on the disk, not only in its cache.
  """
  found = _qualities(folder)
  if not found:
    return
  unneeded = found.keys() - {_best(found), max(found)}
  if unneeded:
    _flush(folder / str(max(found)))
  for step in unneeded:
    gone = folder / f"{step}.{_REMOVED}"
    (folder / str(step)).rename(gone)  # at once: half a step is none
    shutil.rmtree(gone)


def best(folder: pathlib.Path) -> int | None:
  """The best step, the newest of equals; None where there is none."""
  found = _qualities(folder)
  return _best(found) if found else None


def _best(found: dict[int, float]) -> int:
  return max(found, key=lambda step: (found[step], step))


def _qualities(folder: pathlib.Path) -> dict[int, float]:
  """What "best" is measured by, of each step with a good manifest."""
  found = {}
  for step in usable(folder):
    try:
      quality = seal.read(folder / str(step))["quality"]
    except ValueError as error:
      logging.warning("%s: kept, but not usable: %s", folder / str(step), error)
    else:
      found[step] = float("-inf") if quality is None else quality
  return found


def _flush(place: pathlib.Path) -> None:
  """Returns once the folder and all in it are on the disk."""
  for path in (*place.rglob("*"), place, place.parent):
    handle = os.open(path, os.O_RDONLY)
    try:
      os.fsync(handle)
    finally:
      os.close(handle)


def discard(folder: pathlib.Path, step: int) -> None:
  """Removes what a failed save of a step left, to free its space."""
  for path in folder.glob(f"{being_written(folder, step).name}*"):
    shutil.rmtree(path, ignore_errors=True)
