"""One record for annotated video, and strict readers of annotation files.

A `Video` is what PoseTrack, COCO and JHMDB files have in common. Boxes are
xyxy edges, joints (x, y) in picture pixels, both as written in the file.
"""

import collections
import dataclasses
import math
import os
import pathlib
import re
import zlib
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from diffpose_jax.data import annotation_fields as fields
from diffpose_jax.data import strict_json, whole_file
from diffpose_jax.pose import skeleton as skeleton_lib


@dataclasses.dataclass(frozen=True)
class Person:
  """One person in one frame; `k` follows the skeleton's joint order."""

  box: np.ndarray | None  # float32 (4,) xyxy edges; None: not in the file
  joints: np.ndarray  # float32 (k, 2); (0, 0) where not labelled
  labelled: np.ndarray  # bool (k,)
  track_id: int = -1  # below 0: none
  head_box: np.ndarray | None = None  # float32 (4,) xyxy edges
  scores: np.ndarray | None = None  # float32 (k,), predictions only
  box_score: float = 1.0
  occluded: np.ndarray | None = None  # bool (k,), where the file says so
  blur: float = float("nan")  # pixels, where the file says so
  speed: float = float("nan")  # pixels a frame, where the file says so
  # Predictions only: scale of each joint's error (k, 2, 2), pixels², and the
  # probability (k,) that it is within half a head size; NaN: unknown.
  scale: np.ndarray | None = None
  within: np.ndarray | None = None
  # Predictions only: float32 (m, k, 2), joints of each member of the ensemble.
  samples: np.ndarray | None = None


@dataclasses.dataclass(frozen=True)
class Frame:
  """One frame of a video, labelled or not."""

  file_name: str  # as in the file, relative to the data root
  image_id: int
  labelled: bool
  people: tuple[Person, ...] = ()
  ignore_regions: tuple[np.ndarray, ...] = ()  # each float32 (p, 2) polygon
  height: int | None = None
  width: int | None = None
  time: float = float("nan")  # seconds, where the file says so


@dataclasses.dataclass(frozen=True)
class Video:
  """The frames of one annotation file, in the order of their file names."""

  name: str  # stem of the annotation file
  frames: tuple[Frame, ...]


def read_video(
  path: str | os.PathLike,
  *,
  skeleton: skeleton_lib.Skeleton,
  dtype: type = np.float32,
  style: fields.Style = "labels",
) -> Video:
  """The video of a PoseTrack18-style annotation file, frames in their order.

  Joints are found by the names in `categories[0].keypoints`, whatever their
  order; joints that only one side knows are left out or not labelled. Whether
  a picture exists is not looked at.

  Args:
    path: JSON with `images`, `annotations` and `categories`.
    skeleton: the joint order of the result.
    dtype: of coordinates and scores.
    style: "labels": visibility is 0, 1 or 2, and a joint is labelled where it
      is above 0; a track is once in a frame. "results": visibility is any
      number, as tools write a score there, and a joint is absent only where
      x, y and it are all 0; a track may be there several times, as detectors
      give all people the same.

  Raises:
    ValueError: anything else than the above; names the file and the record.
  """
  videos = read_videos(path, skeleton=skeleton, dtype=dtype, style=style)
  if len(videos) > 1:
    raise ValueError(
      f"{path}: pictures of {len(videos)} folders ({videos[0].name}, "
      f"{videos[1].name}, ...) where one video was expected; split the file "
      "into one for each video"
    )
  return videos[0]


def read_videos(
  path: str | os.PathLike,
  *,
  skeleton: skeleton_lib.Skeleton,
  dtype: type = np.float32,
  style: fields.Style = "labels",
) -> list[Video]:
  """The videos of an annotation file, one for each folder of pictures.

  A file with one folder gives one video named after the file; a merged file
  gives videos named after their folders. Arguments and errors: `read_video`.
  """
  path = pathlib.Path(path)
  record = load(path)
  return from_json(record, path, skeleton=skeleton, dtype=dtype, style=style)


