"""Single fields of annotation records, checked and as arrays.

`place` names file and record; it begins every error.
"""

import dataclasses
import functools
import math
import pathlib
import re
from collections.abc import Container, Sequence
from typing import Any, Literal

import numpy as np
from jaxtyping import Bool, Float64, Shaped

from diffpose_jax.data import strict_json
from diffpose_jax.pose import skeleton as skeleton_lib

Style = Literal["labels", "results"]

FARTHEST = 1e6  # pixels; no picture is as large
THINNEST = 0.25  # pixels; four steps of float32 at the farthest
# Control characters and halves of characters, which no path can hold.
_NO_NAME = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")
_LONGEST = 4096  # characters of a path


@dataclasses.dataclass(frozen=True)
class Layout:
  """What is the same for all annotations of one file; see `read_video`."""

  names: list[str]  # of joints, in the file's order
  category: Any  # the id of people, None where the file has none
  skeleton: skeleton_lib.Skeleton
  dtype: type
  style: Style


def person(
  record: dict[str, Any], layout: Layout, place: str
) -> dict[str, Any]:
  """The fields of a `Person`, from one annotation with `keypoints`."""
  category = record.get("category_id", layout.category)
  if layout.category is not None and category != layout.category:
    raise ValueError(
      f"{place}: category_id is {strict_json.describe(category)}, but people "
      f"are {strict_json.describe(layout.category)} in this file; remove the "
      "annotation"
    )
  names, skeleton, dtype = layout.names, layout.skeleton, layout.dtype
  points = strict_json.numbers(
    record["keypoints"], f"{place}: keypoints", 3 * len(names)
  ).reshape(-1, 3)
  given = labelled(points, names, layout.style, place)
  if layout.style == "labels":
    _check_near(points[:, :2], given, names, place)
  joints = np.where(given[:, None], points[:, :2], 0)
  result: dict[str, Any] = {
    "joints": reorder(joints, names, skeleton).astype(dtype),
    "labelled": reorder(given, names, skeleton),
    "track_id": _track_id(record, place),
    "box_score": number(record, "score", 1.0, place),
    "blur": number(record, "blur", math.nan, place),
    "speed": number(record, "speed", math.nan, place),
    "box": None,
  }
  for field, key in (("box", "bbox"), ("head_box", "bbox_head")):
    if record.get(key) is not None:
      result[field] = box(record[key], f"{place}: {key}").astype(dtype)
  scores = per_joint(record, "scores", len(names), place)
  if scores is not None:
    result["scores"] = reorder(scores, names, skeleton).astype(dtype)
  occluded = per_joint(record, "occluded", len(names), place)
  if occluded is not None:
    result["occluded"] = reorder(occluded, names, skeleton) != 0
  return result


def image_ids(images: Sequence[Any], place: str) -> list[int]:
  """The id of each image, which must have `file_name` too and an own id."""
  ids: dict[int, int] = {}
  for position, image in enumerate(images):
    at = f"{place}[{position}]"
    strict_json.require(image, ("id", "file_name"), at)
    identity = strict_json.integer(image["id"], f"{at}: id")
    if identity in ids:
      raise ValueError(
        f"{at}: image id {identity} is used twice, before by "
        f"images[{ids[identity]}]; give each image an id of its own"
      )
    ids[identity] = position
  return list(ids)


def image_id(record: dict[str, Any], known: Container[int], place: str) -> int:
  """The `image_id` of an annotation, which must be one of `known`."""
  identity = strict_json.integer(record["image_id"], f"{place}: image_id")
  if identity not in known:
    raise ValueError(
      f"{place}: image_id {identity} is no image of this file; remove the "
      "annotation or add the image"
    )
  return identity


def check_track(
  track_id: int, seen: dict[int, str], frame: str, place: str
) -> None:
  """Raises ValueError where a frame has somebody of this track already.

  Args:
    track_id: below 0 where the person has none.
    seen: places of the frame's tracks so far; this one is added.
    frame: what to call it.
    place: of the person.
  """
  first = seen.setdefault(track_id, place)
  if track_id >= 0 and first != place:
    raise ValueError(
      f"{place}: track_id {track_id} is twice in frame {frame}, before at "
      f"{first}; remove one of the two, or correct its track_id"
    )


def _track_id(record: dict[str, Any], place: str) -> int:
  """The track of a person; -1 where it is absent or null."""
  value = record.get("track_id")
  if value is None:
    return -1
  return strict_json.integer(value, f"{place}: track_id")


def has_area(values: Float64[np.ndarray, "4"]) -> bool:
  """Whether a file's (x, y, width, height) has one that can be cropped.

  What is thinner than `THINNEST` could have none in float32, which the program
  computes in, once it is moved or enlarged.
  """
  return bool(np.all(values[2:] >= THINNEST))


def box(value: Any, place: str) -> Float64[np.ndarray, "4"]:
  """Edges of a file's (x, y, width, height).

  Raises ValueError where it has no area, or is too far out for a picture.
  """
  values = strict_json.numbers(value, place, 4)
  if not has_area(values):
    raise ValueError(
      f"{place}: box {value} has no area; give width and height of at least "
      f"{THINNEST:g} pixels, or remove it"
    )
  edges = np.concatenate([values[:2], values[:2] + values[2:]])
  if np.abs(edges).max() > FARTHEST:
    raise ValueError(
      f"{place}: box {value} reaches beyond {FARTHEST:g} pixels; no picture is "
      "as large: correct or remove it"
    )
  return edges


def number(
  record: dict[str, Any], key: str, default: float, place: str
) -> float:
  """The number at `key`, or `default` where it is absent or null."""
  if record.get(key) is None:
    return default
  return float(strict_json.numbers([record[key]], f"{place}: {key}")[0])


