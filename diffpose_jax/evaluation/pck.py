"""Shares of joints near the truth (PCK), and what they are shares of.

A true person is judged beside one pose: see `poses`.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from diffpose_jax.evaluation import matching, metric

_REACH = 0.2  # of the longer side of the box, PCK's largest threshold


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
  pooled, each = shares(np.where(used, distance, np.nan), thresholds)
  return {
    f"{threshold:g}": {
      "pooled": metric.or_none(pooled[i]),
      "joints": [metric.or_none(share) for share in each[i]],
    }
    for i, threshold in enumerate(thresholds)
  }


def shares(
  errors: Float[np.ndarray, "n k"], thresholds: Sequence[float]
) -> tuple[Float[np.ndarray, "t"], Float[np.ndarray, "t k"]]:
  """Fractions within each threshold: of all joints together, and of each.

  Args:
    errors: in the unit of the thresholds; NaN does not count at all, inf is
      beyond every threshold.
    thresholds: a distance of just the threshold is within it.

  Returns:
    NaN where nothing counts.
  """
  counted = ~np.isnan(errors)
  columns = [np.sort(errors[kept, j]) for j, kept in enumerate(counted.T)]
  within = [np.searchsorted(c, thresholds, side="right") for c in columns]
  right, total = np.stack(within, axis=1), np.sum(counted, axis=0)
  pooled = _divide(np.sum(right, axis=1), np.sum(total, keepdims=True))
  return pooled, _divide(right, total)


def area(curve: Float[np.ndarray, "t *k"]) -> Float[np.ndarray, "*k"]:
  """Mean height of curves over equal steps, by the trapezoid rule.

  It is the area under the curve in share of the whole: 1 where all is right.
  """
  ends = (curve[0] + curve[-1]) / 2
  return np.asarray((np.sum(curve, axis=0) - ends) / (len(curve) - 1))


def poses(frame: matching.Judged) -> np.ndarray:
  """The pose of each true person, int (p,); -1 for one that has none.

  It is AP's matching, `Judged.owner`. Where people lack the head box that this
  needs, a joint is near enough within 0.2 of the longer side of their box; a
  person with neither box has no pose.
  """
  heads, sides = head_lengths(frame), box_lengths(frame)
  judged = np.any(frame.true_there, axis=1)
  if not np.any(np.isnan(heads) & judged):
    owner = frame.owner
  else:
    reach = np.where(
      np.isnan(heads), _REACH * sides, matching.THRESHOLD * heads
    )
    away = np.linalg.norm(frame.joints[:, None] - frame.true_joints, axis=-1)
    both = frame.there[:, None] & frame.true_there
    # A distance compared with NaN is not near.
    owner = matching.assign(both & (away <= reach[:, None]), frame.true_there)
  found = np.full(len(frame.truth.people), -1)
  found[owner[owner >= 0]] = np.flatnonzero(owner >= 0)
  return found


def beside(
  frame: matching.Judged,
) -> tuple[Float[np.ndarray, "p k 2"], Bool[np.ndarray, "p k"]]:
  """The joints of the pose of each true person, and which are there.

  Raises ValueError where the place of a predicted joint is not finite.
  """
  if not np.all(np.isfinite(frame.joints[frame.there])):
    raise ValueError(f"{frame.place}: a predicted joint is not finite")
  found = poses(frame)
  there = np.zeros(frame.true_there.shape, bool)
  joints = np.zeros(frame.true_joints.shape)
  there[found >= 0] = frame.there[found[found >= 0]]
  joints[found >= 0] = frame.joints[found[found >= 0]]
  return joints, there


def errors(frame: matching.Judged) -> Float[np.ndarray, "p k"]:
  """Distance in pixels of each true joint to that of the person's pose.

  NaN where the truth is not judged, inf where it is and the pose has no such
  joint, or there is no pose. Raises ValueError as `beside` does.
  """
  joints, there = beside(frame)
  away = np.linalg.norm(joints - frame.true_joints, axis=-1)
  return np.where(frame.true_there, np.where(there, away, np.inf), np.nan)


def head_lengths(frame: matching.Judged) -> Float[np.ndarray, "p"]:
  """Head sizes of the true people in pixels; NaN without a head box."""
  known = np.array([p.head_box is not None for p in frame.truth.people], bool)
  sizes = matching.head_sizes(frame.truth, known, frame.place)
  return _positive(np.where(known, sizes, np.nan), "head box", frame.place)


def box_lengths(frame: matching.Judged) -> Float[np.ndarray, "p"]:
  """Longer sides of the true people's boxes in pixels; NaN without a box."""
  sides = [
    np.nan if p.box is None else np.max(p.box[2:] - p.box[:2])
    for p in frame.truth.people
  ]
  return _positive(np.array(sides, np.float64), "box", frame.place)


def _positive(lengths: np.ndarray, kind: str, place: str) -> np.ndarray:
  for i in np.flatnonzero(lengths <= 0):
    raise ValueError(
      f"{place}: the {kind} of person {i} has no extent; correct or remove it"
    )
  return lengths


def _divide(right: np.ndarray, total: np.ndarray) -> np.ndarray:
  """Fractions; NaN of nothing."""
  unknown = np.full(right.shape, np.nan)
  return np.divide(right, total, out=unknown, where=total > 0)