def load(
  path: pathlib.Path, *, without: Collection[str] = ()
) -> dict[str, Any]:
  """What a file has that is known to have the lists of such files.

  `without` is that of `strict_json.load`.
  """
  return check_lists(strict_json.load(path, without=without), path)


def check_lists(content: Any, path: pathlib.Path) -> dict[str, Any]:
  """The content of `path`, once it has the lists of such files."""
  keys = ("images", "annotations", "categories")
  record = strict_json.require(content, keys, str(path))
  for key in keys:
    strict_json.listing(record[key], f"{path}: {key}")
  return record


def from_json(
  record: dict[str, Any],
  path: pathlib.Path,
  *,
  skeleton: skeleton_lib.Skeleton,
  dtype: type = np.float32,
  style: fields.Style = "labels",
) -> list[Video]:
  """The videos of what `load` gave for `path`; see `read_videos`."""
  if not record["images"]:
    raise ValueError(f"{path}: images is empty; remove the file")
  layout = fields.Layout(
    names=fields.joint_names(
      record["categories"], skeleton, f"{path}: categories"
    ),
    category=record["categories"][0].get("id"),
    skeleton=skeleton,
    dtype=dtype,
    style=style,
  )
  people = people_by_image(record, layout, path)
  frames = _frames(record["images"], people, dtype, path)
  folders = collections.defaultdict(list)
  for frame in sorted(frames, key=lambda frame: natural_key(frame.file_name)):
    folders[pathlib.PurePosixPath(frame.file_name).parent].append(frame)
  if len(folders) == 1:
    return [Video(path.stem, tuple(next(iter(folders.values()))))]
  videos = [Video(folder.name, tuple(f)) for folder, f in folders.items()]
  check_unique_names(videos, path)
  return sorted(videos, key=lambda video: video.name)


def read_folder(
  folder: str | os.PathLike,
  *,
  skeleton: skeleton_lib.Skeleton,
  dtype: type = np.float32,
  style: fields.Style = "labels",
) -> list[Video]:
  """The videos of all `*.json` in a folder, sorted by name.

  Arguments and errors: `read_video`; ValueError too where the folder is absent
  or has no JSON file.
  """
  folder = pathlib.Path(folder)
  if not folder.is_dir():
    raise ValueError(f"{folder}: no such folder; looked for *.json in it")
  videos = []
  for path in sorted(folder.glob("*.json")):
    videos += read_videos(path, skeleton=skeleton, dtype=dtype, style=style)
  if not videos:
    raise ValueError(f"{folder}: no *.json in this folder")
  check_unique_names(videos, folder)
  return sorted(videos, key=lambda video: video.name)


def read_split(
  root: str | os.PathLike, split: str, *, skeleton: skeleton_lib.Skeleton
) -> list[Video]:
  """The videos of a split in PoseTrack18's or PoseTrack21's layout, by name.

  Files are ROOT/annotations/SPLIT/*.json, or ROOT/posetrack_data/SPLIT/*.json
  as PoseTrack21 ships them. ValueError says what was looked for where they
  are not there, and how to get it.
  """
  root = pathlib.Path(root)
  folders = [root / name / split for name in ("annotations", "posetrack_data")]
  for folder in folders:
    if folder.is_dir() and any(folder.glob("*.json")):
      return read_folder(folder, skeleton=skeleton)
  looked = f"looked for {folders[0]}/*.json and {folders[1]}/*.json"
  advice = (
    "PoseTrack18 comes from https://posetrack.net, PoseTrack21 from "
    "https://github.com/anDoer/PoseTrack21; give the folder that holds "
    "images/ and annotations/"
  )
  if not root.is_dir():
    raise ValueError(f"{root}: no data root here ({looked}); {advice}")
  splits = sorted(
    {path.parent.name for f in folders for path in f.parent.glob("*/*.json")}
  )
  raise ValueError(
    f"{root}: no split {split!r} ({looked}; there is "
    f"{', '.join(splits) or 'nothing'}); {advice}"
  )


