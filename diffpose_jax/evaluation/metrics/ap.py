"""Average precision of poses as PoseTrack's evaluator defines it.

Source: Andriluka et al., PoseTrack (CVPR 2018, arXiv 1710.10000), section 5,
and its evaluator, poseval (github.com/leonid-pishchulin/poseval):

- A joint is right within half a head size, which is 0.6 of the diagonal of
  the head box (PCKh@0.5).
- A pose goes to the true person of whose labelled joints it gets the largest
  share right; of the poses that go to one person, the one with the largest
  share is kept. The first wins a draw, both times, in the order of the file.
- A kept pose's joints are right or wrong by their distances; all joints of
  the other poses are false positives.
- Joints strictly inside an ignore region count on neither side; frames in
  which nobody is annotated do not count at all.
- A joint's AP is the area under its curve of precision over recall, all
  frames together, precision being made monotonous.

Differs: poseval sorts scores with an unstable sort over files in the order of
the directory. Here equal scores keep the order (video name, frame, person).
Differs: a joint that is nowhere labelled is None in AP, recall and precision
and left out of `total` and of its group. poseval says NaN or 0, depending on
whether it was predicted, lets NaN spread to the group, and averages the 0.
Differs: a frame that the file calls unlabelled and in which no joint is
labelled (PoseTrack21 has such, with boxes) is left out.
"""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from diffpose_jax.data.annotations import Video
from diffpose_jax.evaluation import matching, metric
from diffpose_jax.pose import skeleton as skeleton_lib

ABOUT = "PoseTrack AP at PCKh 0.5, percent"


@dataclasses.dataclass(frozen=True)
class AveragePrecision:
  """Percentages by joint in poseval's names, with `total`, their mean.

  `ap_groups` is by group of joints (head, shoulder, ..., ankle), also with
  `total`, the mean over joints. Precision and recall are those of all
  predictions, whatever their scores. None: nowhere labelled.
  """

  ap: dict[str, float | None]
  ap_groups: dict[str, float | None]
  precision: dict[str, float | None]
  recall: dict[str, float | None]


def measure(case: matching.Case) -> dict[str, Any]:
  """`ap`, `ap_groups`, `precision` and `recall`; see `of`."""
  return dataclasses.asdict(of(case))


def tables(result: Mapping[str, Any]) -> list[metric.Table]:
  """The papers' row."""
  rows = {"AP": result["ap_groups"]}
  return [metric.Table("Average precision, %", rows, groups=True)]


def average_precision(
  truth: Sequence[Video],
  predictions: Sequence[Video],
  *,
  skeleton: skeleton_lib.Skeleton,
) -> AveragePrecision:
  """As `of`, of videos; ValueError where one side lacks a video or frame."""
  return of(matching.Case.of(truth, predictions, skeleton=skeleton))


def of(case: matching.Case) -> AveragePrecision:
  """AP, precision and recall of each evaluated joint, in percent.

  Joints are ranked by `Person.scores`; people without scores come last.

  Raises:
    ValueError: nobody is annotated, a person of whom any joint is judged has no
      head box, or a score is NaN.
  """
  rows = [_joint_metrics(*found) for found in ranked(case)]
  ap, precision, recall = (
    100 * np.array(column) for column in zip(*rows, strict=True)
  )
  return _tables(ap, precision, recall, case.skeleton)


def ranked(
  case: matching.Case,
) -> list[tuple[Float[np.ndarray, "n"], Bool[np.ndarray, "n"], int]]:
  """(scores, right, labelled) of each evaluated joint, best score first.

  Raises ValueError as `of` does.
  """
  frames = [frame for frame in case.frames if frame.counts]
  if not frames:
    raise ValueError(
      "nobody is annotated in any frame of the ground truth; nothing to judge"
    )
  there = np.concatenate([frame.there for frame in frames])
  scores = np.concatenate([frame.scores for frame in frames])
  right = np.concatenate([_right(frame) for frame in frames])
  positives = np.sum(
    [np.sum(frame.true_there, axis=0) for frame in frames], axis=0
  )
  result = []
  for j in range(len(case.skeleton.evaluated)):
    kept = there[:, j]
    order = np.argsort(-scores[kept, j], kind="stable")
    result.append(
      (scores[kept, j][order], right[kept, j][order], int(positives[j]))
    )
  return result


def unknown(skeleton: skeleton_lib.Skeleton) -> AveragePrecision:
  """The result where nothing can be judged: every value None."""
  values = np.full(len(skeleton.evaluated), math.nan)
  return _tables(values, values, values, skeleton)


def _tables(ap, precision, recall, skeleton) -> AveragePrecision:
  return AveragePrecision(
    ap=metric.by_joint(ap, skeleton),
    ap_groups=metric.by_group(ap, skeleton),
    precision=metric.by_joint(precision, skeleton),
    recall=metric.by_joint(recall, skeleton),
  )


def _right(frame: matching.Judged) -> Bool[np.ndarray, "q k"]:
  """Which joints of the poses are right, each beside its own person."""
  right = np.zeros(frame.there.shape, bool)
  found = frame.owner >= 0
  right[found] = frame.close[found, frame.owner[found]]
  return right


def _joint_metrics(
  scores: Float[np.ndarray, "n"], right: Bool[np.ndarray, "n"], positives: int
) -> tuple[float, float, float]:
  """(AP, precision, recall) of one joint as fractions, ranked."""
  if not positives:
    return math.nan, math.nan, math.nan
  if not len(scores):
    return 0.0, 0.0, 0.0
  hits = np.cumsum(right)
  precision = hits / np.arange(1, len(hits) + 1)
  # The best precision at this recall or beyond. Recall rises by 1 / positives
  # at each hit; dividing last makes a perfect score exactly 1.
  envelope = np.maximum.accumulate(precision[::-1])[::-1]
  area = np.sum(envelope[right]) / positives
  return float(area), float(precision[-1]), float(hits[-1] / positives)