def flag(record: dict[str, Any], key: str, default: bool, place: str) -> bool:
  """The truth at `key`, or `default` where it is absent or null."""
  value = record.get(key)
  if value is None:
    return default
  if type(value) not in (bool, int, float) or value not in (0, 1):
    raise ValueError(
      f"{place}: {key} is {strict_json.describe(value)}; it must be true or "
      "false"
    )
  return bool(value)


def size(record: dict[str, Any], key: str, place: str) -> int | None:
  """The pixels at `key`, above 0; None where it is absent or null."""
  if record.get(key) is None:
    return None
  value = strict_json.integer(record[key], f"{place}: {key}")
  if value <= 0:
    raise ValueError(f"{place}: {key} is {value}; it must be above 0")
  return value


def file_name(name: Any, place: str) -> str:
  """`name`, once it is known to be a path that stays inside the data root."""
  sound = isinstance(name, str) and 0 < len(name) <= _LONGEST
  if not sound or _NO_NAME.search(name):
    raise ValueError(
      f"{place}: file_name {strict_json.describe(name)} is no file's name; "
      "correct it"
    )
  path = pathlib.PureWindowsPath(name)  # splits at / and at \
  if path.drive or path.root or ".." in path.parts:
    raise ValueError(
      f"{place}: file_name {name!r} leaves the data root; write it relative "
      "to the root, without .."
    )
  return name


def ignore_regions(
  image: dict[str, Any], place: str
) -> tuple[Float64[np.ndarray, "_ 2"], ...]:
  """Polygons of (x, y) corners that are not to be judged; () without any."""
  axes = []
  for key in ("ignore_regions_x", "ignore_regions_y"):
    value = image.get(key)
    regions = strict_json.listing(
      [] if value is None else value, f"{place}: {key}"
    )
    axes.append(
      [
        strict_json.numbers(region, f"{place}: {key}[{i}]")
        for i, region in enumerate(regions)
      ]
    )
  if [len(x) for x in axes[0]] != [len(y) for y in axes[1]]:
    raise ValueError(
      f"{place}: ignore_regions_x and ignore_regions_y differ in length"
    )
  return tuple(np.stack(pair, axis=1) for pair in zip(*axes, strict=True))


def joint_names(
  categories: list, skeleton: skeleton_lib.Skeleton, place: str
) -> list[str]:
  """The joints' names in the file's order; at least one must be known."""
  if not categories:
    raise ValueError(f"{place} is empty; it must name the joints")
  place = f"{place}[0]"
  record = strict_json.require(categories[0], ("keypoints",), place)
  names = strict_json.listing(record["keypoints"], f"{place}: keypoints")
  for name in names:
    if not isinstance(name, str) or _NO_NAME.search(name):
      raise ValueError(
        f"{place}: keypoints must be a list of joint names, found "
        f"{strict_json.describe(name)}; correct it"
      )
  if len(set(names)) < len(names):
    raise ValueError(f"{place}: keypoints names a joint twice: {names}")
  if not set(names) & set(skeleton.joints):
    raise ValueError(
      f"{place}: none of its joints ({', '.join(names)}) is one of "
      f"{skeleton.name}'s ({', '.join(skeleton.joints)})"
    )
  return names


def labelled(
  points: Float64[np.ndarray, "k 3"],
  names: Sequence[str],
  style: Style,
  place: str,
) -> Bool[np.ndarray, "k"]:
  """Which of a file's (x, y, visibility) are given; see `read_video`."""
  if style == "results":
    return np.any(points != 0, axis=1)
  visible = points[:, 2]
  wrong = ~np.isin(visible, (0, 1, 2))
  if np.any(wrong):
    joint = int(np.argmax(wrong))
    raise ValueError(
      f"{place}: keypoints: visibility of {names[joint]} is "
      f"{visible[joint]:g}; it must be 0, 1 or 2"
    )
  return visible > 0


def _check_near(
  points: Float64[np.ndarray, "k 2"],
  given: Bool[np.ndarray, "k"],
  names: Sequence[str],
  place: str,
) -> None:
  """Raises ValueError for a labelled joint where no picture reaches."""
  far = given & np.any(np.abs(points) > FARTHEST, axis=1)
  if np.any(far):
    joint = int(np.argmax(far))
    raise ValueError(
      f"{place}: keypoints: {names[joint]} is at {points[joint].tolist()}, "
      f"beyond {FARTHEST:g} pixels; correct it, or give it visibility 0"
    )


def per_joint(
  record: dict[str, Any], key: str, count: int, place: str
) -> Float64[np.ndarray, "k"] | None:
  """One number for each joint; None where absent, null or an empty list."""
  value = record.get(key)
  if value is None or value == []:
    return None
  if isinstance(value, list):
    value = [int(item) if isinstance(item, bool) else item for item in value]
  return strict_json.numbers(value, f"{place}: {key}", count)


def reorder(
  values: Shaped[np.ndarray, "p *d"],
  names: Sequence[str],
  skeleton: skeleton_lib.Skeleton,
) -> Shaped[np.ndarray, "k *d"]:
  """Values of the named joints in the skeleton's order, else 0."""
  if len(values) != len(names):
    raise ValueError(f"{len(values)} values for {len(names)} joints")
  of, to = _places(tuple(names), skeleton.joints)
  result = np.zeros((len(skeleton.joints), *values.shape[1:]), values.dtype)
  result[to] = values[of]
  return result


@functools.lru_cache(maxsize=64)  # files name the same joints for each person
def _places(
  names: tuple[str, ...], wanted: tuple[str, ...]
) -> tuple[list[int], list[int]]:
  """Where the common joints stand in each of the two."""
  of = [place for place, name in enumerate(names) if name in wanted]
  return of, [wanted.index(names[place]) for place in of]
