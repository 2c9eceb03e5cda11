"""One person followed from frame to frame by the joints found in each.

Joints do not reach to the crown and the soles as a person's box does. How much
of a box lies beyond them is learned where the box was given, in parts of the
joints' extent. A joint that is not seen counts where it was last seen in the
box, so that hidden legs do not shrink it.
"""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, Float64

_FURTHEST = 1.0  # a margin, in parts of the joints' longer extent
_FASTEST = 2.0  # by which sides that are observed may differ from those before


@dataclasses.dataclass(frozen=True)
class Options:
  """When somebody is lost, and how smoothly boxes move."""

  least_score: float = 0.3  # mean joint score below which nobody is seen
  patience: float = 0.5  # seconds nobody is seen until the person is given up
  joint_score: float = 0.2  # below it a joint is not seen
  joints: float = 0.25  # share of the joints that must be, to move the box
  inside: float = 0.25  # share of a box in the picture; below it, it has left
  same: float = 0.5  # IoU from which a given box is that of somebody followed
  twice: float = 0.05  # distance of poses, in parts of the box: two follow one
  motion: float = 0.05  # seconds over which the centre is smoothed
  growth: float = 0.25  # seconds over which the sides are smoothed
  coast: float = 0.2  # seconds in which an unseen person's motion ebbs away

  def check(self) -> None:
    """Raises ValueError for a value that cannot work."""
    for name, value in dataclasses.asdict(self).items():
      if not 0 <= value < math.inf:
        raise ValueError(f"{name} is {value}; it must be 0 or more")
    for name in ("joints", "motion", "growth", "coast"):
      if not getattr(self, name) > 0:
        raise ValueError(f"{name} is 0; it must be above 0")


@dataclasses.dataclass(frozen=True)
class Person:
  """What is remembered of somebody; plain numbers only."""

  number: int
  score: float  # of the box that was given last
  track_id: int  # that was given last; -1: none
  centre: tuple[float, float]
  sides: tuple[float, float]
  velocity: tuple[float, float]  # of the centre, pixels a second
  # Left, top, right, bottom, in parts of the extent; None: not yet learned.
  margins: tuple[float, ...] | None
  places: tuple[tuple[float, float] | None, ...]  # joints, in parts of the box
  unseen: float = 0.0  # seconds

  @classmethod
  def from_record(cls, record: dict[str, Any]) -> "Person":
    """What `dataclasses.asdict` gave, after JSON; raises KeyError, TypeError."""
    margins = record["margins"]
    return cls(
      number=int(record["number"]),
      score=float(record["score"]),
      track_id=int(record["track_id"]),
      centre=_pair(record["centre"]),
      sides=_pair(record["sides"]),
      velocity=_pair(record["velocity"]),
      margins=None if margins is None else tuple(float(m) for m in margins),
      places=tuple(None if p is None else _pair(p) for p in record["places"]),
      unseen=float(record["unseen"]),
    )


@dataclasses.dataclass(frozen=True)
class Pose:
  """Joints that count, and how far each is to be trusted."""

  points: Float64[np.ndarray, "k 2"]  # picture pixels
  trust: Float64[np.ndarray, "k"]  # in [0, 1]; 0 where not finite

  def seen(self, options: Options) -> np.ndarray:
    """Which joints are seen, bool (k,)."""
    return self.trust >= options.joint_score

  def moves(self, options: Options) -> bool:
    """Whether enough is seen to tell where the person is."""
    return bool(
      self.trust.mean() >= options.least_score
      and self.seen(options).mean() >= options.joints
    )


def expected(
  person: Person, wait: float, options: Options
) -> Float64[np.ndarray, "4"]:
  """Edges of a person's box after `wait` seconds, by its motion alone."""
  # Who is not seen slows down; who is goes on, but not for long unwatched.
  time = min(wait, options.patience)
  if person.unseen:
    time = options.coast * -math.expm1(-time / options.coast)
  centre = np.array(person.centre) + np.array(person.velocity) * time
  half = np.array(person.sides) / 2
  return np.concatenate([centre - half, centre + half])


def begun(
  person: Person, box: Float[np.ndarray, "4"], pose: Pose, options: Options
) -> Person:
  """The person at a box that was given, with what its pose there teaches.

  Only number, score, track id and, where the pose teaches nothing, margins and
  places of `person` are kept.
  """
  box = np.asarray(box, np.float64)
  placed = _at(person, box, np.array(person.velocity))
  if not pose.moves(options):
    return placed
  return dataclasses.replace(
    placed,
    margins=_margins(box, _extent(pose.points[pose.seen(options)])),
    places=_places(pose.points, pose.seen(options), box),
  )