def write_video(
  path: str | os.PathLike, video: Video, *, skeleton: skeleton_lib.Skeleton
) -> None:
  """Writes one video as PoseTrack18 JSON that `read_video` reads back alike."""
  write_frames(path, video.name, video.frames, skeleton=skeleton)


def write_frames(
  path: str | os.PathLike,
  name: str,
  frames: Iterable[Frame],
  *,
  skeleton: skeleton_lib.Skeleton,
  protocol: Mapping[str, Any] | None = None,
) -> None:
  """Writes a video as PoseTrack18 JSON, frame by frame.

  The file appears whole or not at all. In memory is one frame at a time.

  Args:
    path: folders are made where they are missing.
    name: of the video.
    frames: are gone through three times.
    skeleton: names the joints.
    protocol: how predictions came about; goes under the key `protocol`, which
      evaluators ignore.

  Raises:
    ValueError: a number is not finite.
  """
  with whole_file.text(path) as file:
    try:
      file.writelines(_json(name, frames, skeleton, protocol))
    except ValueError as error:
      raise ValueError(f"{path}: not written: {error}") from None


def _json(
  name: str,
  frames: Iterable[Frame],
  skeleton: skeleton_lib.Skeleton,
  protocol: Mapping[str, Any] | None,
) -> Iterator[str]:
  """The text of a PoseTrack18 annotation file, in pieces."""
  count = sum(1 for _ in frames)
  yield '{"images": ['
  yield from strict_json.listed(
    _image_json(frame, name, count) for frame in frames
  )
  yield '], "annotations": ['
  people = (
    (frame.image_id, person) for frame in frames for person in frame.people
  )
  yield from strict_json.listed(
    _person_json(person) | {"id": number, "image_id": image_id}
    for number, (image_id, person) in enumerate(people)
  )
  category = {
    "supercategory": "person",
    "id": 1,
    "name": "person",
    "keypoints": list(skeleton.joints),
    # COCO counts joints from 1 here.
    "skeleton": [[a + 1, b + 1] for a, b in skeleton.limbs],
  }
  yield f'], "categories": {strict_json.text([category])}'
  if protocol is not None:
    yield f', "protocol": {strict_json.text(dict(protocol))}'
  yield "}"


def natural_key(name: str) -> tuple[list[int | str], str]:
  """A sort key by which `img9` comes before `img10`."""
  parts = re.split(r"([0-9]+)", name)  # text and digits alternate
  return [int(p) if i % 2 else p for i, p in enumerate(parts)], name


def check_unique_names(
  videos: Sequence[Video], place: str | os.PathLike
) -> None:
  """Raises ValueError naming a video that is there twice."""
  counts = collections.Counter(video.name for video in videos)
  twice = [name for name, count in counts.items() if count > 1]
  if twice:
    raise ValueError(
      f"{place}: video {twice[0]!r} is there {counts[twice[0]]} times; keep one"
    )


def people_by_image(
  record: dict[str, Any], layout: fields.Layout, path: pathlib.Path
) -> dict[int, list[Person]]:
  """The people of each image id, of what `load` gave for `path`."""
  ids = fields.image_ids(record["images"], f"{path}: images")
  people: dict[int, list[Person]] = {identity: [] for identity in ids}
  names = {
    identity: strict_json.describe(image["file_name"])
    for identity, image in zip(ids, record["images"], strict=True)
  }
  tracks: dict[int, dict[int, str]] = {identity: {} for identity in ids}
  for position, annotation in enumerate(record["annotations"]):
    place = f"{path}: annotations[{position}]"
    strict_json.require(annotation, ("image_id", "keypoints"), place)
    if "id" in annotation:
      place = f"{place} (id {strict_json.describe(annotation['id'])})"
    image_id = fields.image_id(annotation, people, place)
    person = Person(**fields.person(annotation, layout, place))
    if layout.style == "labels":
      fields.check_track(
        person.track_id, tracks[image_id], names[image_id], place
      )
    people[image_id].append(person)
  return people


