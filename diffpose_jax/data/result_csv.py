"""Poses as two tables of text: of joints, and of frames.

NAME.csv has a row for each joint of each person of each frame. A frame without
people has none; NAME.frames.csv has a row for every frame, and its time, so
that the one merged into the other has them all. Two tables, for a row in which
all but the frame is empty would turn whole numbers into floats in pandas, and
would have to be dropped before anything is counted.
"""

import csv
import dataclasses
import itertools
import math
import pathlib
from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from diffpose_jax.data import annotation_fields as fields
from diffpose_jax.data import poses, whole_file
from diffpose_jax.data.annotations import Frame, Person
from diffpose_jax.pose import skeleton as skeletons
from diffpose_jax.pose import uncertainty

_Row = tuple[str, dict[str, str]]  # its place, and values by column
FRAMES = ".frames.csv"  # in place of .csv
_SHARE = math.erf(math.sqrt(0.5))  # within a standard deviation of a Gaussian
_OF_FRAME = ("frame", "time_s", "file_name", "people")
_POINT = ("x_px", "y_px")
_ERROR = ("error68_x_px", "error68_y_px", "error_correlation")
_WITHIN = "within_half_head"
_BOX = ("box_x1_px", "box_y1_px", "box_x2_px", "box_y2_px")
HEADER = (
  *("frame", "time_s", "person", "track_id", "joint", *_POINT, "score"),
  *(*_ERROR, _WITHIN, "modes", *_BOX, "box_score"),
)


def frames_path(path: pathlib.Path) -> pathlib.Path:
  """Where the table of frames is, of a table of joints."""
  return path.with_name(path.name.removesuffix(".csv") + FRAMES)


def write(
  path: pathlib.Path, head: poses.Head, frames: Iterable[Frame]
) -> None:
  """Writes both tables; each appears whole or not at all, frames first.

  The columns of the table of joints (pixels: the centre of the first is 0, 0):

  - frame, time_s: index of the frame, from 0; seconds since the first.
  - person: position in the frame, from 0.
  - track_id: identity over time; -1: none.
  - joint: name; each person has all joints of the skeleton, in its order.
  - x_px, y_px: empty for a joint that was never learned (PoseTrack's ears).
  - score: peak of the joint's heatmap times box_score, in [0, 1]; 0 for a joint
    that was never learned.
  - error68_x_px, error68_y_px: half the width of the interval along x and y
    that holds 68.27 % of the errors; where these are Gaussian, the standard
    deviation. In the unit of the joint, so that they are error bars as they
    are; empty: not known.
  - error_correlation: of the errors along x and y.
  - within_half_head: probability of being within half a head size of the truth;
    empty: not known.
  - modes: number of places that the samples name; 1: they agree; 0: not known.
  - box_x1_px ... box_y2_px: edges; empty where there is no box.
  - box_score: how sure the box is.

  Those of the other: frame and time_s, file_name, and people, their number.

  Args:
    path: of the table of joints; folders are made where they are missing.
    head: of the video.
    frames: in order; gone through once, one at a time in memory.

  Raises:
    ValueError: what `poses.checked` refuses.
  """
  unit = uncertainty.interval(_SHARE, head.tail)
  with (
    whole_file.text(path) as joints_file,
    whole_file.text(frames_path(path)) as frames_file,
  ):
    of_joints = csv.writer(joints_file, lineterminator="\n")
    of_frames = csv.writer(frames_file, lineterminator="\n")
    of_joints.writerow(HEADER)
    of_frames.writerow(_OF_FRAME)
    for frame in poses.checked(head, frames):
      time = "" if math.isnan(frame.time) else frame.time
      start = (frame.image_id, time)
      of_frames.writerow((*start, frame.file_name, len(frame.people)))
      for number, person in enumerate(frame.people):
        who = (*start, number, max(person.track_id, -1))
        edges = np.full(4, np.nan) if person.box is None else person.box
        box = (*_texts(edges), person.box_score)
        for joint in _joints(person, head.skeleton.joints, unit):
          of_joints.writerow((*who, *joint, *box))


def _joints(
  person: Person, names: Sequence[str], unit: float
) -> Iterator[tuple]:
  """The columns of each joint; `unit` is the interval of a scale of 1."""
  assert person.scores is not None  # as `poses.checked` saw to
  count = len(names)
  found = poses.found_modes(person)
  errors = np.full((count, 3), np.nan)
  if person.scale is not None:
    sd = np.sqrt(np.diagonal(person.scale, axis1=1, axis2=2))
    errors[:, :2] = unit * sd
    with np.errstate(invalid="ignore"):  # no spread at all has no correlation
      errors[:, 2] = person.scale[:, 0, 1] / sd.prod(axis=1)
  within = np.full(count, np.nan) if person.within is None else person.within
  values = np.column_stack([person.joints, person.scores, errors, within])
  known = person.labelled[:, None] | (np.arange(7) == 2)  # the score always
  values = np.where(known, values, np.nan)
  texts = _texts(values.reshape(-1))
  for i, name in enumerate(names):
    places = 0 if found is None else len(found[i])
    yield name, *texts[7 * i : 7 * i + 7], places


