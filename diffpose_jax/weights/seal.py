"""The seal of a checkpoint: what it must hold, down to the bit.

A step's `manifest.json` says the format, the code, the step, what the run was
trained on, and checksums (CRC-32): of each leaf, from the bytes in memory when
it was saved, and of each file that was written. It checks itself too.
"""

import errno
import functools
import importlib.metadata
import json
import os
import pathlib
from collections.abc import Mapping
from concurrent import futures
from typing import Any

import jax
import numpy as np
from isal import isal_zlib  # zlib's CRC-32, several times as fast

NAME = "manifest.json"
FORMAT = 1
_KEYS = {"format", "code", "step", "quality", "about", "leaves", "files"}
_CHUNK = 1 << 22  # bytes
_THREADS = min(4, os.cpu_count() or 1)

Manifest = dict[str, Any]
# Parts of a leaf on the host and where they belong.
Pieces = list[tuple[Any, np.ndarray]]
# Shape, dtype and bytes of a leaf; no bytes where another host has some.
Seen = tuple[tuple[int, ...], str, Pieces | None]


class Damaged(ValueError):  # noqa: N818
  """A checkpoint is not as it was written; an older one may be."""


def named(tree: Any) -> dict[str, Any]:
  """The leaves of a tree by their paths, as vit/stem/kernel."""
  flat = jax.tree_util.tree_flatten_with_path(tree)[0]
  name = functools.partial(jax.tree_util.keystr, simple=True, separator="/")
  return {name(path): leaf for path, leaf in flat}


def views(tree: Any) -> dict[str, Seen]:
  """Shape, dtype and bytes of each leaf, as they are now.

  The bytes stay as they are, whatever becomes of the arrays. On CPU they are
  not copied; elsewhere it is the copy that Orbax makes for itself.
  """
  leaves = named(tree)
  shards = {name: _shards(leaf) for name, leaf in leaves.items()}
  for parts in shards.values():
    for _, part in parts or []:
      part.copy_to_host_async()
  return {
    name: (tuple(leaf.shape), str(leaf.dtype), _on_host(shards[name]))
    for name, leaf in leaves.items()
  }


def _shards(leaf: Any) -> list[tuple[Any, jax.Array]] | None:
  """One device's copy of each part; None where another host has some."""
  leaf = leaf if isinstance(leaf, jax.Array) else jax.numpy.asarray(leaf)
  parts = leaf.addressable_shards
  if leaf.is_fully_replicated:
    return [(..., parts[0].data)]
  if not leaf.is_fully_addressable:
    return None
  return [(part.index, part.data) for part in parts if part.replica_id == 0]


def _on_host(parts: list[tuple[Any, jax.Array]] | None) -> Pieces | None:
  if parts is None:
    return None
  return [(index, np.asarray(part)) for index, part in parts]


def leaf_sums(seen: Mapping[str, Seen]) -> dict[str, dict]:
  """What the manifest says of each leaf that `views` gave.

  It does not depend on how the leaves were spread over devices. A leaf of which
  another host has a part has no checksum: its files have.
  """

  def one(item):
    shape, dtype, pieces = item
    total = None if pieces is None else _sum(_whole(shape, pieces))
    return {"shape": list(shape), "dtype": dtype, "crc32": total}

  with futures.ThreadPoolExecutor(_THREADS) as pool:
    return dict(zip(seen, pool.map(one, seen.values()), strict=True))


def _whole(shape: tuple[int, ...], pieces: Pieces) -> np.ndarray:
  if pieces[0][0] is ...:
    return pieces[0][1]
  whole = np.empty(shape, pieces[0][1].dtype)
  for index, piece in pieces:
    whole[index] = piece
  return whole


def _sum(array: np.ndarray) -> int:
  # As bytes, since a buffer cannot say bfloat16.
  return isal_zlib.crc32(np.ascontiguousarray(array).reshape(-1).view("B").data)


def write(
  place: pathlib.Path,
  *,
  step: int,
  quality: float | None,
  about: Mapping[str, Any],
  leaves: Mapping[str, dict],
) -> None:
  """Writes the manifest of all files in `place`, in one step.

  Args:
    place: folder of a finished checkpoint.
    step: of the training.
    quality: what "best" is measured by; None where it was not measured.
    about: what else is to be known of it: fingerprints of config and data.
    leaves: of `leaf_sums`.
  """
  content = {
    "format": FORMAT,
    "code": _code(),
    "step": step,
    "quality": quality,
    "about": dict(about),
    "leaves": dict(leaves),
    "files": _file_sums(place),
  }
  draft = place / f"{NAME}.tmp"
  with open(draft, "w", encoding="utf-8") as file:
    file.write(_text(content))
    file.flush()
    os.fsync(file.fileno())
  os.replace(draft, place / NAME)


