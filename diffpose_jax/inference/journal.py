"""What the network found in a video, kept beside the outputs until they are whole.

A prediction that is interrupted, by Ctrl-C, a kill, a crash or a full disk, is
taken up by the same command: what is in the journal need not be estimated
again, to the last bit. Its first line says of what it is; then there is a line
for each frame, with what came out of the network, before calibration,
identities and smoothing (`array_lines`). A last line that is cut off is no
frame. In the end it is removed; or, while other videos of the call remain, or
where many calls share the videos, a line that says which files are whole takes
the place of the frames.
"""

import contextlib
import dataclasses
import itertools
import os
import pathlib
from collections.abc import Iterator, Mapping
from typing import Any, BinaryIO

import numpy as np

from diffpose_jax.data import array_lines
from diffpose_jax.inference import boxes_in, flow
from diffpose_jax.inference import poses as poses_lib

_VERSION = 1
_POSES = ("joints", "score", "samples", "shape")  # fields of `Poses`
_HEAT = "heat"  # ... that is there where it is drawn


@dataclasses.dataclass(frozen=True)
class Glance:
  """What a journal says of itself, whatever is wanted of its video."""

  of: dict[str, Any]
  done: dict[str, Any] | None  # what `finish` was told, if it was


def path_of(name: str, out: pathlib.Path) -> pathlib.Path:
  """Where the journal of a video is."""
  return out / f".{name}.journal"


def glance(path: pathlib.Path) -> Glance | None:
  """Looks at the beginning of a journal; None where it has none."""
  records = []
  try:
    with path.open("rb") as file:
      for _, line in itertools.islice(array_lines.lines(file), 2):
        records.append(array_lines.load(line))
  except (OSError, ValueError):  # what follows damage does not count
    pass
  if not records or records[0].get("journal") != _VERSION:
    return None
  return Glance(records[0]["of"], (records[1:] or [{}])[0].get("done"))


class Journal:
  """The journal of one video."""

  def __init__(self, path: pathlib.Path, of: Mapping[str, Any]):
    """Looks at what there is, and changes nothing.

    Args:
      path: of the file.
      of: all that the frames' poses depend on, by names for the user, in JSON
        types.
    """
    self.path = path
    self.frames = 0  # that are in it
    self.size: int | None = None  # of the batches in which they were estimated
    self.done: dict[str, Any] | None = None  # what `finish` was told, if it was
    self.why = ""  # what there was does not count
    self._head = {"journal": _VERSION, "of": dict(of)}
    self._end = 0
    self._file: BinaryIO | None = None
    if path.is_file():
      with path.open("rb") as file:
        self._look(file)
    self._known = self.frames

  def _look(self, file: BinaryIO) -> None:
    elsewhere = False
    for end, line in array_lines.lines(file):
      try:
        record = array_lines.load(line)
      except ValueError:
        break
      if not self._end:
        self.why = _difference(record, self._head)
        elsewhere = bool(self.why) and _is_elsewhere(record, self._head)
        if self.why and not elsewhere:
          return
      elif "done" in record:
        self.done, self.size = record["done"], record["done"]["size"]
        self.why = ""
      elif elsewhere or record["index"] != self.frames:
        break
      else:
        self.frames += 1
        self.size = record["size"] or self.size
      self._end = end
    if not self._end:
      self.why = "it is damaged"
    if elsewhere:
      self._end = 0  # nothing is added to it

  def known(self) -> Iterator[flow.Recalled]:
    """What was known of the frames, from the first on."""
    if not self._known:
      return
    with self.path.open("rb") as file:
      lines = array_lines.lines(file)
      next(lines)
      for _ in range(self._known):
        _, line = next(lines)
        yield _recalled(array_lines.load(line))

  def add(self, frame: flow.Shown) -> None:
    """Appends a frame; ValueError where it cannot be written."""
    if frame.recalled:
      return
    self.size = frame.batch or self.size
    try:
      if self._file is None:
        self._file = self._opened()
      self._file.write(array_lines.dump(_record(frame)))
      self._file.flush()
      self.frames += 1
    except OSError as error:
      self.close()
      raise ValueError(
        f"{self.path}: cannot be written ({error.strerror}); free some space "
        "and give the same command again, it goes on from there"
      ) from error

  def _opened(self) -> BinaryIO:
    """The file to append to, cut off after what counts."""
    file = self.path.open("r+b" if self._end else "wb")
    if self._end:
      file.truncate(self._end)
      file.seek(self._end)
    else:
      file.write(array_lines.dump(self._head))
    return file

  def finish(self, done: Mapping[str, Any]) -> None:
    """Puts what is said of the outputs in the place of the frames."""
    self.close()
    draft = self.path.with_name(f"{self.path.name}.tmp")
    head = array_lines.dump(self._head)
    draft.write_bytes(head + array_lines.dump({"done": dict(done)}))
    os.replace(draft, self.path)

  def close(self) -> None:
    """Closes the file, which stays."""
    if self._file is not None:
      # Only what could not be written before is not written now.
      with contextlib.suppress(OSError):
        self._file.close()
      self._file = None


