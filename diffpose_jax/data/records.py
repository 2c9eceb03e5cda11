"""Prepared records: what one holds, and the builder that writes them.

One record is one frame. Records stand in (video, frame) order, so that the
neighbours of a frame are the records before and after it. Unlabelled frames
are kept, because a clip needs them, and pictures stay the bytes of their files.
"""

import abc
import collections
import contextlib
import hashlib
import itertools
import pathlib
from collections.abc import Generator, Iterator, Mapping
from concurrent import futures
from typing import Any, ClassVar

import numpy as np
import tensorflow_datasets as tfds
import tqdm
from array_record.python import array_record_module

from diffpose_jax.data import (
  annotations,
  layout,
  manifest,
  prepared_tables,
  serialize,
)
from diffpose_jax.pose import skeleton as skeletons

_KEYS = 1 << 127  # TFDS sorts records by keys below 2^128
THREADS = 2  # that read and check pictures
_AHEAD = 64  # pictures checked before they are written
_SAMPLE = 4096  # bytes
_SHARD = 4096  # most frames in a file: about 1 GB of 720p JPEG
_Examples = Generator[tuple[int, dict[str, Any]], None, None]
_Row = tuple[annotations.Video, int]  # a frame by its position


class FramesBuilder(  # pyright: ignore[reportGeneralTypeIssues]
  tfds.core.GeneratorBasedBuilder,
  abc.ABC,
  skip_registration=True,  # pyright: ignore[reportCallIssue]
):
  """What the builders of `datasets/` share: they differ in how files are read.

  `skip` is the largest share of a split's pictures that may be left out because
  they do not decode; at 0 the first one is an error. After the build, `skipped`
  says which were left out and why, `missing` how many unlabelled frames have no
  picture, `labels` how the labels of each split are called, and `sums` what the
  manifest is to say of the files of records.
  """

  VERSION = tfds.core.Version("1.0.0")
  RELEASE_NOTES: ClassVar[dict[str, str]] = {"1.0.0": "First version."}
  HOMEPAGE: ClassVar[str]

  def __init__(self, *, skip: float = 0.0, **kwargs: Any) -> None:
    super().__init__(**kwargs)
    self.skip = skip
    self.skipped: list[str] = []
    self.missing: dict[str, int] = {}
    self.labels: dict[str, str] = {}
    self.pictures: dict[str, str] = {}
    self.sums: dict[str, manifest.Sum] = {}

  @property
  def skeleton(self) -> skeletons.Skeleton:
    """The joints of the records."""
    return skeletons.POSETRACK

  @property
  def published(self) -> Mapping[str, Mapping[int, str]]:
    """Of each published split: number of videos, and its labels' name."""
    return {}

  def label(self, root: pathlib.Path, split: str, videos: int) -> str:
    """What the labels of a split of so many videos are called."""
    del root  # a set that ships in versions tells them apart by its files
    return label_version(videos, self.published.get(split, {}))

  @abc.abstractmethod
  def splits(self, root: pathlib.Path) -> list[str]:
    """Names of the splits in `root`; ValueError where there are none."""

  @abc.abstractmethod
  def read_split(
    self, root: pathlib.Path, split: str
  ) -> list[annotations.Video]:
    """The videos of a split; ValueError names an unsound file and record."""

  def _info(self) -> tfds.core.DatasetInfo:
    return self.dataset_info_from_configs(
      features=features(len(self.skeleton.joints)),
      homepage=self.HOMEPAGE,
      disable_shuffling=True,
    )

  def _split_generators(
    self, dl_manager: tfds.download.DownloadManager
  ) -> dict[str, _Examples]:
    return self._examples(pathlib.Path(dl_manager.manual_dir))

  def write(self, root: pathlib.Path) -> None:
    """Writes the records in order, as they are read, and their tables.

    `download_and_prepare` gives the same records, but keeps the first gigabyte
    of them in memory, writes the others twice, and needs TensorFlow for that.

    Raises ValueError for data that is not sound.
    """
    folder = pathlib.Path(self.data_dir)
    folder.mkdir(parents=True, exist_ok=True)
    examples = self._examples(root)
    infos = []
    with futures.ThreadPoolExecutor(1) as pool:
      for split, rows in examples.items():
        # Closed at once, also when interrupted: its threads and progress bar
        # end.
        with contextlib.closing(rows):
          records = (record for _, record in rows)
          infos.append(self._write_split(folder, split, records, pool))
    self.info.set_splits(tfds.core.splits.SplitDict(infos))
    self.info.write_to_directory(folder)

  def _write_split(
    self,
    folder: pathlib.Path,
    split: str,
    records: Iterator[dict[str, Any]],
    pool: futures.Executor,
  ) -> tfds.core.SplitInfo:
    """Writes shards and tables of a split; what TFDS is to know of them.

    A shard's bytes are summed up in `pool` while the next is written.
    """
    serializer = serialize.Serializer(self.info.features)
    lengths, sums, size, labels, pictures = [], [], 0, [], hashlib.sha256()
    while some := list(itertools.islice(records, 1)):
      # JPEG does not become smaller, and trying takes longer than all the rest.
      shard = _shard(folder, split, len(lengths))
      writer = array_record_module.ArrayRecordWriter(
        str(shard), "group_size:1,uncompressed"
      )
      length = 0
      for record in itertools.chain(
        some, itertools.islice(records, _SHARD - 1)
      ):
        data = serializer(record)
        writer.write(data)
        length, size = length + 1, size + len(data)
        labels.append(record | {"image": None})
        pictures.update(_sample(record["image"]))
      writer.close()
      lengths.append(length)
      sums.append(pool.submit(manifest.sum_up, shard))
    template = tfds.core.ShardedFileTemplate(
      data_dir=folder,
      dataset_name=self.name,
      split=split,
      filetype_suffix="array_record",
    )
    prepared_tables.write(folder, split, labels, len(self.skeleton.joints))
    for number, found in enumerate(sums):
      path = pathlib.Path(
        template.sharded_filepath(shard_index=number, num_shards=len(sums))
      )
      self.sums[path.name] = found.result()
      _shard(folder, split, number).rename(path)
    self.pictures[split] = pictures.hexdigest()
    return tfds.core.SplitInfo(
      name=split,
      shard_lengths=lengths,
      num_bytes=size,
      filename_template=template,
    )

  def _examples(self, root: pathlib.Path) -> dict[str, _Examples]:
    # Everything is read and looked for before the first record is written.
    rows = {split: self._rows(root, split) for split in self.splits(root)}
    return {
      split: self._generate_examples(root, split, rows[split]) for split in rows
    }

  def _rows(self, root: pathlib.Path, split: str) -> list[_Row]:
    """The frames whose pictures are there; ValueError on bad data."""
    videos = self.read_split(root, split)
    rows = [(v, at) for v in videos for at in layout.present(root, v)]
    self.missing[split] = sum(len(v.frames) for v in videos) - len(rows)
    self.labels[split] = self.label(root, split, len(videos))
    return rows

  def _generate_examples(
    self, root: pathlib.Path, split: str, rows: list[_Row]
  ) -> _Examples:
    """Keys that grow in order, and records."""
    step = _KEYS // len(rows)  # keys spread out share TFDS's buckets evenly
    budget = int(self.skip * len(rows))
    progress = tqdm.tqdm(total=len(rows), desc=split, unit=" frames")
    with progress, futures.ThreadPoolExecutor(THREADS) as pool:
      pictures = _read_ahead(pool, root, rows)
      for row, (video, at) in enumerate(rows):
        progress.update()
        try:
          picture = next(pictures).result()
        except ValueError as error:
          if not budget:
            raise
          budget -= 1
          self.skipped.append(f"{error}")
          continue
        yield row * step, _record(video, at, picture)


