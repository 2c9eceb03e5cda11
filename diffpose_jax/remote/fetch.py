"""Copies from a bucket, kept on this machine and brought up to date."""

import base64
import contextlib
import fcntl
import hashlib
import json
import os
import pathlib
from collections.abc import Collection, Iterator, Mapping
from concurrent import futures
from typing import Any

import fsspec
import tqdm

from diffpose_jax.remote import places

_AT_ONCE = 8  # files
# What of an object's description changes with its content, the best first.
_TAGS = ("etag", "ETag", "md5Hash", "generation", "updated", "mtime", "created")


def fetched(address: str) -> pathlib.Path:
  """What is at an address, a folder or a file, as a copy on this machine.

  Raises ValueError where there is nothing, or it cannot be read.
  """
  place = places.kept(address, "fetched")
  copy(address, place)
  return place


def copy(
  address: str, place: pathlib.Path, *, leave: Collection[str] = ()
) -> None:
  """Makes `place` what is at the address; a file that is there is not read.

  Each file appears whole. What was copied before and is gone there goes here.
  One process at a time copies to a place; others wait.

  Args:
    address: of a folder or of a file.
    place: is made where it is missing.
    leave: names that are not copied.

  Raises:
    ValueError: there is nothing, or it cannot be read.
  """
  files, path = places.opened(address)
  with places.told(address, "cannot be read"):
    there = listed(files, path)
  if not there:
    raise ValueError(f"{address}: nothing is there")
  wanted = {name: info for name, info in there.items() if name not in leave}
  with _alone(place):
    known = _Known(place)
    for name in known.tags.keys() - wanted.keys():
      (place / name).unlink(missing_ok=True)
    todo = {
      name: info for name, info in wanted.items() if not known.holds(name, info)
    }
    bar = tqdm.tqdm(
      desc=address,
      total=sum(info["size"] for info in todo.values()),
      unit="B",
      unit_scale=True,
      dynamic_ncols=True,
      disable=not todo,
    )

    def get(name: str) -> None:
      remote = f"{path}/{name}" if name else path
      with places.told(f"{address}/{name}".rstrip("/"), "cannot be read"):
        _get(files, remote, place / name, todo[name])
      known.add(name, todo[name])
      bar.update(todo[name]["size"])

    with bar, futures.ThreadPoolExecutor(_AT_ONCE) as pool:
      for done in [pool.submit(get, name) for name in sorted(todo)]:
        done.result()


def listed(
  files: fsspec.AbstractFileSystem, path: str
) -> dict[str, Mapping[str, Any]]:
  """Files by their names below a folder; one file has the name ''.

  Raises ValueError for a name that would leave the folder.
  """
  files.invalidate_cache()
  found = {}
  try:
    everything = files.find(path, detail=True)
  except FileNotFoundError:  # some schemes know empty folders
    return {}
  for full, info in everything.items():
    name = full.strip("/").removeprefix(path).strip("/")
    # An object that stands for a folder is no file.
    if full.endswith("/") or info["type"] != "file":
      continue
    parts = name.split("/")
    if ".." in parts or "\\" in name:
      raise ValueError(f"a file there has the name {full!r}")
    found[name] = info
  return found


def check(path: pathlib.Path, info: Mapping[str, Any]) -> None:
  """Raises OSError where a file is not what its description there says.

  By its size, and by its MD5 where the bucket gives that.
  """
  size = path.stat().st_size
  if size != info["size"]:
    raise OSError(f"{size} bytes here, {info['size']} there")
  said = info.get("md5Hash")
  if said is None:
    return
  with open(path, "rb") as file:
    found = hashlib.file_digest(
      file, lambda: hashlib.md5(usedforsecurity=False)
    ).digest()
  if base64.b64encode(found).decode() != said:
    raise OSError("the bytes here are not those there")


def _get(
  files: fsspec.AbstractFileSystem,
  remote: str,
  local: pathlib.Path,
  info: Mapping[str, Any],
) -> None:
  local.parent.mkdir(parents=True, exist_ok=True)
  draft = local.with_name(f".{local.name}.fetching")
  try:
    files.get_file(remote, str(draft))
    check(draft, info)
    os.replace(draft, local)
  finally:
    draft.unlink(missing_ok=True)


class _Known:
  """What was copied to a place before, beside it; a line a file."""

  def __init__(self, place: pathlib.Path):
    self._place = place
    self._path = place.with_name(f".{place.name}.fetched")
    self.tags: dict[str, list] = {}
    with contextlib.suppress(FileNotFoundError):
      for line in self._path.read_text().splitlines():
        with contextlib.suppress(ValueError):  # cut short
          name, tag = json.loads(line)
          self.tags[name] = tag

  def holds(self, name: str, info: Mapping[str, Any]) -> bool:
    """Whether the file is here as it is there."""
    path = self._place / name
    same = self.tags.get(name) == _tag(info)
    return same and path.is_file() and path.stat().st_size == info["size"]

  def add(self, name: str, info: Mapping[str, Any]) -> None:
    line = json.dumps([name, _tag(info)])
    with open(self._path, "a") as file:
      file.write(line + "\n")


def _tag(info: Mapping[str, Any]) -> list:
  tags = [str(info[key]) for key in _TAGS if info.get(key) is not None]
  return [info["size"], *tags[:1]]


@contextlib.contextmanager
def _alone(place: pathlib.Path) -> Iterator[None]:
  """A context in which no other process copies to the same place."""
  place.parent.mkdir(parents=True, exist_ok=True)
  with open(place.with_name(f".{place.name}.lock"), "w") as file:
    fcntl.flock(file, fcntl.LOCK_EX)
    yield
