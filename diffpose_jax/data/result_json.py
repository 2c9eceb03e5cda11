"""Poses as this program's own JSON, which holds all that is known of them.

Its schema is `poses.schema.json` beside this file; docs/formats.md explains it.
A frame is a line, so that a file is written, and can be looked at, frame by
frame.
"""

import dataclasses
import math
import os
import pathlib
from collections.abc import Iterable
from typing import Any

import numpy as np
from jaxtyping import Float64, Shaped

from diffpose_jax.data import annotation_fields as fields
from diffpose_jax.data import poses, strict_json, whole_file
from diffpose_jax.data.annotations import Frame, Person
from diffpose_jax.pose import modes
from diffpose_jax.pose import skeleton as skeletons


def write(
  path: pathlib.Path,
  head: poses.Head,
  frames: Iterable[Frame],
  *,
  samples: bool = False,
) -> None:
  """Writes the poses of a video; the file appears whole or not at all.

  Args:
    path: folders are made where they are missing.
    head: of the video.
    frames: in order; gone through once, one at a time in memory.
    samples: whether the samples themselves are written too, beside their modes.

  Raises:
    ValueError: what `poses.checked` refuses.
  """
  start = strict_json.text(poses.record_of(head, str(path)))
  with whole_file.text(path) as file:
    file.write(f'{start[:-1]}, "frames": [\n')
    records = (
      _frame_json(frame, samples) for frame in poses.checked(head, frames)
    )
    file.writelines(strict_json.listed(records, ",\n"))
    file.write("\n]}\n")


def _frame_json(frame: Frame, samples: bool) -> dict[str, Any]:
  return {
    "index": frame.image_id,
    "time": None if math.isnan(frame.time) else frame.time,
    "file_name": frame.file_name,
    "people": [_person_json(person, samples) for person in frame.people],
  }


def _person_json(person: Person, samples: bool) -> dict[str, Any]:
  assert person.scores is not None  # as `poses.checked` saw to
  joints = np.where(person.labelled[:, None], person.joints, np.nan)
  record: dict[str, Any] = {
    "track_id": person.track_id if person.track_id >= 0 else None,
    "box": None if person.box is None else _plain(person.box),
    "box_score": float(person.box_score),
    "joints": _rows(joints),
    "scores": _plain(person.scores),
  }
  if person.scale is not None:
    known = np.where(person.labelled[:, None, None], person.scale, np.nan)
    record["covariance"] = _rows(known[:, (0, 0, 1), (0, 1, 1)])
  if person.within is not None:
    within = np.where(person.labelled, person.within, np.nan)
    record["within"] = [row and row[0] for row in _rows(within[:, None])]
  found = poses.found_modes(person)
  if found is not None:
    record["modes"] = [
      [_mode_json(mode) for mode in joint] if len(joint) > 1 else None
      for joint in found
    ]
  if samples and person.samples is not None:
    record["samples"] = [_rows(member) for member in person.samples]
  return record


def _mode_json(mode: modes.Mode) -> dict[str, Any]:
  return {
    "point": _plain(mode.point),
    "share": _number(mode.share),
    "spread": None if math.isnan(mode.spread) else _number(mode.spread),
  }


def _plain(values: np.ndarray) -> list:
  """Numbers in the precision of float32, which they are computed in."""
  return strict_json.plain(values.astype(np.float32))


def _number(value: float) -> float:
  return _plain(np.array([value]))[0]


def _rows(values: np.ndarray) -> list:
  """The rows of an array; None for one that is not known."""
  known = np.all(np.isfinite(values), axis=1)
  plain = _plain(np.where(known[:, None], values, 0))
  return [
    row if there else None for row, there in zip(plain, known, strict=True)
  ]


def read(path: str | os.PathLike) -> tuple[poses.Head, tuple[Frame, ...]]:
  """The head and the frames of a file that `write` wrote.

  Joints are as they were to the last bit; what is derived from the samples, the
  modes, is not read.

  Raises:
    ValueError: the file is absent, damaged, of another kind or of a newer
      version; names the file and the record.
  """
  content = strict_json.load(path)
  head = poses.of_record(content, str(path))
  return head, frames_of(content, head, str(path), skeleton=head.skeleton)


