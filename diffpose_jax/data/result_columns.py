"""Poses as columns of numbers, for NPZ and HDF5.

There are three tables. Of frames and of people there is a row each, in order;
of modes there is one for each place that the samples of a joint name, where
they name several. A column is an array with a row first.
"""

import dataclasses
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from diffpose_jax.data import poses, strict_json
from diffpose_jax.data.annotations import Frame, Person
from diffpose_jax.pose import modes

Rows = dict[str, np.ndarray]
# The columns of each table, by the first of them.
TABLES = {
  "frame": ("time_s", "file_name"),
  "person_frame": (
    *("track_id", "box_px", "box_score", "joints_px", "score"),
    *("covariance_px2", "within", "samples_px"),
  ),
  "mode_person": ("mode_joint", "mode_px", "mode_share", "mode_spread_px"),
}
_TOGETHER = 64  # frames whose rows are given at once


@dataclasses.dataclass(frozen=True)
class Column:
  """One column of a table."""

  name: str
  dtype: str
  shape: tuple[int, ...]  # of a row
  unit: str
  about: str


def columns(head: poses.Head, members: int) -> list[Column]:
  """The columns of poses with so many samples of each joint; 0: none."""
  k = len(head.skeleton.joints)
  samples = Column(
    *("samples_px", "float32", (members, k, 2), "pixel"),
    "x, y of each joint by each member of the ensemble",
  )
  return [
    Column("frame", "int64", (), "1", "index of each frame, from 0"),
    Column("time_s", "float64", (), "second", "since the first frame"),
    Column("file_name", "str", (), "", "of each frame's picture"),
    Column(
      "person_frame", "int64", (), "1", "of each person: row of the frame"
    ),
    Column("track_id", "int64", (), "1", "identity over time; -1: none"),
    Column("box_px", "float32", (4,), "pixel", "edges x1, y1, x2, y2"),
    Column("box_score", "float64", (), "1", "how sure the box is, in [0, 1]"),
    Column(
      *("joints_px", "float32", (k, 2), "pixel"),
      "x, y; the centre of the first pixel is 0, 0; NaN: never learned",
    ),
    Column(
      *("score", "float32", (k,), "1"),
      "peak of the joint's heatmap times box_score, in [0, 1]",
    ),
    Column(
      *("covariance_px2", "float32", (k, 2, 2), "pixel^2"),
      "scale matrix S of the joint's error: its covariance, or with a finite "
      "tail S tail / (tail - 2) is",
    ),
    Column(
      *("within", "float32", (k,), "1"),
      "probability of being within half a head size of the truth",
    ),
    *([samples] if members else []),
    Column("mode_person", "int64", (), "1", "of each mode: row of the person"),
    Column("mode_joint", "int64", (), "1", "index of the joint"),
    Column("mode_px", "float32", (2,), "pixel", "x, y: mean of its samples"),
    Column("mode_share", "float32", (), "1", "of the joint's samples"),
    Column(
      *("mode_spread_px", "float32", (), "pixel"),
      "root mean square distance of its samples from it; NaN: of one sample",
    ),
  ]


def constants(head: poses.Head, place: str) -> dict[str, Any]:
  """What is said once: names and indices of joints, and the head as JSON."""
  joints, pairs, limbs = (
    getattr(head.skeleton, name) for name in ("joints", "pairs", "limbs")
  )
  return {
    "head": strict_json.text(poses.record_of(head, place)),
    "joint_names": list(joints),
    "pairs": np.array(pairs, np.int64).reshape(-1, 2),
    "limbs": np.array(limbs, np.int64).reshape(-1, 2),
  }


def members(frames: Iterable[Frame]) -> int:
  """How many samples there are of each joint; 0: not of everybody.

  Raises ValueError where people differ in it.
  """
  counts = {
    0 if person.samples is None else len(person.samples)
    for frame in frames
    for person in frame.people
  }
  if len(counts - {0}) > 1:
    raise ValueError(
      f"people have {' and '.join(map(str, sorted(counts)))} samples; arrays "
      "need as many of everybody, so write them without samples"
    )
  return min(counts, default=0)


def rows(
  head: poses.Head, frames: Iterable[Frame], columns: list[Column]
) -> Iterator[Rows]:
  """The rows of all columns, of some frames after the other.

  Raises ValueError for what `poses.checked` refuses.
  """
  found: dict[str, list] = {column.name: [] for column in columns}
  people = 0
  for number, frame in enumerate(poses.checked(head, frames)):
    if number and number % _TOGETHER == 0:
      yield {column.name: _stacked(found, column) for column in columns}
      found = {column.name: [] for column in columns}
    _add(
      found,
      frame=frame.image_id,
      time_s=frame.time,
      file_name=frame.file_name,
    )
    for person in frame.people:
      _add(found, person_frame=number, **_of_person(person, head))
      for joint, of_joint in enumerate(poses.found_modes(person) or ()):
        for mode in of_joint if len(of_joint) > 1 else ():
          _add(found, mode_person=people, mode_joint=joint, **_of_mode(mode))
      people += 1
  yield {column.name: _stacked(found, column) for column in columns}


