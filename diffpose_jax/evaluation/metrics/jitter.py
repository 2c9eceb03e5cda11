"""How much poses tremble in time, beside how much the people do.

The acceleration of a joint is the second difference of its place over three
neighbouring frames, in pixels per frame². The acceleration error is the length
of the difference between the pose's and the truth's: an offset that stays costs
nothing, and noise of standard deviation s, independent in x, y and time, costs
s sqrt(3 pi) on average. Source: Zeng et al., SmoothNet (ECCV 2022, arXiv
2112.13715), the metric Accel of its experiments.

- A triple is one joint of one person's track in three frames that follow each
  other, labelled in all three and in no ignore region. The track is the
  truth's; the poses are AP's choice in each frame (see `pck.poses`), so that
  predictions need no tracks. A triple of which any joint has no prediction is
  left out: `triples` says how many are labelled and how many are judged.
- Frames follow each other in the file; where the numbers at the end of their
  names say that some are missing between them, they do not.
- People without a track are left out.
- Values are means over all triples of a joint; those of groups and `total` are
  means over joints. Head sizes are those of the middle frame; people without
  a head box are only in the means in pixels.
- `still` has only triples in which the truth stays within 0.05 head sizes: a
  tenth of the distance at which a joint is right, about a centimetre, in which
  trembling is seen as such and is not mixed with motion. The truth's own values
  there are what the labels tremble.
"""

import dataclasses
import itertools
import os
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from diffpose_jax.evaluation import matching, metric
from diffpose_jax.evaluation import pck as pck_lib
from diffpose_jax.pose import skeleton as skeleton_lib
from diffpose_jax.pose import temporal

ABOUT = (
  "acceleration error by the truth's tracks, pixels or head sizes per frame²; "
  "jitter of still joints"
)

STILL = 0.05  # head sizes


@dataclasses.dataclass(frozen=True)
class _Seen:
  """A frame: each person of the truth beside their pose."""

  name: str
  rows: Mapping[int, int]  # of the people, by track
  truth: Float[np.ndarray, "p k 2"]
  labelled: Bool[np.ndarray, "p k"]
  pose: Float[np.ndarray, "p k 2"]
  predicted: Bool[np.ndarray, "p k"]
  head: Float[np.ndarray, "p"]  # pixels


@dataclasses.dataclass(frozen=True)
class _Triples:
  """People in three frames that follow each other, joint for joint."""

  truth: Float[np.ndarray, "3 n k 2"]
  pose: Float[np.ndarray, "3 n k 2"]
  labelled: Bool[np.ndarray, "n k"]  # in all three frames
  judged: Bool[np.ndarray, "n k"]  # ... and predicted
  head: Float[np.ndarray, "n"]  # pixels, in the middle frame


def measure(case: matching.Case) -> dict[str, Any]:
  """`jitter`: `acceleration_error`, `still` and `triples`.

  `acceleration_error` has `pixels` and `heads`, each by group of joints with
  `total`; `still` has `acceleration` and `movement` from frame to frame, and
  as `true_acceleration` and `true_movement` the truth's own, each of these like
  `acceleration_error`. `triples` has the counts `labelled`, `judged`, and
  `still` of the judged ones. None where there is nothing to judge.

  Raises:
    ValueError: the place of a predicted joint is not finite, a box has no
      extent, or a track is twice in a true frame.
  """
  triples = _triples(case)
  judged = triples.judged
  steps = {
    "acceleration": _length(temporal.acceleration(triples.pose))[0],
    "movement": _movement(triples.pose),
    "true_acceleration": _length(temporal.acceleration(triples.truth))[0],
    "true_movement": _movement(triples.truth),
  }
  away = _length(
    temporal.acceleration(triples.pose) - temporal.acceleration(triples.truth)
  )[0]
  ends = _length(triples.truth - np.roll(triples.truth, 1, axis=0))
  still = judged & (np.max(ends, axis=0) <= STILL * triples.head[:, None])

  def means(values: Float[np.ndarray, "n k"], kept: Bool[np.ndarray, "n k"]):
    values = np.where(kept, values, np.nan)
    return {
      "pixels": _groups(values, case.skeleton),
      "heads": _groups(values / triples.head[:, None], case.skeleton),
    }

  result = {
    "acceleration_error": means(away, judged),
    "still": {name: means(values, still) for name, values in steps.items()},
    "triples": {
      "labelled": int(np.sum(triples.labelled)),
      "judged": int(np.sum(judged)),
      "still": int(np.sum(still)),
    },
  }
  return {"jitter": result}


