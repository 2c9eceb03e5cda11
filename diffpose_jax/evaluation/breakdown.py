"""Where the errors are: by video, by joint, and along the scores."""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from diffpose_jax.evaluation import matching, metric
from diffpose_jax.evaluation.metrics import ap
from diffpose_jax.pose import skeleton as skeleton_lib

_RECALL = np.linspace(0, 1, 101)  # where precision is read off a curve


@dataclasses.dataclass(frozen=True)
class VideoScore:
  """One video; percentages, None where nothing is labelled."""

  video: str
  people: int  # annotated ones, each counted in each of its frames
  frames: int  # those that count
  ap: float | None  # mean over joints
  pckh: float | None  # of its labelled joints, those right at PCKh@0.5
  mota: float | None = None


@dataclasses.dataclass(frozen=True)
class JointScore:
  """One evaluated joint of all videos; None where it is nowhere labelled."""

  joint: str  # poseval's name
  labelled: int
  ap: float | None  # percent
  precision: float | None  # percent, of all predictions whatever their scores
  pckh: float | None  # percent of the labelled ones, right at PCKh@0.5
  error: (
    float | None
  )  # median distance in head sizes, of those that have a pose


def per_video(
  case: matching.Case, mota: Mapping[str, float | None] | None = None
) -> tuple[VideoScore, ...]:
  """All videos, that of the lowest AP first and those without AP last.

  Args:
    case: what is judged.
    mota: video → MOTA in percent, where it is known.

  Raises:
    ValueError: as `ap.of`, but for a video in which nobody is annotated.
  """
  scores = [
    _video(name, case.only(name), (mota or {}).get(name))
    for name in case.videos
  ]
  return tuple(
    sorted(scores, key=lambda s: (math.inf if s.ap is None else s.ap, s.video))
  )


def per_joint(case: matching.Case) -> tuple[JointScore, ...]:
  """The evaluated joints, from head to ankle. Raises ValueError as `ap.of`."""
  found = ap.of(case)
  ranked = ap.ranked(case)
  errors = _median_errors(case)
  names = [name for name in found.ap if name != "total"]
  return tuple(
    JointScore(
      joint=names[j],
      labelled=ranked[j][2],
      ap=found.ap[names[j]],
      precision=found.precision[names[j]],
      pckh=found.recall[names[j]],
      error=metric.or_none(float(errors[j])),
    )
    for j in _from_head_to_ankle(case.skeleton)
  )


def precision_recall(case: matching.Case) -> dict[str, Any]:
  """Curves of each group of joints, as `plots.precision_recall` takes them.

  A joint's precision at a recall is the best at this recall or beyond, 0 where
  no score reaches it; a group's is the mean over its joints. So the area under
  a curve is the group's AP. Groups without a labelled joint are left out.

  Returns:
    {"recall": [0, 0.01, ..., 1], "precision": {"head": [...], ...}}: fractions.

  Raises:
    ValueError: as `ap.of`.
  """
  curves = np.stack([_envelope(*found[1:]) for found in ap.ranked(case)])
  groups = {
    name: curves[np.isin(case.skeleton.evaluated, channels)]
    for name, channels in case.skeleton.groups
  }
  known = {n: c[~np.isnan(c[:, 0])] for n, c in groups.items()}
  return {
    "recall": _RECALL.tolist(),
    "precision": {
      n: c.mean(axis=0).tolist() for n, c in known.items() if len(c)
    },
  }


def _video(name: str, case: matching.Case, mota: float | None) -> VideoScore:
  counted = [frame for frame in case.frames if frame.counts]
  mean, right, positives = None, 0, 0
  if counted:
    ranked = ap.ranked(case)
    mean = ap.of(case).ap["total"]
    right = sum(int(found[1].sum()) for found in ranked)
    positives = sum(found[2] for found in ranked)
  return VideoScore(
    video=name,
    people=sum(len(frame.truth.people) for frame in counted),
    frames=len(counted),
    ap=mean,
    pckh=100 * right / positives if positives else None,
    mota=mota,
  )


def _median_errors(case: matching.Case) -> Float[np.ndarray, "k"]:
  """Of labelled joints whose person has a pose with them; NaN for none."""
  distances = [np.zeros((0, len(case.skeleton.evaluated)))]
  for frame in case.frames:
    if frame.counts:
      found = np.flatnonzero(frame.owner >= 0)
      distances.append(frame.distance[found, frame.owner[found]])
  known = np.concatenate(distances)
  return np.array(
    [
      np.median(column[np.isfinite(column)])
      if np.isfinite(column).any()
      else math.nan
      for column in known.T
    ]
  )


def _from_head_to_ankle(skeleton: skeleton_lib.Skeleton) -> list[int]:
  """Indices into `evaluated`, group by group, then those of no group."""
  grouped = [c for _, channels in skeleton.groups for c in channels]
  rank = {channel: i for i, channel in enumerate(grouped)}
  return sorted(
    range(len(skeleton.evaluated)),
    key=lambda j: rank.get(skeleton.evaluated[j], len(rank)),
  )


def _envelope(
  right: Bool[np.ndarray, "n"], positives: int
) -> Float[np.ndarray, "r"]:
  """Precision at each of `_RECALL`, best score first; NaN without positives."""
  if not positives:
    return np.full(len(_RECALL), math.nan)
  hits = np.cumsum(right)
  precision = hits / np.arange(1, len(hits) + 1)
  best = np.maximum.accumulate(precision[::-1])[::-1]
  # The first prediction that reaches a recall; rounding must not ask for more.
  needed = np.maximum(np.ceil(_RECALL * positives - 1e-9), 1)
  first = np.searchsorted(hits, needed)
  return np.append(best, 0.0)[np.minimum(first, len(best))]
