"""Higher-order tracking accuracy of joints as PoseTrack21 defines it.

Source: Luiten et al., HOTA (IJCV 2021, arXiv 2009.07736), and Döring et al.,
PoseTrack21 (CVPR 2022), with its kit (github.com/anDoer/PoseTrack21):

- Each joint is a tracking problem by itself. Its similarity falls from 1 at no
  distance to 0 at 0.5001 head sizes. In each frame that the file calls labelled,
  empty ones too, joints are matched by the largest sum of similarities.
- At each of 19 thresholds, 0.05 to 0.95, the matches at least as similar are
  true positives. DetA = TP / (TP + FN + FP), DetRe and DetPr are recall and
  precision. AssA is the mean over true positives of the share that the two
  tracks have in common: matches / (joints in either); AssRe and AssPr of that
  of the true or predicted track. HOTA = sqrt(DetA AssA). LocA is the mean
  similarity. FragA is like AssA, but only the matches of the same unbroken
  stretch count; FA-HOTA = sqrt(DetA sqrt(AssA FragA)).
- Counts are added up over videos, what is a mean is weighted by true positives.
  All values are means over the thresholds.
- `total` is from the sum of all joints' counts; of AssA, AssRe, AssPr, FragA
  and LocA it has each video's mean over joints, weighted by its true positives.

`posetrack21_compatible` asks for the kit's own ways where they surprise:

- Its bug: a frame without people adds the joints of all poses of the whole
  video to the false positives, one without poses those of all people to the
  false negatives.
- A joint is only there where x > 0 and y > 0.
- A joint that is on neither side of a video counts as 0 in that video's means,
  so that even the truth itself has less than 100; a joint that is nowhere
  labelled has values, too.

Differs: without it, a joint is there as for average precision; one that is on
neither side of a video is not in its means; nowhere labelled, it is None.
Differs: the kit stops at videos without any people or poses; here they count.
Differs: frames follow each other by the numbers in their names.
Equal sums of similarities: see `tracks.assign`.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

from diffpose_jax.evaluation import matching, metric, tracks

ABOUT = (
  "HOTA of joints as PoseTrack21 defines it, mean over 19 thresholds, percent; "
  "posetrack21_compatible (not the default) adds its kit's bug with frames "
  "that are empty on one side"
)

_FAR = 0.5001  # head sizes at which similarity is 0
_THRESHOLDS = np.arange(0.05, 0.99, 0.05)
_TITLES = {
  "hota": "HOTA",
  "deta": "DetA",
  "assa": "AssA",
  "fraga": "FragA",
  "detre": "DetRe",
  "detpr": "DetPr",
  "assre": "AssRe",
  "asspr": "AssPr",
  "loca": "LocA",
  "fahota": "FA-HOTA",
}
_EXACT = np.finfo(float).eps


@dataclasses.dataclass(frozen=True)
class Sums:
  """Of v videos, k joints and a thresholds; over the true positives, or counts."""

  right: Int[np.ndarray, "v k a"]  # true positives
  missed: Int[np.ndarray, "v k a"]
  false: Int[np.ndarray, "v k a"]
  loca: Float[np.ndarray, "v k a"]  # similarity
  assa: Float[np.ndarray, "v k a"]
  assre: Float[np.ndarray, "v k a"]
  asspr: Float[np.ndarray, "v k a"]
  fraga: Float[np.ndarray, "v k a"]


def measure(case: matching.Case) -> dict[str, Any]:
  """`hota`: hota, deta, assa, ... by joint with their total, in percent.

  Raises:
    ValueError: no frame is labelled; a person in one that is has no track id,
      or one is twice in a frame; a head box is missing.
  """
  frames = [frame for frame in case.frames if frame.truth.labelled]
  if not frames:
    raise ValueError(
      "no frame of the ground truth is labelled; nothing to judge"
    )
  kit = case.posetrack21_compatible
  if kit:
    frames = [_in_front(frame) for frame in frames]
  scene = tracks.lay_out(frames, _FAR)
  similarity = np.maximum((-1 / _FAR) * scene.pairs.value + 1, 0)
  pairs = dataclasses.replace(scene.pairs, value=similarity)
  scene = dataclasses.replace(scene, pairs=pairs)
  found = add_up(scene)
  if kit:
    found = _with_whole_videos(scene, found)
  values = percentages(found, every_joint=kit)
  return {
    "hota": {
      name: metric.by_joint(
        values[name][:-1], case.skeleton, total=float(values[name][-1])
      )
      for name in _TITLES
    }
  }


def tables(result: Mapping[str, Any]) -> list[metric.Table]:
  """The totals."""
  totals = {
    title: result["hota"][name]["total"] for name, title in _TITLES.items()
  }
  return [metric.Table("Tracking accuracy (HOTA), %", {"total": totals})]


def _in_front(frame: matching.Judged) -> matching.Judged:
  """The frame without joints that have a coordinate of 0 or less."""
  return dataclasses.replace(
    frame,
    there=frame.there & np.all(frame.joints > 0, axis=-1),
    true_there=frame.true_there & np.all(frame.true_joints > 0, axis=-1),
  )


def add_up(scene: tracks.Scene, *, aligned: bool = False) -> Sums:
  """What the values are made of.

  Args:
    scene: frames with all their pairs of similarity above 0.
    aligned: whether to match as HOTA was first defined: by similarity times how
      well the two tracks go together in the whole video.
  """
  pairs = scene.pairs
  score = pairs.value * _alignment(scene) if aligned else pairs.value
  cost = dataclasses.replace(pairs, value=-score)
  pairs = pairs.at(tracks.assign(scene, cost, 0.0))
  level = np.searchsorted(_THRESHOLDS - _EXACT, pairs.value, side="right")
  labelled = _joints(scene, scene.people)
  predicted = _joints(scene, scene.poses)
  couples = _couples(scene, pairs)

  def by_cell(values: Float[np.ndarray, "u a"]) -> np.ndarray:
    columns = [
      tracks.add_up(one, couples.cell, labelled.size) for one in values.T
    ]
    return np.stack(columns, axis=1).reshape(*labelled.shape, -1)

  common = _reached(couples, level, np.ones(len(level)))
  either = np.maximum(1, couples.person + couples.pose - common)
  right = by_cell(common).astype(int)
  return Sums(
    right=right,
    missed=labelled[..., None] - right,
    false=predicted[..., None] - right,
    loca=by_cell(_reached(couples, level, pairs.value)),
    assa=by_cell(common**2 / either),
    assre=by_cell(common**2 / couples.person),
    asspr=by_cell(common**2 / couples.pose),
    fraga=by_cell(_unbroken(scene, pairs, couples, level) / either),
  )


@dataclasses.dataclass(frozen=True)
class Couples:
  """The u different (track of people, track of poses, joint) of pairs."""

  of: Int[np.ndarray, "e"]  # the couple of each pair
  cell: Int[np.ndarray, "u"]  # video and joint of each couple, as one number
  person: Int[np.ndarray, "u 1"]  # how often the person has the joint
  pose: Int[np.ndarray, "u 1"]


def _couples(scene: tracks.Scene, pairs: tracks.Pairs) -> Couples:
  people, poses = scene.people, scene.poses
  joint, joints = pairs.joint, people.there.shape[1]
  person, pose = people.track[pairs.person], poses.track[pairs.pose]
  ids = (person * poses.tracks + pose) * joints + joint
  _, first, of = np.unique(ids, return_index=True, return_inverse=True)
  counts = []
  for side, track in ((people, person), (poses, pose)):
    count = np.zeros((side.tracks, joints), int)
    np.add.at(count, side.track, side.there)
    counts.append(count[track[first], joint[first]][:, None])
  video = scene.video[people.frame[pairs.person[first]]]
  return Couples(of, video * joints + joint[first], *counts)


def _joints(
  scene: tracks.Scene,
  side: tracks.Side,
  frames: Bool[np.ndarray, "f"] | None = None,
) -> Int[np.ndarray, "v k"]:
  """How often each joint is there in each video, or in those of its frames."""
  counts = np.zeros((int(scene.video[-1]) + 1, side.there.shape[1]), int)
  kept = (
    np.ones(len(side.frame), bool) if frames is None else frames[side.frame]
  )
  np.add.at(counts, scene.video[side.frame[kept]], side.there[kept])
  return counts


def _reached(
  couples: Couples, level: Int[np.ndarray, "e"], values: Float[np.ndarray, "e"]
) -> Float[np.ndarray, "u a"]:
  """The sums of each couple's values that reach each of the thresholds."""
  size, levels = len(couples.cell), len(_THRESHOLDS) + 1
  sums = tracks.add_up(values, couples.of * levels + level, size * levels)
  sums = sums.reshape(size, levels)
  return np.cumsum(sums[:, :0:-1], axis=1)[:, ::-1]


