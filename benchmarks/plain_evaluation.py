"""AP and MOTA of prediction files, one joint, frame, person and pose at a time.

What `evaluation.py` compares with; the rules are those of the metrics' modules.
"""

import json
import math
import pathlib
from collections import defaultdict
from collections.abc import Callable
from typing import Any

import numpy as np
from scipy import optimize

from diffpose_jax.pose import skeleton

NAMES = [
  skeleton.POSETRACK.joints[channel] for channel in skeleton.POSETRACK.evaluated
]  # in the order of the results


def by_numpy(person: dict, pose: dict, joint: str) -> float:
  """In head sizes; infinite where the joint is not on both sides."""
  if joint not in person["at"] or joint not in pose["at"]:
    return math.inf
  apart = np.subtract(person["at"][joint], pose["at"][joint])
  return float(np.linalg.norm(apart)) / person["head"]


def by_math(person: dict, pose: dict, joint: str) -> float:
  """The same."""
  if joint not in person["at"] or joint not in pose["at"]:
    return math.inf
  return math.dist(person["at"][joint], pose["at"][joint]) / person["head"]


Distance = Callable[[dict, dict, str], float]


Frames = list[tuple[list, list]]  # (people, poses) of each


def measure(videos: list[Frames], distance: Distance) -> dict[str, Any]:
  """AP, MOTA and MOTP of each joint, of what `read` gave."""
  ranked = {joint: [] for joint in NAMES}
  counts = {joint: defaultdict(float) for joint in NAMES}
  for frames in videos:
    for people, poses in frames:
      _scores(people, poses, distance, ranked)
    for joint in NAMES:
      for people, _ in frames:
        counts[joint]["labelled"] += sum(joint in one["at"] for one in people)
      _tracks(frames[:-1], joint, distance, counts[joint])
  result = {"ap": {}, "mota": {}, "motp": {}}
  for joint, n in counts.items():
    result["ap"][joint] = _ap(ranked[joint], n["labelled"])
    wrong = n["objects"] + n["poses"] - 2 * n["matches"] + n["switches"]
    result["mota"][joint] = 100 * (1 - wrong / n["objects"])
    result["motp"][joint] = 100 * (1 - n["distance"] / n["matches"])
  return result


def read(root: pathlib.Path, name: str) -> Frames:
  """A video's frames with people in them, without what is ignored."""
  truth, predicted = (
    json.loads((root / side / f"{name}.json").read_text())
    for side in ("gt", "pred")
  )
  frames = []
  for image in truth["images"]:
    regions = list(
      zip(image["ignore_regions_x"], image["ignore_regions_y"], strict=True)
    )
    sides = []
    for record in (truth, predicted):
      crowd = []
      for one in record["annotations"]:
        if one["image_id"] == image["id"]:
          person = _person(one, record["categories"][0], regions)
          if person["at"] or not regions:
            crowd.append(person)
      sides.append(crowd)
    if any(one["image_id"] == image["id"] for one in truth["annotations"]):
      frames.append((sides[0], sides[1]))
  return frames


def _person(one: dict, category: dict, regions: list) -> dict[str, Any]:
  person = {"track": one["track_id"], "at": {}, "score": {}}
  if one.get("bbox_head"):
    person["head"] = 0.6 * math.hypot(*one["bbox_head"][2:])
  for i, joint in enumerate(category["keypoints"]):
    x, y, visible = one["keypoints"][3 * i : 3 * i + 3]
    if joint not in NAMES or not (x or y or visible):
      continue
    if any(_inside(x, y, *region) for region in regions):
      continue
    person["at"][joint] = (x, y)
    person["score"][joint] = one["scores"][i] if one["scores"] else 0
  return person


def _inside(x: float, y: float, xs: list, ys: list) -> bool:
  inside = False
  for i in range(len(xs)):
    x1, y1, x2, y2 = xs[i - 1], ys[i - 1], xs[i], ys[i]
    if (y1 > y) != (y2 > y) and x < x1 + (y - y1) / (y2 - y1) * (x2 - x1):
      inside = not inside
  return inside


def _scores(
  people: list, poses: list, distance: Distance, ranked: dict
) -> None:
  """Adds (score, right) of all predicted joints of a frame."""
  chosen = []
  for pose in poses:
    shares = []
    for person in people:
      right = 0
      for joint in NAMES:
        right += distance(person, pose, joint) <= 0.5
      shares.append(right / max(1, len(person["at"])))
    best = max(range(len(people)), key=shares.__getitem__, default=None)
    chosen.append((best, 0 if best is None else shares[best]))
  for i, (pose, (best, share)) in enumerate(zip(poses, chosen, strict=True)):
    rivals = [
      j
      for j, (other, value) in enumerate(chosen)
      if other == best and (value > share or (value == share and j < i))
    ]
    for joint in pose["at"]:
      right = share > 0 and not rivals
      right = right and distance(people[best], pose, joint) <= 0.5
      ranked[joint].append((pose["score"][joint], right))


def _ap(ranked: list, labelled: float) -> float:
  hits, curve = 0, []
  for i, (_, right) in enumerate(sorted(ranked, key=lambda one: -one[0])):
    hits += right
    curve.append((right, hits / (i + 1)))
  area, best = 0.0, 0.0
  for right, precision in reversed(curve):
    best = max(best, precision)
    area += best * right
  return 100 * area / labelled


def _tracks(
  frames: list, joint: str, distance: Distance, n: dict[str, float]
) -> None:
  """Adds the counts of one joint in one video, frame after frame."""
  last, owner = {}, {}
  for people, poses in frames:
    if not people or not poses:
      n["objects"] += 1
      n["poses"] += 1
      continue
    people = [one for one in people if joint in one["at"]]
    poses = [one for one in poses if joint in one["at"]]
    n["objects"] += len(people)
    n["poses"] += len(poses)
    cost = np.full((len(people), len(poses)), np.nan)
    for p, person in enumerate(people):
      for q, pose in enumerate(poses):
        apart = distance(person, pose, joint)
        if apart <= 0.5:
          cost[p, q] = apart
          n["distance"] += apart
    tracks = [pose["track"] for pose in poses]
    busy = set()
    for p, person in enumerate(people):
      if last.get(person["track"]) in tracks:
        q = tracks.index(last[person["track"]])
        if q not in busy and not np.isnan(cost[p, q]):
          n["matches"] += 1
          n["distance"] += cost[p, q]
          cost[p] = cost[:, q] = np.nan
          busy.add(q)
    filled = np.where(np.isnan(cost), 1000.0, cost)
    for p, q in zip(*optimize.linear_sum_assignment(filled), strict=True):
      if np.isnan(cost[p, q]):
        continue
      one, other = people[p]["track"], tracks[q]
      switch, moved = one in last, owner.get(other, one) != one
      events = (switch and other not in owner) + moved
      events += moved and one not in last
      n["matches"] += 1
      n["switches"] += switch
      n["distance"] += cost[p, q] * (1 + events)
      last[one], owner[other] = other, one
