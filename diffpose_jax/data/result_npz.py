"""Poses as arrays of NumPy in one file, which `numpy.load` opens."""

import contextlib
import dataclasses
import os
import pathlib
import shutil
import tempfile
import zipfile
from collections.abc import Iterable
from typing import Any

import numpy as np

from diffpose_jax.data import poses, result_columns, whole_file
from diffpose_jax.data.annotations import Frame

_TIME = (1980, 1, 1, 0, 0, 0)  # so that the same poses give the same bytes


def write(
  path: pathlib.Path,
  head: poses.Head,
  frames: Iterable[Frame],
  *,
  samples: bool = False,
) -> None:
  """Writes the columns of `result_columns` as NPZ, without pickles.

  The file appears whole or not at all. An array's header tells how long it is,
  so columns grow in files without a name before they are put together: in
  memory are some frames at a time.

  Args:
    path: folders are made where they are missing.
    head: of the video.
    frames: in order; gone through twice, three times with samples.
    samples: whether the samples themselves are written too, beside their modes.

  Raises:
    ValueError: what `poses.checked` refuses.
  """
  constants = result_columns.constants(head, str(path))
  columns = result_columns.columns(
    head, result_columns.members(frames) if samples else 0
  )
  longest = max((len(frame.file_name) for frame in frames), default=1)
  columns = [
    dataclasses.replace(column, dtype=f"<U{longest}")
    if column.dtype == "str"
    else column
    for column in columns
  ]
  with whole_file.place(path) as name, contextlib.ExitStack() as stack:
    parts = {
      column.name: stack.enter_context(tempfile.TemporaryFile(dir=name.parent))
      for column in columns
    }
    counts = dict.fromkeys(parts, 0)
    for rows in result_columns.rows(head, frames, columns):
      for key, values in rows.items():
        parts[key].write(values.tobytes())
        counts[key] += len(values)
    with zipfile.ZipFile(name, "w") as archive:
      for column in columns:
        with _member(archive, column.name) as member:
          header = {
            "descr": np.dtype(column.dtype).str,
            "fortran_order": False,
            "shape": (counts[column.name], *column.shape),
          }
          np.lib.format.write_array_header_1_0(member, header)
          parts[column.name].seek(0)
          shutil.copyfileobj(parts[column.name], member)
      for key, value in constants.items():
        with _member(archive, key) as member:
          np.lib.format.write_array(member, np.array(value), allow_pickle=False)


def _member(archive: zipfile.ZipFile, name: str) -> Any:
  info = zipfile.ZipInfo(f"{name}.npy", _TIME)
  return archive.open(info, "w", force_zip64=True)


def read(path: str | os.PathLike) -> tuple[poses.Head, tuple[Frame, ...]]:
  """The head and the frames of a file that `write` wrote; modes are not read.

  Raises ValueError where the file is absent, damaged or of another kind.
  """
  try:
    with np.load(path, allow_pickle=False) as file:
      arrays = dict(file)
  except FileNotFoundError:
    raise ValueError(f"{path}: no such file; check the path") from None
  except (OSError, ValueError, zipfile.BadZipFile) as error:
    raise ValueError(
      f"{path}: no NPZ file, or damaged ({error}); write it again"
    ) from None
  return result_columns.read(arrays, str(path))
