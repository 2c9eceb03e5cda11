"""Multi-object tracking accuracy of joints as PoseTrack's evaluator defines it.

Source: Bernardin and Stiefelhagen, Evaluating multiple object tracking
performance: the CLEAR MOT metrics (EURASIP JIVP 2008); Andriluka et al.,
PoseTrack (CVPR 2018, arXiv 1710.10000), section 5; and its evaluator, poseval
(github.com/leonid-pishchulin/poseval), which counts with py-motmetrics:

- Each joint is a tracking problem by itself. A joint of a pose can be that of
  a person within half a head size, as for average precision; the frames that
  count and the joints that are judged are the same, too.
- What a person was matched with last stays matched while it is near enough,
  even after frames without; of two people who were last matched with the same
  track, the first in the file keeps it. Of the others as many as possible are
  matched, by the smallest sum of distances.
- A match with another track than the last one is a switch. MOTA is 1 - (misses
  + false positives + switches) / labelled joints; MOTP is 1 - the mean distance
  of the matched, in head sizes; precision and recall are of the matched.
- Totals are means over the joints.

poseval's surprises, which `poseval_compatible` asks for:

- The last frame of each video that counts is left out, and so are videos of
  which one frame counts.
- In a frame that is left without people on one side, the people of the other
  do not count: one person is missed there and one pose false, in every joint.
- MOTP adds up the distances of all pairs that are near enough, and then those
  of the matched: once, and once more for each event that motmetrics lists
  beside a new match. ASCEND is a switch to a track that was never matched;
  TRANSFER, that the track was chosen for another person before; MIGRATE, that
  besides its new person was never matched.
- MOTP is 0 for a joint without matches, and counts in the mean.
- A joint that is nowhere labelled has a precision, 0, if it is predicted.

Without it all frames that count are judged as they are, MOTP is of the matched
alone, and a joint that is nowhere labelled is None everywhere.

Differs: frames follow each other by the numbers in their names; in poseval, as
the file lists them. Track ids may be any number from 0 on. Frames that do not
count are those of average precision, which see.
Equal sums of distances: see `tracks.assign`.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

from diffpose_jax.evaluation import matching, metric, tracks

ABOUT = (
  "MOTA, MOTP, precision and recall of joints at PCKh 0.5, percent; with "
  "poseval_compatible (the default) as poseval has them: each video's last "
  "frame left out, frames without people on one side made one miss and one "
  "false positive, distances of all near pairs in MOTP"
)
_NAMES = ("mota", "motp", "pre", "rec")


@dataclasses.dataclass(frozen=True)
class Counts:
  """Of each of k joints, over all videos."""

  objects: Int[np.ndarray, "k"]  # labelled
  hypotheses: Int[np.ndarray, "k"]  # predicted
  matches: Int[np.ndarray, "k"]  # switches too
  switches: Int[np.ndarray, "k"]
  distance: Float[np.ndarray, "k"]  # the sum that MOTP is made of


def measure(case: matching.Case) -> dict[str, Any]:
  """`tracking` (mota, motp, pre and rec by joint) and `mota_groups`, percent.

  All None where no frame is left to judge.

  Raises:
    ValueError: nobody is annotated; a person in a frame that is judged has no
      track id, or one is twice in a frame; a head box is missing.
  """
  if not any(frame.counts for frame in case.frames):
    raise ValueError(
      "nobody is annotated in any frame of the ground truth; nothing to judge"
    )
  values = dict.fromkeys(_NAMES, np.full(len(case.skeleton.evaluated), np.nan))
  frames = _judged(case)
  if frames:
    scene = tracks.lay_out(frames, matching.THRESHOLD)
    values = percentages(
      count(scene, poseval=case.poseval_compatible),
      poseval=case.poseval_compatible,
    )
  return {
    "tracking": {
      name: metric.by_joint(values[name], case.skeleton) for name in _NAMES
    },
    "mota_groups": metric.by_group(values["mota"], case.skeleton),
  }


def tables(result: Mapping[str, Any]) -> list[metric.Table]:
  """MOTA by group of joints, and the other means."""
  rows = {"MOTA": result["mota_groups"]}
  titles = {"motp": "MOTP", "pre": "precision", "rec": "recall"}
  means = {
    title: result["tracking"][name]["total"] for name, title in titles.items()
  }
  return [
    metric.Table("Tracking accuracy (MOTA), %", rows, groups=True),
    metric.Table("Tracking, means over joints, %", {"mean": means}),
  ]


def _judged(case: matching.Case) -> list[matching.Judged]:
  """The frames that are looked at, video by video."""
  frames = []
  for video in case.videos.values():
    counted = [frame for frame in video if frame.counts]
    frames += counted[:-1] if case.poseval_compatible else counted
  return frames


def percentages(
  found: Counts, *, poseval: bool
) -> dict[str, Float[np.ndarray, "k"]]:
  """mota, motp, pre and rec of each joint; NaN where unknown.

  Args:
    found: counts of all videos together.
    poseval: whether to follow poseval for joints without labels or matches.
  """
  objects = np.where(found.objects > 0, found.objects, np.nan)
  predicted = np.where(found.hypotheses > 0, found.hypotheses, np.nan)
  matches = np.where(found.matches > 0, found.matches, np.nan)
  misses = found.objects - found.matches
  false = found.hypotheses - found.matches
  motp = 1 - found.distance / matches
  precision = found.matches / predicted
  if poseval:
    motp = np.where(found.matches > 0, motp, 0.0)
  else:
    precision = np.where(found.objects > 0, precision, np.nan)
  return {
    "mota": 100 * (1 - (misses + false + found.switches) / objects),
    "motp": 100 * motp,
    "pre": 100 * precision,
    "rec": 100 * (found.matches / objects),
  }


def count(scene: tracks.Scene, *, poseval: bool) -> Counts:
  """What of each joint is there, matched and switched, all frames together.

  Args:
    scene: frames with their pairs within the threshold, by distance.
    poseval: whether to count frames without people, and distances, as it does.
  """
  people, poses, pairs = scene.people, scene.poses, scene.pairs
  found = follow(scene)
  joints = people.there.shape[1]

  def by_joint(values: np.ndarray) -> np.ndarray:
    return tracks.add_up(values, pairs.joint, joints)

  bare = (
    (people.empty | poses.empty) if poseval else np.zeros_like(people.empty)
  )
  objects, hypotheses = (
    np.sum(side.there[~bare[side.frame]], axis=0) + np.sum(bare)
    for side in (people, poses)
  )
  times = found.matched + (1 + found.events if poseval else 0)
  return Counts(
    objects=objects,
    hypotheses=hypotheses,
    matches=by_joint(found.matched).astype(int),
    switches=by_joint(found.switched).astype(int),
    distance=by_joint(times * pairs.value),
  )


@dataclasses.dataclass(frozen=True)
class Followed:
  """Of each pair of a scene."""

  matched: Bool[np.ndarray, "e"]
  switched: Bool[np.ndarray, "e"]  # matched, and with another track than before
  events: Int[np.ndarray, "e"]  # more that motmetrics lists for the match


def follow(scene: tracks.Scene) -> Followed:
  """The matches of all joints in all videos at once, moment after moment."""
  people, poses, pairs = scene.people, scene.poses, scene.pairs
  joints = people.there.shape[1]
  # Joints of people and poses, and joints of their tracks, each as one number.
  row, column, person, pose = (
    one * joints + pairs.joint
    for one in (
      pairs.person,
      pairs.pose,
      people.track[pairs.person],
      poses.track[pairs.pose],
    )
  )
  matched, switched = np.zeros((2, len(row)), bool)
  events = np.zeros(len(row), int)
  last = np.full(people.tracks * joints, -1)  # what each was matched with
  owner = np.full(poses.tracks * joints, -1)  # for whom each was chosen
  # More than all distances of a frame together.
  absent = 1.0 + float(np.max(np.bincount(people.frame), initial=0))
  # Which joints of people and poses have kept what they had.
  settled = np.zeros(people.there.size, bool), np.zeros(poses.there.size, bool)
  for now in _moments(scene):
    kept = now[last[person[now]] == pose[now]]
    kept = kept[_first(column[kept])]
    settled[0][row[kept]] = settled[1][column[kept]] = True
    free = now[~settled[0][row[now]] & ~settled[1][column[now]]]
    new = free[tracks.assign(scene, pairs.at(free), absent)]
    before, whose = last[person[new]], owner[pose[new]]
    moved = (whose >= 0) & (whose != person[new])
    matched[kept] = matched[new] = True
    switched[new] = before >= 0
    # motmetrics' ASCEND, TRANSFER and MIGRATE.
    events[new] += (before >= 0) & (whose < 0)
    events[new] += moved
    events[new] += moved & (before < 0)
    last[person[new]] = pose[new]
    owner[pose[new]] = person[new]
  return Followed(matched, switched, events)


def _moments(scene: tracks.Scene) -> list[Int[np.ndarray, "_"]]:
  """The places of the pairs of all first frames, all second frames, ..."""
  time = scene.time[scene.people.frame[scene.pairs.person]]
  order = np.argsort(time, kind="stable")
  return np.split(order, np.flatnonzero(np.diff(time[order])) + 1)


def _first(values: Int[np.ndarray, "n"]) -> Int[np.ndarray, "_"]:
  """Where each of the different values is first."""
  return np.unique(values, return_index=True)[1]
