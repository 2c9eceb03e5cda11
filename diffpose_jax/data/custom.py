"""The user's own data: COCO-style JSON with a skeleton file beside it.

A root holds skeleton.json, which says what the joints are, annotations, and
the pictures that the annotations name. Any number of joints is fine.
"""

import os
import pathlib
import re
from typing import Any

from diffpose_jax.data import annotation_fields as fields
from diffpose_jax.data import annotations, skeleton_file
from diffpose_jax.pose import skeleton as skeleton_lib

SKELETON = "skeleton.json"  # below the root


def splits(root: str | os.PathLike) -> list[str]:
  """Names of the splits, sorted: of files and folders in ROOT/annotations.

  Raises ValueError saying what was looked for where there are none or there
  is no skeleton file, and for a name that prepared data cannot have.
  """
  root = pathlib.Path(root)
  folder = root / "annotations"
  looked = f"looked for {folder}/<split>.json and {folder}/<split>/*.json"
  if not root.is_dir():
    raise ValueError(f"{root}: no data root here; {looked}")
  if not (root / SKELETON).is_file():
    raise ValueError(
      f"{root / SKELETON}: no such file; write one with "
      f"{', '.join(skeleton_file.REQUIRED)}, see datasets/custom/README.md"
    )
  found = {path.stem for path in folder.glob("*.json")}
  found |= {path.parent.name for path in folder.glob("*/*.json")}
  names = sorted(name for name in found if not name.startswith("."))
  if not names:
    raise ValueError(f"{root}: no annotations; {looked}")
  for name in names:
    if name == "all" or not re.fullmatch(r"[\w-]+", name):
      raise ValueError(
        f"{folder}: {name!r} is no name of a split; take letters, "
        "digits, _ and -, and not 'all'"
      )
  return names


def read_split(
  root: str | os.PathLike, split: str, *, skeleton: skeleton_lib.Skeleton
) -> list[annotations.Video]:
  """The videos of a split, by name; see `annotations.read_videos`.

  Pictures of one folder are the frames of one video, in the order of their
  names. In a file with `"stills": true` at its top, every picture is a video
  of its own, called as its path without suffix. People of a file without any
  `track_id` have track -1, which is none.

  Joint names must be the skeleton's, in any order: to leave a joint out would
  go unseen.

  Args:
    root: folder of annotations and pictures.
    split: one of `splits`.
    skeleton: as a rule that of ROOT/skeleton.json.

  Raises:
    ValueError: no such split, other joints, crowds, tracks of some people
      only, or anything unsound in a file; names file and record.
  """
  folder = pathlib.Path(root) / "annotations"
  file = folder / f"{split}.json"
  files = sorted((folder / split).glob("*.json"))
  if file.is_file() and files:
    raise ValueError(
      f"{file}: the folder {folder / split} is split {split!r} too; keep one"
    )
  if file.is_file():
    files = [file]
  if not files:
    raise ValueError(
      f"{root}: no split {split!r}; there is {', '.join(splits(root))}"
    )
  videos = [video for path in files for video in _read_file(path, skeleton)]
  annotations.check_unique_names(videos, folder)
  return sorted(videos, key=lambda video: video.name)


def _read_file(
  path: pathlib.Path, skeleton: skeleton_lib.Skeleton
) -> list[annotations.Video]:
  record = annotations.load(path)
  _check_joints(record["categories"], skeleton, path)
  videos = annotations.from_json(record, path, skeleton=skeleton)
  _check_crowds(record["annotations"], path)
  _check_tracks(record["annotations"], path)
  if fields.flag(record, "stills", False, str(path)):
    frames = [frame for video in videos for frame in video.frames]
    return [annotations.Video(_still(frame), (frame,)) for frame in frames]
  return videos


def _check_joints(
  categories: list, skeleton: skeleton_lib.Skeleton, path: pathlib.Path
) -> None:
  """Raises ValueError unless the file's joints are the skeleton's."""
  place = f"{path}: categories"
  names = fields.joint_names(categories, skeleton, place)
  missing = [name for name in skeleton.joints if name not in names]
  unknown = [name for name in names if name not in skeleton.joints]
  faults = []
  if missing:
    faults.append(f"lacks {', '.join(missing)}")
  if unknown:
    faults.append(f"has the unknown {', '.join(unknown)}")
  if faults:
    raise ValueError(
      f"{place}[0]: keypoints {' and '.join(faults)}; make them the joints of "
      f"skeleton {skeleton.name}, in any order, or change {SKELETON}"
    )


def _check_crowds(records: list[dict[str, Any]], path: pathlib.Path) -> None:
  for position, record in enumerate(records):
    place = f"{path}: annotations[{position}]"
    if fields.flag(record, "iscrowd", False, place):
      raise ValueError(
        f"{place}: iscrowd is set, but a crowd is no person; remove it and give "
        "its outline as ignore_regions_x and ignore_regions_y of the image"
      )


def _check_tracks(records: list[dict[str, Any]], path: pathlib.Path) -> None:
  """Raises ValueError where only some people have tracks."""
  without = [i for i, r in enumerate(records) if r.get("track_id") is None]
  if without and len(without) < len(records):
    raise ValueError(
      f"{path}: annotations[{without[0]}]: no track_id, as "
      f"{len(without)} of {len(records)}; give it to all people or to none"
    )


def _still(frame: annotations.Frame) -> str:
  path = pathlib.PurePosixPath(frame.file_name).with_suffix("")
  return "_".join(path.parts)
