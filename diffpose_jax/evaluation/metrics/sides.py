"""Left and right: whether the two joints of a pair are told apart.

PCK counts a pose seen the wrong way round, and one that has both joints of a
pair at one place, among all other misses. Where a network does not see which
way a person faces, the best that it can learn is half a heatmap on either
side, and the peaks of both joints end on the same one.

- A pair is two joints that a mirrored picture exchanges, of one true person,
  both labelled and in no ignore region, at least 0.1 of the longer side of the
  person's box apart, in frames that count in AP. It is judged beside the
  person's pose, AP's choice (see `pck.poses`), where that has both joints.
- The way from one joint to the other in the pose is laid along the truth's, and
  its part of that is `right` above 1/2, `exchanged` below -1/2, and `one place`
  from one to the other. The three are fractions of the pairs judged.
- `total` is of all pairs together. `pairs` is how many were judged; `left_out`
  how many were not, for want of a pose with both joints. Pairs of people
  without a box are not counted at all.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Float

from diffpose_jax.evaluation import matching, metric
from diffpose_jax.evaluation import pck as pck_lib
from diffpose_jax.pose import skeleton as skeleton_lib

ABOUT = "left and right of pairs 0.1 of the box apart, fractions"

_APART = 0.1  # of the longer side of the box
_HALF = 0.5  # of the way from one joint to the other


def measure(case: matching.Case) -> dict[str, Any]:
  """`sides`: `shares` by group, `pairs`, `left_out`; None without any pair.

  Raises:
    ValueError: the place of a predicted joint is not finite, or a box has no
      extent.
  """
  partner = _partners(case.skeleton)
  ways = [np.zeros((0, len(partner)))]
  ways += [_ways(frame, partner) for frame in case.frames if frame.counts]
  way = np.concatenate(ways)
  pairs = np.isfinite(way)
  if np.all(np.isnan(way)):
    return {"sides": None}
  rows = {
    "right": way > _HALF,
    "one place": np.abs(way) <= _HALF,
    "exchanged": way < -_HALF,
  }
  shares = {}
  for name, row in rows.items():
    values = np.where(pairs, row, np.nan)
    each = np.array([metric.mean(column) for column in values.T])
    total = metric.mean(values)
    shares[name] = metric.by_group(each, case.skeleton, total=total)
  # Each pair is in the columns of both of its joints.
  return {
    "sides": {
      "shares": shares,
      "pairs": int(np.sum(pairs)) // 2,
      "left_out": int(np.sum(np.isinf(way))) // 2,
    }
  }


def tables(result: Mapping[str, Any]) -> list[metric.Table]:
  """By group of joints; nothing where no pair was there."""
  found = result["sides"]
  if found is None:
    return []
  title = "Left and right, fractions of pairs"
  return [metric.Table(title, found["shares"], digits=3, groups=True)]


def _partners(skeleton: skeleton_lib.Skeleton) -> np.ndarray:
  """Of each evaluated joint, which of them is its other side; itself if none."""
  column = {channel: i for i, channel in enumerate(skeleton.evaluated)}
  flip = skeleton.flip
  return np.array(
    [column.get(flip[channel], i) for channel, i in column.items()], int
  )


def _ways(
  frame: matching.Judged, partner: np.ndarray
) -> Float[np.ndarray, "p k"]:
  """How far the pose goes of the true way from each joint to its partner.

  NaN where there is no such pair to judge, inf where the pose lacks a joint.
  """
  joints, there = pck_lib.beside(frame)
  labelled = frame.true_there & frame.true_there[:, partner]
  true = frame.true_joints - frame.true_joints[:, partner]
  far = np.linalg.norm(true, axis=-1)
  least = _APART * pck_lib.box_lengths(frame)
  kept = labelled & (far >= least[:, None])
  along = np.sum((joints - joints[:, partner]) * true, axis=-1)
  way = np.where(there & there[:, partner], along, np.inf)
  square = np.where(kept, far**2, 1)
  return np.where(kept, way / square, np.nan)
