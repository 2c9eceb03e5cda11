"""The labelled joints of estimated people: errors, spreads, circumstances."""

import dataclasses
import pathlib
import zlib
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from diffpose_jax.data import instances as instances_lib
from diffpose_jax.data import prepared
from diffpose_jax.evaluation import fitting, measure, metric, reliability
from diffpose_jax.inference import calibration
from diffpose_jax.pose import uncertainty

_REACH_HEAD = 0.5  # of the estimated head size: PCKh@0.5
_REACH_BOX = 0.1  # of the box's longer side, where there are no head boxes


@dataclasses.dataclass(frozen=True)
class Found:
  """Labelled joints of all people, one row each, and what is known of them."""

  joints: calibration.Joints
  video: np.ndarray  # int (n,), of the split's
  head: np.ndarray  # float (n,), head size over L; NaN: no head box
  occluded: np.ndarray  # float (n,): 1, 0, or NaN where the file is silent
  speed: np.ndarray  # float (n,), of the person, L a frame; NaN: unknown


def find(
  split: prepared.Split,
  people: instances_lib.Instances,
  estimates: measure.Estimates,
) -> Found:
  """Of people with labels. Raises ValueError where these are detections."""
  if (people.person < 0).any():
    raise ValueError(
      "detections have no truth of their own; uncertainty is judged on people "
      "in ground-truth boxes (--boxes=gt)"
    )
  # Broken heatmaps have no shape.
  known = people.labelled & np.isfinite(estimates.shape).all(axis=(2, 3))
  person, joint = np.nonzero(known)
  side = (people.box[:, 2:] - people.box[:, :2]).max(axis=1).astype(np.float64)
  samples = None
  if len(estimates.samples) > 1:
    samples = uncertainty.sample_covariance(estimates.samples)[person, joint]
  error = (estimates.joints - people.joints)[person, joint]
  truth = split.people
  rows = people.person[person]
  occluded = np.where(
    truth.occlusion_known[rows], truth.occluded[rows, joint], np.nan
  )
  return Found(
    joints=calibration.Joints(
      error=error.astype(np.float64),
      samples=samples,
      heatmap=estimates.shape[person, joint].astype(np.float64),
      side=side[person],
      peak=measure.peaks(people, estimates)[person, joint].astype(np.float64),
    ),
    video=split.frames.video[people.row[person]],
    head=(measure.heads(split, people) / side)[person],
    occluded=occluded,
    speed=(_speeds(split, people) / side)[person],
  )


def _speeds(
  split: prepared.Split, people: instances_lib.Instances
) -> Float[np.ndarray, "n"]:
  """Mean motion of each person's joints, in pixels a frame; NaN: unknown.

  As the file says, or else from the frame before or after in the same track.
  """
  given = split.people.speed[people.person].astype(np.float64)
  at = {
    (int(row), int(track)): i
    for i, (row, track) in enumerate(
      zip(people.row, people.track_id, strict=True)
    )
    if track >= 0
  }
  frames = split.frames
  for i in np.flatnonzero(np.isnan(given)):
    row, track = int(people.row[i]), int(people.track_id[i])
    for other in (row - 1, row + 1):
      j = at.get((other, track))
      if j is None or frames.video[other] != frames.video[row]:
        continue
      if abs(frames.frame_index[other] - frames.frame_index[row]) != 1:
        continue
      both = people.labelled[i] & people.labelled[j]
      if both.any():
        moved = np.linalg.norm(people.joints[i] - people.joints[j], axis=-1)
        given[i] = np.mean(moved[both])
        break
  return given


def head_share(found: Found) -> float | None:
  """Median head size over the box's longer side; None without head boxes."""
  known = found.head[~np.isnan(found.head)]
  return float(np.median(known)) if len(known) else None


def reach(
  joints: calibration.Joints, head: float | None
) -> Float[np.ndarray, "n"]:
  """Pixels within which a joint is right, from the box and not the truth."""
  return joints.side * (_REACH_BOX if head is None else _REACH_HEAD * head)


def half(split: prepared.Split, found: Found) -> Bool[np.ndarray, "n"]:
  """One of two halves of the videos: every other one by their names' hash."""
  hashes = [zlib.crc32(video.encode()) for video in split.videos]
  first = np.zeros(len(hashes), bool)
  first[np.argsort(hashes, kind="stable")[::2]] = True
  return first[found.video]