def _sample(picture: bytes) -> bytes:
  """Length and some of the bytes of a picture, which tell it from others.

  All bytes would cost a twentieth of preparing; that none changes later is for
  the sums of the files to see.
  """
  middle = len(picture) // 2
  parts = [
    slice(_SAMPLE),
    slice(middle, middle + _SAMPLE),
    slice(-_SAMPLE, None),
  ]
  return b"%d " % len(picture) + b"".join(picture[part] for part in parts)


def _shard(folder: pathlib.Path, split: str, number: int) -> pathlib.Path:
  """What a shard is called until it is known how many there are."""
  return folder / f"{split}-{number}.partial"


def label_version(videos: int, published: Mapping[int, str]) -> str:
  """What so many videos are called, if `published` has them by number.

  Fewer than the largest number are a subset of it; more are called more, since
  something else must be among them.
  """
  if videos in published:
    return published[videos]
  if not published:
    return "as given"
  known = ", ".join(f"{count} in {name}" for count, name in published.items())
  if videos > max(published):
    return f"{videos} videos, {videos - max(published)} too many ({known})"
  return f"subset of {videos} videos ({known})"


def features(joints: int) -> tfds.features.FeaturesDict:
  """Types and shapes of a record; boxes are edges in picture pixels."""
  f = tfds.features
  return f.FeaturesDict(
    {
      "image": f.Image(shape=(None, None, 3), doc="JPEG or PNG, as it was"),
      "video": f.Text(doc="unique in the split"),
      "file_name": f.Text(doc="relative to the root of the data"),
      "frame_index": f.Scalar(np.int32, doc="position in the video, from 0"),
      "num_frames": f.Scalar(np.int32, doc="frames the annotation file lists"),
      "image_id": f.Scalar(np.int64),
      "height": f.Scalar(np.int32),
      "width": f.Scalar(np.int32),
      "labelled": f.Scalar(np.bool_, doc="whether people are labelled here"),
      "ignore_points": f.Tensor(
        shape=(None, 2), dtype=np.float32, doc="polygons, end to end"
      ),
      "ignore_sizes": f.Tensor(
        shape=(None,), dtype=np.int32, doc="points of each polygon"
      ),
      "people": f.Sequence(_person_features(joints)),
    }
  )


