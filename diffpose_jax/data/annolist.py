"""Annolist JSON, the form of PoseTrack17's own annotations: one file a video.

Source: github.com/leonid-pishchulin/poseval.
"""

import pathlib
import re
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float64

from diffpose_jax.data import annotation_fields as fields
from diffpose_jax.data import annotations, strict_json
from diffpose_jax.pose import skeleton as skeleton_lib

# Joint ids 0 to 14: the order of the evaluator, which wrote this form.
_SLOTS = skeleton_lib.POSETRACK
JOINTS = tuple(_SLOTS.joints[slot] for slot in _SLOTS.evaluated)

_HEAD = ("x1", "y1", "x2", "y2")
_ENLARGE = 1.2  # of the joints' extents, to a box


def read_video(
  path: pathlib.Path,
  *,
  skeleton: skeleton_lib.Skeleton,
  dtype: type = np.float32,
  style: fields.Style = "labels",
) -> annotations.Video:
  """The video of one file, named after it, frames by number.

  Values may stand in a list of one or alone. A joint is labelled where the
  file has a point for it, and occluded where the point's `is_visible` is 0.
  A frame is labelled where it has people and `is_labeled` does not deny it;
  its image_id is its number, with which its name must begin. A person without
  a track has track_id -1.

  The head box spans x1, y1 and x2, y2, whichever corners these are; without
  extent it is None. There is no person box in the file: it is (min x, min y,
  max x + 1, max y + 1) of the joints, enlarged by a tenth of its width and
  height on each side, as in the COCO-style files that were made from these;
  None without a joint.

  `dtype` and `style` are those of `annotations.read_video`.

  Raises:
    ValueError: not an annolist, or an empty one; pictures of several folders;
      a frame or a joint twice; an unknown joint id; a number that is not
      finite. Names file and record.
  """
  record = strict_json.load(path)
  if isinstance(record, dict) and "images" in record:
    raise ValueError(
      f"{path}: has 'images' where PoseTrack17 has 'annolist'; prepare it as "
      "posetrack18 if all files here are like it"
    )
  return from_json(record, path, skeleton=skeleton, dtype=dtype, style=style)


def from_json(
  record: Any,
  path: pathlib.Path,
  *,
  skeleton: skeleton_lib.Skeleton,
  dtype: type = np.float32,
  style: fields.Style = "labels",
) -> annotations.Video:
  """The video of what the file `path` holds; see `read_video`."""
  strict_json.require(record, ("annolist",), str(path))
  listed = strict_json.listing(record["annolist"], f"{path}: annolist")
  if not listed:
    raise ValueError(f"{path}: annolist has no images; remove the file")
  layout = fields.Layout(list(JOINTS), None, skeleton, dtype, style)
  frames = [
    _frame(entry, layout, f"{path}: annolist[{i}]")
    for i, entry in enumerate(listed)
  ]
  folders = [pathlib.PurePosixPath(f.file_name).parent for f in frames]
  folders = list(dict.fromkeys(folders))
  if len(folders) > 1:
    raise ValueError(
      f"{path}: pictures of {len(folders)} folders ({folders[0]}, "
      f"{folders[1]}, ...) in one video; split the file"
    )
  return annotations.Video(path.stem, tuple(in_order(frames, path)))


def frame_number(name: str, place: str | pathlib.PurePath) -> int:
  """The number that a frame's name begins with, as in 00000037_crop.jpg."""
  digits = re.match(r"[0-9]{1,8}(?![0-9])", pathlib.PurePosixPath(name).name)
  if digits is None:
    raise ValueError(
      f"{place}: frame {name!r} does not begin with its number, of at most 8 "
      "digits; rename it"
    )
  return int(digits[0])


def in_order(
  frames: Sequence[annotations.Frame], path: pathlib.Path
) -> list[annotations.Frame]:
  """Frames of one folder by number, once no number is known to come twice."""
  numbered: dict[int, annotations.Frame] = {}
  for frame in frames:
    number = frame_number(frame.file_name, path)
    if number in numbered:
      raise ValueError(
        f"{path}: frame {number} is there twice, as "
        f"{numbered[number].file_name} and {frame.file_name}; keep one"
      )
    numbered[number] = frame
  return [numbered[number] for number in sorted(numbered)]


def _frame(entry: Any, layout: fields.Layout, place: str) -> annotations.Frame:
  """One entry of annolist."""
  strict_json.require(entry, ("image",), place)
  image = strict_json.require(
    _one(entry["image"], f"{place}: image"), ("name",), f"{place}: image"
  )
  name = image["name"]
  if isinstance(name, str):
    name = name.replace("\\/", "/")  # some files escape the slash twice
  name = fields.file_name(name, place)
  place = f"{place} ({name})"
  people = _people(entry, layout, name, place)
  labelled = {"is_labeled": _optional(entry, "is_labeled", place)}
  return annotations.Frame(
    file_name=str(pathlib.PurePosixPath(name)),
    image_id=frame_number(name, place),
    labelled=fields.flag(labelled, "is_labeled", True, place) and bool(people),
    people=people,
    ignore_regions=_regions(entry, place),
  )


def _people(
  entry: dict[str, Any], layout: fields.Layout, frame: str, place: str
) -> tuple[annotations.Person, ...]:
  """The people of an entry of annolist, no two of one track."""
  people, seen = [], {}
  for i, rect in enumerate(_many(entry, "annorect", place)):
    at = f"{place}: annorect[{i}]"
    person = _person(rect, layout, at)
    if layout.style == "labels":
      fields.check_track(person.track_id, seen, frame, at)
    people.append(person)
  return tuple(people)


