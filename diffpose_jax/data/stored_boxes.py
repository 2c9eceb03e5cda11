"""Boxes of a file of detections, kept beside the prepared records.

Every box of a picture of the set is stored with its score, in one NPZ a split,
and the threshold is applied when they are read: what is evaluated on them is
what would be on the file itself.
"""

import dataclasses
import hashlib
import os
import pathlib
from typing import Any

import numpy as np

from diffpose_jax.data import boxes as boxes_lib
from diffpose_jax.data import build, manifest, prepared, prepared_tables

PREPARED = "prepared"  # what an evaluation calls the stored boxes

_COUNTS = ("unknown_images", "other_categories", "outside")
_COLUMNS = {
  "row": np.int32,  # (n,), of `Split.frames`
  "box": np.float32,  # (n, 4), xyxy edges, picture pixels
  "score": np.float32,  # (n,)
  "track_id": np.int64,  # (n,), -1 where there is none
}
# The code that turns files of boxes into rows.
_READERS = (
  "box_files.py",
  "box_places.py",
  "box_records.py",
  "box_text.py",
  "boxes.py",
  "stored_boxes.py",
)


def about(folder: pathlib.Path) -> dict[str, Any] | None:
  """What the manifest says of the stored boxes; None where there are none.

  `name` and `sha256` of the file, `people` (its boxes of people), and under
  `splits` the numbers of boxes and of those left out, of each split that has
  boxes. A folder's sum is that of the names and sums of its files.
  """
  return (manifest.read(folder) or {}).get("boxes")


def store(folder: pathlib.Path, path: str | os.PathLike) -> bool:
  """Stores the boxes of a file, or folder of files; False if they are there.

  Others that were stored before are replaced, all at once: whatever happens in
  between, the folder has the old ones or the new ones.

  Raises:
    ValueError: the file cannot be read beyond doubt, or has no box of the
      set's pictures; nothing changes.
  """
  path = pathlib.Path(path)
  content = manifest.read(folder)
  if content is None:
    raise ValueError(
      f"{folder}: no {manifest.NAME} here; prepare the data before its boxes"
    )
  whole = digest(path)
  fingerprint = _fingerprint(path, whole)
  if (content.get("boxes") or {}).get("fingerprint") == fingerprint:
    return False
  splits = {
    name: prepared.open_split(folder, name)
    for name in prepared.split_names(folder)
  }
  found = boxes_lib.read_each(
    path, {name: prepared.to_videos(split) for name, split in splits.items()}
  )
  found = {name: boxes for name, boxes in found.items() if len(boxes.score)}
  if not found:
    raise ValueError(f"{path}: has no boxes of people; give another file")
  with build.changed(folder, without=_file_name("*")) as new:
    for name, boxes in found.items():
      _write(new / _file_name(name), splits[name], boxes)
    content["boxes"] = {
      "name": path.name,
      "sha256": whole,
      "fingerprint": fingerprint,
      "people": _people(next(iter(found.values()))),
      "splits": {
        name: {"boxes": len(boxes.score)}
        | {key: getattr(boxes, key) for key in _COUNTS}
        for name, boxes in found.items()
      },
    }
    known = {
      name: said
      for name, said in content.pop("files").items()
      if not pathlib.PurePath(name).match(_file_name("*"))
    }
    manifest.write(new, known=known, **content)
  return True


def read(
  split: prepared.Split, *, threshold: float
) -> tuple[str, boxes_lib.Boxes]:
  """The name of the file that was stored, and its boxes in a split.

  They are as `boxes.read_boxes` gives them for the file.

  Raises:
    ValueError: none are stored for the split; says how to store them.
  """
  said = check(split.folder)
  if split.name not in said["splits"]:
    raise ValueError(
      f"{split.folder}: the boxes stored of {said['name']} are of "
      f"{', '.join(said['splits'])}, none of split {split.name!r}; {_advice()}"
    )
  path = split.folder / _file_name(split.name)
  columns = prepared_tables.read_arrays(path)
  counts = said["splits"][split.name]
  row = columns.get("row", np.zeros(0, np.int32))
  sound = set(columns) == set(_COLUMNS) and (
    {len(column) for column in columns.values()} == {counts["boxes"]}
  )
  if not sound or row.min() < 0 or row.max() >= len(split.frames):
    raise ValueError(
      f"{path}: does not belong to these records; store the boxes again"
    )
  video = split.frames.video[row]
  first = np.searchsorted(split.frames.video, video)
  boxes = boxes_lib.Boxes(
    video=video,
    frame=(row - first).astype(np.int32),
    box=columns["box"],
    score=columns["score"],
    track_id=columns["track_id"],
    **{key: counts[key] for key in _COUNTS},
  )
  return said["name"], boxes_lib.above(boxes, threshold)


def check(folder: pathlib.Path) -> dict[str, Any]:
  """`about` of a folder. ValueError with the remedy where nothing is stored."""
  said = about(folder)
  if said is None:
    raise ValueError(f"{folder}: no boxes are stored here; {_advice()}")
  return said


def _people(boxes: boxes_lib.Boxes) -> int:
  return len(boxes.score) + boxes.outside + boxes.unknown_images


def _advice() -> str:
  return (
    "store them with: prepare --dataset=NAME --source=DIR --out=DIR "
    "--boxes=FILE, or evaluate with --boxes=FILE"
  )


def _file_name(split: str) -> str:
  return f"boxes-{split}.npz"


def _write(
  path: pathlib.Path, split: prepared.Split, boxes: boxes_lib.Boxes
) -> None:
  videos = np.arange(len(split.videos))
  first = np.searchsorted(split.frames.video, videos)
  table = dataclasses.asdict(boxes)
  table["row"] = first[boxes.video] + boxes.frame
  np.savez_compressed(
    path,
    allow_pickle=False,
    **{key: table[key].astype(kind) for key, kind in _COLUMNS.items()},
  )


def digest(path: pathlib.Path) -> str:
  """SHA-256 of a file, or of the names and sums of a folder's files."""
  if path.is_file():
    return manifest.digest(path)
  if not path.is_dir():
    raise ValueError(f"{path}: no such file; give a file of boxes")
  lines = [
    f"{manifest.digest(file)}  {file.name}\n"
    for file in sorted(path.iterdir())
    if file.is_file()
  ]
  return hashlib.sha256("".join(lines).encode()).hexdigest()


def _fingerprint(path: pathlib.Path, digest: str) -> str:
  """Hash of the file, of what it is called, and of the code that reads it.

  Files of text without names of pictures are of the video that they are called
  after, or their folders.
  """
  here = pathlib.Path(__file__).parent
  code = [manifest.digest(here / name) for name in _READERS]
  whole = "\n".join([digest, *path.resolve().parts[-3:], *code])
  return hashlib.sha256(whole.encode()).hexdigest()
