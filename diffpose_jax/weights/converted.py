"""The folder that `convert` writes: our leaves, and what is known of them."""

import contextlib
import dataclasses
import json
import os
import pathlib
from collections.abc import Iterator
from typing import Any

import safetensors.numpy

from diffpose_jax.weights import source, tensors

WEIGHTS = "weights.safetensors"
FACTS = "convert.json"
VERSION = 1


def write(folder: pathlib.Path, weights: source.Source) -> None:
  """Writes both files, `convert.json` last: it makes the folder a whole one.

  Raises ValueError where the folder holds other things.
  """
  folder.mkdir(parents=True, exist_ok=True)
  parts = {WEIGHTS, FACTS, f"{WEIGHTS}.part", f"{FACTS}.part"}
  others = sorted({p.name for p in folder.iterdir()} - parts)
  if others:
    raise ValueError(
      f"{folder}: holds {others[0]!r}, so it is not a folder of converted "
      "weights; name a new one"
    )
  (folder / FACTS).unlink(missing_ok=True)
  with new_file(folder / WEIGHTS) as part:
    safetensors.numpy.save_file(weights.leaves, part)
    digest = source.sha256(part)
  facts = {
    field.name: getattr(weights, field.name)
    for field in dataclasses.fields(weights)
    if field.name != "leaves"
  }
  facts |= {"version": VERSION, "size": weights.size, "weights_sha256": digest}
  with new_file(folder / FACTS) as part:
    part.write_text(json.dumps(facts, indent=1) + "\n")


@contextlib.contextmanager
def new_file(path: pathlib.Path) -> Iterator[pathlib.Path]:
  """A file to write, which gets its name when it is whole and on the disk."""
  part = path.with_name(f"{path.name}.part")
  part.unlink(missing_ok=True)
  part.touch()
  mode = part.stat().st_mode
  try:
    yield part
    part.chmod(mode)  # safetensors makes files for their owner alone.
    with open(part, "rb") as file:
      os.fsync(file.fileno())
    part.replace(path)
  except BaseException:
    with contextlib.suppress(OSError):
      part.unlink()
    raise


def read(folder: pathlib.Path) -> source.Source:
  """What `write` was given.

  Raises ValueError where the folder is no such one, or damaged.
  """
  path = folder / FACTS
  if not path.is_file():
    raise ValueError(
      f"{folder}: not a folder of converted weights (looked for {path}); give "
      "a file of public weights, or what `convert` wrote"
    )
  facts = _facts(path)
  if source.sha256(folder / WEIGHTS) != facts.pop("weights_sha256", None):
    raise ValueError(
      f"{folder / WEIGHTS}: not the bytes that {FACTS} tells of; convert again"
    )
  leaves = tensors.read(folder / WEIGHTS)
  facts = {name: _tuples(value) for name, value in facts.items()}
  return source.Source(leaves=leaves, **facts)


def _facts(path: pathlib.Path) -> dict[str, Any]:
  """The facts as written; raises ValueError where one is missing or another."""
  try:
    facts = json.loads(path.read_text())
  except (ValueError, RecursionError) as error:
    raise ValueError(f"{path}: not JSON: {error}; convert again") from error
  if not isinstance(facts, dict) or facts.pop("version", None) != VERSION:
    raise ValueError(f"{path}: not of version {VERSION}; convert again")
  facts.pop("size", None)
  fields = {f.name: f.type for f in dataclasses.fields(source.Source)}
  wanted = fields.keys() - {"leaves"} | {"weights_sha256"}
  if facts.keys() != wanted:
    wrong = ", ".join(sorted(facts.keys() ^ wanted))
    raise ValueError(f"{path}: missing or unknown: {wrong}; convert again")
  for name, kind in fields.items():
    if kind is int and type(facts[name]) is not int:
      raise ValueError(f"{path}: {name} is no whole number; convert again")
  grid = facts["grid"]
  if not isinstance(grid, list) or [type(n) for n in grid] != [int, int]:
    raise ValueError(f"{path}: grid is not two whole numbers; convert again")
  return facts


def _tuples(value: Any) -> Any:
  """The value with its lists made tuples, as `Source` has them."""
  if isinstance(value, dict):
    return {name: _tuples(inner) for name, inner in value.items()}
  if isinstance(value, list):
    return tuple(_tuples(inner) for inner in value)
  return value
