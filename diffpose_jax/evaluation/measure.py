"""Estimated poses of a split and the numbers that judge them."""

import collections
import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import ml_collections
import numpy as np
import tqdm
from jaxtyping import Float

from diffpose_jax.data import annotations, pipeline, prepared
from diffpose_jax.data import instances as instances_lib
from diffpose_jax.evaluation import matching, protocol, registry
from diffpose_jax.evaluation import pck as pck_lib
from diffpose_jax.evaluation.metrics import ap as ap_lib
from diffpose_jax.inference import calibration
from diffpose_jax.inference import estimator as estimator_lib
from diffpose_jax.inference import sampling as sampling_lib
from diffpose_jax.model import hosts
from diffpose_jax.pose import geometry, uncertainty

PCK_BOX = (0.05, 0.1, 0.2)
PCK_HEAD = (0.05, 0.1, 0.2, 0.5)  # the last is PCKh@0.5
_LIMBS_END = ("wrist", "ankle")


@dataclasses.dataclass(frozen=True)
class Estimates:
  """Poses of `n` instances, in the picture."""

  joints: Float[np.ndarray, "n k 2"]  # picture pixels, of the mean heatmap
  score: Float[np.ndarray, "n k"]  # heatmap peak x box score
  samples: Float[np.ndarray, "m n k 2"]  # picture pixels, of each member
  # Second moments of the mean heatmap, picture pixels²; NaN where unknown.
  shape: Float[np.ndarray, "n k 2 2"]


@dataclasses.dataclass(frozen=True)
class Run:
  """An evaluation: what went in and what came out."""

  split: prepared.Split
  people: instances_lib.Instances
  estimates: Estimates
  result: dict[str, Any]
  metrics: tuple[str, ...]
  row: str  # its name in a table


def estimate(
  estimator: estimator_lib.Estimator,
  split: prepared.Split,
  people: instances_lib.Instances,
  *,
  progress: bool = True,
  between: Callable[[], None] = lambda: None,
) -> Estimates:
  """Poses of all `people`, each once; hosts share them, and all get all.

  `between` is called after each batch; what it raises ends it.
  """
  config = estimator.config
  inverse = geometry.invert(instances_lib.crop_affines(people, config))
  batches = pipeline.eval_batches(
    split, people, config, batch=config.evaluate.batch, rows=estimator.rows
  )
  count, joints = people.labelled.shape
  out = Estimates(
    joints=np.zeros((count, joints, 2), np.float32),
    score=np.zeros((count, joints), np.float32),
    samples=np.zeros((estimator.options.samples, count, joints, 2), np.float32),
    shape=np.zeros((count, joints, 2, 2), np.float32),
  )
  done = np.zeros(count, bool)
  bar = tqdm.tqdm(
    total=count,
    unit="person",
    desc="poses",
    disable=not progress or not hosts.is_first(),
  )
  for batch in batches:
    poses = estimator(batch["frames"], batch["noise_id"])
    valid = batch["valid"]
    rows = batch["index"][valid]
    back = inverse[rows]
    out.joints[rows] = geometry.apply(back, poses.joints[valid])
    out.shape[rows] = uncertainty.carried(
      back[:, None, :, :2], poses.shape[valid]
    )
    out.score[rows] = poses.score[valid] * people.score[rows, None]
    for member, sample in enumerate(poses.samples[:, valid]):
      out.samples[member, rows] = geometry.apply(back, sample)
    done[rows] = True
    bar.update(min(len(rows) * hosts.count(), count - bar.n))
    between()
  bar.close()
  members = np.moveaxis(out.samples, 1, 0)
  joints, score, members, shape = hosts.exchanged(
    done, [out.joints, out.score, members, out.shape]
  )
  return Estimates(joints, score, np.moveaxis(members, 0, 1), shape)