def plain(record: Any) -> Any:
  """A record as it is read back: without tuples."""
  return array_lines.load(array_lines.dump(record))


def _difference(found: Any, wanted: dict[str, Any]) -> str:
  """Why a journal is not that of what is wanted; empty where it is."""
  if not isinstance(found, dict) or found.get("journal") != _VERSION:
    return "it is of another version"
  of = plain(wanted["of"])
  names = dict.fromkeys([*of, *found["of"]])
  other = [n for n in names if found["of"].get(n) != of.get(n)]
  return f"it is of other {' and '.join(other)}" if other else ""


def _is_elsewhere(found: Any, wanted: dict[str, Any]) -> bool:
  """Whether a journal is that of what is wanted, but for the devices.

  What is whole may be of others; a video that goes on must not change them.
  """
  if not isinstance(found, dict) or found.get("journal") != _VERSION:
    return False
  ours, theirs = (
    {**of, "program": {**of.get("program", {}), "devices": None}}
    for of in (plain(wanted["of"]), found["of"])
  )
  return ours == theirs


def _record(frame: flow.Shown) -> dict[str, Any]:
  """A frame as it is written."""
  record: dict[str, Any] = {
    "index": frame.index,
    "size": frame.batch,
    "people": [_box(one.person) for one in frame.asked],
  }
  if [id(one.person) for one in frame.asked] != [id(b) for b in frame.given]:
    record["given"] = [_box(one) for one in frame.given]
  poses = [one.poses for one in frame.asked if one.poses is not None]
  if poses:
    record["to_picture"] = np.stack([one.to_picture for one in frame.asked])
    joined = vars(poses_lib.joined(poses))
    record |= {k: v for k, v in joined.items() if v is not None}
  return record


def _box(box: boxes_in.Box) -> dict[str, Any]:
  return {
    "box": np.asarray(box.box, np.float32),
    "score": box.score,
    "track": box.track_id,
  }


def _recalled(record: dict[str, Any]) -> flow.Recalled:
  """What `_record` wrote."""
  people = [_person(one) for one in record["people"]]
  asked = []
  if people:
    poses = poses_lib.Poses(
      **{name: record[name] for name in _POSES}, heat=record.get(_HEAT)
    )
    asked = [
      flow.Asked(person, record["to_picture"][i], None, poses=poses.row(i))
      for i, person in enumerate(people)
    ]
  if "given" in record:
    people = [_person(one) for one in record["given"]]
  return flow.Recalled(record["index"], record["size"], asked, people)


def _person(record: dict[str, Any]) -> boxes_in.Box:
  return boxes_in.Box(record["box"], record["score"], record["track"])
