"""Traced programs kept on disk, so that the next start need not trace them.

Tracing the network takes longer than reading it back from a file. What is kept
lies beside JAX's compiled programs (`compile_cache`), named by a digest of all
that it depends on: what the caller gives, this package's own code that is
traced, JAX and the devices. It is StableHLO, checked by a digest of its own.
"""

import functools
import hashlib
import json
import os
import pathlib
import sys
import tempfile
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from absl import logging
from jax import export

from diffpose_jax import compile_cache

_PACKAGE = pathlib.Path(__file__).resolve().parent.parent
# What a traced estimate consists of.
_CODE = ("config.py", "inference", "model", "diffusion", "pose")
_JAX = (  # settings that change what is traced
  "jax_enable_x64",
  "jax_default_matmul_precision",
  "jax_default_prng_impl",
  "jax_threefry_partitionable",
  "jax_numpy_dtype_promotion",
)
_DIGEST = 32  # bytes in front of a program


class Shelf:
  """Programs and shapes kept under one digest; nothing where it is None."""

  def __init__(self, folder: pathlib.Path | None, digest: str):
    self._folder = folder
    self._digest = digest

  def shapes(self, make: Callable[[], Any]) -> Any:
    """A tree of ShapeDtypeStructs: nested dicts, as `make` gives them."""
    kept = self._read("shapes")
    if kept is not None:
      return _from_json(json.loads(kept))
    tree = make()
    self._write("shapes", json.dumps(_to_json(tree)).encode())
    return tree

  def program(self, name: str, function: Any, arguments: Sequence[Any]) -> Any:
    """The jitted function for arguments of these shapes, itself jitted.

    Args:
      name: tells it from others of the same digest.
      function: what `jax.jit` gave.
      arguments: arrays, or ShapeDtypeStructs with shardings.
    """
    if self._folder is None:
      return function
    kept = self._read(name)
    if kept is None:
      try:
        traced = export.export(function)(*arguments)
        kept = bytes(traced.serialize())
      except (ValueError, NotImplementedError) as error:
        # JAX raises either for what it cannot export: a kernel of a vendor's,
        # say, whose form may change.
        logging.debug("program %s is not kept: %s", name, error)
        return function
      self._write(name, kept)
    return jax.jit(export.deserialize(bytearray(kept)).call)

  def _path(self, name: str) -> pathlib.Path | None:
    if self._folder is None:
      return None
    return self._folder / f"diffpose_jax-{self._digest}-{name}"

  def _read(self, name: str) -> bytes | None:
    """What was kept; None where there is nothing whole."""
    path = self._path(name)
    if path is None or not path.is_file():
      return None
    content = path.read_bytes()
    digest, content = content[:_DIGEST], content[_DIGEST:]
    if hashlib.sha256(content).digest() == digest:
      return content
    logging.warning("%s is damaged; it is made anew", path)
    return None

  def _write(self, name: str, content: bytes) -> None:
    """Keeps it; where that fails, the next start takes longer."""
    path = self._path(name)
    if path is None:
      return
    try:
      with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as file:
        file.write(hashlib.sha256(content).digest() + content)
      os.replace(file.name, path)
    except OSError as error:
      logging.warning("%s cannot be written (%s)", path, error.strerror)


def shelf(*depends_on: str) -> Shelf:
  """The shelf of what depends on these texts, the code, JAX and the devices."""
  folder = compile_cache.folder()
  if folder is None:
    return Shelf(None, "")
  settings = [f"{name}={getattr(jax.config, name)}" for name in _JAX]
  devices = [
    f"{device.platform} {device.device_kind}" for device in jax.devices()
  ]
  digest = hashlib.sha256()
  for text in (
    *(*depends_on, *settings, *devices),
    *(jax.__version__, sys.version, code()),
  ):
    digest.update(f"{len(text)} {text}".encode())
  return Shelf(folder, digest.hexdigest()[:32])


@functools.cache
def code() -> str:
  """Digest of the package's files that take part in a trace."""
  digest = hashlib.sha256()
  for part in _CODE:
    place = _PACKAGE / part
    for path in sorted(place.rglob("*.py")) if place.is_dir() else [place]:
      digest.update(f"{path.name} ".encode() + path.read_bytes())
  return digest.hexdigest()


def _to_json(tree: Any) -> Any:
  if isinstance(tree, dict):
    return {name: _to_json(value) for name, value in tree.items()}
  return [list(tree.shape), str(tree.dtype)]


def _from_json(tree: Any) -> Any:
  if isinstance(tree, dict):
    return {name: _from_json(value) for name, value in tree.items()}
  shape, dtype = tree
  return jax.ShapeDtypeStruct(tuple(shape), np.dtype(dtype))
