"""Average precision of poses as PoseTrack's evaluator defines it, and PCK.

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
Differs: a joint that is nowhere labelled is NaN in AP, recall and precision
and left out of `total` and of its group. poseval says NaN or 0, depending on
whether it was predicted, lets NaN spread to the group, and averages the 0.
Differs: a frame that the file calls unlabelled and in which no joint is
labelled (PoseTrack21 has such, with boxes) is left out.
"""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from diffpose_jax.data.annotations import Frame, Video
from diffpose_jax.evaluation import pairing
from diffpose_jax.pose import skeleton as skeleton_lib

_HEAD_SHARE = 0.6  # of the head box's diagonal
_THRESHOLD = 0.5  # head sizes
_POSEVAL_NAMES = {"head_bottom": "neck"}


@dataclasses.dataclass(frozen=True)
class AveragePrecision:
  """Percentages by joint in poseval's names, with `total`, their mean.

  `ap_groups` is by group of joints (head, shoulder, ..., ankle), also with
  `total`, the mean over joints. Precision and recall are those of all
  predictions, whatever their scores. NaN: nowhere labelled.
  """

  ap: dict[str, float]
  ap_groups: dict[str, float]
  precision: dict[str, float]
  recall: dict[str, float]

  def to_json(self) -> dict[str, dict[str, float | None]]:
    """The four tables as JSON has them: None for NaN."""
    return {
      name: {key: _or_none(value) for key, value in table.items()}
      for name, table in dataclasses.asdict(self).items()
    }


@dataclasses.dataclass(frozen=True)
class _Judged:
  """What one frame contributes; q poses, k joints."""

  there: np.ndarray  # bool (q, k): predicted and judged
  scores: np.ndarray  # float64 (q, k)
  right: np.ndarray  # bool (q, k)
  positives: np.ndarray  # int (k,): labelled


def average_precision(
  truth: Sequence[Video],
  predictions: Sequence[Video],
  *,
  skeleton: skeleton_lib.Skeleton,
) -> AveragePrecision:
  """AP, precision and recall of each evaluated joint, in percent.

  Args:
    truth: people need a head box where any of their joints is judged.
    predictions: of the same videos and frames. Joints are ranked by
      `Person.scores`; people without scores come last.
    skeleton: whose `evaluated` joints and `groups` are reported.

  Raises:
    ValueError: a video or frame is on one side only, nobody is annotated, a
      head box is missing, or a score is NaN.
  """
  frames = []
  for video, frame, other in pairing.pair_frames(truth, predictions):
    if counts(frame):
      place = f"{video}: {frame.file_name}"
      frames.append(_judge(frame, other, skeleton, place))
  if not frames:
    raise ValueError(
      "nobody is annotated in any frame of the ground truth; nothing to judge"
    )
  there = np.concatenate([frame.there for frame in frames])
  scores = np.concatenate([frame.scores for frame in frames])
  right = np.concatenate([frame.right for frame in frames])
  positives = np.sum([frame.positives for frame in frames], axis=0)
  rows = [
    _joint_metrics(
      scores[there[:, j], j], right[there[:, j], j], int(positives[j])
    )
    for j in range(len(skeleton.evaluated))
  ]
  ap, precision, recall = (
    100 * np.array(column) for column in zip(*rows, strict=True)
  )
  return AveragePrecision(
    ap=_by_joint(ap, skeleton),
    ap_groups=_by_group(ap, skeleton),
    precision=_by_joint(precision, skeleton),
    recall=_by_joint(recall, skeleton),
  )


def unknown(skeleton: skeleton_lib.Skeleton) -> AveragePrecision:
  """The result where nothing can be judged: every value NaN."""
  values = np.full(len(skeleton.evaluated), math.nan)
  joints = _by_joint(values, skeleton)
  groups = _by_group(values, skeleton)
  return AveragePrecision(joints, groups, joints, joints)


def counts(frame: Frame) -> bool:
  """Whether a frame of the ground truth counts: somebody is annotated there."""
  return bool(frame.people) and (
    frame.labelled or any(np.any(p.labelled) for p in frame.people)
  )


def head_sizes(
  frame: Frame, needed: Bool[np.ndarray, "p"], place: str
) -> Float[np.ndarray, "p"]:
  """PCKh's unit of length of each person, in pixels; 1 where not needed.

  Raises ValueError naming the person without a head box that needs one.
  """
  sizes = np.ones(len(frame.people))
  for i in np.flatnonzero(needed):
    box = frame.people[i].head_box
    if box is None:
      raise ValueError(
        f"{place}: person {i} (track {frame.people[i].track_id}) has no head "
        "box, the unit of PCKh; give bbox_head in the ground truth"
      )
    sizes[i] = _HEAD_SHARE * np.hypot(
      *np.subtract(box[2:], box[:2], dtype=float)
    )
  return sizes


def _judge(
  frame: Frame, other: Frame, skeleton: skeleton_lib.Skeleton, place: str
) -> _Judged:
  channels = skeleton.evaluated
  regions = frame.ignore_regions
  true_joints, true_there = pairing.judged(frame, regions, channels)
  joints, there = pairing.judged(other, regions, channels)
  sizes = head_sizes(frame, np.any(true_there, axis=1), place)
  distance = np.linalg.norm(joints[:, None] - true_joints, axis=-1)
  close = distance / sizes[:, None] <= _THRESHOLD
  close &= there[:, None] & true_there
  owner = assign(close, true_there)
  right = np.zeros(there.shape, bool)
  found = owner >= 0
  right[found] = close[found, owner[found]]
  return _Judged(
    there, _scores(other, channels, place), right, np.sum(true_there, axis=0)
  )


