"""Prepared data as host tables, and the pictures behind them on demand.

A split has three flat tables: `Frames` (one row a record, in (video, frame)
order), `People` and `Regions`, which point at rows of `Frames`. They are kept
beside the records as NPZ, so that opening a large set reads no picture.
"""

import dataclasses
import hashlib
import os
import pathlib
import zipfile
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from array_record.python import array_record_module

from diffpose_jax.data import annotations, manifest, skeleton_file
from diffpose_jax.pose import skeleton as skeletons

SKELETON = "skeleton.json"  # the joints of the records

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


@dataclasses.dataclass(frozen=True)
class Split:
  """A split of prepared data."""

  name: str
  folder: pathlib.Path
  skeleton: skeletons.Skeleton
  videos: tuple[str, ...]
  frames: Frames
  people: People
  regions: Regions
  source: Any  # random access to the records, pictures not decoded
  labels: str = ""  # their version, as the manifest calls it

  def jpeg(self, row: int | np.integer) -> bytes:
    """Bytes of the picture of a row of `frames`.

    Raises ValueError naming it where its record is damaged.
    """
    try:
      return self.source[int(row)]["image"]
    except (RuntimeError, OSError) as error:  # as ArrayRecord does
      raise _damaged(f"record of {self.place(row)}", error) from error

  def place(self, row: int | np.integer) -> str:
    """What to call a row of `frames` in an error."""
    return f"{self.folder} {self.name}: {self.frames.file_name[row]}"


class _KeepBytes(tfds.decode.SkipDecoding):
  """Leaves a picture as the bytes of its file, without TensorFlow."""

  def decode_example_np(self, serialized: bytes) -> bytes:
    """The bytes as they are."""
    return serialized


def split_names(folder: str | os.PathLike) -> list[str]:
  """Splits of a prepared folder. ValueError where it is not one."""
  return sorted(_builder(folder).info.splits)


def open_split(
  folder: str | os.PathLike,
  name: str,
  *,
  skeleton: skeletons.Skeleton | None = None,
) -> Split:
  """The split `name` of a prepared folder; no picture is read or decoded.

  Args:
    folder: what `prepare` made.
    name: of the split.
    skeleton: joints of the result, found by name: those that the data does not
      have are not labelled. None: the joints that the data has.

  Raises:
    ValueError: no prepared data there, or damaged; no such split, or it is
      empty; or it has no joint of `skeleton`.
  """
  folder = pathlib.Path(folder)
  manifest.check_sizes(folder)
  source = _source(folder, name)
  own = _skeleton(folder)
  path = _tables_path(folder, name)
  if path.is_file():
    arrays = read_arrays(path)
  else:
    arrays = _tables(_stored(source), len(own.joints))
  videos = tuple(arrays.pop("videos").tolist())
  split = Split(
    name=name,
    folder=folder,
    skeleton=own,
    videos=videos,
    frames=_take(Frames, arrays),
    people=_take(People, arrays),
    regions=_take(Regions, arrays),
    source=source,
    labels=(manifest.read(folder) or {"labels": {}})["labels"].get(name, ""),
  )
  if len(source) != len(split.frames):
    raise ValueError(
      f"{folder} {name}: {len(source)} records but {len(split.frames)} rows in "
      f"{path.name}; prepare the data again"
    )
  if skeleton is None or skeleton.joints == own.joints:
    return split
  return _with_joints(split, skeleton)


def identity(split: Split) -> str:
  """Hash of the split's pictures and labels, whenever it was prepared.

  The files themselves differ each time: records have no order of fields.
  '' for a folder without a manifest, which `prepare` did not make.
  """
  content = manifest.read(split.folder)
  if content is None:
    return ""
  digest = hashlib.sha256(content["pictures"].get(split.name, "").encode())
  arrays = read_arrays(_tables_path(split.folder, split.name))
  for name, values in sorted(arrays.items()):
    digest.update(f"{name} {values.dtype} {values.shape}".encode())
    digest.update(np.ascontiguousarray(values).tobytes())
  return digest.hexdigest()


def _skeleton(folder: pathlib.Path) -> skeletons.Skeleton:
  path = folder / SKELETON
  if not path.is_file():
    raise ValueError(
      f"{path}: no such file, so an older version prepared this data; prepare "
      "it again"
    )
  return skeleton_file.read(path)


def _with_joints(split: Split, skeleton: skeletons.Skeleton) -> Split:
  """The split with its people's joints in the order of another skeleton."""
  own, wanted = split.skeleton.joints, skeleton.joints
  there = [name for name in wanted if name in own]
  if not there:
    raise ValueError(
      f"{split.folder} {split.name}: has none of the joints of {skeleton.name} "
      f"({', '.join(wanted)}); it has {', '.join(own)}"
    )
  to = [wanted.index(name) for name in there]
  of = [own.index(name) for name in there]

  def moved(values: np.ndarray) -> np.ndarray:
    shape = (len(values), len(wanted), *values.shape[2:])
    result = np.zeros(shape, values.dtype)
    result[:, to] = values[:, of]
    return result

  people = dataclasses.replace(
    split.people,
    joints=moved(split.people.joints),
    labelled=moved(split.people.labelled),
    occluded=moved(split.people.occluded),
  )
  return dataclasses.replace(split, people=people, skeleton=skeleton)


