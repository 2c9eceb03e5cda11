"""Average precision of parts of the joints, with confidence intervals.

Everybody is estimated in their own ground-truth box, so each predicted joint
belongs to a true one, and joints can be chosen by what is true of them
(occluded, blurred, fast). AP over such a choice is the area under precision and
recall of the chosen joints alone, ranked by score; right is within half a head
size, a type of joint is a curve, and the result is the mean over types. Over all
joints it is PoseTrack's AP but for poses that fit another person better than
their own.

Intervals are bootstraps over videos: people of one video are no independent
draws. What is compared is drawn alike (paired).
"""

import dataclasses
from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy import stats

HEAD = 0.5  # head sizes within which a joint is right
LEAST = 20  # joints of a type, fewer are left out
_ROUNDS = 400


@dataclasses.dataclass(frozen=True)
class Judged:
  """Poses of n people beside the truth; k joints."""

  error: Float[np.ndarray, "n k"]  # head sizes
  score: Float[np.ndarray, "n k"]
  video: Int[np.ndarray, "n"]  # to which each belongs


def average_precision(
  judged: Judged,
  chosen: Bool[np.ndarray, "n k"],
  weight: Float[np.ndarray, "n"] | None = None,
) -> float:
  """AP in percent over the chosen joints; NaN where no type has enough.

  Args:
    judged: the poses.
    chosen: which labelled joints take part.
    weight: how often each person counts; once by default.
  """
  curves = [
    _area(*ranked, np.ones(len(judged.video)) if weight is None else weight)
    for ranked in _ranked(judged, chosen)
  ]
  return 100 * float(np.nanmean(curves)) if curves else float("nan")


def interval(
  judged: Sequence[Judged],
  chosen: Bool[np.ndarray, "n k"],
  reference: Sequence[Judged] | None = None,
  *,
  seed: int = 0,
) -> tuple[float, float]:
  """The 95 % interval of mean AP over runs, or of its gain over a reference.

  Videos are drawn with replacement, and so are runs, which differ by seed.

  Args:
    judged: runs of one network, of the same people.
    chosen: as for `average_precision`.
    reference: runs of another one, of the same people.
    seed: of the draws.
  """
  rng = np.random.default_rng(seed)
  videos = int(judged[0].video.max()) + 1
  sides = [
    [(one.video, _ranked(one, chosen)) for one in side]
    for side in (judged, reference)
    if side is not None
  ]
  found = []
  for _ in range(_ROUNDS):
    count = np.bincount(rng.integers(videos, size=videos), minlength=videos)
    means = []
    for side in sides:
      drawn = rng.integers(len(side), size=len(side))
      means.append(np.mean([_mean(side[i], count) for i in drawn]))
    found.append(means[0] - means[1] if len(means) == 2 else means[0])
  low, high = np.nanpercentile(found, [2.5, 97.5])
  return float(low), float(high)


def _mean(one, count) -> float:
  video, ranked = one
  areas = [_area(rows, right, count[video]) for rows, right in ranked]
  return 100 * float(np.nanmean(areas)) if areas else float("nan")


def _ranked(
  judged: Judged, chosen: Bool[np.ndarray, "n k"]
) -> list[tuple[np.ndarray, np.ndarray]]:
  """For each type with enough joints: its people by falling score, and right."""
  result = []
  for joint in np.flatnonzero(chosen.sum(axis=0) >= LEAST):
    rows = np.flatnonzero(chosen[:, joint])
    order = np.argsort(-judged.score[rows, joint], kind="stable")
    rows = rows[order]
    result.append((rows, judged.error[rows, joint] <= HEAD))
  return result


def _area(
  rows: Int[np.ndarray, "m"],
  right: Bool[np.ndarray, "m"],
  weight: Float[np.ndarray, "n"],
) -> float:
  """Area under precision over recall, precision being made monotonous."""
  weights = weight[rows].astype(float)
  total = weights.sum()
  if not total:
    return float("nan")
  hits = weights * right
  precision = np.cumsum(hits) / np.maximum(np.cumsum(weights), 1e-12)
  best = np.maximum.accumulate(precision[::-1])[::-1]
  return float(np.sum(best * hits) / total)


def auroc(
  score: Float[np.ndarray, "n"], positive: Bool[np.ndarray, "n"]
) -> float:
  """Chance that a positive scores above a negative, ties counting half.

  NaN where there are none of either.
  """
  count = int(positive.sum())
  if not 0 < count < len(positive):
    return float("nan")
  ranks = stats.rankdata(score)
  above = ranks[positive].sum() - count * (count + 1) / 2
  return float(above / (count * (len(positive) - count)))
