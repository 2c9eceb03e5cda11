"""Readers of files of person boxes: one record a box, whatever the format.

Of every format the same box comes out as the same edges (x, y, x + w, y + h).
"""

import os
import pathlib
from typing import Any, Literal

import numpy as np

from diffpose_jax.data import annotation_fields as fields
from diffpose_jax.data import box_records, box_text, result_names, strict_json

Format = Literal["auto", "coco", "posetrack", "mot", "csv"]
_SUFFIXES = {
  "auto": (".json", ".txt", ".csv"),
  "coco": (".json",),
  "posetrack": (".json",),
  "mot": (".txt",),
  "csv": (".csv",),
}


def read(
  path: str | os.PathLike, *, format: Format = "auto"
) -> list[box_records.Record]:
  """The boxes of a file, or of all files of one format in a folder.

  Arguments and errors: `boxes.read_boxes`, which says what each format is.
  """
  path = pathlib.Path(path)
  if not path.is_dir():
    return _read_file(path, format, _video_names(path))[1]
  records, kinds = [], {}
  for file in _files(path, format):
    kind, found = _read_file(file, format, (file.stem,))
    kinds.setdefault(kind, file)
    records += found
  if len(kinds) > 1:
    pair = " and ".join(f"{file.name} ({k})" for k, file in kinds.items())
    raise ValueError(
      f"{path}: {pair} are of different formats; keep one format in a folder"
    )
  return records


def _files(folder: pathlib.Path, format: Format) -> list[pathlib.Path]:
  suffixes = _SUFFIXES[format]
  files = [f for f in sorted(folder.iterdir()) if f.suffix.lower() in suffixes]
  files = result_names.once(files)
  if not files:
    wanted = " or ".join(f"*{suffix}" for suffix in suffixes)
    raise ValueError(f"{folder}: no {wanted} in this folder of boxes")
  first = {file.suffix.lower(): file.name for file in reversed(files)}
  if len(first) > 1:
    raise ValueError(
      f"{folder}: {' and '.join(sorted(first.values()))} are of different "
      "formats; keep one format in a folder, or say which with `format`"
    )
  return files


def _video_names(path: pathlib.Path) -> tuple[str, ...]:
  """What the video of a single file may be called: as the file, or a folder."""
  path = path.resolve()
  names = [path.stem, path.parent.name, path.parent.parent.name]
  while len(names) > 1 and names[0] in ("det", "gt"):  # VIDEO/det/det.txt
    names = names[1:]
  return tuple(names[: 1 if path.stem in ("det", "gt") else 2])


def _read_file(
  path: pathlib.Path, format: Format, videos: tuple[str, ...]
) -> tuple[str, list[box_records.Record]]:
  """The format of a file, and its boxes."""
  kinds = {".txt": "mot", ".csv": "csv"}
  kind = kinds.get(path.suffix.lower(), "json") if format == "auto" else format
  if kind == "mot":
    sure = format == "mot" or path.name in ("det.txt", "gt.txt")
    records = box_text.read_mot(path, videos, sure=sure)
  elif kind == "csv":
    records = box_text.read_csv(path, videos)
  else:
    kind, records = _json(path, kind)
  if records and max(np.abs(r.box).max() for r in records) <= 1:
    raise ValueError(
      f"{path}: all {len(records)} boxes lie within one pixel, such as "
      f"{records[0].box.tolist()}; if they are parts of the picture's size, "
      "multiply them by it"
    )
  return kind, records


def _json(
  path: pathlib.Path, kind: str
) -> tuple[str, list[box_records.Record]]:
  content = strict_json.load(path)
  if isinstance(content, list) and kind in ("json", "coco"):
    return "coco", [
      _detection(record, f"{path}: [{i}]") for i, record in enumerate(content)
    ]
  wanted = {
    "json": "neither a list of detections nor PoseTrack18 JSON",
    "coco": "not a list of detections",
    "posetrack": "not PoseTrack18 JSON",
  }[kind]
  place = f"{path} ({wanted})"
  content = strict_json.require(content, ("images", "annotations"), place)
  if kind == "coco":
    raise ValueError(f"{place}: say format='posetrack' for such a file")
  images = strict_json.listing(content["images"], f"{path}: images")
  ids = fields.image_ids(images, f"{path}: images")
  names = {
    identity: box_records.image_name(image["file_name"], f"{path}: images[{i}]")
    for i, (identity, image) in enumerate(zip(ids, images, strict=True))
  }
  return "posetrack", [
    _annotation(record, names, f"{path}: annotations[{i}]")
    for i, record in enumerate(
      strict_json.listing(content["annotations"], f"{path}: annotations")
    )
  ]


def _detection(record: Any, place: str) -> box_records.Record:
  strict_json.require(record, ("bbox",), place)
  for key in ("image_name", "file_name"):
    if key in record:
      return _record(record, box_records.image_name(record[key], place), place)
  if "image_id" not in record:
    raise ValueError(f"{place}: needs image_id, image_name or file_name")
  image_id = strict_json.integer(record["image_id"], f"{place}: image_id")
  return _record(record, image_id, place)


def _annotation(
  record: Any, names: dict[int, str], place: str
) -> box_records.Record:
  strict_json.require(record, ("image_id", "bbox"), place)
  image_id = fields.image_id(record, names, place)
  return _record(record, names[image_id], place)


def _record(
  record: dict[str, Any], image: str | int, place: str
) -> box_records.Record:
  track_id = record.get("track_id")
  box = strict_json.numbers(record["bbox"], f"{place}: bbox", 4)
  return box_records.Record(
    place=place,
    image=image,
    box=box_records.sized(*box.tolist(), place=f"{place}: bbox"),
    score=box_records.score(fields.number(record, "score", 1.0, place), place),
    track_id=(
      -1
      if track_id is None
      else strict_json.integer(track_id, f"{place}: track_id")
    ),
    category=record.get("category_id", box_records.PERSON),
  )
