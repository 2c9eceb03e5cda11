"""How far off each joint of each person may be, over a clip: from its file."""

import collections
import dataclasses
import math
import pathlib

import numpy as np
from jaxtyping import Float

from diffpose_jax.data import annotations, poses, result_json, strict_json
from diffpose_jax.pose import uncertainty

MOST = 4  # people that the page tells of


@dataclasses.dataclass(frozen=True)
class Joint:
  """A joint of a person, over the frames in which the person is."""

  name: str
  within: float | None  # mean chance to be within half a head; None: not known
  error: float  # mean of the error that half of the errors are below, pixels
  # For each frame of the clip how sure it is, 0 to 1; None: nobody is there.
  sure: tuple[float | None, ...]


@dataclasses.dataclass(frozen=True)
class Person:
  """An identity, in JSON types."""

  track: int
  frames: int  # in which it is
  calibrated: bool  # whether `sure` is `within`; else it follows from the error
  joints: tuple[Joint, ...]


def of_file(path: pathlib.Path, *, most: int = MOST) -> list[Person]:
  """The people of a file of poses who are in the most frames, longest first."""
  content = strict_json.load(path)
  head = poses.of_record(content, str(path))
  frames = result_json.frames_of(
    content, head, str(path), skeleton=head.skeleton
  )
  seen = collections.Counter(
    person.track_id for frame in frames for person in frame.people
  )
  if len(seen) > 1:
    seen.pop(-1, None)  # those whom the tracker knew nowhere else
  # Those who are in as many frames by their numbers.
  tracks = sorted(seen, key=lambda track: (-seen[track], track))[:most]
  return [_person(head, frames, track) for track in tracks]


def _person(
  head: poses.Head, frames: tuple[annotations.Frame, ...], track: int
) -> Person:
  people = [
    next((one for one in frame.people if one.track_id == track), None)
    for frame in frames
  ]
  there = [one for one in people if one is not None]
  calibrated = all(one.within is not None for one in there)
  errors = _rows([_errors(one, head) for one in there])
  sure = _rows([_sure(one, head) for one in there])
  joints = []
  for channel, name in enumerate(head.skeleton.joints):
    if not any(one.labelled[channel] for one in there):
      continue  # nothing was learned of it
    row = iter(sure[:, channel])
    joints.append(
      Joint(
        name=name.replace("_", " "),
        within=_mean(sure[:, channel]) if calibrated else None,
        error=_mean(errors[:, channel]) or 0.0,
        sure=tuple(None if p is None else _plain(next(row)) for p in people),
      )
    )
  return Person(track, len(there), calibrated, tuple(joints))


def _errors(
  person: annotations.Person, head: poses.Head
) -> Float[np.ndarray, "k"]:
  """The error that half of the errors of each joint are below, pixels.

  Of the circle that is as large as the ellipse: exact where that is a circle.
  """
  assert person.scale is not None  # as files of this program have
  known = np.where(person.labelled[:, None, None], person.scale, np.eye(2))
  area = np.sqrt(np.maximum(np.linalg.det(known.astype(float)), 0))
  return np.sqrt(area * uncertainty.region(0.5, head.tail))


def _sure(
  person: annotations.Person, head: poses.Head
) -> Float[np.ndarray, "k"]:
  """How sure each joint is: the chance to be right, if that is known.

  Else 1 where the error is none, and 0 from a tenth of the box's longer side.
  """
  if person.within is not None:
    return person.within.astype(float)
  assert person.box is not None
  side = float(max(person.box[2:] - person.box[:2]))
  return np.clip(1 - _errors(person, head) / (0.1 * side), 0, 1)


def _rows(rows: list[np.ndarray]) -> Float[np.ndarray, "n k"]:
  return np.stack(rows)


def _mean(values: Float[np.ndarray, "n"]) -> float | None:
  known = values[np.isfinite(values)]
  return float(known.mean()) if len(known) else None


def _plain(value: float) -> float | None:
  return round(float(value), 3) if math.isfinite(value) else None
