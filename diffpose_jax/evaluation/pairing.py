"""Which prediction belongs to which frame of the ground truth.

Also which points lie in a polygon, as those of ignore regions are.
"""

import pathlib
from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Bool, Float

from diffpose_jax.data import annotations
from diffpose_jax.data.annotations import Frame, Video

_SHOWN = 3  # names in an error message


def pair_frames(
  truth: Sequence[Video], predictions: Sequence[Video]
) -> list[tuple[str, Frame, Frame]]:
  """(video name, true frame, predicted frame), in the order of their names.

  Videos are found by name, frames by file name, or else by the last part of
  it, or else by image id: by the first of these that every predicted frame of
  the video agrees with. A true frame without people needs no prediction.

  Raises:
    ValueError: a video or frame is on one side only; names it.
  """
  annotations.check_unique_names(truth, "ground truth")
  annotations.check_unique_names(predictions, "predictions")
  predicted = {video.name: video for video in predictions}
  _check_same({video.name for video in truth}, set(predicted), "video")
  pairs = []
  for video in sorted(truth, key=lambda video: video.name):
    for frame, other in _pair_video(video, predicted[video.name]):
      pairs.append((video.name, frame, other))
  return pairs


def _check_same(truth: set[str], predicted: set[str], kind: str) -> None:
  for names, where in (
    (truth - predicted, "has no prediction"),
    (predicted - truth, "is not in the ground truth"),
  ):
    if names:
      shown = ", ".join(sorted(names)[:_SHOWN])
      more = ", ..." if len(names) > _SHOWN else ""
      raise ValueError(
        f"{len(names)} {kind}(s) of one side only: {shown}{more} {where}; "
        "both sides must have the same"
      )


def _base_name(frame: Frame) -> str:
  return pathlib.PurePosixPath(frame.file_name).name


_KEYS: tuple[Callable[[Frame], str | int], ...] = (
  lambda frame: frame.file_name,
  _base_name,
  lambda frame: frame.image_id,
)


def _pair_video(truth: Video, predicted: Video) -> list[tuple[Frame, Frame]]:
  for key in _KEYS:
    known = {key(frame) for frame in truth.frames}
    needed = {key(frame) for frame in truth.frames if frame.people}
    there = {key(frame): frame for frame in predicted.frames}
    unique = len(known) == len(truth.frames)
    unique &= len(there) == len(predicted.frames)
    if unique and needed <= set(there) <= known:
      return [
        (
          frame,
          there.get(key(frame), Frame(frame.file_name, frame.image_id, False)),
        )
        for frame in truth.frames
      ]
  try:
    _check_same(
      {frame.file_name for frame in truth.frames if frame.people},
      {frame.file_name for frame in predicted.frames},
      "frame",
    )
  except ValueError as error:
    raise ValueError(f"{truth.name}: {error}") from None
  raise ValueError(f"{truth.name}: frames with the same name; rename them")


def inside(
  points: Float[np.ndarray, "n 2"], polygon: Float[np.ndarray, "p 2"]
) -> Bool[np.ndarray, "n"]:
  """Which points lie in the interior of a polygon, by the even-odd rule.

  Points on an edge do not. The polygon closes itself and may cross itself.
  """
  result = np.zeros(len(points), bool)
  if len(polygon) < 3:
    return result
  a = np.asarray(polygon, np.float64)
  b = np.roll(a, -1, axis=0)
  p = np.asarray(points, np.float64)
  near = np.all((p > np.min(a, axis=0)) & (p < np.max(a, axis=0)), axis=1)
  p = p[near][:, None]
  # Twice the signed area of (a, b, p): on which side of the edge p lies.
  side = (b - a)[:, 0] * (p - a)[..., 1] - (b - a)[:, 1] * (p - a)[..., 0]
  low, high = np.minimum(a, b), np.maximum(a, b)
  on_edge = (side == 0) & np.all((p >= low) & (p <= high), axis=-1)
  rises = (a[:, 1] <= p[..., 1]) & (p[..., 1] < b[:, 1])
  falls = (b[:, 1] <= p[..., 1]) & (p[..., 1] < a[:, 1])
  crossings = np.sum((rises & (side > 0)) | (falls & (side < 0)), axis=1)
  result[near] = (crossings % 2 == 1) & ~np.any(on_edge, axis=1)
  return result
