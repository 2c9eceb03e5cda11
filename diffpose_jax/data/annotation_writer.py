"""Annotated video written as PoseTrack18 JSON, whole or not at all."""

import contextlib
import math
import os
import pathlib
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, TextIO

import numpy as np

from diffpose_jax.data import annotation_records, strict_json, whole_file
from diffpose_jax.pose import skeleton as skeleton_lib

_PIECE = 1 << 20  # characters copied at once
_UNKNOWN = '"nframes": null'  # as long as frames come


def write_video(
  path: str | os.PathLike,
  video: annotation_records.Video,
  *,
  skeleton: skeleton_lib.Skeleton,
) -> None:
  """Writes one video as PoseTrack18 JSON that `read_video` reads back alike."""
  write_frames(path, video.name, video.frames, skeleton=skeleton)


def write_frames(
  path: str | os.PathLike,
  name: str,
  frames: Iterable[annotation_records.Frame],
  *,
  skeleton: skeleton_lib.Skeleton,
  protocol: Mapping[str, Any] | None = None,
) -> None:
  """Writes a video as PoseTrack18 JSON, frame by frame.

  The file appears whole or not at all. In memory is one frame at a time.

  Args:
    path: folders are made where they are missing.
    name: of the video.
    frames: are gone through once.
    skeleton: names the joints.
    protocol: how predictions came about; goes under the key `protocol`, which
      evaluators ignore.

  Raises:
    ValueError: a number is not finite.
  """
  folder = pathlib.Path(path).parent
  with (
    whole_file.text(path) as file,
    _beside(folder) as images,
    _beside(folder) as people,
  ):
    try:
      file.writelines(_json(name, frames, skeleton, protocol, images, people))
    except ValueError as error:
      raise ValueError(f"{path}: not written: {error}") from None


def _beside(folder: pathlib.Path) -> contextlib.AbstractContextManager[TextIO]:
  """A file without a name, gone at the end."""
  folder.mkdir(parents=True, exist_ok=True)
  return tempfile.TemporaryFile("w+", encoding="utf-8", newline="", dir=folder)


def _json(
  name: str,
  frames: Iterable[annotation_records.Frame],
  skeleton: skeleton_lib.Skeleton,
  protocol: Mapping[str, Any] | None,
  images: TextIO,
  people: TextIO,
) -> Iterator[str]:
  """The text of a PoseTrack18 annotation file, in pieces.

  Each image says how many there are, and all come before the people: both wait
  in files of their own.
  """
  length = count = 0
  for frame in frames:
    images.write(strict_json.text(_image_json(frame, name)) + "\n")
    length += 1
    for person in frame.people:
      record = _person_json(person) | {"id": count, "image_id": frame.image_id}
      people.write((", " if count else "") + strict_json.text(record))
      count += 1
  yield '{"images": ['
  images.seek(0)
  for position, line in enumerate(images):
    # Within a name, quotes would be escaped.
    record = line[:-1].replace(_UNKNOWN, f'"nframes": {length}')
    yield (", " if position else "") + record
  yield '], "annotations": ['
  people.seek(0)
  while piece := people.read(_PIECE):
    yield piece
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


def _image_json(frame: annotation_records.Frame, video: str) -> dict[str, Any]:
  record = {
    "file_name": frame.file_name,
    "id": frame.image_id,
    "frame_id": frame.image_id,
    "vid_id": video.split("_")[0],
    "nframes": None,  # `_UNKNOWN`
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


def _person_json(person: annotation_records.Person) -> dict[str, Any]:
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


def _uncertainty_json(person: annotation_records.Person) -> dict[str, Any]:
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