def moved(person: Person, wait: float, pose: Pose, options: Options) -> Person:
  """The person after a frame in which the box was the expected one.

  Args:
    person: as in the frame before.
    wait: seconds since then.
    pose: found in the box of `expected`.
    options: how smoothly it moves.
  """
  box = expected(person, wait, options)
  if not pose.moves(options):
    slower = math.exp(-wait / options.coast)
    return _at(person, box, np.array(person.velocity) * slower)
  if person.margins is None:
    return begun(
      _at(person, box, np.array(person.velocity)), box, pose, options
    )
  points, known = _all_points(pose, person.places, box, options)
  if not known.any():  # none of those that were seen when the box was given
    return begun(
      _at(person, box, np.array(person.velocity)), box, pose, options
    )
  observed = _grown(_extent(points[known]), person.margins)
  blended, velocity = _blended(person, box, observed, wait, options)
  after = _at(person, blended, velocity)
  new = pose.seen(options) & ~known
  if new.any():  # a joint seen for the first time: other margins, same box
    margins = _margins(observed, _extent(points[known | new]))
    after = dataclasses.replace(after, margins=margins)
  return dataclasses.replace(
    after, places=_places(points, known | new, observed)
  )


def corrected(
  person: Person,
  wait: float,
  box: Float[np.ndarray, "4"],
  pose: Pose,
  options: Options,
) -> Person:
  """The person after a frame in which another box was given than expected."""
  given = np.asarray(box, np.float64)
  _, velocity = _blended(
    person, expected(person, wait, options), given, wait, options
  )
  return begun(_at(person, given, velocity), given, pose, options)


def _at(person: Person, box: np.ndarray, velocity: np.ndarray) -> Person:
  return dataclasses.replace(
    person,
    centre=_pair((box[:2] + box[2:]) / 2),
    sides=_pair(box[2:] - box[:2]),
    velocity=_pair(velocity),
  )


def _blended(
  person: Person,
  guess: np.ndarray,
  observed: np.ndarray,
  wait: float,
  options: Options,
) -> tuple[np.ndarray, np.ndarray]:
  """Box between what was expected and what is observed; and its velocity.

  An α-β filter of the centre with Kalata's β, which follows a constant velocity
  without lag; the sides change in equal parts in equal times.

  Source: P. Kalata, The Tracking Index: A Generalized Parameter for α-β and
  α-β-γ Target Trackers, IEEE Transactions on Aerospace and Electronic Systems
  20(2), 1984.
  """
  alpha = -math.expm1(-wait / options.motion)
  beta = 2 * (2 - alpha) - 4 * math.sqrt(1 - alpha)
  middle = (guess[:2] + guess[2:]) / 2
  miss = (observed[:2] + observed[2:]) / 2 - middle
  velocity = np.array(person.velocity) + beta * miss / wait
  centre = middle + alpha * miss
  before = np.array(person.sides)
  ratio = (observed[2:] - observed[:2]) / before
  ratio = np.clip(ratio, 1 / _FASTEST, _FASTEST)
  half = before * ratio ** -math.expm1(-wait / options.growth) / 2
  return np.concatenate([centre - half, centre + half]), velocity


def _extent(points: np.ndarray) -> np.ndarray:
  """Edges of the smallest box around points, at least a pixel wide and high."""
  low, high = points.min(axis=0), points.max(axis=0)
  more = np.maximum(1 - (high - low), 0) / 2
  return np.concatenate([low - more, high + more])


def _margins(box: np.ndarray, extent: np.ndarray) -> tuple[float, ...]:
  """How far a box reaches beyond the joints, over their longer extent."""
  longer = (extent[2:] - extent[:2]).max()
  beyond = np.concatenate([extent[:2] - box[:2], box[2:] - extent[2:]])
  # A joint outside of the box would make the box grow; one far inside of it
  # says that the others are not seen.
  margins = np.clip(beyond / longer, 0, _FURTHEST)
  return tuple(float(m) for m in margins)


def _grown(extent: np.ndarray, margins: Sequence[float]) -> np.ndarray:
  more = np.array(margins) * (extent[2:] - extent[:2]).max()
  return np.concatenate([extent[:2] - more[:2], extent[2:] + more[2:]])


def _all_points(
  pose: Pose,
  places: Sequence[tuple[float, float] | None],
  box: np.ndarray,
  options: Options,
) -> tuple[np.ndarray, np.ndarray]:
  """Where joints are, or would be as the others moved; which were seen before.

  None was where none of those is seen that were seen before.
  """
  seen = pose.seen(options)
  known = np.array([place is not None for place in places])
  parts = np.array([(0.0, 0.0) if p is None else p for p in places])
  before = box[:2] + parts * (box[2:] - box[:2])
  both = known & seen
  if not both.any():
    return pose.points, both
  shift = (pose.points[both] - before[both]).mean(axis=0)
  return np.where(seen[:, None], pose.points, before + shift), known


def _places(
  points: np.ndarray, known: np.ndarray, box: np.ndarray
) -> tuple[tuple[float, float] | None, ...]:
  """Where in the box each joint is; None for those that are not known."""
  parts = np.clip((points - box[:2]) / (box[2:] - box[:2]), -1, 2)
  return tuple(
    _pair(part) if is_known else None
    for part, is_known in zip(parts, known, strict=True)
  )


def _pair(values: Any) -> tuple[float, float]:
  x, y = values
  return float(x), float(y)