def _person_features(joints: int) -> dict[str, Any]:
  f = tfds.features
  return {
    "box": f.Tensor(
      shape=(4,), dtype=np.float32, doc="xyxy edges, pixels; or NaN"
    ),
    "head_box": f.Tensor(
      shape=(4,), dtype=np.float32, doc="xyxy edges, pixels; or NaN"
    ),
    "joints": f.Tensor(
      shape=(joints, 2), dtype=np.float32, doc="(x, y), pixels"
    ),
    "labelled": f.Tensor(shape=(joints,), dtype=np.bool_),
    "occluded": f.Tensor(shape=(joints,), dtype=np.bool_),
    "occlusion_known": f.Scalar(np.bool_, doc="False: file is silent"),
    "track_id": f.Scalar(np.int64),
    "blur": f.Scalar(np.float32, doc="pixels; or NaN"),
    "speed": f.Scalar(np.float32, doc="pixels a frame; or NaN"),
  }


def _read_ahead(
  pool: futures.Executor, root: pathlib.Path, rows: list[_Row]
) -> Iterator[futures.Future[layout.Picture]]:
  """Checked pictures in order, of which a few wait at a time."""
  waiting = collections.deque()
  for video, at in rows:
    waiting.append(pool.submit(layout.read_picture, root, video.frames[at]))
    if len(waiting) >= _AHEAD:
      yield waiting.popleft()
  yield from waiting


def _record(
  video: annotations.Video, position: int, picture: layout.Picture
) -> dict[str, Any]:
  frame = video.frames[position]
  regions = frame.ignore_regions
  return {
    "image": picture.data,
    "video": video.name,
    "file_name": frame.file_name,
    "frame_index": position,
    "num_frames": len(video.frames),
    "image_id": frame.image_id,
    "height": picture.height,
    "width": picture.width,
    "labelled": frame.labelled,
    "ignore_points": np.concatenate(
      [np.zeros((0, 2), np.float32), *regions]
    ).astype(np.float32),
    "ignore_sizes": np.array([len(region) for region in regions], np.int32),
    "people": [_person(person) for person in frame.people],
  }


def _person(person: annotations.Person) -> dict[str, Any]:
  nowhere = np.full(4, np.nan, np.float32)
  known = person.occluded is not None
  return {
    "box": nowhere if person.box is None else person.box,
    "head_box": nowhere if person.head_box is None else person.head_box,
    "joints": person.joints,
    "labelled": person.labelled,
    "occluded": person.occluded if known else np.zeros_like(person.labelled),
    "occlusion_known": known,
    "track_id": person.track_id,
    "blur": person.blur,
    "speed": person.speed,
  }
