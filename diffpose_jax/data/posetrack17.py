"""PoseTrack17 in both of its forms, which give the same joints and boxes.

The annolist form has one JSON a video, as the data set and its evaluator do.
The merged form is the COCO-style file for a whole split of the supplementary
packs, whose pictures are renamed to 8 digits from 1 in `images_renamed/`.

Source: github.com/leonid-pishchulin/poseval (annolist),
github.com/facebookresearch/DetectAndTrack (merged files, renaming, boxes).
"""

import collections
import dataclasses
import pathlib
import re
import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from diffpose_jax.data import annolist, annotations, strict_json
from diffpose_jax.data import annotation_fields as fields
from diffpose_jax.pose import skeleton as skeleton_lib

_BASES = ("", "posetrack_data")  # where the pictures' folder may lie
_ANNOLISTS = (
  "annotations",
  "posetrack_data/annotations",
  "posetrack17_annotation_dirs/jsons",
)
_MERGED = "posetrack17_json_files"
_SPLITS = ("train", "val", "test")  # other merged files are subsets
_RENAMED = "images_renamed"
_EIGHT_DIGITS = re.compile(r"[0-9]{8}\.jpg")


def splits(root: pathlib.Path) -> list[str]:
  """Names of the splits with annotation files of either form, sorted.

  Raises ValueError saying what was looked for where there are none.
  """
  found = {
    path.parent.name
    for folder in _ANNOLISTS
    for path in (root / folder).glob("*/*.json")
  }
  found |= {split for split in _SPLITS if _merged_file(root, split).is_file()}
  if not found:
    state = "holds no annotations" if root.is_dir() else "does not exist"
    raise ValueError(f"data root {root} {state}: {_looked_for('<split>')}")
  return sorted(found)


def read_split(
  root: pathlib.Path, split: str, *, skeleton: skeleton_lib.Skeleton
) -> list[annotations.Video]:
  """The videos of a split in either form, by name.

  Where both forms are there the annolist one is read, which the evaluator
  takes as truth; the other is not looked at. Joints go by name into
  `skeleton`; ears are in neither form.

  Annolist: see `annolist.read_video`. An image_id is made of the folder's hash
  and the frame's number, so that it is unique in the split.

  Merged: a video is named after its folder and that folder's parent, because
  the last part alone is not unique. The box 0, 0, 0, 0 of a person without
  joints is None.

  Both: a frame is labelled where it has people and the file does not deny it.
  Frames that only lie on disk beside the listed ones, under names of 8 digits,
  are added unlabelled, so that clips have their neighbours. Names are those
  of the folder found: `images/`, `posetrack_data/images/` or
  `images_renamed/`; that pictures exist is not looked at.

  Raises:
    ValueError: neither form is there, or a file is unsound; names file and
      record.
  """
  for parent in _ANNOLISTS:
    paths = sorted((root / parent / split).glob("*.json"))
    if paths:
      videos = [
        _on_disk(annolist.read_video(path, skeleton=skeleton), root, path)
        for path in paths
      ]
      _check_folders(videos, root / parent / split)
      return videos
  merged = _merged_file(root, split)
  if not merged.is_file():
    raise ValueError(f"{root}: no split {split!r}: {_looked_for(split)}")
  return _read_merged(merged, root, skeleton)


def _merged_file(root: pathlib.Path, split: str) -> pathlib.Path:
  return root / _MERGED / f"posetrack_{split}.json"


def _looked_for(split: str) -> str:
  folders = ", ".join(f"{folder}/{split}/*.json" for folder in _ANNOLISTS)
  return (
    f"looked for {folders} and {_MERGED}/posetrack_{split}.json; give the "
    "folder that holds one of them and images/ or images_renamed/. PoseTrack17 "
    "is on application at https://posetrack.net"
  )


def _check_folders(
  videos: Sequence[annotations.Video], place: pathlib.Path
) -> None:
  """Raises ValueError where two files name pictures of one folder."""
  seen: dict[pathlib.PurePosixPath, str] = {}
  for video in videos:
    folder = _folder(video.frames[0].file_name)
    if folder in seen:
      raise ValueError(
        f"{place}: {seen[folder]}.json and {video.name}.json are both of the "
        f"pictures in {folder}; keep one"
      )
    seen[folder] = video.name


def _on_disk(
  video: annotations.Video, root: pathlib.Path, path: pathlib.Path
) -> annotations.Video:
  """The video of an annolist file by the names of its pictures on disk."""
  frames = [
    dataclasses.replace(frame, image_id=_identity(frame.file_name))
    for frame in _find_annolist(list(video.frames), root, path)
  ]
  return annotations.Video(video.name, _with_neighbours(frames, root))


# The merged form.


def _read_merged(
  path: pathlib.Path, root: pathlib.Path, skeleton: skeleton_lib.Skeleton
) -> list[annotations.Video]:
  """The videos of one merged file."""
  record = annotations.load(path)
  if not record["images"]:
    raise ValueError(f"{path}: images is empty; remove the file")
  names = fields.joint_names(
    record["categories"], skeleton, f"{path}: categories"
  )
  category = record["categories"][0].get("id")
  layout = fields.Layout(names, category, skeleton, np.float32, "labels")
  record["annotations"] = [
    _in_terms_of_18(annotation, f"{path}: annotations[{i}]")
    for i, annotation in enumerate(record["annotations"])
  ]
  people = annotations.people_by_image(record, layout, path)
  groups = collections.defaultdict(list)
  originals = {}
  for i, image in enumerate(record["images"]):
    frame = _merged_frame(image, people, f"{path}: images[{i}]")
    groups[_folder(frame.file_name)].append(frame)
    if image.get("original_file_name") is not None:
      originals[frame.file_name] = fields.file_name(
        image["original_file_name"], f"{path}: images[{i}]: original"
      )
  videos = []
  for folder, frames in groups.items():
    found = _find_merged(annolist.in_order(frames, path), originals, root)
    name = "_".join(folder.parts[-2:])
    videos.append(annotations.Video(name, _with_neighbours(found, root)))
  annotations.check_unique_names(videos, path)
  return sorted(videos, key=lambda video: video.name)


