"""Person boxes from files of detections, placed in the frames of videos."""

import collections
import dataclasses
import os
import pathlib
import re
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float32, Int32, Int64

from diffpose_jax.data import annotation_fields as fields
from diffpose_jax.data import strict_json
from diffpose_jax.data.annotations import Video

PERSON = 1  # category_id of people in COCO and PoseTrack files


@dataclasses.dataclass(frozen=True)
class Boxes:
  """Boxes sorted by video and frame; in one frame, in the file's order."""

  video: Int32[np.ndarray, "n"]  # position in the list of videos
  frame: Int32[np.ndarray, "n"]  # position in the video
  box: Float32[np.ndarray, "n 4"]  # xyxy edges, picture pixels
  score: Float32[np.ndarray, "n"]  # in [0, 1]
  track_id: Int64[np.ndarray, "n"]  # -1 where the file has none
  below_threshold: int = 0  # boxes left out for their score
  unknown_images: int = 0  # boxes left out: their image is in no video
  other_categories: int = 0  # boxes left out: not of people


@dataclasses.dataclass(frozen=True)
class _Record:
  """One box as the file has it."""

  place: str
  image: str | int  # file name, or image id where the file has no names
  box: np.ndarray
  score: float
  track_id: int
  category: Any


def whole(height: int, width: int) -> Float32[np.ndarray, "4"]:
  """The box of a whole picture: from edge to edge of its outermost pixels."""
  return np.array([-0.5, -0.5, width - 0.5, height - 0.5], np.float32)


def read_boxes(
  path: str | os.PathLike, videos: Sequence[Video], *, threshold: float
) -> Boxes:
  """The boxes of a file, or of all `*.json` in a folder, by video and frame.

  Two kinds of file: a list of detections as COCO has them, {image_id,
  image_name or file_name, bbox (x, y, w, h), score, category_id}; or
  PoseTrack18 JSON, of whose `annotations` bbox, score (1 where absent) and
  track_id are read. An image is found by its file name; or by the last two
  parts of it; or, if there is one video and the boxes are of one folder, by the
  number in its name; without names, by its image id. Boxes of images in no
  video are counted and left out: files of detections often cover more.

  Args:
    path: file or folder.
    videos: whose frames are meant.
    threshold: boxes of a lower score are counted and left out.

  Raises:
    ValueError: a file that is neither; a box without area, or not finite; a
      score outside [0, 1]; an image id that two frames share; or no box's
      image is known. Names file and record.
  """
  records = [r for file in _files(path) for r in _read_file(file)]
  kept = [r for r in records if r.category == PERSON]
  others = len(records) - len(kept)
  places = _place(kept, videos)
  unknown = sum(not place for place in places)
  if kept and unknown == len(kept):
    raise ValueError(
      f"{path}: none of its {unknown} boxes is of a known image: the first is "
      f"of {kept[0].image!r}, the first frame is {_first_frame(videos)}"
    )
  found = [(p, r) for p, r in zip(places, kept, strict=True) if p]
  good = [(p, r) for p, r in found if r.score >= threshold]
  good.sort(key=lambda item: item[0])  # stable: keeps the order in a frame
  index = np.array([place for place, _ in good], np.int32).reshape(-1, 2)
  return Boxes(
    video=index[:, 0],
    frame=index[:, 1],
    box=np.array([r.box for _, r in good], np.float32).reshape(-1, 4),
    score=np.array([r.score for _, r in good], np.float32),
    track_id=np.array([r.track_id for _, r in good], np.int64),
    below_threshold=len(found) - len(good),
    unknown_images=unknown,
    other_categories=others,
  )


def _files(path: str | os.PathLike) -> list[pathlib.Path]:
  path = pathlib.Path(path)
  if not path.is_dir():
    return [path]
  files = sorted(path.glob("*.json"))
  if not files:
    raise ValueError(f"{path}: no *.json in this folder of boxes")
  return files


