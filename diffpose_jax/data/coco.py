"""COCO keypoints: still pictures of people, each a video of one frame.

A root is what COCO's archives unpack to: annotations/person_keypoints_*.json
and one folder of pictures for each of these files.
"""

import dataclasses
import os
import pathlib
import re
from typing import Any

import numpy as np
from jaxtyping import Float32

from diffpose_jax.data import annotation_fields as fields
from diffpose_jax.data import annotations, strict_json
from diffpose_jax.pose import skeleton as skeleton_lib

_PERSON = "person"  # the category of people, by name
_PREFIX = "person_keypoints_"
# Most of a file, and of the memory that it would take.
_UNUSED = ("segmentation", "coco_url", "flickr_url", "date_captured")
_ADVICE = (
  "COCO's annotations_trainval2017.zip, train2017.zip and val2017.zip come from "
  "https://cocodataset.org/#download; unpack all of them in one folder and give "
  "that folder"
)


@dataclasses.dataclass
class _Labels:
  """What the annotations say of one picture."""

  people: list[annotations.Person] = dataclasses.field(default_factory=list)
  crowds: list[np.ndarray] = dataclasses.field(default_factory=list)
  any_joint: bool = False  # whether a person has a labelled joint


def splits(root: str | os.PathLike) -> list[str]:
  """Names of the splits, sorted: train and val for COCO 2017.

  A split is called as its file without prefix and year, see
  `annotation_file`. Raises ValueError saying what was looked for where there
  are none; and for files of two years, which share their pictures out in
  different ways.
  """
  return sorted(_files(pathlib.Path(root)))


def annotation_file(root: str | os.PathLike, split: str) -> pathlib.Path:
  """The file of a split: train is annotations/person_keypoints_train2017.json.

  Raises ValueError where there is none.
  """
  files = _files(pathlib.Path(root))
  if split not in files:
    raise ValueError(
      f"{root}: no split {split!r}; there is {', '.join(sorted(files))}"
    )
  return files[split]


def read_split(
  root: str | os.PathLike, split: str, *, skeleton: skeleton_lib.Skeleton
) -> list[annotations.Video]:
  """The pictures with a labelled joint, each a video of one frame, by name.

  A video is called as its picture without suffix. A picture counts if any
  person has any of the file's joints labelled, whatever the skeleton, so that
  the number of videos is COCO's own: 56599 in train2017, 2346 in val2017.

  People are all annotations of the category `person` that are no crowd, those
  without labelled joints included; `track_id` is the annotation's id. Crowds
  become ignore regions: the corners of their boxes. Annotations of other
  categories that the file lists are passed over. Visibility 1 is labelled and
  occluded, 2 labelled and not. A box without area is None, as COCO has some
  and no crop can be made of them.

  Joints go by name and nothing is derived: with `skeletons.POSETRACK` eyes are
  left out, head_bottom and head_top stay unlabelled, and the ears, which
  PoseTrack itself never labels, keep COCO's labels.

  Raises:
    ValueError: no such split, no folder of pictures, or anything unsound in
      the file; names file and record.
  """
  root = pathlib.Path(root)
  path = annotation_file(root, split)
  record = annotations.load(path, without=_UNUSED)
  images = _images(record["images"], path)
  found = _labels(record, set(images), skeleton, path)
  folder = _picture_folder(root, path)
  videos = [
    _video(images[image_id], labels, folder)
    for image_id, labels in found.items()
    if labels.any_joint
  ]
  if not videos:
    raise ValueError(
      f"{path}: no person has a labelled joint; the file is of another kind, "
      "or cut down too far"
    )
  annotations.check_unique_names(videos, path)
  return sorted(videos, key=lambda video: video.name)


def _files(root: pathlib.Path) -> dict[str, pathlib.Path]:
  """The annotation file of each split."""
  looked = f"{root}/annotations/{_PREFIX}*.json"
  if not root.is_dir():
    raise ValueError(
      f"{root}: no data root here; looked for {looked}; {_ADVICE}"
    )
  files, years = {}, {}
  for path in sorted((root / "annotations").glob(f"{_PREFIX}?*.json")):
    name = _suffix(path)
    split = re.sub(r"(?<=.)20[0-9]{2}$", "", name)
    year = name.removeprefix(split)
    if split in files:
      raise ValueError(
        f"{path}: {files[split].name} is split {split!r} too; keep one"
      )
    others = [s for s, y in years.items() if year and y not in ("", year)]
    if others:
      raise ValueError(
        f"{path}: {files[others[0]].name} is of another year, and pictures of "
        "one year's val are in another year's train; move the files of one "
        "year away"
      )
    files[split], years[split] = path, year
  if not files:
    raise ValueError(f"{root}: no annotations; looked for {looked}; {_ADVICE}")
  return files


def _suffix(path: pathlib.Path) -> str:
  """What COCO calls a set of pictures: train2017."""
  return path.stem.removeprefix(_PREFIX)


