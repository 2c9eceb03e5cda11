"""The records of a synthetic video in PoseTrack18's JSON layout."""

import numpy as np

from diffpose_jax.data import synthetic_scene
from diffpose_jax.pose import skeleton

JOINTS = list(skeleton.POSETRACK.joints)
_EARS = (3, 4)
CATEGORY = {
  "supercategory": "person",
  "id": 1,
  "name": "person",
  "keypoints": JOINTS,
  "skeleton": [
    [16, 14],
    [14, 12],
    [17, 15],
    [15, 13],
    [12, 13],
    [6, 12],
    [7, 13],
    [6, 7],
    [6, 8],
    [7, 9],
    [8, 10],
    [9, 11],
    [2, 3],
    [1, 2],
    [1, 3],
    [2, 4],
    [3, 5],
    [4, 6],
    [5, 7],
  ],
}
_FIRST_ID = {"train": 500000, "val": 600000, "test": 700000}


def video_name(split: str, index: int) -> str:
  """Returns the name of a video, unique over the splits."""
  return f"{vid_number(split, index):06d}_synthetic_{split}"


def vid_number(split: str, index: int) -> int:
  """Returns the six-digit number of a video."""
  return _FIRST_ID.get(split, 800000) + index


def _rounded(values):
  return [round(float(value), 3) for value in values]


def annotation(person: synthetic_scene.Seen, image_id: int) -> dict | None:
  """Returns the annotation of a person, or None if hardly any is in view."""
  labelled = person.inside.copy()
  labelled[list(_EARS)] = False
  x0, y0, x1, y1 = person.box
  if labelled.sum() < 3 or min(x1 - x0, y1 - y0) < 4:
    return None
  keypoints = np.zeros((17, 3))
  keypoints[labelled, :2] = person.joints[labelled]
  keypoints[labelled, 2] = 1
  rows = [[*_rounded(row[:2]), int(row[2])] for row in keypoints]
  hx0, hy0, hx1, hy1 = person.head
  return {
    "bbox_head": _rounded((hx0, hy0, hx1 - hx0, hy1 - hy0)),
    "keypoints": [value for row in rows for value in row],
    "occluded": (person.occluded & labelled).astype(int).tolist(),
    "blur": round(person.blur, 3),
    "speed": round(person.speed, 3),
    "track_id": person.track,
    "image_id": image_id,
    "bbox": _rounded((x0, y0, x1 - x0, y1 - y0)),
    "scores": [],
    "category_id": 1,
    "id": image_id * 100 + person.track,
    "iscrowd": False,
    "num_keypoints": int(labelled.sum()),
  }


def image_id(split: str, index: int, number: int) -> int:
  """Returns the id of a video's frame, unique over the splits."""
  return int(f"1{vid_number(split, index):06d}{number:04d}")


def image_record(
  split: str,
  index: int,
  number: int,
  settings: dict,
  frame: synthetic_scene.Frame,
  labelled: bool,
) -> dict:
  """Returns the record of a frame."""
  (h, w), vid = settings["size"], f"{vid_number(split, index):06d}"
  identity = image_id(split, index, number)
  polygons = [
    np.clip(p, 0, (w - 1, h - 1)).round().astype(int) for p in frame.ignored
  ]
  polygons = [p for p in polygons if np.ptp(p[:, 0]) and np.ptp(p[:, 1])]
  return {
    "has_no_densepose": True,
    "is_labeled": True,
    "has_labeled_person": labelled,
    "file_name": f"images/{split}/{video_name(split, index)}/{number:06d}.jpg",
    "nframes": settings["frames"],
    "frame_id": identity,
    "vid_id": vid,
    "id": identity,
    "width": w,
    "height": h,
    "ignore_regions_x": [p[:, 0].tolist() for p in polygons],
    "ignore_regions_y": [p[:, 1].tolist() for p in polygons],
  }
