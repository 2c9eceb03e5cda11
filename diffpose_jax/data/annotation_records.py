"""One record for annotated video, and how videos are named and ordered.

A `Video` is what PoseTrack, COCO and JHMDB files have in common. Boxes are
xyxy edges, joints (x, y) in picture pixels, both as written in the file.
"""

import collections
import dataclasses
import os
import re
import zlib
from collections.abc import Sequence

import numpy as np


@dataclasses.dataclass(frozen=True)
class Person:
  """One person in one frame; `k` follows the skeleton's joint order."""

  box: np.ndarray | None  # float32 (4,) xyxy edges; None: not in the file
  joints: np.ndarray  # float32 (k, 2); (0, 0) where not labelled
  labelled: np.ndarray  # bool (k,)
  track_id: int = -1  # below 0: none
  head_box: np.ndarray | None = None  # float32 (4,) xyxy edges
  scores: np.ndarray | None = None  # float32 (k,), predictions only
  box_score: float = 1.0
  occluded: np.ndarray | None = None  # bool (k,), where the file says so
  blur: float = float("nan")  # pixels, where the file says so
  speed: float = float("nan")  # pixels a frame, where the file says so
  # Predictions only: scale of each joint's error (k, 2, 2), pixels², and the
  # probability (k,) that it is within half a head size; NaN: unknown.
  scale: np.ndarray | None = None
  within: np.ndarray | None = None
  # Predictions only: float32 (m, k, 2), joints of each member of the ensemble.
  samples: np.ndarray | None = None


@dataclasses.dataclass(frozen=True)
class Frame:
  """One frame of a video, labelled or not."""

  file_name: str  # as in the file, relative to the data root
  image_id: int
  labelled: bool
  people: tuple[Person, ...] = ()
  ignore_regions: tuple[np.ndarray, ...] = ()  # each float32 (p, 2) polygon
  height: int | None = None
  width: int | None = None
  time: float = float("nan")  # seconds, where the file says so


@dataclasses.dataclass(frozen=True)
class Video:
  """The frames of one annotation file, in the order of their file names."""

  name: str  # stem of the annotation file
  frames: tuple[Frame, ...]


def natural_key(name: str) -> tuple[list[int | str], str]:
  """A sort key by which `img9` comes before `img10`."""
  parts = re.split(r"([0-9]+)", name)  # text and digits alternate
  return [int(p) if i % 2 else p for i, p in enumerate(parts)], name


def check_unique_names(
  videos: Sequence[Video], place: str | os.PathLike
) -> None:
  """Raises ValueError naming a video that is there twice."""
  counts = collections.Counter(video.name for video in videos)
  twice = [name for name, count in counts.items() if count > 1]
  if twice:
    raise ValueError(
      f"{place}: video {twice[0]!r} is there {counts[twice[0]]} times; keep one"
    )


def noise_id(video: str, track_id: int) -> int:
  """Identity in uint32 of whose sampling noise it is; 0 without a track.

  It does not depend on the frame, so that noise is not seen as jitter.
  """
  return zlib.crc32(f"{video}/{track_id}".encode()) if track_id >= 0 else 0
