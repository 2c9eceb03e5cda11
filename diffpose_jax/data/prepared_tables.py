"""The labels of prepared data as flat tables, kept as NPZ beside its records.

`Frames` has one row a record, in (video, frame) order; `People` and `Regions`
point at rows of it.
"""

import dataclasses
import os
import pathlib
import zipfile
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

Record = dict[str, Any]  # a frame and its people, see `records.features`


def _column(dtype: Any) -> Any:
  return dataclasses.field(metadata={"dtype": dtype})


@dataclasses.dataclass(frozen=True)
class Frames:
  """One row a frame: `n` rows, videos together, frames in order."""

  video: np.ndarray = _column(np.int32)  # (n,), position in `Split.videos`
  frame_index: np.ndarray = _column(np.int32)  # (n,), position in the video
  num_frames: np.ndarray = _column(
    np.int32
  )  # (n,), of the video, missing ones included
  file_name: np.ndarray = _column(np.str_)  # (n,)
  image_id: np.ndarray = _column(np.int64)  # (n,)
  height: np.ndarray = _column(np.int32)  # (n,), pixels
  width: np.ndarray = _column(np.int32)  # (n,), pixels
  labelled: np.ndarray = _column(np.bool_)  # (n,)

  def __len__(self) -> int:
    return len(self.video)


@dataclasses.dataclass(frozen=True)
class People:
  """One row a labelled person, in the order of the frames; `k` joints."""

  frame: np.ndarray = _column(np.int32)  # (p,), row of `Frames`
  box: np.ndarray = _column(
    np.float32
  )  # (p, 4), xyxy edges, NaN where there is none
  head_box: np.ndarray = _column(
    np.float32
  )  # (p, 4), xyxy edges, NaN where there is none
  joints: np.ndarray = _column(np.float32)  # (p, k, 2), picture pixels
  labelled: np.ndarray = _column(np.bool_)  # (p, k)
  occluded: np.ndarray = _column(np.bool_)  # (p, k)
  occlusion_known: np.ndarray = _column(
    np.bool_
  )  # (p,), False: the file is silent
  track_id: np.ndarray = _column(np.int64)  # (p,)
  blur: np.ndarray = _column(np.float32)  # (p,), pixels or NaN
  speed: np.ndarray = _column(np.float32)  # (p,), pixels a frame or NaN

  def __len__(self) -> int:
    return len(self.frame)


@dataclasses.dataclass(frozen=True)
class Regions:
  """Ignore regions: polygon i is the `size[i]` next rows of `points`."""

  frame: np.ndarray = _column(np.int32)  # (r,), row of `Frames`
  size: np.ndarray = _column(np.int32)  # (r,)
  points: np.ndarray = _column(np.float32)  # (sum of size, 2)


def write(
  folder: pathlib.Path, name: str, records: Iterable[Record], joints: int
) -> None:
  """Writes the tables of a split beside its records.

  `records` are those of the split, in order; their pictures are not needed.
  """
  with open(path_of(folder, name), "wb") as file:
    arrays: dict[str, Any] = of_records(records, joints)
    np.savez_compressed(file, **arrays)


def path_of(folder: pathlib.Path, name: str) -> pathlib.Path:
  """The file of a split's tables in a prepared folder."""
  return folder / f"tables-{name}.npz"


def read_arrays(path: pathlib.Path) -> dict[str, np.ndarray]:
  """The arrays of an NPZ file. ValueError names it where it is damaged."""
  try:
    with np.load(path, allow_pickle=False) as file:
      return dict(file)
  except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
    raise damaged(path, error) from error


def damaged(path: str | os.PathLike, error: Exception) -> ValueError:
  """What to raise of prepared data that cannot be read."""
  reason = " ".join(str(error).split())
  return ValueError(f"{path}: is damaged ({reason}); prepare the data again")


def without_pictures(source: Any) -> Iterator[Record]:
  """The records of a split as its builder made them, without pictures."""
  for row in range(len(source)):
    record = source[row]
    found = record["people"]
    people = [
      {key: value[i] for key, value in found.items()}
      for i in range(len(found["box"]))
    ]
    texts = {key: record[key].decode() for key in ("video", "file_name")}
    del record["image"]
    yield record | texts | {"people": people}


def of_records(records: Iterable[Record], joints: int) -> dict[str, np.ndarray]:
  """All tables as named arrays, from one walk over the records."""
  videos: dict[str, int] = {}
  frames, people, regions, points = [], [], [], []
  for row, record in enumerate(records):
    video = videos.setdefault(record["video"], len(videos))
    frames.append(record | {"video": video})
    people += [{"frame": row} | person for person in record["people"]]
    regions += [{"frame": row, "size": s} for s in record["ignore_sizes"]]
    points.append(record["ignore_points"])
  shapes = {
    "box": (4,),
    "head_box": (4,),
    "joints": (joints, 2),
    "labelled": (joints,),
    "occluded": (joints,),
  }
  return {
    "videos": np.array(list(videos)),
    "regions_points": np.concatenate(points).astype(np.float32),
    **_columns(Frames, frames, {}),
    **_columns(People, people, shapes),
    **_columns(Regions, regions, {}, without=("points",)),
  }


def _columns(
  kind: type,
  rows: list[dict[str, Any]],
  shapes: dict[str, tuple[int, ...]],
  without: tuple[str, ...] = (),
) -> dict[str, np.ndarray]:
  """One array a field of `kind`, also where there are no rows."""
  return {
    f"{kind.__name__.lower()}_{field.name}": np.array(
      [row[field.name] for row in rows], field.metadata["dtype"]
    ).reshape(len(rows), *shapes.get(field.name, ()))
    for field in dataclasses.fields(kind)
    if field.name not in without
  }


def take(kind: type, arrays: dict[str, np.ndarray]) -> Any:
  """The table of this kind out of all arrays of a file."""
  prefix = kind.__name__.lower()
  return kind(
    **{
      field.name: arrays[f"{prefix}_{field.name}"]
      for field in dataclasses.fields(kind)
    }
  )