def assign(
  close: Bool[np.ndarray, "q p k"], labelled: Bool[np.ndarray, "p k"]
) -> np.ndarray:
  """The true person of each pose, int (q,); -1 for a pose that has none.

  Args:
    close: whether a pose's joint is right if it is that person's.
    labelled: which joints of each person are labelled and judged.
  """
  poses, people, _ = close.shape
  owner = np.full(poses, -1)
  if not poses or not people:
    return owner
  share = np.sum(close, axis=2) / np.maximum(np.sum(labelled, axis=1), 1)
  best = np.argmax(share, axis=1)
  kept = np.where(np.arange(people) == best[:, None], share, 0)
  winner = np.argmax(kept, axis=0)
  won = np.max(kept, axis=0) > 0
  owner[winner[won]] = np.flatnonzero(won)
  return owner


def _scores(frame: Frame, channels: Sequence[int], place: str) -> np.ndarray:
  scores = np.full((len(frame.people), len(channels)), -math.inf)
  for i, person in enumerate(frame.people):
    if person.scores is not None:
      scores[i] = person.scores[list(channels)]
  if np.any(np.isnan(scores)):
    raise ValueError(f"{place}: a predicted joint's score is NaN")
  return scores


def _joint_metrics(
  scores: Float[np.ndarray, "n"], right: Bool[np.ndarray, "n"], positives: int
) -> tuple[float, float, float]:
  """(AP, precision, recall) of one joint as fractions."""
  if not positives:
    return math.nan, math.nan, math.nan
  if not len(scores):
    return 0.0, 0.0, 0.0
  order = np.argsort(-scores, kind="stable")
  right = right[order]
  hits = np.cumsum(right)
  precision = hits / np.arange(1, len(hits) + 1)
  # The best precision at this recall or beyond. Recall rises by 1 / positives
  # at each hit; dividing last makes a perfect score exactly 1.
  envelope = np.maximum.accumulate(precision[::-1])[::-1]
  area = np.sum(envelope[right]) / positives
  return float(area), float(precision[-1]), float(hits[-1] / positives)


def _mean(values: Float[np.ndarray, "n"]) -> float:
  known = values[~np.isnan(values)]
  return float(np.mean(known)) if len(known) else math.nan


def _by_joint(
  values: Float[np.ndarray, "k"], skeleton: skeleton_lib.Skeleton
) -> dict[str, float]:
  names = [skeleton.joints[channel] for channel in skeleton.evaluated]
  names = [_POSEVAL_NAMES.get(name, name) for name in names]
  table = {n: float(v) for n, v in zip(names, values, strict=True)}
  return table | {"total": _mean(values)}


def _by_group(
  values: Float[np.ndarray, "k"], skeleton: skeleton_lib.Skeleton
) -> dict[str, float]:
  table = {
    name: _mean(values[np.isin(skeleton.evaluated, channels)])
    for name, channels in skeleton.groups
  }
  return table | {"total": _mean(values)}


def _or_none(value: float) -> float | None:
  return None if math.isnan(value) else value


def pck(
  joints: Float[np.ndarray, "n k 2"],
  truth: Float[np.ndarray, "n k 2"],
  labelled: Bool[np.ndarray, "n k"],
  lengths: Float[np.ndarray, "n"],
  thresholds: Sequence[float],
) -> dict[str, Any]:
  """Share of labelled joints within each threshold × length of the truth.

  Args:
    joints: predictions, in the frame of reference and pixels of `truth`.
    truth: read only where labelled.
    labelled: which joints count.
    lengths: a person's unit, in pixels: for instance the longer side of the
      unenlarged box, or the head size. NaN leaves the person out.
    thresholds: in units; a distance of just the threshold is right.

  Returns:
    {"0.1": {"pooled": 0.33, "joints": [0.5, None, ...]}, ...}: fractions over
    all labelled joints together, and of each joint; None where none counts.

  Raises:
    ValueError: a length that is not above 0, or a judged position not finite.
  """
  lengths = np.asarray(lengths, np.float64)
  if np.any(lengths <= 0):
    raise ValueError(
      f"PCK: lengths must be above 0, found {np.nanmin(lengths)}"
    )
  used = labelled & ~np.isnan(lengths)[:, None]
  difference = np.where(used[..., None], joints, 0.0) - np.where(
    used[..., None], truth, 0.0
  )
  if not np.all(np.isfinite(difference)):
    raise ValueError("PCK: a labelled joint or its prediction is not finite")
  unit = np.where(np.isnan(lengths), 1.0, lengths)
  distance = np.linalg.norm(difference, axis=-1) / unit[:, None]
  result = {}
  for threshold in thresholds:
    right = np.sum(used & (distance <= threshold), axis=0)
    total = np.sum(used, axis=0)
    result[f"{threshold:g}"] = {
      "pooled": _share(np.sum(right), np.sum(total)),
      "joints": [_share(r, t) for r, t in zip(right, total, strict=True)],
    }
  return result


def _share(right: np.integer, total: np.integer) -> float | None:
  return float(right / total) if total else None