def _unbroken(
  scene: tracks.Scene,
  pairs: tracks.Pairs,
  couples: Couples,
  level: Int[np.ndarray, "e"],
) -> Float[np.ndarray, "u a"]:
  """Of each couple the squared lengths of its stretches, added up.

  A stretch ends where the person's joint is matched with another track; frames
  in which it is not matched do not end it.
  """
  joints = scene.people.there.shape[1]
  row = scene.people.track[pairs.person] * joints + pairs.joint
  order = np.argsort(row, kind="stable")  # a person's frames stay in order
  sums = []
  for threshold in range(len(_THRESHOLDS)):
    chain = couples.of[order[level[order] > threshold]]
    starts = np.flatnonzero(np.diff(chain, prepend=-1))
    lengths = np.diff(starts, append=len(chain))
    sums.append(tracks.add_up(lengths**2, chain[starts], len(couples.cell)))
  return np.stack(sums, axis=1)


def _alignment(scene: tracks.Scene) -> Float[np.ndarray, "e"]:
  """How well the two tracks of each pair go together, 0 to 1."""
  pairs = scene.pairs
  joints = scene.people.there.shape[1]
  others = -pairs.value  # of all pairs of the person, or of the pose
  for ids in (pairs.person, pairs.pose):
    ids = ids * joints + pairs.joint
    others = others + np.bincount(ids, pairs.value)[ids]
  couples = _couples(scene, pairs)
  size = len(couples.cell)
  common = tracks.add_up(pairs.value / others, couples.of, size)
  either = couples.person[:, 0] + couples.pose[:, 0] - common
  return (common / either)[couples.of]


