"""What a prepared folder must hold: said when it is whole, checked later.

`prepared.json` is written last. It names the source, the labels, what was left
out, and every file with its size and SHA-256, so that a file that was cut off,
changed, lost or added is found before training reads it.
"""

import hashlib
import json
import os
import pathlib
from collections.abc import Callable, Mapping
from typing import Any

from diffpose_jax.data import strict_json

Sum = dict[str, Any]  # bytes and sha256 of a file

NAME = "prepared.json"  # its presence says that the folder is whole
_KEYS = (
  "dataset",
  "source",
  "labels",
  "missing",
  "pictures",
  "skipped",
  "files",
)


def write(
  folder: pathlib.Path,
  *,
  known: Mapping[str, Sum] | None = None,
  **about: Any,
) -> None:
  """Writes the manifest of all files that are in the folder now.

  Args:
    folder: the finished set.
    known: what `sum_up` gave for some of them before, by name; these are not
      read.
    about: dataset (name), source (fingerprint), labels (split: name), missing
      (split: unlabelled frames without a picture), pictures (split: SHA-256 of
      samples of them, in order), skipped (messages); skip (the share that was
      allowed to be); boxes (see `stored_boxes`), if any.
  """
  known = known or {}
  files = {
    path.name: known.get(path.name) or sum_up(path) for path in _files(folder)
  }
  text = json.dumps(about | {"files": files}, indent=1)
  (folder / NAME).write_text(text)


def read(folder: pathlib.Path) -> dict[str, Any] | None:
  """The manifest of a folder; None where there is none.

  Raises ValueError where it is damaged.
  """
  path = folder / NAME
  if not path.is_file():
    return None
  content = strict_json.load(path)
  strict_json.require(content, _KEYS, f"{path} (prepare the data again)")
  return content


def check_sizes(folder: pathlib.Path) -> None:
  """Raises ValueError where a file is missing, added or of another size.

  It reads no file, so that each start can afford it. A folder without a
  manifest, as TFDS itself would make it, passes.
  """
  content = read(folder)
  if content is None:
    return
  _same_names(folder, content)
  for name, said in content["files"].items():
    size = (folder / name).stat().st_size
    if size != said["bytes"]:
      raise ValueError(
        f"{folder / name}: has {size} bytes instead of {said['bytes']}; "
        "prepare the data again"
      )


def check(
  folder: pathlib.Path, *, progress: Callable[[str], None] = lambda name: None
) -> None:
  """Raises ValueError naming a file that is not as it was written.

  It reads every byte. `progress` is told each name before it is read.
  """
  content = read(folder)
  if content is None:
    raise ValueError(
      f"{folder}: no {NAME} here, so it is no set that `prepare` finished"
    )
  check_sizes(folder)
  for name, said in content["files"].items():
    progress(name)
    if digest(folder / name) != said["sha256"]:
      raise ValueError(
        f"{folder / name}: its bytes changed since it was prepared; prepare "
        "the data again, and check the disk"
      )


def _same_names(folder: pathlib.Path, content: dict[str, Any]) -> None:
  there = {path.name for path in _files(folder)}
  said = set(content["files"])
  for name in sorted(said - there):
    raise ValueError(f"{folder / name}: is missing; prepare the data again")
  for name in sorted(there - said):
    raise ValueError(
      f"{folder / name}: does not belong to the prepared data; remove it, or "
      "prepare the data again"
    )


def _files(folder: pathlib.Path) -> list[pathlib.Path]:
  with os.scandir(folder) as entries:
    return sorted(
      pathlib.Path(entry.path)
      for entry in entries
      if entry.is_file() and entry.name != NAME
    )


def sum_up(path: pathlib.Path) -> Sum:
  """What the manifest says of a file."""
  return {"bytes": path.stat().st_size, "sha256": digest(path)}


def digest(path: pathlib.Path) -> str:
  """SHA-256 of the bytes of a file."""
  with open(path, "rb") as file:
    return hashlib.file_digest(file, "sha256").hexdigest()
