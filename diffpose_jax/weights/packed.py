"""Weights in one file: safetensors, whose header says what they are.

The header's metadata are texts by name. `sha256` is over all others and the
tensors, so that a file is read as it was written or not at all. Tensors lie in
the order of their names, and nothing in a file depends on when it was written:
the same weights give the same bytes.
"""

import hashlib
import json
import math
import pathlib
import struct
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
import safetensors
from flax import traverse_util

from diffpose_jax.weights import converted

SUFFIX = ".safetensors"
VERSION = 1
PROGRAM = "diffpose_jax"
DTYPES = ("float16", "float32")
_CODES = {"float16": "F16", "float32": "F32"}
_PROGRAM, _VERSION, _SHA256 = "program", "format_version", "sha256"
_AGAIN = "damaged; get it again, or pack it again"

Leaves = dict[str, np.ndarray]  # by path, as vit/stem/embed/kernel


def flat(params: Any) -> Leaves:
  """Parameters by their paths, on the host."""
  leaves: dict[str, Any] = dict(traverse_util.flatten_dict(params, sep="/"))
  return {name: np.asarray(jax.device_get(v)) for name, v in leaves.items()}


def rounded(params: Any, dtype: str) -> Leaves:
  """The leaves of parameters in another dtype.

  Raises ValueError where one is not of floats, or does not fit `dtype`.
  """
  if dtype not in DTYPES:
    raise ValueError(f"dtype is {dtype!r}, must be one of {', '.join(DTYPES)}")
  leaves = flat(params)
  result = {}
  for name, leaf in leaves.items():
    if leaf.dtype != np.float32:
      raise ValueError(f"{name} is of {leaf.dtype}; only float32 is packed")
    with np.errstate(over="ignore"):
      result[name] = np.ascontiguousarray(leaf.astype(dtype))
    if not np.isfinite(result[name]).all():
      broken = not np.isfinite(leaf).all()
      raise ValueError(
        f"{name} holds numbers that are not finite"
        + ("; take an earlier checkpoint" if broken else f" in {dtype}")
        + ("" if broken else "; take --dtype=float32")
      )
  return result


def write(
  path: pathlib.Path, leaves: Mapping[str, np.ndarray], texts: Mapping[str, str]
) -> None:
  """Writes a file whole, or not at all.

  Raises ValueError for another suffix.
  """
  check_name(path)
  texts = {_PROGRAM: PROGRAM, _VERSION: str(VERSION), **texts}
  texts[_SHA256] = digest(leaves, texts)
  header: dict[str, Any] = {"__metadata__": dict(sorted(texts.items()))}
  place = 0
  for name, leaf in sorted(leaves.items()):
    header[name] = {
      "dtype": _CODES[str(leaf.dtype)],
      "shape": list(leaf.shape),
      "data_offsets": [place, place + leaf.nbytes],
    }
    place += leaf.nbytes
  text = json.dumps(header, separators=(",", ":")).encode()
  text += b" " * (-len(text) % 8)  # The format wants tensors aligned.
  path.parent.mkdir(parents=True, exist_ok=True)
  with converted.new_file(path) as part, open(part, "wb") as file:
    file.write(struct.pack("<Q", len(text)) + text)
    for _, leaf in sorted(leaves.items()):
      file.write(np.ascontiguousarray(leaf).tobytes())


def check_name(path: pathlib.Path) -> None:
  """Raises ValueError unless the path can be a packed file's."""
  if path.suffix != SUFFIX:
    raise ValueError(f"{path}: packed weights are a file *{SUFFIX}")
  if path.is_dir():
    raise ValueError(f"{path}: is a folder; packed weights are one file")


def is_ours(path: pathlib.Path) -> bool:
  """True for a file that `write` made, of whatever version."""
  if path.suffix != SUFFIX or not path.is_file():
    return False
  try:
    with safetensors.safe_open(path, framework="numpy") as file:
      return (file.metadata() or {}).get(_PROGRAM) == PROGRAM
  except safetensors.SafetensorError:
    return False