def write_tables(
  folder: pathlib.Path, name: str, records: Iterable[Record], joints: int
) -> None:
  """Writes the tables of a split beside its records.

  `records` are those of the split, in order; their pictures are not needed.
  """
  with open(_tables_path(folder, name), "wb") as file:
    arrays: dict[str, Any] = _tables(records, joints)
    np.savez_compressed(file, **arrays)


def to_videos(split: Split) -> list[annotations.Video]:
  """The labels of a split as annotation records: evaluation's truth.

  Frames whose pictures were missing are left out.
  """
  frames = split.frames
  people = [[] for _ in range(len(frames))]
  for row in range(len(split.people)):
    people[split.people.frame[row]].append(_person(split.people, row))
  regions = [[] for _ in range(len(frames))]
  ends = np.cumsum(split.regions.size)[:-1]
  polygons = np.split(split.regions.points, ends) if len(ends) + 1 else []
  for row, polygon in zip(split.regions.frame, polygons, strict=False):
    regions[row].append(polygon)
  videos = [[] for _ in split.videos]
  for row in range(len(frames)):
    videos[frames.video[row]].append(
      annotations.Frame(
        file_name=str(frames.file_name[row]),
        image_id=int(frames.image_id[row]),
        labelled=bool(frames.labelled[row]),
        people=tuple(people[row]),
        ignore_regions=tuple(regions[row]),
        height=int(frames.height[row]),
        width=int(frames.width[row]),
      )
    )
  return [
    annotations.Video(name, tuple(rows))
    for name, rows in zip(split.videos, videos, strict=True)
  ]


def _person(people: People, row: int | np.integer) -> annotations.Person:
  box, head_box = people.box[row], people.head_box[row]
  return annotations.Person(
    box=None if np.isnan(box[0]) else box,
    joints=people.joints[row],
    labelled=people.labelled[row],
    track_id=int(people.track_id[row]),
    head_box=None if np.isnan(head_box[0]) else head_box,
    occluded=people.occluded[row] if people.occlusion_known[row] else None,
    blur=float(people.blur[row]),
    speed=float(people.speed[row]),
  )


def _builder(folder: str | os.PathLike) -> tfds.core.DatasetBuilder:
  folder = pathlib.Path(folder)
  if not (folder / "dataset_info.json").is_file():
    raise ValueError(
      f"{folder}: no prepared data here (looked for dataset_info.json); make "
      "it with: python -m diffpose_jax.main prepare --dataset=… --source=DIR "
      f"--out={folder}"
    )
  try:
    return tfds.builder_from_directory(folder)
  except Exception as error:  # TFDS raises what its parsers raise
    raise _damaged(folder, error) from error


def _source(folder: pathlib.Path, name: str) -> Any:
  builder = _builder(folder)
  splits = builder.info.splits
  if name not in splits:
    raise ValueError(
      f"{folder}: no split {name!r}; there is {', '.join(sorted(splits))}"
    )
  if not splits[name].num_examples:
    raise ValueError(f"{folder}: split {name!r} is empty; prepare it again")
  for path, count in zip(
    splits[name].filepaths, splits[name].shard_lengths, strict=True
  ):
    _check_count(path, count)
  return builder.as_data_source(split=name, decoders={"image": _KeepBytes()})


def _check_count(path: str | os.PathLike, count: int) -> None:
  """Raises ValueError unless a file of records has `count`; reads its end."""
  try:
    reader = array_record_module.ArrayRecordReader(os.fspath(path))
    found = reader.num_records()
    reader.close()
  except (RuntimeError, OSError) as error:
    raise _damaged(path, error) from error
  if found != count:
    raise ValueError(
      f"{path}: has {found} records instead of {count}; prepare the data again"
    )


def _tables_path(folder: pathlib.Path, name: str) -> pathlib.Path:
  return folder / f"tables-{name}.npz"


def read_arrays(path: pathlib.Path) -> dict[str, np.ndarray]:
  """The arrays of an NPZ file. ValueError names it where it is damaged."""
  try:
    with np.load(path, allow_pickle=False) as file:
      return dict(file)
  except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
    raise _damaged(path, error) from error


def _damaged(path: str | os.PathLike, error: Exception) -> ValueError:
  reason = " ".join(str(error).split())
  return ValueError(f"{path}: is damaged ({reason}); prepare the data again")


def _take(kind: type, arrays: dict[str, np.ndarray]) -> Any:
  prefix = kind.__name__.lower()
  return kind(
    **{
      field.name: arrays[f"{prefix}_{field.name}"]
      for field in dataclasses.fields(kind)
    }
  )


def _stored(source: Any) -> Iterator[Record]:
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


def _tables(records: Iterable[Record], joints: int) -> dict[str, np.ndarray]:
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
