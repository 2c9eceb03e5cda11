"""Tensors of PyTorch files (.pth, .pt, .bin), read without PyTorch.

Two forms: a zip whose members are the storages (PyTorch 1.6 and later), and the
older one, a row of pickles with the storages behind. Neither can make this
program run anything; see `torch_pickle`.
"""

import contextlib
import io
import mmap
import pathlib
import struct
import zipfile
import zlib
from collections.abc import Iterator
from typing import Any

import numpy as np

from diffpose_jax.weights import torch_pickle

MAX_PICKLE = 64 << 20  # bytes; ViT-H has some 100 kB
MAX_MEMBERS = 100_000
WRAPPERS = ("state_dict", "model")  # where a training run keeps its weights

MAGIC = 0x1950A86A20F9469CFC6C  # of the older form
ZIP_FAULTS = (
  zipfile.BadZipFile,
  RuntimeError,  # zipfile's, of what is encrypted or of unknown compression
  EOFError,
  KeyError,
  OverflowError,
  OSError,  # a seek to nowhere
  struct.error,
  zlib.error,
)


def read(path: pathlib.Path) -> tuple[str, dict[str, np.ndarray]]:
  """The wrapper ("" where there is none) and the tensors in it, by name.

  Other things beside the tensors (an epoch, a config) are left out.

  Raises ValueError where the file is damaged, or holds no tensors by name, or
  anything that would have to be run.
  """
  with open(path, "rb") as file:
    try:
      return _state_dict(_load(file))
    except ZIP_FAULTS as error:
      raise ValueError(f"{path}: damaged: {error}; get it again") from error
    except ValueError as error:
      raise ValueError(f"{path}: {error}") from error


def _load(file: io.BufferedReader) -> Any:
  start = file.read(4)
  if start == b"PK\x03\x04":
    return _load_zip(file)
  file.seek(0)
  if start[:1] != b"\x80":
    raise ValueError(
      "not a PyTorch file: neither a zip nor a pickle; get it again"
    )
  return _load_rows(file)


def _state_dict(content: Any) -> tuple[str, dict[str, np.ndarray]]:
  """The tensors by name, of a state dict or of what wraps one."""
  if not isinstance(content, dict):
    raise ValueError(f"holds one {type(content).__name__}, no tensors by name")
  tensors = _arrays(content)
  if tensors:
    return "", tensors
  for wrapper in WRAPPERS:
    inner = content.get(wrapper)
    inner = inner if isinstance(inner, dict) else {}
    tensors = _arrays(inner)
    if tensors and len(tensors) < len(inner):
      strange = next(k for k in inner if k not in tensors)
      raise ValueError(
        f"{wrapper} holds {str(strange)[:80]!a}, which is not a tensor"
      )
    if tensors:
      return wrapper, tensors
  raise ValueError(
    f"no tensors by name, neither at its top nor in {' or '.join(WRAPPERS)}"
  )


def _arrays(content: dict) -> dict[str, np.ndarray]:
  return {
    name: value
    for name, value in content.items()
    if isinstance(value, np.ndarray) and isinstance(name, str)
  }


def _load_zip(file: io.BufferedReader) -> Any:
  """The object of the newer form; every member's checksum is compared."""
  with zipfile.ZipFile(file) as archive:
    members = _members(archive, file.seek(0, io.SEEK_END))
    (prefix, pickle), *others = [
      (name.removesuffix("data.pkl"), member)
      for name, member in members.items()
      if name.endswith("/data.pkl")
    ] or [("", None)]
    if pickle is None or others:
      raise ValueError("not a PyTorch file: a zip without one data.pkl")
    if pickle.file_size > MAX_PICKLE:
      raise ValueError(f"its pickle is larger than {MAX_PICKLE} bytes")
    order = members.get(f"{prefix}byteorder")
    if order and archive.read(order) != b"little":
      raise ValueError("its bytes are big-endian; save it again elsewhere")
    storages: dict[tuple[str, np.dtype], np.ndarray] = {}

    def find(dtype: np.dtype, key: str, count: int) -> np.ndarray:
      if (key, dtype) not in storages:
        member = members.get(f"{prefix}data/{key}")
        if member is None or member.file_size != count * dtype.itemsize:
          raise ValueError(
            f"storage {key[:40]!a} is not there, or not of the bytes stated"
          )
        storages[key, dtype] = np.frombuffer(archive.read(member), dtype)
      if storages[key, dtype].size != count:
        raise ValueError(f"storage {key[:40]!a} is stated with two sizes")
      return storages[key, dtype]

    return torch_pickle.load(io.BytesIO(archive.read(pickle)), find)


def _members(archive: zipfile.ZipFile, size: int) -> dict[str, zipfile.ZipInfo]:
  """The members by name, as PyTorch writes them: not packed, each once."""
  members = archive.infolist()
  named = {member.filename: member for member in members}
  if len(named) < len(members) or len(members) > MAX_MEMBERS:
    raise ValueError(
      "a member of its zip is there twice, or there are too many"
    )
  for member in members:
    if (
      member.compress_type != zipfile.ZIP_STORED
      or member.flag_bits & 1
      or member.file_size != member.compress_size
    ):
      raise ValueError(
        f"member {member.filename[:80]!a} of its zip is packed or encrypted, "
        "as PyTorch writes none"
      )
  if sum(member.file_size for member in members) > size:
    raise ValueError("the members of its zip are larger than the file")
  return named


def _load_rows(file: io.BufferedReader) -> Any:
  """The object of the older form: its storages follow it, in stated order."""
  with _mapped(file) as data:
    if torch_pickle.load(data, _no_storage) != MAGIC:
      raise ValueError("not a PyTorch file: a pickle of something else")
    torch_pickle.load(data, _no_storage)  # the form's version
    system = torch_pickle.load(data, _no_storage)
    if not isinstance(system, dict) or not system.get("little_endian"):
      raise ValueError("its bytes are big-endian; save it again elsewhere")
    storages: dict[str, np.ndarray] = {}
    left = len(data)

    def find(dtype: np.dtype, key: str, count: int) -> np.ndarray:
      nonlocal left
      if key not in storages:
        left -= count * dtype.itemsize
        if count < 0 or left < 0:
          raise ValueError("its storages are larger than the file")
        storages[key] = np.empty(count, dtype)
      if storages[key].dtype != dtype or storages[key].size != count:
        raise ValueError(f"storage {key[:40]!a} is stated in two ways")
      return storages[key]

    content = torch_pickle.load(data, find)
    keys = torch_pickle.load(data, _no_storage)
    texts = isinstance(keys, list) and all(isinstance(k, str) for k in keys)
    if not texts or sorted(keys) != sorted(storages):
      raise ValueError("its list of storages is not that of its tensors")
    for key in keys:
      _fill(storages[key], data)
    return content


def _fill(storage: np.ndarray, data: mmap.mmap) -> None:
  """Reads a storage's elements: their number, then they."""
  head, content = data.read(8), data.read(storage.nbytes)
  if (
    len(head) < 8
    or struct.unpack("<q", head)[0] != storage.size
    or len(content) < storage.nbytes
  ):
    raise ValueError("it ends early, or is damaged; get it again")
  storage[:] = np.frombuffer(content, storage.dtype)


@contextlib.contextmanager
def _mapped(file: io.BufferedReader) -> Iterator[Any]:
  """The file's bytes; a read of more than there are ends at the end."""
  with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
    yield data


def _no_storage(dtype: np.dtype, key: str, count: int) -> np.ndarray:
  raise ValueError("it has a tensor where none belongs")
