"""Finished frames in a file, so that those of a long video need no memory.

Files of poses are written from it, each of which reads it from its beginning:
in the end, or while it grows (`Tail`). It has no name and is gone with the
process, however that ends.
"""

import contextlib
import pathlib
import tempfile
import threading
from collections.abc import Iterator
from typing import Any, BinaryIO

from diffpose_jax.data import annotations, array_lines

_SCALARS = ("track_id", "box_score")
_ARRAYS = (
  *("box", "joints", "labelled", "scores", "scale", "within", "samples"),
)


class Spool:
  """The frames of a video, in order; can be gone through more than once."""

  def __init__(self, folder: pathlib.Path):
    """In a folder whose disk has room for them."""
    self._folder = folder
    self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 - `close`
    self._count = 0

  def append(self, frame: annotations.Frame) -> None:
    """Adds a predicted frame; ValueError where the disk is full."""
    record = {
      "file_name": frame.file_name,
      "image_id": frame.image_id,
      "size": [frame.height, frame.width],
      "time": frame.time,
      "people": [
        {name: getattr(person, name) for name in _SCALARS + _ARRAYS}
        for person in frame.people
      ],
    }
    try:
      self._file.write(array_lines.dump(record))
      self._file.flush()
    except OSError as error:
      raise ValueError(
        f"{self._folder}: frames cannot be kept there ({error.strerror}); free "
        "some space"
      ) from error
    self._count += 1

  def __len__(self) -> int:
    return self._count

  def __iter__(self) -> Iterator[annotations.Frame]:
    for _, line in array_lines.lines(self._file):
      yield _frame(line)

  def fileno(self) -> int:
    """Of the file, for the process that follows it by a `Tail`."""
    return self._file.fileno()

  def close(self) -> None:
    """Forgets the frames."""
    with contextlib.suppress(OSError):  # that they do not fit on the disk
      self._file.close()

  def __enter__(self) -> "Spool":
    return self

  def __exit__(self, kind, value, traceback) -> None:
    self.close()


class Tail:
  """The frames of a spool that grows, in several threads at a time.

  Whoever goes through them waits for those that are still to come.
  """

  def __init__(self, file: BinaryIO):
    """Follows a file, `Spool.fileno` of which may be another process's."""
    self._file = file
    self._news = threading.Condition()
    self._count = 0  # frames that are whole
    self._over = False  # there are no more
    self._left = False  # nor will there be

  def grown(self, count: int, over: bool = False) -> None:
    """So many frames are in the file; `over`: and no more will come."""
    with self._news:
      self._count, self._over = count, over
      self._news.notify_all()

  def leave(self) -> None:
    """Whoever is at the frames gets BrokenPipeError: no more of them come."""
    with self._news:
      self._left = True
      self._news.notify_all()

  def __iter__(self) -> Iterator[annotations.Frame]:
    done = end = 0
    while (count := self._more(done)) > done:
      lines = array_lines.lines(self._file, end)
      for _ in range(count - done):
        end, line = next(lines)
        yield _frame(line)
        self._check()
      done = count

  def _more(self, done: int) -> int:
    """How many there are, once it is more than are done, or the end."""
    with self._news:
      self._news.wait_for(
        lambda: self._count > done or self._over or self._left
      )
    self._check()
    return self._count

  def _check(self) -> None:
    if self._left:
      raise BrokenPipeError("the prediction ended")


def _frame(line: bytes) -> annotations.Frame:
  """What `Spool.append` wrote."""
  record: dict[str, Any] = array_lines.load(line)
  height, width = record["size"]
  return annotations.Frame(
    file_name=record["file_name"],
    image_id=record["image_id"],
    labelled=True,
    people=tuple(annotations.Person(**one) for one in record["people"]),
    height=height,
    width=width,
    time=record["time"],
  )