def _read_file(path: pathlib.Path) -> list[_Record]:
  content = strict_json.load(path)
  if isinstance(content, list):
    return [
      _detection(record, f"{path}: [{i}]") for i, record in enumerate(content)
    ]
  place = f"{path} (neither a list of detections nor PoseTrack18 JSON)"
  strict_json.require(content, ("images", "annotations"), place)
  names = {}
  for i, image in enumerate(
    strict_json.listing(content["images"], f"{path}: images")
  ):
    place = f"{path}: images[{i}]"
    strict_json.require(image, ("id", "file_name"), place)
    identity = strict_json.integer(image["id"], f"{place}: id")
    if identity in names:
      raise ValueError(f"{place}: image id {identity} is used twice")
    names[identity] = fields.file_name(image["file_name"], place)
  return [
    _annotation(record, names, f"{path}: annotations[{i}]")
    for i, record in enumerate(
      strict_json.listing(content["annotations"], f"{path}: annotations")
    )
  ]


def _detection(record: Any, place: str) -> _Record:
  strict_json.require(record, ("bbox",), place)
  for key in ("image_name", "file_name"):
    if key in record:
      return _record(record, fields.file_name(record[key], place), place)
  if "image_id" not in record:
    raise ValueError(f"{place}: needs image_id, image_name or file_name")
  image_id = strict_json.integer(record["image_id"], f"{place}: image_id")
  return _record(record, image_id, place)


def _annotation(record: Any, names: dict[int, str], place: str) -> _Record:
  strict_json.require(record, ("image_id", "bbox"), place)
  image_id = strict_json.integer(record["image_id"], f"{place}: image_id")
  if image_id not in names:
    raise ValueError(
      f"{place}: image_id {image_id} is no image of this file; remove the "
      "annotation or add the image"
    )
  return _record(record, names[image_id], place)


def _record(record: dict[str, Any], image: str | int, place: str) -> _Record:
  score = fields.number(record, "score", 1.0, place)
  if not 0 <= score <= 1:
    raise ValueError(f"{place}: score is {score:g}; it must be in [0, 1]")
  track_id = record.get("track_id")
  return _Record(
    place=place,
    image=image,
    box=fields.box(record["bbox"], f"{place}: bbox"),
    score=score,
    track_id=(
      -1
      if track_id is None
      else strict_json.integer(track_id, f"{place}: track_id")
    ),
    category=record.get("category_id", PERSON),
  )


def _tail(name: str) -> tuple[str, ...]:
  return pathlib.PurePosixPath(name).parts[-2:]


def _number(name: str) -> int | None:
  digits = re.findall(r"[0-9]+", pathlib.PurePosixPath(name).stem)
  return int(digits[-1]) if digits else None


def _place(
  records: Sequence[_Record], videos: Sequence[Video]
) -> list[tuple[int, int] | None]:
  """(video, frame) of each record; None where its image is unknown."""
  index = collections.defaultdict(set)
  for v, video in enumerate(videos):
    for f, frame in enumerate(video.frames):
      keys = [frame.image_id, frame.file_name, _tail(frame.file_name)]
      if len(videos) == 1:
        keys.append(("number", _number(frame.file_name)))
      for key in keys:
        index[key].add((v, f))
  names = [r.image for r in records if isinstance(r.image, str)]
  one_folder = len({pathlib.PurePosixPath(n).parent for n in names}) == 1
  places = []
  for record in records:
    keys: list[Any] = [record.image]
    if isinstance(record.image, str):
      keys.append(_tail(record.image))
      if one_folder and _number(record.image) is not None:
        keys.append(("number", _number(record.image)))
    hits = next((index[key] for key in keys if key in index), set())
    if len(hits) > 1:
      raise ValueError(
        f"{record.place}: image {record.image!r} is in {len(hits)} frames; "
        "give file_name as the annotations have it"
      )
    places.append(next(iter(hits), None))
  return places


def _first_frame(videos: Sequence[Video]) -> str:
  for video in videos:
    for frame in video.frames:
      return f"{frame.file_name!r} (image id {frame.image_id})"
  return "none, as no frame is given"
