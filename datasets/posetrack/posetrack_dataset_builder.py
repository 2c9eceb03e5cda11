"""TFDS builder for video in PoseTrack18's layout: one record a frame.

Records stand in (video, frame) order, so that the neighbours of a frame are
the records before and after it. Unlabelled frames are kept, because a clip
needs them, and pictures stay the bytes of their files.
"""

import collections
import pathlib
from collections.abc import Iterator
from concurrent import futures
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
import tqdm
from etils import epath

from diffpose_jax.data import annotations, layout
from diffpose_jax.pose import skeleton as skeletons

_KEYS = 1 << 127  # TFDS sorts records by keys below 2^128
_THREADS = 2  # that read and check pictures
_AHEAD = 64  # pictures checked before they are written
_Row = tuple[annotations.Video, int]  # a frame by its position
_SKELETON = skeletons.POSETRACK


class Builder(tfds.core.GeneratorBasedBuilder):
  """Video, people and tracks as in PoseTrack18."""

  # Said, because the module is loaded by file and TFDS cannot find it by name.
  pkg_dir_path = epath.Path(__file__).parent
  VERSION = tfds.core.Version("1.0.0")
  RELEASE_NOTES = {"1.0.0": "First version."}  # noqa: RUF012
  BUILDER_CONFIGS = [  # noqa: RUF012
    tfds.core.BuilderConfig(
      name="2018", description="Layout and JSON of PoseTrack18."
    )
  ]
  MANUAL_DOWNLOAD_INSTRUCTIONS = (
    "Give the folder that holds annotations/<split>/*.json and the pictures "
    "that these name. PoseTrack is on application: see README.md."
  )

  def _info(self) -> tfds.core.DatasetInfo:
    return self.dataset_info_from_configs(
      features=_features(len(_SKELETON.joints)),
      homepage="https://posetrack.net",
      disable_shuffling=True,
    )

  def _split_generators(
    self, dl_manager: tfds.download.DownloadManager
  ) -> dict[str, Iterator[tuple[int, dict[str, Any]]]]:
    root = pathlib.Path(dl_manager.manual_dir)
    # Everything is read and looked for before the first record is written.
    rows = {split: _rows(root, split) for split in layout.splits(root)}
    return {
      split: self._generate_examples(root, split, rows[split]) for split in rows
    }

  def _generate_examples(
    self, root: pathlib.Path, split: str, rows: list[_Row]
  ) -> Iterator[tuple[int, dict[str, Any]]]:
    """Keys that grow in order, and records."""
    step = _KEYS // len(rows)  # keys spread out share TFDS's buckets evenly
    progress = tqdm.tqdm(total=len(rows), desc=split, unit=" frames")
    with progress, futures.ThreadPoolExecutor(_THREADS) as pool:
      pictures = _read_ahead(pool, root, rows)
      for row, (video, at) in enumerate(rows):
        yield row * step, _record(video, at, next(pictures))
        progress.update()


def _rows(root: pathlib.Path, split: str) -> list[_Row]:
  """The frames whose pictures are there; ValueError on bad data."""
  return [
    (video, at)
    for video in annotations.read_split(root, split, skeleton=_SKELETON)
    for at in layout.present(root, video)
  ]


def _features(joints: int) -> tfds.features.FeaturesDict:
  f = tfds.features
  return f.FeaturesDict(
    {
      "image": f.Image(shape=(None, None, 3), encoding_format="jpeg"),
      "video": f.Text(doc="stem of the annotation file"),
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
      "people": f.Sequence(
        {
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
      ),
    }
  )


def _read_ahead(
  pool: futures.Executor, root: pathlib.Path, rows: list[_Row]
) -> Iterator[layout.Picture]:
  """Checked pictures in order, of which a few wait at a time."""
  waiting = collections.deque()
  for video, at in rows:
    waiting.append(pool.submit(layout.read_picture, root, video.frames[at]))
    if len(waiting) >= _AHEAD:
      yield waiting.popleft().result()
  for picture in waiting:
    yield picture.result()


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