def mean_pose(
  train: instances_lib.Instances, people: instances_lib.Instances
) -> Estimates:
  """The training set's average pose, laid into each box: a floor to beat.

  A joint's mean place is taken relative to the box; every score is the box's.
  """
  low, size = train.box[:, :2], train.box[:, 2:] - train.box[:, :2]
  relative = (train.joints - low[:, None]) / size[:, None]
  weight = train.labelled[..., None]
  total = np.where(weight, relative, 0).sum(axis=0)
  mean = total / np.maximum(weight.sum(axis=0), 1)
  low, size = people.box[:, :2], people.box[:, 2:] - people.box[:, :2]
  joints = low[:, None] + mean[None] * size[:, None]
  score = np.repeat(people.score[:, None], joints.shape[1], axis=1)
  unknown = np.full((*joints.shape, 2), np.nan, np.float32)
  return Estimates(joints.astype(np.float32), score, joints[None], unknown)


def state(
  people: instances_lib.Instances,
  estimates: Estimates,
  calibrated: calibration.Calibration | None,
) -> calibration.Stated:
  """What is known of the estimates' errors; see `calibration.state`."""
  side = (people.box[:, 2:] - people.box[:, :2]).max(axis=1)
  return calibration.state(
    estimates.samples,
    estimates.shape,
    side,
    peaks(people, estimates),
    calibrated,
  )


def peaks(
  people: instances_lib.Instances, estimates: Estimates
) -> Float[np.ndarray, "n k"]:
  """Peaks of the mean heatmaps: scores without those of the boxes."""
  box = people.score[:, None]
  safe = np.where(box > 0, box, 1)
  return np.clip(np.where(box > 0, estimates.score / safe, 0), 0, 1)


def to_videos(
  split: prepared.Split,
  people: instances_lib.Instances,
  estimates: Estimates,
  truth: list[annotations.Video],
  *,
  stated: calibration.Stated | None = None,
) -> list[annotations.Video]:
  """Predictions as records, frame for frame those of `truth`.

  With `stated` they carry the uncertainty of each joint.
  """
  found = collections.defaultdict(list)
  # Slots that are never labelled (the ears) are never learned.
  predicted = np.isin(
    np.arange(len(split.skeleton.joints)), split.skeleton.evaluated
  )
  for i, row in enumerate(people.row):
    found[int(row)].append(_person(people, estimates, i, predicted, stated))
  starts = instances_lib.video_starts(split)
  by_name = dict(zip(split.videos, starts, strict=False))
  videos = []
  for video in truth:
    rows = {
      str(split.frames.file_name[row]): row
      for row in range(
        by_name[video.name], starts[split.videos.index(video.name) + 1]
      )
    }
    frames = tuple(
      dataclasses.replace(
        frame,
        people=tuple(found[int(rows[frame.file_name])]),
        ignore_regions=(),
      )
      for frame in video.frames
    )
    videos.append(annotations.Video(video.name, frames))
  return videos


def _person(
  people: instances_lib.Instances,
  estimates: Estimates,
  i: int,
  predicted: np.ndarray,
  stated: calibration.Stated | None,
) -> annotations.Person:
  return annotations.Person(
    box=people.box[i],
    joints=estimates.joints[i],
    labelled=predicted,
    track_id=int(people.track_id[i]),
    scores=estimates.score[i],
    box_score=float(people.score[i]),
    scale=None if stated is None else stated.scale[i],
    within=None
    if stated is None or stated.within is None
    else stated.within[i],
  )


