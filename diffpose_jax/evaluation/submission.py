"""A zip of prediction files for a test server, checked before it is written.

PoseTrack's servers want one JSON file for each video of the split, of the name
of its annotation file, with a track id and joint scores for every person; see
https://posetrack.net and github.com/leonid-pishchulin/poseval.
"""

import os
import pathlib
import tempfile
import zipfile

import numpy as np

from diffpose_jax.data import results
from diffpose_jax.data.annotations import Video
from diffpose_jax.evaluation import pairing
from diffpose_jax.pose import skeleton as skeleton_lib

TRACKS = 1000  # ids are below this
_TIME = (1980, 1, 1, 0, 0, 0)  # so that the same files give the same zip


def write(
  pred: pathlib.Path,
  out: pathlib.Path,
  *,
  gt: pathlib.Path | None = None,
  skeleton: skeleton_lib.Skeleton = skeleton_lib.POSETRACK,
) -> int:
  """Number of files that were zipped.

  Args:
    pred: folder of prediction files.
    out: zip file to write; it appears whole or not at all.
    gt: folder of the split's annotation files, with or without people: their
      videos and frames must be those of the predictions.
    skeleton: whose evaluated joints must be named.

  Raises:
    ValueError: what a server would refuse, or silently score as 0, naming file,
      frame and person: a video or frame too many or too few, a joint that is
      not named, a person without track id or scores, a track id twice in a
      frame or not from 0 to 999.
  """
  found = results.read_poses(
    pred, skeleton=skeleton, dtype=np.float64, complete=True
  )
  if gt is not None:
    truth = results.read_poses(gt, skeleton=skeleton, dtype=np.float64)
    pairing.pair_frames(truth.videos, found.videos)
    _check_counts(truth.videos, found.videos)
  if results.OWN in found.form:
    raise ValueError(
      f"{pred}: has this program's own JSON, which servers do not read; give "
      "PoseTrack18 JSON, which `predict --formats=posetrack` writes"
    )
  for video in found.videos:
    _check(video)
  paths = found.paths
  out.parent.mkdir(parents=True, exist_ok=True)
  handle, name = tempfile.mkstemp(prefix=f".{out.name}.", dir=out.parent)
  try:
    with (
      os.fdopen(handle, "wb") as file,
      zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive,
    ):
      for path in paths:
        member = zipfile.ZipInfo(path.name, _TIME)
        archive.writestr(member, path.read_bytes(), zipfile.ZIP_DEFLATED)
    _check_zip(pathlib.Path(name), paths)
    os.chmod(name, 0o644)
    os.replace(name, out)
  except BaseException:
    pathlib.Path(name).unlink(missing_ok=True)
    raise
  print(f"written: {out}, {len(paths)} files, {out.stat().st_size} bytes")
  return len(paths)


def _check(video: Video) -> None:
  for frame in video.frames:
    seen = set()
    for i, person in enumerate(frame.people):
      place = f"{video.name}: {frame.file_name}: person {i}"
      if not 0 <= person.track_id < TRACKS:
        raise ValueError(
          f"{place} has track_id {person.track_id}; servers take 0 to "
          f"{TRACKS - 1}: number the tracks of each video from 0"
        )
      if person.track_id in seen:
        raise ValueError(
          f"{place} has track_id {person.track_id}, which is taken in this "
          "frame; give each person of a frame another"
        )
      seen.add(person.track_id)
      if person.scores is None:
        raise ValueError(
          f"{place} has no scores; give one for each joint, by which AP ranks"
        )


def _check_counts(truth: list[Video], found: list[Video]) -> None:
  """Raises ValueError where a video has other frames: poseval counts them."""
  for video, other in zip(truth, found, strict=True):
    if len(video.frames) != len(other.frames):
      raise ValueError(
        f"{video.name}: {len(other.frames)} frames are predicted, but the "
        f"annotation file lists {len(video.frames)}; list each, also those "
        "without people"
      )


def _check_zip(path: pathlib.Path, wanted: list[pathlib.Path]) -> None:
  with zipfile.ZipFile(path) as archive:
    damaged = archive.testzip()
    if damaged or archive.namelist() != [file.name for file in wanted]:
      raise ValueError(f"{path}: the zip does not read back; check the disk")