def _frames(
  images: list[dict[str, Any]],
  people: dict[int, list[Person]],
  dtype: type,
  path: pathlib.Path,
) -> list[Frame]:
  frames = {}
  for position, image in enumerate(images):
    place = f"{path}: images[{position}]"
    name = fields.file_name(image["file_name"], place)
    plain = pathlib.PurePosixPath(name)  # a//b and ./a/b are a/b
    if plain in frames:
      raise ValueError(
        f"{place}: file_name {name!r} is used twice; keep one of the images"
      )
    image_id = int(image["id"])
    there = tuple(people[image_id])
    frames[plain] = Frame(
      file_name=name,
      image_id=image_id,
      labelled=fields.flag(image, "is_labeled", bool(there), place),
      people=there,
      ignore_regions=tuple(
        region.astype(dtype) for region in fields.ignore_regions(image, place)
      ),
      height=fields.size(image, "height", place),
      width=fields.size(image, "width", place),
      time=fields.number(image, "time", math.nan, place),
    )
  return list(frames.values())


def _image_json(frame: Frame, video: str, frames: int) -> dict[str, Any]:
  record = {
    "file_name": frame.file_name,
    "id": frame.image_id,
    "frame_id": frame.image_id,
    "vid_id": video.split("_")[0],
    "nframes": frames,
    "is_labeled": frame.labelled,
    "has_labeled_person": bool(frame.people),
    "ignore_regions_x": [
      strict_json.plain(r[:, 0]) for r in frame.ignore_regions
    ],
    "ignore_regions_y": [
      strict_json.plain(r[:, 1]) for r in frame.ignore_regions
    ],
  }
  for key in ("height", "width"):
    if getattr(frame, key) is not None:
      record[key] = getattr(frame, key)
  if not math.isnan(frame.time):
    record["time"] = frame.time
  return record


def _person_json(person: Person) -> dict[str, Any]:
  points = np.zeros((len(person.joints), 3), person.joints.dtype)
  points[person.labelled, :2] = person.joints[person.labelled]
  points[person.labelled, 2] = 1
  record = {
    "category_id": 1,
    "track_id": person.track_id,
    "keypoints": strict_json.plain(points.reshape(-1)),
    "scores": [] if person.scores is None else strict_json.plain(person.scores),
    "num_keypoints": int(np.sum(person.labelled)),
    "score": float(person.box_score),
  }
  for key, box in (("bbox", person.box), ("bbox_head", person.head_box)):
    if box is not None:
      edges = box.astype(np.float64)  # so that x + w is the same edge again
      record[key] = [*edges[:2].tolist(), *(edges[2:] - edges[:2]).tolist()]
  if person.scale is not None:
    record["uncertainty"] = _uncertainty_json(person)
  if person.occluded is not None:
    record["occluded"] = person.occluded.astype(int).tolist()
  for key in ("blur", "speed"):
    if not math.isnan(getattr(person, key)):
      record[key] = float(getattr(person, key))
  return record


def _uncertainty_json(person: Person) -> dict[str, Any]:
  """Of each joint: [xx, xy, yy] of its scale, and `within`; None: unknown."""
  found: dict[str, Any] = {"scale": person.scale, "within": person.within}
  if person.scale is not None:
    found["scale"] = person.scale[:, (0, 0, 1), (0, 1, 1)]
  return {
    key: [
      None if unknown else row
      for row, unknown in zip(
        np.round(rows.astype(np.float64), 6).tolist(),
        np.isnan(rows.reshape(len(rows), -1)).any(axis=1).tolist(),
        strict=True,
      )
    ]
    for key, rows in found.items()
    if rows is not None
  }


def noise_id(video: str, track_id: int) -> int:
  """Identity in uint32 of whose sampling noise it is; 0 without a track.

  It does not depend on the frame, so that noise is not seen as jitter.
  """
  return zlib.crc32(f"{video}/{track_id}".encode()) if track_id >= 0 else 0