def tables(result: Mapping[str, Any]) -> list[metric.Table]:
  """Errors in pixels and head sizes, and the still joints' in head sizes."""
  found = result["jitter"]
  error, still = found["acceleration_error"], found["still"]
  rows = {
    "still: acceleration": still["acceleration"]["heads"],
    "still: movement": still["movement"]["heads"],
    "truth: acceleration": still["true_acceleration"]["heads"],
    "truth: movement": still["true_movement"]["heads"],
  }
  heads = {"acceleration error": error["heads"]} | rows
  pixels = {"acceleration error": error["pixels"]}
  return [
    metric.Table("Jitter, pixels per frame²", pixels, digits=2, groups=True),
    metric.Table(
      "Jitter, head sizes per frame² (movement: per frame)",
      heads,
      digits=3,
      groups=True,
    ),
  ]


def _triples(case: matching.Case) -> _Triples:
  """Of all videos."""
  joints = len(case.skeleton.evaluated)
  none = np.zeros((0, joints), bool)
  empty = np.zeros((3, 0, joints, 2))
  parts = [_Triples(empty, empty, none, none, np.zeros(0))]
  for frames in case.videos.values():
    seen = [_see(frame) for frame in frames]
    for three in zip(seen, seen[1:], seen[2:], strict=False):
      if follow([frame.name for frame in three]):
        parts.append(_triple(three))
  return _Triples(
    truth=np.concatenate([part.truth for part in parts], axis=1),
    pose=np.concatenate([part.pose for part in parts], axis=1),
    labelled=np.concatenate([part.labelled for part in parts]),
    judged=np.concatenate([part.judged for part in parts]),
    head=np.concatenate([part.head for part in parts]),
  )


def _triple(three: Sequence[_Seen]) -> _Triples:
  """Of the people who are in all three frames."""
  first, middle, last = three
  tracks = [t for t in middle.rows if t in first.rows and t in last.rows]
  rows = [[frame.rows[track] for track in tracks] for frame in three]
  pairs = list(zip(three, rows, strict=True))
  labelled = np.all([frame.labelled[row] for frame, row in pairs], axis=0)
  predicted = np.all([frame.predicted[row] for frame, row in pairs], axis=0)
  return _Triples(
    truth=np.stack([frame.truth[row] for frame, row in pairs]),
    pose=np.stack([frame.pose[row] for frame, row in pairs]),
    labelled=labelled,
    judged=labelled & predicted,
    head=middle.head[rows[1]],
  )


def _see(frame: matching.Judged) -> _Seen:
  rows: dict[int, int] = {}
  for row, person in enumerate(frame.truth.people):
    track = person.track_id
    if track in rows:
      raise ValueError(
        f"{frame.place}: track {track} is there twice, so nobody can be "
        "followed; give each person of a frame a track_id of their own"
      )
    if track >= 0:
      rows[track] = row
  pose, predicted = pck_lib.beside(frame)
  return _Seen(
    name=frame.truth.file_name,
    rows=rows,
    truth=frame.true_joints,
    labelled=frame.true_there,
    pose=pose,
    predicted=predicted,
    head=pck_lib.head_lengths(frame),
  )


def follow(names: Sequence[str]) -> bool:
  """Whether frames that are neighbours in a file are so in their video.

  Not if their names differ in the number at their end alone and these numbers
  do not count on by one.
  """
  stems = [os.path.splitext(name)[0] for name in names]
  found = [re.fullmatch(r"(.*?)([0-9]+)", stem) for stem in stems]
  parts = [match.groups() for match in found if match]
  if len(parts) < len(names) or len({prefix for prefix, _ in parts}) > 1:
    return True
  numbers = [int(digits) for _, digits in parts]
  return all(b == a + 1 for a, b in itertools.pairwise(numbers))


def _length(steps: Float[np.ndarray, "*n 2"]) -> Float[np.ndarray, "*n"]:
  return np.linalg.norm(steps, axis=-1)


def _movement(joints: Float[np.ndarray, "3 n k 2"]) -> np.ndarray:
  """Mean of the two distances from frame to frame, (n, k)."""
  return np.mean(_length(np.diff(joints, axis=0)), axis=0)


def _groups(
  values: Float[np.ndarray, "n k"], skeleton: skeleton_lib.Skeleton
) -> dict[str, float | None]:
  """Means of each joint's values that are not NaN, by group."""
  return metric.by_group(
    np.array([metric.mean(column) for column in values.T]), skeleton
  )