def read(path: pathlib.Path) -> tuple[Leaves, dict[str, str]]:
  """The leaves as stored and the texts of what `write` wrote.

  Raises ValueError where there is no such file, it is damaged or truncated, of
  another program, or of a newer format.
  """
  check_name(path)
  if not path.is_file():
    raise ValueError(f"{path}: no such file of weights; check the path")
  try:
    with safetensors.safe_open(path, framework="numpy") as file:
      texts = dict(file.metadata() or {})
      _check_format(path, texts)
      leaves = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
  except (safetensors.SafetensorError, KeyError, TypeError) as error:
    raise ValueError(
      f"{path}: truncated, damaged, or not a safetensors file ({error}); get "
      "it again, or pack it again"
    ) from error
  stated = texts.pop(_SHA256, None)
  if stated != digest(leaves, texts):
    raise ValueError(f"{path}: not the bytes that its SHA-256 is of: {_AGAIN}")
  wrong = [n for n, v in leaves.items() if str(v.dtype) not in DTYPES]
  if wrong:
    kind = leaves[wrong[0]].dtype
    raise ValueError(f"{path}: {wrong[0]} is of {kind}: {_AGAIN}")
  del texts[_PROGRAM], texts[_VERSION]
  return leaves, texts


def _check_format(path: pathlib.Path, texts: Mapping[str, str]) -> None:
  """Raises ValueError for files of others, and of a newer format."""
  if texts.get(_PROGRAM) != PROGRAM:
    raise ValueError(
      f"{path}: not weights that `pack` wrote; public weights of a ViT are for "
      "training, by --config.model.init_from"
    )
  version = texts.get(_VERSION, "")
  if not version.isdecimal() or int(version) != VERSION:
    raise ValueError(
      f"{path}: of format {version or 'unknown'}, this version reads "
      f"{VERSION}: update diffpose_jax, or pack the weights again"
    )


def digest(leaves: Mapping[str, np.ndarray], texts: Mapping[str, str]) -> str:
  """SHA-256 over texts and tensors: names, lengths, dtypes, shapes, bytes."""
  result = hashlib.sha256()
  for name, text in sorted(texts.items()):
    if name != _SHA256:
      pair = name.encode(), text.encode()
      result.update(b"text %d %d " % (len(pair[0]), len(pair[1])))
      result.update(b"".join(pair))
  for name, leaf in sorted(leaves.items()):
    said = f"leaf {len(name.encode())} {name} {leaf.dtype} {leaf.shape} "
    result.update(said.encode())
    result.update(np.ascontiguousarray(leaf).tobytes())
  return result.hexdigest()


def params(path: pathlib.Path, leaves: Mapping[str, np.ndarray], like: Any):
  """Parameters in float32, placed as the abstract tree `like` says.

  Args:
    path: of the file, for errors.
    leaves: of the file.
    like: nested dicts of ShapeDtypeStructs with shardings.

  Raises ValueError where names or shapes are not those of `like`.
  """
  wanted: dict[str, Any] = dict(traverse_util.flatten_dict(like, sep="/"))
  differing = []
  for name in sorted(wanted.keys() | leaves.keys()):
    has = leaves[name].shape if name in leaves else "absent"
    wants = tuple(wanted[name].shape) if name in wanted else "absent"
    if has != wants:
      differing.append(f"{name} is {has}, the network's is {wants}")
  if differing:
    more = f" and {len(differing) - 3} more" if len(differing) > 3 else ""
    raise ValueError(
      f"{path}: not weights of the network that its header describes: "
      f"{'; '.join(differing[:3])}{more}; pack it again"
    )
  placed = {
    name: _placed(np.asarray(leaves[name], np.float32), wanted[name])
    for name in wanted
  }
  return traverse_util.unflatten_dict(placed, sep="/")


def _placed(leaf: np.ndarray, like: Any) -> jax.Array:
  """The leaf on its devices, which may be those of several hosts."""
  return jax.make_array_from_callback(
    leaf.shape, like.sharding, lambda index: leaf[index]
  )


def size(leaves: Mapping[str, np.ndarray]) -> tuple[int, int]:
  """Number of parameters, and bytes of their tensors."""
  count = sum(math.prod(leaf.shape) for leaf in leaves.values())
  return count, sum(leaf.nbytes for leaf in leaves.values())
