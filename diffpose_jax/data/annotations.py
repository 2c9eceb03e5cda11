"""Strict readers of annotation files in PoseTrack18's JSON.

The records they give and the writer of such files are offered here, too: most
of the package needs them together.
"""

import collections
import math
import os
import pathlib
from collections.abc import Collection
from typing import Any

import numpy as np

from diffpose_jax.data import annotation_fields as fields
from diffpose_jax.data import annotation_records, annotation_writer, strict_json
from diffpose_jax.pose import skeleton as skeleton_lib

Person = annotation_records.Person
Frame = annotation_records.Frame
Video = annotation_records.Video
check_unique_names = annotation_records.check_unique_names
natural_key = annotation_records.natural_key
noise_id = annotation_records.noise_id
write_frames = annotation_writer.write_frames
write_video = annotation_writer.write_video


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