def frames_of(
  content: Any,
  head: poses.Head,
  place: str,
  *,
  skeleton: skeletons.Skeleton,
  dtype: type = np.float32,
) -> tuple[Frame, ...]:
  """The frames of the content of a file, with the joints of `skeleton`.

  Joints that only one side knows are left out, or not labelled. Raises
  ValueError, beginning with `place`, for what is not sound.
  """
  strict_json.require(content, ("frames",), place)
  if not set(head.skeleton.joints) & set(skeleton.joints):
    raise ValueError(
      f"{place}: skeleton: none of its joints "
      f"({', '.join(head.skeleton.joints)}) is one of {skeleton.name}'s "
      f"({', '.join(skeleton.joints)})"
    )
  layout = _Layout(head, skeleton, dtype)
  frames = []
  seen: dict[int, int] = {}
  for position, record in enumerate(
    strict_json.listing(content["frames"], f"{place}: frames")
  ):
    at = f"{place}: frames[{position}]"
    frames.append(_frame(record, layout, at))
    first = seen.setdefault(frames[-1].image_id, position)
    if first != position:
      raise ValueError(
        f"{at}: index {frames[-1].image_id} is used twice, before by "
        f"frames[{first}]; give each frame an index of its own"
      )
  return tuple(frames)


@dataclasses.dataclass(frozen=True)
class _Layout:
  """What is the same for all frames of a file; see `frames_of`."""

  head: poses.Head
  skeleton: skeletons.Skeleton
  dtype: type

  def ordered(self, values: Shaped[np.ndarray, "p *d"]) -> np.ndarray:
    """Values of the file's joints in the order of the skeleton, else 0."""
    return fields.reorder(values, self.head.skeleton.joints, self.skeleton)


def _frame(record: Any, layout: _Layout, place: str) -> Frame:
  keys = ("index", "time", "file_name", "people")
  strict_json.require(record, keys, place)
  people = strict_json.listing(record["people"], f"{place}: people")
  return Frame(
    file_name=fields.file_name(record["file_name"], place),
    image_id=strict_json.integer(record["index"], f"{place}: index"),
    labelled=True,
    people=tuple(
      _person(person, layout, f"{place}: people[{i}]")
      for i, person in enumerate(people)
    ),
    height=layout.head.height,
    width=layout.head.width,
    time=fields.number(record, "time", math.nan, place),
  )


def _person(record: Any, layout: _Layout, place: str) -> Person:
  keys = ("track_id", "box", "box_score", "joints", "scores")
  strict_json.require(record, keys, place)
  count = len(layout.head.skeleton.joints)
  points = _known(record["joints"], count, 2, f"{place}: joints")
  labelled = layout.ordered(np.all(np.isfinite(points), axis=1))
  scores = strict_json.numbers(record["scores"], f"{place}: scores", count)

  def optional(key: str, width: int) -> np.ndarray | None:
    if record.get(key) is None:
      return None
    rows = _known(record[key], count, width, f"{place}: {key}")
    known = np.where(labelled[:, None], layout.ordered(rows), np.nan)
    return known.astype(layout.dtype)

  covariance, within = optional("covariance", 3), optional("within", 1)
  track_id = record["track_id"]
  return Person(
    box=_box(record["box"], layout.dtype, f"{place}: box"),
    joints=np.where(labelled[:, None], layout.ordered(points), 0).astype(
      layout.dtype
    ),
    labelled=labelled,
    track_id=(
      -1
      if track_id is None
      else strict_json.integer(track_id, f"{place}: track_id")
    ),
    scores=layout.ordered(scores).astype(layout.dtype),
    box_score=fields.number(record, "box_score", 1.0, place),
    scale=None
    if covariance is None
    else covariance[:, (0, 1, 1, 2)].reshape(-1, 2, 2),
    within=None if within is None else within[:, 0],
    samples=_samples(record.get("samples"), layout, f"{place}: samples"),
  )


def _box(value: Any, dtype: type, place: str) -> np.ndarray | None:
  """Edges x1, y1, x2, y2."""
  if value is None:
    return None
  edges = strict_json.numbers(value, place, 4)
  # For its checks: here boxes are edges, in other files width and height.
  fields.box([*value[:2], *(edges[2:] - edges[:2]).tolist()], place)
  return edges.astype(dtype)


def _samples(value: Any, layout: _Layout, place: str) -> np.ndarray | None:
  if value is None:
    return None
  count = len(layout.head.skeleton.joints)
  members = [
    layout.ordered(_known(member, count, 2, f"{place}[{i}]"))
    for i, member in enumerate(strict_json.listing(value, place))
  ]
  shape = (len(members), len(layout.skeleton.joints), 2)
  return np.array(members, layout.dtype).reshape(shape)


def _known(
  value: Any, count: int, width: int, place: str
) -> Float64[np.ndarray, "n d"]:
  """A list of `count` rows of `width` numbers, or of numbers; null: NaN."""
  rows = strict_json.listing(value, place)
  if len(rows) != count:
    raise ValueError(f"{place}: expected {count} joints, found {len(rows)}")
  result = np.full((count, width), np.nan)
  for i, row in enumerate(rows):
    if row is not None:
      row = row if width > 1 else [row]
      result[i] = strict_json.numbers(row, f"{place}[{i}]", width)
  return result
