"""Tensors by name from a file: safetensors, NumPy's .npz or PyTorch's .pth."""

import math
import pathlib
import zipfile

import ml_dtypes
import numpy as np
import safetensors
import safetensors.numpy

from diffpose_jax.weights import torch_file

SUFFIXES = (".safetensors", ".npz", ".pth", ".pt", ".bin")
MAX_BYTES = 64 << 30  # of all arrays of an .npz, unpacked


def read(path: pathlib.Path) -> dict[str, np.ndarray]:
  """The arrays of a file of weights by name; nothing in it is ever run.

  Raises ValueError where the file is of another kind, or damaged.
  """
  return read_wrapped(path)[1]


def read_wrapped(path: pathlib.Path) -> tuple[str, dict[str, np.ndarray]]:
  """As `read`, with the name under which a PyTorch file keeps them, or ""."""
  if path.suffix not in SUFFIXES:
    raise ValueError(
      f"{path}: not a file of weights by its name; known are "
      f"{', '.join(SUFFIXES)}"
    )
  if path.suffix == ".safetensors":
    return "", _safetensors(path)
  if path.suffix == ".npz":
    return "", _npz(path)
  return torch_file.read(path)


def _safetensors(path: pathlib.Path) -> dict[str, np.ndarray]:
  with open(path, "rb"):  # Says better than the library that it is not there.
    pass
  try:
    return safetensors.numpy.load_file(path)
  except (safetensors.SafetensorError, KeyError, ValueError) as error:
    raise ValueError(
      f"{path}: damaged, or not a safetensors file: {error}; get it again"
    ) from error


def _npz(path: pathlib.Path) -> dict[str, np.ndarray]:
  """Every member whole; a pickled one is refused by its name."""
  arrays: dict[str, np.ndarray] = {}
  with open(path, "rb") as file:
    try:
      with zipfile.ZipFile(file) as archive:
        total = sum(member.file_size for member in archive.infolist())
        if total > MAX_BYTES:
          raise ValueError(f"{total} bytes unpacked, more than {MAX_BYTES}")
        for member in archive.infolist():
          name = member.filename.removesuffix(".npy")
          if name in arrays or name == member.filename:
            raise ValueError(f"member {member.filename[:80]!a} does not belong")
          arrays[name] = _npy(archive, member)
    except (*torch_file.ZIP_FAULTS, ValueError) as error:
      raise ValueError(
        f"{path}: damaged, or not an .npz of plain arrays: {error}; get it "
        "again"
      ) from error
  return arrays


def _npy(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> np.ndarray:
  """One array, its size compared with its member's before it is read."""
  with archive.open(member) as file:
    version = np.lib.format.read_magic(file)
    if version not in ((1, 0), (2, 0)):
      raise ValueError(f"{member.filename[:80]!a} has an unknown version")
    header = (
      np.lib.format.read_array_header_1_0
      if version == (1, 0)
      else np.lib.format.read_array_header_2_0
    )
    shape, by_column, dtype = header(file)
    if dtype.hasobject:
      raise ValueError(
        f"{member.filename[:80]!a} holds pickled objects, which are not read"
      )
    stated = math.prod(shape) * dtype.itemsize
    if min(shape, default=0) < 0 or stated > member.file_size:
      raise ValueError(f"{member.filename[:80]!a} has not the size it states")
    content = file.read()
    if len(content) != stated:
      raise ValueError(f"{member.filename[:80]!a} has not the size it states")
  if dtype == np.dtype("V2"):  # How NumPy writes bfloat16.
    dtype = np.dtype(ml_dtypes.bfloat16)
  order = "F" if by_column else "C"
  return np.frombuffer(content, dtype).reshape(shape, order=order)