def measure(
  split: prepared.Split,
  people: instances_lib.Instances,
  estimates: Estimates,
  truth: list[annotations.Video],
  *,
  metrics: Sequence[str] = ("ap",),
  **rules: bool,
) -> dict[str, Any]:
  """The metrics' results; and PCK where `people` are the ground truth.

  PCK is over all labelled joints pooled, by the longer side of the box as
  labelled and by head size; `wrists_ankles` pools these alone. Where the data
  have no head boxes at all, as COCO has none, PoseTrack's AP is None.

  Args:
    split: whose people these are.
    people: who was estimated.
    estimates: their poses.
    truth: the split's labels, or some frames of them.
    metrics: names, see `registry.names`.
    **rules: see `matching.Case`.

  Raises:
    ValueError: what a metric needs is missing.
  """
  videos = to_videos(split, people, estimates, truth)
  case = matching.Case.of(truth, videos, skeleton=split.skeleton, **rules)
  has_heads = np.isfinite(split.people.head_box).any()
  result: dict[str, Any] = dataclasses.asdict(ap_lib.unknown(split.skeleton))
  for name in metrics:
    if has_heads or name != "ap":
      result |= registry.load(name).measure(case)
  result["protocol"] = protocol.of_case(case, metrics)
  if (people.person < 0).any():
    return result
  longer = (people.box[:, 2:] - people.box[:, :2]).max(axis=1)
  ends = np.array([name.endswith(_LIMBS_END) for name in split.skeleton.joints])
  for name, lengths, thresholds in (
    ("box", longer, PCK_BOX),
    ("head", heads(split, people), PCK_HEAD),
  ):
    pooled = functools.partial(_pooled, people, estimates, lengths, thresholds)
    result[f"pck_{name}"] = {
      "all": pooled(np.ones_like(ends)),
      "wrists_ankles": pooled(ends),
    }
  return result


def _pooled(
  people, estimates, lengths, thresholds, joints
) -> dict[str, float | None]:
  table = pck_lib.pck(
    estimates.joints,
    people.joints,
    people.labelled & joints[None],
    lengths,
    thresholds,
  )
  return {threshold: row["pooled"] for threshold, row in table.items()}


def heads(
  split: prepared.Split, people: instances_lib.Instances
) -> Float[np.ndarray, "n"]:
  """Head size of each person of the truth, in pixels; NaN without a box."""
  box = split.people.head_box[people.person]
  return 0.6 * np.linalg.norm(box[:, 2:] - box[:, :2], axis=1)


def evenly(
  split: prepared.Split, people: instances_lib.Instances, most: int
) -> tuple[list[annotations.Video], instances_lib.Instances]:
  """Truth and people of evenly spaced frames that hold about `most` people.

  Whole frames are kept or left out, so that AP on them is AP.
  """
  rows = np.unique(people.row)
  step = max(1, -(-len(people) // most))
  kept = rows[::step]
  truth = _only(split, set(kept.tolist()))
  return truth, people.take(np.flatnonzero(np.isin(people.row, kept)))


def _only(split: prepared.Split, rows: set[int]) -> list[annotations.Video]:
  videos, row = [], 0
  for video in prepared.to_videos(split):
    numbered = list(enumerate(video.frames, start=row))
    row += len(video.frames)
    frames = tuple(frame for i, frame in numbered if i in rows)
    if frames:
      videos.append(annotations.Video(video.name, frames))
  return videos


class Validation:
  """AP during training: one step, one sample, averaged weights."""

  def __init__(
    self,
    config: ml_collections.ConfigDict,
    split: prepared.Split,
    mesh: jax.sharding.Mesh | None = None,
  ):
    """`split` has the joints that the network learns; `mesh` is training's."""
    self._split = split
    people = instances_lib.gt_instances(split, need_joints=False)
    self._truth, self._people = evenly(
      split, people, config.train.validation_instances
    )
    options = sampling_lib.options_of(
      config, steps=1, samples=1, flip=False, eta=0.0, adaptive=0.0
    )
    self._estimator = estimator_lib.Estimator(
      config, split.skeleton, None, options, mesh=mesh
    )

  def __call__(
    self, params: Any, between: Callable[[], None] = lambda: None
  ) -> dict[str, float]:
    """AP in percent and PCK@0.1 by box, of the weights `params`.

    `between` as in `estimate`.
    """
    estimates = estimate(
      self._estimator.with_params(params),
      self._split,
      self._people,
      progress=False,
      between=between,
    )
    result = measure(self._split, self._people, estimates, self._truth)
    return {
      "val/ap": _number(result["ap_groups"]["total"]),
      "val/pck_0.1": _number(result["pck_box"]["all"]["0.1"]),
    }


def _number(value: float | None) -> float:
  return float("nan") if value is None else value