def judge(
  found: Found, calibrated: calibration.Calibration | None
) -> dict[str, Any]:
  """`uncertainty` of a result: every method, raw and calibrated, ready for JSON.

  `within` says what a right joint is. `breakdown` is the share of right joints,
  PCK by that rule, by quarters of the spread of the method in use, by whether
  the joint is occluded, and by quarters of the person's speed.
  """
  joints = found.joints
  head = calibrated.head if calibrated else head_share(found)
  near = reach(joints, head)
  right = np.linalg.norm(joints.error, axis=1) <= near
  best = calibrated.best if calibrated else joints.methods[-1]
  factors = calibrated.factors if calibrated else calibration.RAW
  scale = factors[best].scale(joints)
  spread = np.linalg.det(scale) ** 0.25 / joints.side
  result: dict[str, Any] = {
    "calibration": calibrated.best if calibrated else None,
    "joints": len(joints),
    "within": (
      f"{_REACH_BOX:g} of the box's longer side"
      if head is None
      else f"{_REACH_HEAD:g} head sizes, a head being {head:.3f} of the box"
    ),
    "raw": {
      method: reliability.scores(joints, calibration.RAW[method], near)
      for method in joints.methods
    },
    "breakdown": reliability.shares(
      right,
      reliability.quartiles(spread, "spread")
      | {
        "visible": found.occluded == 0,
        "occluded": found.occluded == 1,
      }
      | reliability.quartiles(found.speed, "speed"),
    ),
  }
  if calibrated:
    result["calibrated"] = {
      method: reliability.scores(joints, factors[method], near)
      for method in joints.methods
      if method in factors
    }
  return result


def calibrate(
  split: prepared.Split, found: Found, protocol: dict[str, Any]
) -> calibration.Calibration:
  """Factors of all methods, and which to use.

  The methods are compared on the half of the videos that they were not fitted
  on, both ways round, where the best is also judged (`fitted_on`, `held_out`);
  then each is fitted on all of them.

  Raises ValueError where a half has too few joints.
  """
  joints, first = found.joints, half(split, found)
  head = head_share(found)
  near = reach(joints, head)
  for part in (first, ~first):
    if part.sum() < fitting.LEAST:
      raise ValueError(
        f"{pathlib.Path(split.folder).name} {split.name}: {int(part.sum())} "
        f"labelled joints in one half of its {len(split.videos)} videos; "
        f"{fitting.LEAST} are needed in each: take a larger split"
      )
  held_out = {}
  for method in joints.methods:
    scores = [
      calibration.nll(
        joints.take(~part), fitting.fit(joints.take(part), method)
      )
      for part in (first, ~first)
    ]
    held_out[method] = float(np.mean(scores))
  best = min(held_out, key=lambda method: held_out[method])
  judged = [
    reliability.scores(
      joints.take(~part),
      fitting.fit(joints.take(part), best, near[part]),
      near[~part],
    )
    for part in (first, ~first)
  ]
  return calibration.Calibration(
    factors={method: fitting.fit(joints, method, near) for method in held_out},
    best=best,
    head=head,
    weights_sha256=protocol["weights_sha256"],
    sampling={key: protocol[key] for key in calibration.SAMPLING},
    fitted_on={
      **{key: protocol[key] for key in ("data", "split", "labels", "videos")},
      "joints": len(joints),
      "held_out_nll": held_out,
      "held_out": {
        "ece": _mean(one["ece"] for one in judged),
        "auroc": _mean(one["auroc"] for one in judged),
        "coverage_0.9": _mean(one["coverage"]["0.9"] for one in judged),
      },
    },
  )


def _mean(values: Iterable[float | None]) -> float | None:
  known = [value for value in values if value is not None]
  return float(np.mean(known)) if known else None


def summary(result: Mapping[str, Any]) -> metric.Table:
  """The scores of each method, raw and calibrated."""
  rows = {
    f"{name}, {state}": {
      "NLL": scores["nll"],
      "ECE": scores["ece"],
      "Brier": scores["brier"],
      "AUROC": scores["auroc"],
      "in 50 %": scores["coverage"]["0.5"],
      "in 90 %": scores["coverage"]["0.9"],
      "rank corr.": scores["rank_correlation"],
    }
    for state in ("raw", "calibrated")
    for name, scores in result.get(state, {}).items()
  }
  title = (
    f"Uncertainty of {result['joints']} joints, right within {result['within']}"
  )
  return metric.Table(title, rows, digits=3)
