"""Prediction files: PoseTrack18 JSON, one file for each video."""

import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from diffpose_jax.data import annotations, strict_json
from diffpose_jax.data.annotations import Video
from diffpose_jax.pose import skeleton as skeleton_lib


def write_posetrack(
  folder: str | os.PathLike,
  videos: Sequence[Video],
  *,
  skeleton: skeleton_lib.Skeleton,
  protocol: Mapping[str, Any] | None,
) -> list[pathlib.Path]:
  """Writes FOLDER/<video name>.json for each video and gives their paths.

  A file appears whole or not at all, and replaces one of the same name.

  Args:
    folder: made where it is missing.
    videos: predictions with `scores`; people without labelled joints stay.
    skeleton: names the joints.
    protocol: how they came about (boxes, steps, samples, ...); goes under the
      key `protocol`, which evaluators ignore.

  Raises:
    ValueError: two videos have one name, a name is not that of a file, or a
      number is not finite.
  """
  annotations.check_unique_names(videos, folder)
  contents = {}
  for video in videos:
    if video.name in ("", ".", "..") or set(video.name) & set("/\\\0"):
      raise ValueError(f"{folder}: {video.name!r} cannot be a file's name")
    content = annotations.to_json(video, skeleton=skeleton)
    if protocol is not None:
      content["protocol"] = dict(protocol)
    contents[pathlib.Path(folder) / f"{video.name}.json"] = content
  for path, content in contents.items():
    strict_json.dump(path, content)
  return list(contents)


def read_predictions(
  folder: str | os.PathLike,
  *,
  skeleton: skeleton_lib.Skeleton,
  dtype: type = np.float32,
) -> list[Video]:
  """The predictions of all videos in a folder, sorted by name.

  A joint is absent only where x, y and the third number are all 0: what tools
  write as the third number of a prediction differs. Errors: see
  `annotations.read_folder`.
  """
  return annotations.read_folder(
    folder, skeleton=skeleton, dtype=dtype, style="results"
  )
