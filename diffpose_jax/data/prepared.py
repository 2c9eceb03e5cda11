"""Prepared data as host tables, and the pictures behind them on demand.

The tables of `prepared_tables` are kept beside the records, so that opening a
large set reads no picture.
"""

import dataclasses
import hashlib
import os
import pathlib
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from array_record.python import array_record_module

from diffpose_jax.data import annotations, manifest, skeleton_file
from diffpose_jax.data import prepared_tables as tables
from diffpose_jax.pose import skeleton as skeletons

SKELETON = "skeleton.json"  # the joints of the records


@dataclasses.dataclass(frozen=True)
class Split:
  """A split of prepared data."""

  name: str
  folder: pathlib.Path
  skeleton: skeletons.Skeleton
  videos: tuple[str, ...]
  frames: tables.Frames
  people: tables.People
  regions: tables.Regions
  source: Any  # random access to the records, pictures not decoded
  labels: str = ""  # their version, as the manifest calls it

  def jpeg(self, row: int | np.integer) -> bytes:
    """Bytes of the picture of a row of `frames`.

    Raises ValueError naming it where its record is damaged.
    """
    try:
      return self.source[int(row)]["image"]
    except (RuntimeError, OSError) as error:  # as ArrayRecord does
      raise tables.damaged(f"record of {self.place(row)}", error) from error

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
  path = tables.path_of(folder, name)
  if path.is_file():
    arrays = tables.read_arrays(path)
  else:
    arrays = tables.of_records(tables.without_pictures(source), len(own.joints))
  videos = tuple(arrays.pop("videos").tolist())
  split = Split(
    name=name,
    folder=folder,
    skeleton=own,
    videos=videos,
    frames=tables.take(tables.Frames, arrays),
    people=tables.take(tables.People, arrays),
    regions=tables.take(tables.Regions, arrays),
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
  arrays = tables.read_arrays(tables.path_of(split.folder, split.name))
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


def _person(people: tables.People, row: int | np.integer) -> annotations.Person:
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
    raise tables.damaged(folder, error) from error


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
    raise tables.damaged(path, error) from error
  if found != count:
    raise ValueError(
      f"{path}: has {found} records instead of {count}; prepare the data again"
    )