def _add(found: dict[str, list], **row: Any) -> None:
  """Appends to the columns that there are."""
  for name, value in row.items():
    if name in found:
      found[name].append(value)


def _stacked(found: dict[str, list], column: Column) -> np.ndarray:
  values = found[column.name]
  return np.array(values, column.dtype).reshape(len(values), *column.shape)


def _of_person(person: Person, head: poses.Head) -> dict[str, Any]:
  unknown = np.full(len(head.skeleton.joints), np.nan)
  known = person.labelled
  scale, within = person.scale, person.within
  return {
    "track_id": person.track_id if person.track_id >= 0 else -1,
    "box_px": np.full(4, np.nan) if person.box is None else person.box,
    "box_score": person.box_score,
    "joints_px": np.where(known[:, None], person.joints, np.nan),
    "score": person.scores,
    "covariance_px2": np.where(
      known[:, None, None],
      unknown[:, None, None] if scale is None else scale,
      np.full((2, 2), np.nan),
    ),
    "within": np.where(known, unknown if within is None else within, np.nan),
    "samples_px": person.samples,
  }


def _of_mode(mode: modes.Mode) -> dict[str, Any]:
  return {
    "mode_px": mode.point,
    "mode_share": mode.share,
    "mode_spread_px": mode.spread,
  }


def read(
  arrays: Mapping[str, Any], place: str
) -> tuple[poses.Head, tuple[Frame, ...]]:
  """The head and the frames of all columns and constants; modes are not read.

  Raises ValueError, beginning with `place`, where an array is missing or does
  not fit to the others.
  """
  if "head" not in arrays:
    raise ValueError(
      f"{place}: no 'head' in it; give a file of poses that this program wrote"
    )
  head = poses.of_record(
    strict_json.parse(str(arrays["head"]), f"{place}: head"), f"{place}: head"
  )
  samples = arrays.get("samples_px")
  count = 0 if samples is None else samples.shape[1]
  _check(arrays, columns(head, count), place)
  people: list[list[Person]] = [[] for _ in arrays["frame"]]
  for row, frame in enumerate(arrays["person_frame"]):
    people[frame].append(_person(arrays, row))
  return head, tuple(
    Frame(
      file_name=str(arrays["file_name"][row]),
      image_id=int(arrays["frame"][row]),
      labelled=True,
      people=tuple(there),
      height=head.height,
      width=head.width,
      time=float(arrays["time_s"][row]),
    )
    for row, there in enumerate(people)
  )


def _check(
  arrays: Mapping[str, Any], columns: list[Column], place: str
) -> None:
  counts = {}
  for column in columns:
    array = arrays.get(column.name)
    if array is None or array.shape[1:] != column.shape:
      found = "is not there" if array is None else f"is of shape {array.shape}"
      raise ValueError(
        f"{place}: {column.name} {found}, and must have rows of shape "
        f"{column.shape}; write the file again"
      )
    counts[column.name] = len(array)
  for first, others in TABLES.items():
    for name in others:
      if counts.get(name, counts[first]) != counts[first]:
        raise ValueError(
          f"{place}: {name} has {counts[name]} rows, {first} {counts[first]}; "
          "write the file again"
        )
  frame = arrays["person_frame"]
  if len(frame) and not (frame.min() >= 0 and frame.max() < counts["frame"]):
    raise ValueError(f"{place}: person_frame is of frames that are not there")


def _person(arrays: Mapping[str, Any], row: int) -> Person:
  def known(name: str) -> np.ndarray | None:
    values = arrays[name][row]
    return None if np.isnan(values).all() else values

  joints = arrays["joints_px"][row]
  labelled = ~np.isnan(joints).any(axis=1)
  samples = arrays.get("samples_px")
  return Person(
    box=known("box_px"),
    joints=np.where(labelled[:, None], joints, 0).astype(joints.dtype),
    labelled=labelled,
    track_id=int(arrays["track_id"][row]),
    scores=arrays["score"][row],
    box_score=float(arrays["box_score"][row]),
    scale=known("covariance_px2"),
    within=known("within"),
    samples=None if samples is None else samples[row],
  )
