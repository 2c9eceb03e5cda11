"""Files that appear under their name when they are whole, or not at all."""

import contextlib
import glob
import os
import pathlib
import tempfile
from collections.abc import Iterator
from typing import TextIO


@contextlib.contextmanager
def place(path: str | os.PathLike) -> Iterator[pathlib.Path]:
  """A file to fill, which is at `path` once the block is left.

  It lies beside `path`, hidden. If the block raises, or what it wrote does not
  reach the disk, nothing stays and an older file of the name is kept. Folders
  are made where they are missing.
  """
  path = pathlib.Path(path)
  path.parent.mkdir(parents=True, exist_ok=True)
  handle, name = tempfile.mkstemp(
    prefix=f".{path.name}.", suffix=".tmp", dir=path.parent
  )
  os.close(handle)
  try:
    yield pathlib.Path(name)
    with open(name, "rb") as file:
      os.fsync(file.fileno())
    umask = os.umask(0)
    os.umask(umask)
    os.chmod(name, 0o666 & ~umask)  # mkstemp hides its files from others
    os.replace(name, path)
  except BaseException:
    pathlib.Path(name).unlink(missing_ok=True)
    raise


def drafts(path: pathlib.Path) -> list[pathlib.Path]:
  """What is left beside `path` of blocks of `place` that were killed.

  Also that of a block under way: nobody else may be at the file.
  """
  return list(path.parent.glob(f".{glob.escape(path.name)}.*.tmp"))


@contextlib.contextmanager
def text(path: str | os.PathLike) -> Iterator[TextIO]:
  """As `place`, open for text in UTF-8, whose lines end as they are written."""
  with (
    place(path) as name,
    open(name, "w", encoding="utf-8", newline="") as file,
  ):
    yield file