def _text(content: Manifest) -> str:
  """The manifest as it must stand in its file, to the letter."""
  form = functools.partial(
    json.dumps, indent=1, sort_keys=True, allow_nan=False
  )
  total = isal_zlib.crc32(form(content).encode())
  return form({"content": content, "crc32": total}) + "\n"


@functools.cache
def _code() -> str:
  """Version of this package."""
  try:
    return importlib.metadata.version("diffpose-jax")
  except importlib.metadata.PackageNotFoundError:
    return "not installed"


def read(place: pathlib.Path) -> Manifest:
  """The manifest of a checkpoint.

  Raises:
    Damaged: it is missing or not as it was written.
    ValueError: a newer version wrote it, or one that is not known.
  """
  path = place / NAME
  try:
    text = path.read_text(encoding="utf-8")
    content = json.loads(text)["content"]
    whole = _text(content) == text
  except PermissionError:
    raise
  except (OSError, ValueError, TypeError, KeyError, RecursionError) as error:
    raise Damaged(
      f"{path}: missing or damaged ({type(error).__name__})"
    ) from error
  if not whole:
    raise Damaged(f"{path}: not as it was written")
  if content.get("format") != FORMAT or content.keys() != _KEYS:
    more = sorted(content.keys() - _KEYS)
    raise ValueError(
      f"{path}: format {content.get('format')!r} of version "
      f"{content.get('code')!r}{f' with {more}' if more else ''}; this version "
      f"({_code()}) reads format {FORMAT}: use the version that wrote it"
    )
  return content


def check_files(
  place: pathlib.Path, manifest: Manifest, *, share: tuple[int, int] = (0, 1)
) -> None:
  """Raises Damaged, naming a file that is not as it was written.

  With a `share` of (i, n), only file i of each n is looked at.
  """

  def one(item):
    name, said = item
    path = place / name
    size = path.stat().st_size
    if size != said["bytes"]:
      raise Damaged(f"{path}: has {size} bytes instead of {said['bytes']}")
    if _file_sum(path) != said["crc32"]:
      raise Damaged(f"{path}: its bytes changed since it was written")

  try:
    with futures.ThreadPoolExecutor(_THREADS) as pool:
      mine = sorted(manifest["files"].items())[share[0] :: share[1]]
      for done in pool.map(one, mine):
        assert done is None
  except PermissionError:
    raise
  except OSError as error:
    raise Damaged(f"{error.filename}: {error.strerror}") from error


def check_leaves(place: pathlib.Path, manifest: Manifest, tree: Any) -> None:
  """Raises Damaged, naming a leaf whose bits are not those that were saved.

  `tree` is the state or a part of it. A leaf without a checksum passes.
  """
  for name, found in leaf_sums(views(tree)).items():
    said = manifest["leaves"].get(name, {}).get("crc32")
    if said is not None and found["crc32"] not in (None, said):
      raise Damaged(
        f"{place}: {name} is not what was saved: memory, disk or transfer "
        "changed it"
      )


def _file_sums(place: pathlib.Path) -> dict[str, dict[str, int]]:
  paths = sorted(
    path
    for path in place.rglob("*")
    if path.is_file() and path.name not in (NAME, f"{NAME}.tmp")
  )
  with futures.ThreadPoolExecutor(_THREADS) as pool:
    totals = list(pool.map(_file_sum, paths))
  return {
    path.relative_to(place).as_posix(): {
      "bytes": path.stat().st_size,
      "crc32": total,
    }
    for path, total in zip(paths, totals, strict=True)
  }


def _file_sum(path: pathlib.Path) -> int:
  total = 0
  buffer = memoryview(bytearray(_CHUNK))
  with open(path, "rb", buffering=0) as file:
    try:
      while count := file.readinto(buffer):
        total = isal_zlib.crc32(buffer[:count], total)
    except OSError as error:  # which knows no name
      reason = error.strerror or os.strerror(error.errno or errno.EIO)
      raise OSError(error.errno, reason, str(path)) from error
  return total
