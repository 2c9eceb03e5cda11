"""The people of a frame, and those known from before, as arrays of points.

A person's points are the centre of the box, its (width, height), and the
joints, so that one filter and one similarity serve them all.
"""

import dataclasses
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from diffpose_jax.inference import motion
from diffpose_jax.pose import geometry

BOX = 2  # points before the joints


@dataclasses.dataclass(frozen=True)
class Seen:
  """The m people of a frame, with p points."""

  boxes: Float[np.ndarray, "m 4"]
  scores: Float[np.ndarray, "m"]
  points: Float[np.ndarray, "m p 2"]  # NaN where absent
  weights: Float[np.ndarray, "m p"]  # joints' scores, 1 for the box's points

  def at(self, chosen: np.ndarray) -> "Seen":
    """Those of the people where `chosen` is true, or at these places."""
    return Seen(
      self.boxes[chosen],
      self.scores[chosen],
      self.points[chosen],
      self.weights[chosen],
    )

  @property
  def size(self) -> Float[np.ndarray, "m"]:
    """Square roots of the boxes' areas, pixels."""
    return np.sqrt(geometry.area(self.boxes))


@dataclasses.dataclass(frozen=True)
class Known:
  """The n people who are followed, in the order in which they came."""

  ids: Int[np.ndarray, "n"]  # -1: a newcomer without identity
  hits: Int[np.ndarray, "n"]  # frames in which they were seen
  last: Float[np.ndarray, "n"]  # seconds, when they were seen last
  points: motion.Points  # (n, p)

  def at(self, chosen: np.ndarray) -> "Known":
    """Those of them where `chosen` is true, or at these places."""
    return Known(
      self.ids[chosen],
      self.hits[chosen],
      self.last[chosen],
      self.points.at(chosen),
    )

  @property
  def boxes(self) -> Float[np.ndarray, "n 4"]:
    """Where their boxes should be, xyxy edges; a pixel or more on a side."""
    centre = self.points.place[:, 0]
    half = np.maximum(self.points.place[:, 1], 1) / 2
    return np.concatenate([centre - half, centre + half], axis=-1)

  @property
  def size(self) -> Float[np.ndarray, "n"]:
    """Square roots of the boxes' areas, pixels."""
    return np.sqrt(np.prod(np.maximum(self.points.place[:, 1], 1), axis=-1))


def to_json(known: Known) -> dict[str, Any]:
  """In plain JSON types, bit for bit what `from_json` reads."""
  return {
    "ids": known.ids.tolist(),
    "hits": known.hits.tolist(),
    "last": known.last.tolist(),
    "points": motion.to_json(known.points),
  }


def from_json(record: dict[str, Any], joints: int) -> Known:
  """What `to_json` wrote of people with so many joints."""
  ids = np.array(record["ids"], int)
  return Known(
    ids=ids,
    hits=np.array(record["hits"], int),
    last=np.array(record["last"], float),
    points=motion.from_json(record["points"], len(ids), BOX + joints),
  )


def nobody(joints: int) -> Known:
  """Nobody, with so many joints."""
  none = np.zeros(0, int)
  return Known(none, none, np.zeros(0), motion.unseen(0, BOX + joints))


def seen(
  boxes: Float[np.ndarray, "m 4"],
  scores: Float[np.ndarray, "m"],
  joints: Float[np.ndarray, "m k 2"],
  joint_scores: Float[np.ndarray, "m k"] | None,
  place: str,
) -> Seen:
  """What is given of a frame's people, in float64.

  Raises ValueError that names `place` and the person, where a score is not
  finite or a box has no extent.
  """
  for i, (box, score) in enumerate(zip(boxes, scores, strict=True)):
    geometry.check_box(box, f"{place}, person {i}")
    if not np.isfinite(score):
      raise ValueError(
        f"{place}, person {i}: the box's score is {score}; give 0 to 1"
      )
  there = np.all(np.isfinite(joints), axis=-1)
  weights = there.astype(float)
  if joint_scores is not None and len(boxes):
    sure = np.clip(np.nan_to_num(joint_scores), 0, 1)
    weights = np.where(there, sure, 0.0)
  edges = boxes.astype(float)
  low, high = edges[:, :2], edges[:, 2:]
  box = np.stack([(low + high) / 2, high - low], axis=1)
  joints = np.where((weights > 0)[..., None], joints, np.nan)
  return Seen(
    boxes=edges,
    scores=scores.astype(float),
    points=np.concatenate([box, joints], axis=1),
    weights=np.concatenate([np.ones((len(boxes), BOX)), weights], axis=1),
  )


def order(people: Seen) -> Int[np.ndarray, "m"]:
  """Places that sort people from left to right: one order for the same people.

  By the box's edges, then score, then joints; only equal people can change
  places.
  """
  across, down = people.points[..., 0].T, people.points[..., 1].T
  lesser = [*across, *down, *people.weights.T, people.scores]
  return np.lexsort([*lesser, *people.boxes.T[::-1]])