def _with_whole_videos(scene: tracks.Scene, found: Sums) -> Sums:
  """The counts with the kit's bug; see above."""
  people, poses = scene.people, scene.poses
  videos = len(found.right)

  def frames(chosen: Bool[np.ndarray, "f"]) -> Float[np.ndarray, "v"]:
    return tracks.add_up(chosen, scene.video, videos)

  nobody = people.empty
  alone = ~people.empty & poses.empty
  # Videos that are empty on one side are counted as they are.
  buggy = (frames(~people.empty) > 0) & (frames(~poses.empty) > 0)
  counts = []
  for side, times in ((people, frames(alone)), (poses, frames(nobody))):
    whole = _joints(scene, side)
    wrong = _joints(scene, side, ~nobody & ~alone)
    wrong = wrong + times[:, None].astype(int) * whole
    counts.append(np.where(buggy[:, None], wrong, whole)[..., None])
  missed, false = (count - found.right for count in counts)
  return dataclasses.replace(found, missed=missed, false=false)


def percentages(
  found: Sums, *, every_joint: bool
) -> dict[str, Float[np.ndarray, "joints_and_total"]]:
  """All values of each joint, then their totals; NaN where nowhere labelled.

  Args:
    found: of all videos.
    every_joint: whether joints that are not there count as the kit has them.
  """
  right, missed, false = (
    np.concatenate([np.sum(counts, axis=0), np.sum(counts, axis=(0, 1))[None]])
    for counts in (found.right, found.missed, found.false)
  )
  there = np.any(found.right + found.missed + found.false > 0, axis=2)
  there |= every_joint

  def mean(sums: Float[np.ndarray, "v k a"], none: float) -> np.ndarray:
    videos = _ratio(sums, found.right, none) * there[..., None]
    videos = (
      np.sum(videos, axis=1) / np.maximum(1, np.sum(there, axis=1))[:, None]
    )
    total = np.sum(videos * np.sum(found.right, axis=1), axis=0)
    sums = np.concatenate([np.sum(sums, axis=0), total[None]])
    return _ratio(sums, right, none)

  values = {
    "detre": _ratio(right, right + missed),
    "detpr": _ratio(right, right + false),
    "deta": _ratio(right, right + missed + false),
    "loca": mean(found.loca, none=1.0),
  }
  for name in ("assa", "assre", "asspr", "fraga"):
    values[name] = mean(getattr(found, name), none=0.0)
  values["hota"] = np.sqrt(values["deta"] * values["assa"])
  values["fahota"] = np.sqrt(
    values["deta"] * np.sqrt(values["assa"] * values["fraga"])
  )
  known = np.any(right + missed > 0, axis=1) | every_joint
  return {
    name: np.where(known, 100 * np.mean(each, axis=1), np.nan)
    for name, each in values.items()
  }


def _ratio(
  part: np.ndarray, whole: np.ndarray, none: float = 0.0
) -> np.ndarray:
  """`part / whole`, and `none` where that is nothing."""
  return np.where(whole > 0, part / np.maximum(1, whole), none)
