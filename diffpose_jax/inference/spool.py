"""Finished frames in a file, so that those of a long video need no memory.

Files of poses are written from it in the end, each of which reads it from its
beginning. It has no name and is gone with the process, however that ends.
"""

import contextlib
import pathlib
import tempfile
from collections.abc import Iterator

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
      record = array_lines.load(line)
      height, width = record["size"]
      yield annotations.Frame(
        file_name=record["file_name"],
        image_id=record["image_id"],
        labelled=True,
        people=tuple(annotations.Person(**one) for one in record["people"]),
        height=height,
        width=width,
        time=record["time"],
      )

  def close(self) -> None:
    """Forgets the frames."""
    with contextlib.suppress(OSError):  # that they do not fit on the disk
      self._file.close()

  def __enter__(self) -> "Spool":
    return self

  def __exit__(self, kind, value, traceback) -> None:
    self.close()
