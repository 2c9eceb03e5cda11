"""Curves of PCK and PCKh over their thresholds, and the area under them.

The share of the true joints within a threshold of the joint of the person's
own pose: thresholds in head sizes (PCKh: 0.6 of the diagonal of the head box)
up to 0.5, and in longer sides of the box up to 0.2. Sources: Andriluka et al.,
2D Human Pose Estimation: New Benchmark and State of the Art Analysis (CVPR
2014), for PCKh; Yang and Ramanan, Articulated Human Detection with Flexible
Mixtures of Parts (TPAMI 2013), for PCK.

- Every joint counts that is labelled and not in an ignore region, of frames
  that count in AP. The pose of a person is AP's choice; see `pck.poses`.
- A joint without a prediction is wrong at every threshold; so is every joint
  of a person who has no pose. Poses that are nobody's cost nothing: see AP.
- All numbers are fractions, as those of `pck_box` and `pck_head`; these are of
  the estimates in true boxes, each beside the person of its box.
- `auc` is the area under the curve by the trapezoid rule over its equal steps,
  divided by the largest threshold: 1 where every joint is right at 0 already.

Differs: a person without the box that is the unit is left out of its curves,
and counted, where AP stops.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from diffpose_jax.evaluation import matching, metric
from diffpose_jax.evaluation import pck as pck_lib
from diffpose_jax.pose import skeleton as skeleton_lib

ABOUT = "PCKh up to 0.5 and PCK by box up to 0.2: curves and areas, fractions"

HEAD = tuple(i / 100 for i in range(51))
BOX = tuple(i / 200 for i in range(41))
_AT_HEAD = (0.5, 0.2, 0.1)
_AT_BOX = (0.2, 0.1, 0.05)


def measure(case: matching.Case) -> dict[str, Any]:
  """`pck_curves`: `head` and `box`, None where nobody judged has such a box.

  Each: `thresholds`; `all`, the curve of all joints together, and `auc`;
  `joints`, with `auc` and the height at some thresholds, by joint, `total`
  being all together; `groups`, the means of these over the joints of a group;
  `people`, how many are judged, and `left_out`, how many lack the box.

  Raises:
    ValueError: the place of a predicted joint is not finite, or a box has no
      extent.
  """
  frames = [frame for frame in case.frames if frame.counts]
  count = len(case.skeleton.evaluated)
  errors = [np.zeros((0, count)), *map(pck_lib.errors, frames)]
  pixels = np.concatenate(errors)
  result = {}
  for name, lengths_of, thresholds, shown in (
    ("head", pck_lib.head_lengths, HEAD, _AT_HEAD),
    ("box", pck_lib.box_lengths, BOX, _AT_BOX),
  ):
    lengths = np.concatenate([np.zeros(0), *map(lengths_of, frames)])
    result[name] = _curves(pixels, lengths, thresholds, shown, case.skeleton)
  return {"pck_curves": result}


def tables(result: Mapping[str, Any]) -> list[metric.Table]:
  """By group of joints, for each unit that is known."""
  found = []
  for name, title in (("head", "PCKh"), ("box", "PCK by box")):
    curves = result["pck_curves"][name]
    if curves is None:
      continue
    rows = {
      row: {group: values[row] for group, values in curves["groups"].items()}
      for row in curves["groups"]["total"]
    }
    largest = curves["thresholds"][-1]
    title = f"{title}, fractions; auc up to {largest:g}"
    found.append(metric.Table(title, rows, digits=3, groups=True))
  return found


def _curves(
  pixels: Float[np.ndarray, "n k"],
  lengths: Float[np.ndarray, "n"],
  thresholds: Sequence[float],
  shown: Sequence[float],
  skeleton: skeleton_lib.Skeleton,
) -> dict[str, Any] | None:
  """What `measure` says of one unit; None where nobody has it."""
  judged = np.any(~np.isnan(pixels), axis=1)
  people = int(np.sum(judged & ~np.isnan(lengths)))
  if not people:
    return None
  pooled, each = pck_lib.shares(pixels / lengths[:, None], thresholds)
  rows = {"auc": (pck_lib.area(pooled), pck_lib.area(each))}
  for threshold in shown:
    i = thresholds.index(threshold)
    rows[f"@{threshold:g}"] = pooled[i], each[i]

  def table(by: Callable[..., dict[str, float | None]]) -> dict[str, Any]:
    return _turn(
      {
        row: by(values, skeleton, total=float(total))
        for row, (total, values) in rows.items()
      }
    )

  return {
    "thresholds": list(thresholds),
    "all": pooled.tolist(),
    "auc": float(rows["auc"][0]),
    "joints": table(metric.by_joint),
    "groups": table(metric.by_group),
    "people": people,
    "left_out": int(np.sum(judged)) - people,
  }


def _turn(rows: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
  """Columns of rows as rows of columns."""
  names = next(iter(rows.values()))
  return {name: {row: rows[row][name] for row in rows} for name in names}
