"""Prediction files for evaluators: PoseTrack18 JSON, one for each video.

They are read in PoseTrack17's form and in this program's own too, and so is the
truth beside them.
"""

import dataclasses
import difflib
import hashlib
import os
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from diffpose_jax.data import (
  annolist,
  annotations,
  manifest,
  poses,
  result_json,
  result_names,
  strict_json,
)
from diffpose_jax.data import annotation_fields as fields
from diffpose_jax.data.annotations import Video
from diffpose_jax.pose import skeleton as skeleton_lib

OWN = "diffpose_jax JSON"
_ANNOLIST = "annolist"


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
  for video in videos:
    if video.name in ("", ".", "..") or set(video.name) & set("/\\\0"):
      raise ValueError(f"{folder}: {video.name!r} cannot be a file's name")
  paths = []
  for video in videos:
    paths.append(pathlib.Path(folder) / f"{video.name}.json")
    annotations.write_frames(
      paths[-1],
      video.name,
      video.frames,
      skeleton=skeleton,
      protocol=protocol,
    )
  return paths


@dataclasses.dataclass(frozen=True)
class Poses:
  """The poses of a folder of files, and what these are."""

  videos: list[Video]  # by name
  paths: list[pathlib.Path]  # of the files
  form: str  # of the files
  sha256: str  # of their names and bytes
  protocol: dict[str, Any] | None  # how they came about, if all say the same


def read_poses(
  folder: str | os.PathLike,
  *,
  skeleton: skeleton_lib.Skeleton,
  dtype: type = np.float32,
  complete: bool = False,
) -> Poses:
  """The true or predicted poses of a folder, one JSON file for each video.

  Each file is PoseTrack18 JSON (as this program, mmpose and PoseTrack21 write
  it too), the annolist of PoseTrack17, or this program's own JSON, which its
  content tells. In the former two a joint is absent only where x, y and the
  third number are all 0: what tools write as the third number of a prediction
  differs. NAME.poses.json and NAME.coco.json are not looked at where NAME.json
  is beside them.

  Args:
    folder: of the files.
    skeleton: joint order of the result.
    dtype: of coordinates and scores.
    complete: whether a file must name each evaluated joint, and no unknown one.

  Raises:
    ValueError: no such folder or no JSON in it; a file that is not sound or,
      where it must be, not complete.
  """
  folder = pathlib.Path(folder)
  if not folder.is_dir():
    raise ValueError(f"{folder}: no such folder; looked for *.json in it")
  paths = result_names.once(sorted(folder.glob("*.json")))
  videos, forms, protocols = [], set(), []
  digest = hashlib.sha256()
  for path in paths:
    content = strict_json.load(path)
    digest.update(f"{path.name} {manifest.digest(path)}\n".encode())
    form, read = _reader(content)
    forms.add(form)
    if complete and form == OWN:
      names = poses.of_record(content, str(path)).skeleton.joints
      _check_joints(names, skeleton, f"{path}: skeleton: joints")
    elif complete and form != _ANNOLIST:
      categories = annotations.check_lists(content, path)["categories"]
      names = fields.joint_names(categories, skeleton, f"{path}: categories")
      _check_joints(names, skeleton, f"{path}: categories[0]: keypoints")
    videos += read(content, path, skeleton=skeleton, dtype=dtype)
    said = content.get("protocol")
    protocols.append(said if isinstance(said, dict) else None)
  if not videos:
    raise ValueError(f"{folder}: no *.json in this folder")
  annotations.check_unique_names(videos, folder)
  same = all(protocol == protocols[0] for protocol in protocols)
  return Poses(
    videos=sorted(videos, key=lambda video: video.name),
    paths=paths,
    form=" and ".join(sorted(forms)),
    sha256=digest.hexdigest(),
    protocol=protocols[0] if same else None,
  )


def _reader(content: Any) -> tuple[str, Callable[..., list[Video]]]:
  """What the content of a file is, and what reads it."""
  if isinstance(content, dict) and "annolist" in content:
    return _ANNOLIST, _from_annolist
  if isinstance(content, dict) and content.get("format") == poses.FORMAT:
    return OWN, _from_own
  return "PoseTrack18 JSON", _from_posetrack


def _from_annolist(content: Any, path: pathlib.Path, **how: Any) -> list[Video]:
  return [annolist.from_json(content, path, style="results", **how)]


def _from_own(content: Any, path: pathlib.Path, **how: Any) -> list[Video]:
  head = poses.of_record(content, str(path))
  frames = result_json.frames_of(content, head, str(path), **how)
  return [Video(result_names.video(path), frames)]


def _from_posetrack(
  content: Any, path: pathlib.Path, **how: Any
) -> list[Video]:
  record = annotations.check_lists(content, path)
  return annotations.from_json(record, path, style="results", **how)


def _check_joints(
  names: Sequence[str], skeleton: skeleton_lib.Skeleton, place: str
) -> None:
  """Raises ValueError unless all joints are known and none is left out."""
  for name in names:
    if name not in skeleton.joints:
      close = difflib.get_close_matches(name, skeleton.joints, n=1)
      hint = f"did you mean {close[0]!r}?" if close else "rename or remove it"
      raise ValueError(
        f"{place} names {name!r}, which is no joint of {skeleton.name}; {hint}"
      )
  for channel in skeleton.evaluated:
    if skeleton.joints[channel] not in names:
      raise ValueError(
        f"{place} does not name {skeleton.joints[channel]!r}, which is "
        f"evaluated in {skeleton.name}; without it that joint would score 0"
      )