def _texts(values: np.ndarray) -> list[str]:
  """Numbers in the precision of float32; empty where not known."""
  return [
    "" if unknown else str(value)
    for value, unknown in zip(
      values.astype(np.float32), np.isnan(values).tolist(), strict=True
    )
  ]


def read(
  path: pathlib.Path,
  *,
  skeleton: skeletons.Skeleton,
  tail: float = math.inf,
) -> tuple[Frame, ...]:
  """The frames of the two tables that `write` wrote.

  Joints are as they were to the last bit, and the scales of their errors but
  for rounding.

  Args:
    path: of the table of joints; that of the frames is beside it.
    skeleton: whose joints the rows are of.
    tail: what the head said, which the tables do not.

  Raises:
    ValueError: a table is absent, lacks a column, or has a row that is not
      sound; names file and line.
  """
  other = frames_path(path)
  frames = {}
  for place, row in _rows(other, _OF_FRAME):
    frame = _whole(row, "frame", place)
    if frame in frames:
      raise ValueError(f"{place}: frame {frame} is there twice; keep one")
    name, time = row["file_name"], _numbers(row, ("time_s",), place)[0]
    frames[frame] = Frame(fields.file_name(name, place), frame, True, time=time)
  people: dict[int, list[Person]] = {frame: [] for frame in frames}
  for rows in _people(path):
    place, first = rows[0]
    frame = _whole(first, "frame", place)
    if frame not in people:
      raise ValueError(f"{place}: frame {frame} is not in {other}")
    people[frame].append(
      _person(rows, skeleton, uncertainty.interval(_SHARE, tail))
    )
  return tuple(
    dataclasses.replace(frame, people=tuple(people[index]))
    for index, frame in frames.items()
  )


def _rows(path: pathlib.Path, columns: Sequence[str]) -> Iterator[_Row]:
  """The rows of a table that has these columns, each with its place."""
  try:
    with open(path, encoding="utf-8", newline="") as file:
      reader = csv.DictReader(file, strict=True, restkey="", restval="")
      missing = [c for c in columns if c not in (reader.fieldnames or ())]
      if missing:
        raise ValueError(
          f"{path}: no column {', '.join(missing)}; the file is of another kind"
        )
      for row in reader:
        yield f"{path}: line {reader.line_num}", row
  except FileNotFoundError:
    raise ValueError(
      f"{path}: no such file; joints and frames are two files, *.csv and "
      f"*{FRAMES}, in one folder"
    ) from None
  except (csv.Error, UnicodeDecodeError) as error:
    raise ValueError(f"{path}: no table of text ({error})") from None


def _people(path: pathlib.Path) -> Iterator[list[_Row]]:
  """The rows of each person."""
  for _, rows in itertools.groupby(
    _rows(path, HEADER), lambda row: (row[1]["frame"], row[1]["person"])
  ):
    yield list(rows)


def _person(
  rows: list[_Row], skeleton: skeletons.Skeleton, unit: float
) -> Person:
  place, first = rows[0]
  names = [row["joint"] for _, row in rows]
  if sorted(names) != sorted(skeleton.joints):
    raise ValueError(
      f"{place}: a person with {len(names)} joints ({', '.join(names[:3])}, "
      f"...), which are not the {len(skeleton.joints)} of {skeleton.name}; give "
      "each person a row of each joint"
    )
  values = fields.reorder(
    np.array(
      [
        _numbers(row, (*_POINT, "score", *_ERROR, _WITHIN), at)
        for at, row in rows
      ]
    ),
    names,
    skeleton,
  )
  labelled = np.isfinite(values[:, 0])
  sd, within = values[:, 3:5] / unit, values[:, 6].astype(np.float32)
  scale = sd[:, :, None] * sd[:, None, :]
  scale[:, (0, 1), (1, 0)] *= values[:, 5:6]
  box = np.array(_numbers(first, _BOX, place), np.float32)
  joints = np.where(labelled[:, None], values[:, :2], 0)
  return Person(
    box=None if np.isnan(box).any() else box,
    joints=joints.astype(np.float32),
    labelled=labelled,
    track_id=_whole(first, "track_id", place),
    scores=values[:, 2].astype(np.float32),
    box_score=_numbers(first, ("box_score",), place)[0],
    scale=None if np.isnan(scale).all() else scale.astype(np.float32),
    within=None if np.isnan(within).all() else within,
  )


def _numbers(
  row: dict[str, str], columns: Sequence[str], place: str
) -> list[float]:
  """The numbers in some columns; NaN where one is empty."""
  try:
    return [float(row[column] or math.nan) for column in columns]
  except ValueError as error:
    raise ValueError(
      f"{place}: {error} ({', '.join(columns)}); correct it"
    ) from None


def _whole(row: dict[str, str], column: str, place: str) -> int:
  value = _numbers(row, (column,), place)[0]
  if not value.is_integer():
    raise ValueError(
      f"{place}: {column} is {row[column]!r}; give a whole number"
    )
  return int(value)
