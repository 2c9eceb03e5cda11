"""Poses as HDF5: the arrays of NPZ, each with its unit and meaning.

It needs h5py, which the extra `hdf5` brings.
"""

import contextlib
import io
import os
import pathlib
from collections.abc import Callable, Iterable, Iterator
from concurrent import futures
from typing import Any

from diffpose_jax.data import poses, result_columns, whole_file
from diffpose_jax.data.annotations import Frame

_CHUNK = 256  # rows that are compressed together


def package() -> Any:
  """The module h5py. Raises ValueError with the remedy where it is missing."""
  try:
    import h5py
  except ImportError as error:
    raise ValueError(
      f"HDF5 needs h5py ({error}): install 'diffpose-jax[hdf5]', or take npz, "
      "which has the same arrays"
    ) from None
  return h5py


def write(
  path: pathlib.Path,
  head: poses.Head,
  frames: Iterable[Frame],
  *,
  samples: bool = False,
) -> None:
  """Writes the columns of `result_columns` as HDF5, compressed.

  The file appears whole or not at all. Each dataset has the attributes `unit`
  and `about`; the file has `format` and `version`.

  Args:
    path: folders are made where they are missing.
    head: of the video.
    frames: in order; gone through once, twice with samples; some frames at a
      time are in memory.
    samples: whether the samples themselves are written too, beside their modes.

  Raises:
    ValueError: what `poses.checked` refuses, or h5py is missing.
  """
  package()
  constants = result_columns.constants(head, str(path))
  columns = result_columns.columns(
    head, result_columns.members(frames) if samples else 0
  )
  with whole_file.place(path) as name, _opened(name) as run:
    run(_begin, constants, columns)
    for rows in result_columns.rows(head, frames, columns):
      run(_append, rows)


class _Disk(io.FileIO):
  """A file whose writes do not fail, but for `error`, which is then set."""

  error: OSError | None = None

  def write(self, data: Any) -> int:
    """The number of all bytes."""
    rest = memoryview(data).cast("B")
    count = len(rest)
    try:
      while rest:
        rest = rest[super().write(rest) :]
    except OSError as error:
      self.error = self.error or error
    return count

  def truncate(self, size: int | None = None) -> int:
    """The size asked for."""
    try:
      return super().truncate(size)
    except OSError as error:
      self.error = self.error or error
      return size or 0


@contextlib.contextmanager
def _opened(path: pathlib.Path) -> Iterator[Callable[..., None]]:
  """A function that runs others on a new HDF5 file.

  Where a write fails, HDF5 cannot close its file, and the process crashes: so
  it never learns of a full disk, nor, being in a thread of its own, of Ctrl-C.
  """
  with _Disk(path, "w+") as disk, futures.ThreadPoolExecutor(1) as thread:
    file = thread.submit(package().File, disk, "w")

    def run(action: Callable[..., None], *given: Any) -> None:
      thread.submit(lambda: action(file.result(), *given)).result()
      if disk.error:
        raise disk.error

    try:
      yield run
    finally:
      run(lambda opened: opened.close())


def _begin(
  file: Any,
  constants: dict[str, Any],
  columns: list[result_columns.Column],
) -> None:
  file.attrs["format"], file.attrs["version"] = poses.FORMAT, poses.VERSION
  for key, value in constants.items():
    file[key] = value
  for column in columns:
    _create(file, column)


def _create(file: Any, column: result_columns.Column) -> None:
  text = column.dtype == "str"
  made = file.create_dataset(
    column.name,
    shape=(0, *column.shape),
    maxshape=(None, *column.shape),
    chunks=(_CHUNK, *column.shape),
    dtype=package().string_dtype() if text else column.dtype,
    compression="gzip",
    shuffle=True,
  )
  made.attrs["unit"], made.attrs["about"] = column.unit, column.about


def _append(file: Any, rows: result_columns.Rows) -> None:
  for name, values in rows.items():
    before = len(file[name])
    file[name].resize(before + len(values), axis=0)
    file[name][before:] = values


def read(path: str | os.PathLike) -> tuple[poses.Head, tuple[Frame, ...]]:
  """The head and the frames of a file that `write` wrote; modes are not read.

  Raises ValueError where the file is absent, damaged or of another kind, or
  h5py is missing.
  """
  h5py = package()
  try:
    with h5py.File(path, "r") as file:
      arrays = {
        key: value.asstr()[()] if value.dtype.kind == "O" else value[()]
        for key, value in file.items()
      }
  except FileNotFoundError:
    raise ValueError(f"{path}: no such file; check the path") from None
  except OSError as error:
    raise ValueError(
      f"{path}: no HDF5 file, or damaged ({error}); write it again"
    ) from None
  return result_columns.read(arrays, str(path))