def _picture_folder(root: pathlib.Path, path: pathlib.Path) -> str:
  """The folder of an annotation file's pictures, relative to `root`."""
  name = _suffix(path)
  for folder in (name, f"images/{name}"):
    if (root / folder).is_dir():
      return folder
  raise ValueError(
    f"{root}: no pictures for {path.name}; looked for the folders {name} and "
    f"images/{name}; {_ADVICE}"
  )


def _images(records: list, path: pathlib.Path) -> dict[int, annotations.Frame]:
  """Frames without people by image id; file names as the file has them."""
  images = {}
  ids = fields.image_ids(records, f"{path}: images")
  for position, (identity, image) in enumerate(zip(ids, records, strict=True)):
    place = f"{path}: images[{position}]"
    images[identity] = annotations.Frame(
      file_name=fields.file_name(image["file_name"], place),
      image_id=identity,
      labelled=True,
      height=fields.size(image, "height", place),
      width=fields.size(image, "width", place),
    )
  return images


def _labels(
  record: dict[str, Any],
  images: set[int],
  skeleton: skeleton_lib.Skeleton,
  path: pathlib.Path,
) -> dict[int, _Labels]:
  """What is labelled in each picture that has annotations of people."""
  person, others = _categories(record["categories"], path)
  names = fields.joint_names([person], skeleton, f"{path}: category {_PERSON}")
  layout = fields.Layout(names, person["id"], skeleton, np.float32, "labels")
  found: dict[int, _Labels] = {}
  seen = set()
  for position, annotation in enumerate(record["annotations"]):
    place = f"{path}: annotations[{position}]"
    strict_json.require(annotation, ("id", "image_id", "category_id"), place)
    identity = strict_json.integer(annotation["id"], f"{place}: id")
    place = f"{place} (id {identity})"
    if identity in seen:
      raise ValueError(f"{place}: this id is used twice; remove one of them")
    seen.add(identity)
    image_id = fields.image_id(annotation, images, place)
    category = strict_json.integer(
      annotation["category_id"], f"{place}: category_id"
    )
    if category not in others:
      labels = found.setdefault(image_id, _Labels())
      _add(labels, annotation, layout, place)
  return found


def _categories(
  records: list, path: pathlib.Path
) -> tuple[dict[str, Any], set[int]]:
  """The category of people, and the ids of all others."""
  people, others = [], set()
  for position, category in enumerate(records):
    place = f"{path}: categories[{position}]"
    strict_json.require(category, ("id", "name"), place)
    identity = strict_json.integer(category["id"], f"{place}: id")
    if category["name"] == _PERSON:
      people.append(category)
    else:
      others.add(identity)
  if len(people) != 1 or people[0]["id"] in others:
    raise ValueError(
      f"{path}: categories: {len(people)} of {len(records)} are called "
      f"{_PERSON!r}; exactly one must be, with an id of its own"
    )
  return people[0], others


def _add(
  labels: _Labels,
  annotation: dict[str, Any],
  layout: fields.Layout,
  place: str,
) -> None:
  """Puts one annotation to the people or to the crowds."""
  if fields.flag(annotation, "iscrowd", False, place):
    strict_json.require(annotation, ("bbox",), place)
    labels.crowds.append(_corners(annotation["bbox"], f"{place}: bbox"))
    return
  strict_json.require(annotation, ("keypoints",), place)
  known = {"bbox": None, "track_id": annotation["id"]}
  if _has_area(annotation.get("bbox"), f"{place}: bbox"):
    del known["bbox"]
  person = fields.person(annotation | known, layout, place)
  visible = np.array(annotation["keypoints"][2::3])
  person["occluded"] = fields.reorder(
    visible == 1, layout.names, layout.skeleton
  )
  labels.people.append(annotations.Person(**person))
  labels.any_joint |= bool(np.any(visible > 0))


def _has_area(box: Any, place: str) -> bool:
  """Whether (x, y, w, h) is a box. ValueError unless it is four numbers."""
  if box is None:
    return False
  return fields.has_area(strict_json.numbers(box, place, 4))


def _corners(box: Any, place: str) -> Float32[np.ndarray, "4 2"]:
  """The polygon of a file's (x, y, width, height)."""
  x, y, width, height = strict_json.numbers(box, place, 4)
  right, bottom = x + width, y + height
  corners = [[x, y], [right, y], [right, bottom], [x, bottom]]
  return np.array(corners, np.float32)


def _video(
  image: annotations.Frame, labels: _Labels, folder: str
) -> annotations.Video:
  frame = dataclasses.replace(
    image,
    file_name=f"{folder}/{image.file_name}",
    people=tuple(labels.people),
    ignore_regions=tuple(labels.crowds),
  )
  return annotations.Video(
    pathlib.PurePosixPath(image.file_name).stem, (frame,)
  )