def _person(rect: Any, layout: fields.Layout, place: str) -> annotations.Person:
  """One entry of annorect."""
  poses = _many(_record(rect, place), "annopoints", place)
  if len(poses) > 1:
    raise ValueError(
      f"{place}: annopoints has {len(poses)} poses for one person; keep one"
    )
  pose = _record(poses[0] if poses else {}, f"{place}: annopoints[0]")
  points = np.zeros((len(JOINTS), 3))
  scores, visible = {}, {}
  for i, point in enumerate(_many(pose, "point", place)):
    at = f"{place}: point[{i}]"
    joint = _joint(point, at)
    if points[joint, 2]:
      raise ValueError(
        f"{at}: joint id {joint} ({JOINTS[joint]}) is there twice; keep one"
      )
    points[joint] = _number(point, "x", at), _number(point, "y", at), 1
    if _optional(point, "score", at) is not None:
      scores[joint] = _number(point, "score", at)
    seen = _optional(point, "is_visible", at)
    if seen is not None:
      visible[joint] = fields.flag({"is_visible": seen}, "is_visible", True, at)
  every = range(len(JOINTS))
  record = {
    "keypoints": points.reshape(-1).tolist(),
    "scores": [scores.get(joint, 0.0) for joint in every] if scores else None,
    "occluded": (
      [not visible.get(joint, True) for joint in every] if visible else None
    ),
    "track_id": _optional(rect, "track_id", place),
    "score": _optional(rect, "score", place),
    "bbox": _box(points[points[:, 2] > 0, :2]),
    "bbox_head": _head_box(rect, place),
  }
  return annotations.Person(**fields.person(record, layout, place))


def _joint(point: Any, place: str) -> int:
  """The joint of a point that has id, x and y."""
  strict_json.require(point, ("id", "x", "y"), place)
  at = f"{place}: id"
  joint = strict_json.integer(_one(point["id"], at), at)
  if not 0 <= joint < len(JOINTS):
    raise ValueError(
      f"{place}: joint id {joint} is unknown; PoseTrack17 has 0 (right_ankle) "
      "to 14 (head_top)"
    )
  return joint


def _box(points: Float64[np.ndarray, "n 2"]) -> list[float] | None:
  """(x, y, width, height) around joints; the rule is in `read_video`."""
  if not len(points):
    return None
  low, high = points.min(axis=0), points.max(axis=0) + 1
  size = _ENLARGE * (high - low)
  return [*((low + high - size) / 2).tolist(), *size.tolist()]


def _head_box(rect: dict[str, Any], place: str) -> list[float] | None:
  """(x, y, width, height) of the head; None where absent or a mere point."""
  given = [key for key in _HEAD if _optional(rect, key, place) is not None]
  if not given:
    return None
  if len(given) < len(_HEAD):
    raise ValueError(
      f"{place}: head box has {', '.join(given)} only; give x1, y1, x2 and y2, "
      "or none of them"
    )
  return corners([_number(rect, key, place) for key in _HEAD])


def corners(edges: Sequence[float]) -> list[float] | None:
  """(x, y, width, height) of two opposite corners; None if they are one."""
  x, y = sorted(edges[0::2]), sorted(edges[1::2])
  if x[0] == x[1] and y[0] == y[1]:
    return None
  return [x[0], y[0], x[1] - x[0], y[1] - y[0]]


def _regions(entry: dict[str, Any], place: str) -> tuple[np.ndarray, ...]:
  """Ignored polygons; those without a corner are left out."""
  polygons = []
  for i, region in enumerate(_many(entry, "ignore_regions", place)):
    at = f"{place}: ignore_regions[{i}]"
    polygon = []
    for j, point in enumerate(_many(_record(region, at), "point", at)):
      corner = f"{at}: point[{j}]"
      strict_json.require(point, ("x", "y"), corner)
      polygon.append([_number(point, key, corner) for key in ("x", "y")])
    if polygon:
      polygons.append(np.array(polygon, np.float32))
  return tuple(polygons)


def _record(value: Any, place: str) -> dict[str, Any]:
  """`value`, once it is known to be an object."""
  if not isinstance(value, dict):
    raise ValueError(
      f"{place}: expected an object, found {strict_json.describe(value)}"
    )
  return value


def _many(record: dict[str, Any], key: str, place: str) -> list:
  """The list at `key`; [] where absent or null, and [x] for one object."""
  value = record.get(key)
  if value is None or value == {}:
    return []
  if isinstance(value, dict):
    return [value]
  items = strict_json.listing(value, f"{place}: {key}")
  return [] if items == [{}] else items


def _one(value: Any, place: str) -> Any:
  """A value that may be wrapped in a list of one."""
  if not isinstance(value, list):
    return value
  if len(value) != 1:
    raise ValueError(f"{place}: expected one value, found {len(value)}")
  return value[0]


def _optional(record: dict[str, Any], key: str, place: str) -> Any:
  """The one value at `key`; None where absent, null or []."""
  value = record.get(key)
  return None if value in (None, []) else _one(value, f"{place}: {key}")


def _number(record: dict[str, Any], key: str, place: str) -> float:
  at = f"{place}: {key}"
  return float(strict_json.numbers([_one(record[key], at)], at)[0])
