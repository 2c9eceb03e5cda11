"""Poses as COCO keypoint results: a list of people, as `loadRes` takes it."""

import pathlib
from collections.abc import Iterable
from typing import Any

import numpy as np

from diffpose_jax.data import poses, strict_json, whole_file
from diffpose_jax.data.annotations import Frame, Person


def write(
  path: pathlib.Path,
  head: poses.Head,
  frames: Iterable[Frame],
) -> None:
  """Writes a JSON list of people; the file appears whole or not at all.

  Of each: `image_id`, the frame's index; `category_id` 1; `keypoints`, x, y and
  score of each joint of the skeleton in turn, all 0 for a joint that is not
  predicted; `score`, by which COCO ranks people: the mean of the scores of the
  predicted joints, which `evaluate --metrics=oks` ranks by too; `bbox`, x, y,
  width, height; and `track_id` for who has one. A frame without people is not
  in it. Frames are gone through once, one at a time in memory.

  Raises:
    ValueError: what `poses.checked` refuses.
  """
  records = (
    _record(frame, person)
    for frame in poses.checked(head, frames)
    for person in frame.people
  )
  with whole_file.text(path) as file:
    file.write("[")
    file.writelines(strict_json.listed(records, ",\n"))
    file.write("]\n")


def _record(frame: Frame, person: Person) -> dict[str, Any]:
  assert person.scores is not None  # as `poses.checked` saw to
  known = person.labelled
  points = np.zeros((len(known), 3), np.float32)
  points[known, :2] = person.joints[known]
  points[known, 2] = person.scores[known]
  score = (
    float(np.mean(person.scores[known], dtype=float)) if known.any() else 0.0
  )
  record: dict[str, Any] = {
    "image_id": frame.image_id,
    "category_id": 1,
    "keypoints": strict_json.plain(points.reshape(-1)),
    "score": score,
    "bbox": _sides(person),
  }
  if person.track_id >= 0:
    record["track_id"] = person.track_id
  return record


def _sides(person: Person) -> list[float]:
  """x, y, width and height of the box, or of the one around the joints."""
  edges = person.box
  if edges is None:
    joints = person.joints[person.labelled]
    joints = joints if len(joints) else np.zeros((1, 2))
    edges = np.concatenate([joints.min(axis=0), joints.max(axis=0)])
  edges = edges.astype(np.float64)  # so that x + w is the same edge again
  return [*edges[:2].tolist(), *(edges[2:] - edges[:2]).tolist()]
