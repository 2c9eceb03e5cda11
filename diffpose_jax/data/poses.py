"""The predicted poses of a video: what is said once, and what of each frame.

A file of poses is a `Head` and the frames in order, which writers go through
more than once: frames may come from a disk, so that memory does not grow with
the length of the video.
"""

import dataclasses
import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from diffpose_jax.data import annotation_fields as fields
from diffpose_jax.data import skeleton_file, strict_json
from diffpose_jax.data.annotations import Frame, Person
from diffpose_jax.pose import modes
from diffpose_jax.pose import skeleton as skeletons

FORMAT = "diffpose_jax poses"  # what files say that hold a whole `Head`
VERSION = 1  # see docs/formats.md for what raises it


@dataclasses.dataclass(frozen=True)
class Head:
  """What is said once of the poses of a video."""

  name: str  # of its outputs
  source: str  # the input's own file or folder name, no path
  fps: float  # mean rate
  height: int
  width: int
  skeleton: skeletons.Skeleton
  protocol: Mapping[str, Any]  # how the poses came about; JSON types
  tail: float = math.inf  # degrees of freedom of the joints' error


def record_of(head: Head, place: str) -> dict[str, Any]:
  """A head as JSON; `place` names in errors where it would be written.

  Raises ValueError for a number that is not finite or not above 0.
  """
  sizes = {"fps": head.fps, "height": head.height, "width": head.width}
  for name, value in (sizes | {"tail": head.tail}).items():
    if not value > 0 or (math.isinf(value) and name != "tail"):
      raise ValueError(f"{place}: not written: {name} is {value}, not above 0")
  return {
    "format": FORMAT,
    "version": VERSION,
    "video": {"name": head.name, "source": head.source, **sizes},
    "skeleton": skeleton_file.record_of(head.skeleton, place),
    "tail": None if math.isinf(head.tail) else head.tail,
    "protocol": dict(head.protocol),
  }


def of_record(record: Any, place: str) -> Head:
  """The head of what `record_of` gave; other keys are passed over.

  Raises ValueError for anything else, or a version that is newer than this
  program.
  """
  keys = ("format", "version", "video", "skeleton", "tail", "protocol")
  strict_json.require(record, keys, place)
  if record["format"] != FORMAT:
    raise ValueError(
      f"{place}: format is {strict_json.describe(record['format'])}, not "
      f"{FORMAT!r}; give a file of poses that this program wrote"
    )
  version = strict_json.integer(record["version"], f"{place}: version")
  if not 1 <= version <= VERSION:
    raise ValueError(
      f"{place}: version is {version}, and this program reads 1 to {VERSION}; "
      "take a newer one"
    )
  video = record["video"]
  known = ("name", "source", "fps", "height", "width")
  strict_json.require(video, known, f"{place}: video")
  return Head(
    name=str(video["name"]),
    source=str(video["source"]),
    fps=fields.number(video, "fps", math.nan, f"{place}: video"),
    height=strict_json.integer(video["height"], f"{place}: video: height"),
    width=strict_json.integer(video["width"], f"{place}: video: width"),
    skeleton=skeleton_file.of_record(record["skeleton"], f"{place}: skeleton"),
    protocol=strict_json.require(record["protocol"], (), f"{place}: protocol"),
    tail=fields.number(record, "tail", math.inf, place),
  )


def checked(head: Head, frames: Iterable[Frame]) -> Iterator[Frame]:
  """The frames, each once it is known that it can be written.

  What belongs to labels alone (ignore regions, head boxes, occlusion) is not
  looked at: files of poses do not hold it.

  Raises:
    ValueError: a frame is of another size than the video, somebody has no
      scores, or a number that must be finite is not; names frame and person.
  """
  for frame in frames:
    place = f"frame {frame.image_id} ({frame.file_name})"
    size = (frame.height or head.height, frame.width or head.width)
    if size != (head.height, head.width):
      raise ValueError(
        f"{place}: is {size[1]}x{size[0]} pixels, the video {head.width}x"
        f"{head.height}; give frames of one size"
      )
    for position, person in enumerate(frame.people):
      _check(person, len(head.skeleton.joints), f"{place}: person {position}")
    yield frame


def _check(person: Person, count: int, place: str) -> None:
  if person.scores is None:
    raise ValueError(f"{place} has no scores; only predictions are written")
  if person.joints.shape != (count, 2) or person.scores.shape != (count,):
    raise ValueError(
      f"{place} has {len(person.joints)} joints and {len(person.scores)} "
      f"scores, the skeleton {count}; take the skeleton of these poses"
    )
  finite = {
    "joints": person.joints[person.labelled],
    "scores": person.scores,
    "box_score": np.array(person.box_score),
    "box": np.zeros(4) if person.box is None else person.box,
  }
  for name, values in finite.items():
    if not np.isfinite(values).all():
      raise ValueError(f"{place}: {name} is not finite; leave the person out")


def found_modes(person: Person) -> list[list[modes.Mode]] | None:
  """The modes of each joint's samples, if these are known.

  A joint that is not predicted has none. Modes are of the samples as the
  network gave them: joints that were smoothed since may lie beside them.
  """
  if person.samples is None or person.box is None:
    return None
  side = float(np.max(person.box[2:] - person.box[:2]))
  found = iter(modes.find(person.samples[:, person.labelled], side))
  return [next(found) if known else [] for known in person.labelled]