def _in_terms_of_18(annotation: Any, place: str) -> dict[str, Any]:
  """An annotation with its boxes as PoseTrack18 writes them."""
  annotation = dict(
    strict_json.require(annotation, ("image_id", "keypoints"), place)
  )
  if annotation.get("bbox") == [0, 0, 0, 0]:
    annotation["bbox"] = None
  if annotation.get("head_box") is not None:
    at = f"{place}: head_box"
    edges = strict_json.numbers(annotation["head_box"], at, 4)
    annotation["bbox_head"] = annolist.corners(edges.tolist())
  return annotation


def _merged_frame(
  image: dict[str, Any],
  people: dict[int, list[annotations.Person]],
  place: str,
) -> annotations.Frame:
  name = fields.file_name(image["file_name"], place)
  there = tuple(people[int(image["id"])])
  return annotations.Frame(
    file_name=str(pathlib.PurePosixPath(name)),
    image_id=int(image["id"]),
    labelled=fields.flag(image, "is_labeled", True, place) and bool(there),
    people=there,
    ignore_regions=tuple(
      region.astype(np.float32)
      for region in fields.ignore_regions(image, place)
    ),
    height=fields.size(image, "height", place),
    width=fields.size(image, "width", place),
  )


# Names, numbers and pictures of frames.


def _folder(name: str) -> pathlib.PurePosixPath:
  return pathlib.PurePosixPath(name).parent


def _identity(name: str) -> int:
  """An image id that differs between frames and between folders."""
  folder = zlib.crc32(str(_folder(name)).encode())
  return folder * 10**8 + annolist.frame_number(name, name)


def _renamed(
  frames: Sequence[annotations.Frame], names: Sequence[str], *parents: str
) -> list[annotations.Frame]:
  """The frames under other names, below the folders `parents`."""
  return [
    dataclasses.replace(
      frame, file_name=str(pathlib.PurePosixPath(*parents, name))
    )
    for frame, name in zip(frames, names, strict=True)
  ]


def _find_annolist(
  frames: list[annotations.Frame], root: pathlib.Path, path: pathlib.Path
) -> list[annotations.Frame]:
  """The frames under the names that their pictures have on disk.

  In `images_renamed/` picture k is the k-th frame. Where the file counts in
  another way, it must list as many frames as there are pictures.
  """
  names = [frame.file_name for frame in frames]
  folder = _folder(names[0])
  for base in _BASES:
    if (root / base / folder).is_dir():
      return _renamed(frames, names, base)
  inner = folder.parts[1:] if folder.parts[:1] == ("images",) else folder.parts
  for base in _BASES:
    renamed = pathlib.PurePosixPath(base, _RENAMED, *inner)
    if not (root / renamed).is_dir():
      continue
    count = range(1, len(frames) + 1)
    names = [f"{k:08d}.jpg" for k in count]
    there = _pictures(root / renamed)
    if [frame.image_id for frame in frames] != list(count) and there != names:
      raise ValueError(
        f"{path}: lists {len(frames)} frames, not numbered from 1, but "
        f"{root / renamed} has {len(there)} pictures; restore those that are "
        f"missing, or the folder {folder}"
      )
    return _renamed(frames, names, str(renamed))
  return frames


def _find_merged(
  frames: list[annotations.Frame],
  originals: dict[str, str],
  root: pathlib.Path,
) -> list[annotations.Frame]:
  """The frames under the names that their pictures have on disk.

  Only `original_file_name` says what a frame is called in `images/`.
  """
  names = [frame.file_name for frame in frames]
  first = [originals[name] for name in names if name in originals]
  found = [_renamed(frames, names, base, _RENAMED) for base in _BASES]
  found.append(frames)
  if len(first) == len(names):
    found += [_renamed(frames, first, base) for base in _BASES]
  for candidate in found:
    if (root / _folder(candidate[0].file_name)).is_dir():
      return candidate
  return frames if names[0].startswith("images") else found[0]


def _pictures(folder: pathlib.Path) -> list[str]:
  """The files in a folder that are named by 8 digits, in their order."""
  if not folder.is_dir():
    return []
  names = (path.name for path in folder.iterdir())
  return sorted(name for name in names if _EIGHT_DIGITS.fullmatch(name))


def _with_neighbours(
  frames: list[annotations.Frame], root: pathlib.Path
) -> tuple[annotations.Frame, ...]:
  """The frames and those that only lie beside them on disk, by number.

  Nothing is added where a listed name is of another kind: what lies beside
  it may be the same frame once more.
  """
  listed = {pathlib.PurePosixPath(frame.file_name).name for frame in frames}
  if not all(map(_EIGHT_DIGITS.fullmatch, listed)):
    return tuple(frames)
  folder = _folder(frames[0].file_name)
  added = [
    annotations.Frame(
      file_name=f"{folder}/{name}",
      image_id=_identity(f"{folder}/{name}"),
      labelled=False,
    )
    for name in _pictures(root / folder)
    if name not in listed
  ]
  return tuple(sorted([*frames, *added], key=lambda frame: frame.file_name))
