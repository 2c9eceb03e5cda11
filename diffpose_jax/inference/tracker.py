"""Identities of people over time, found online by place and pose alone.

Frame by frame, the people seen are matched with where the known ones are
expected (`motion`): first the sure boxes with everybody known, then the doubtful
boxes with those who were not found and were here a moment ago, then what is
left of the sure ones with newcomers who have no identity yet; what is then left
of the very sure ones are newcomers. Nothing looks at appearance, and nothing is
changed afterwards: a frame's identities are final when its call returns.

Source: Zhang et al., ByteTrack (ECCV 2022, arXiv 2110.06864), for the two
stages of scores and the rules of births; Xiao et al., Simple baselines (ECCV
2018, arXiv 1804.06208), section 3, for OKS between poses of frames.
Differs: similarity is OKS of joints and of the box's centre and size, widened
by the doubt about what is expected, together with IoU; motion is in seconds, not
in frames.
"""

import dataclasses
import math
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from diffpose_jax.inference import affinity, motion, people

_VERSION = 1  # of `Tracker.state`
_LENGTHS = ("speed", "noise", "joint_speed", "joint_noise", "falloff")


@dataclasses.dataclass(frozen=True)
class Options:
  """What is believed, and for how long.

  Lengths are in sizes of the person, the square root of the box's area.
  """

  high: float = 0.5  # score from which a box is sure
  low: float = 0.1  # score below which a box is nobody
  birth: float = 0.6  # score from which an unknown box is somebody new
  confirm: int = 2  # frames in a row before a newcomer has an identity
  gap: float = 2.0  # seconds that somebody may be out of sight
  recent: float = 0.2  # seconds, of them, in which a doubtful box will do
  least: float = 0.1  # similarity of a sure box that can be somebody known
  least_low: float = 0.2  # ... of a doubtful one
  pose: float = 0.9  # weight of the joints' OKS, where all are seen
  near: float = 0.5  # of the box's part, weight of its place beside IoU
  memory: float = 1.0  # seconds in which a velocity is forgotten
  speed: float = 0.5  # of a box, sizes a second
  noise: float = 0.05  # of a box, sizes
  joint_speed: float = 1.0  # of a joint, sizes a second
  joint_noise: float = 0.03  # of a joint, sizes
  falloff: float = 0.4  # of the box's centre and size in its OKS, sizes
  sigmas: tuple[float, ...] = ()  # of joints in OKS; (): 0.07 for each
  most: int = 1000  # known at once; who was not seen for longest is dropped

  def __post_init__(self) -> None:
    """Raises ValueError for what cannot work."""
    for name in ("memory", *_LENGTHS):
      if not 0 < getattr(self, name) < math.inf:
        raise ValueError(f"{name} is {getattr(self, name)}, must be above 0")
    for name in ("gap", "recent"):
      if not 0 <= getattr(self, name) < math.inf:
        raise ValueError(f"{name} is {getattr(self, name)} seconds, must be 0+")
    for name in ("least", "least_low", "pose", "near"):
      if not 0 <= getattr(self, name) <= 1:
        raise ValueError(f"{name} is {getattr(self, name)}, must be 0 to 1")
    if not self.low <= self.high <= self.birth:
      raise ValueError(
        f"low {self.low}, high {self.high} and birth {self.birth} are scores "
        "that must not fall"
      )
    for name in ("confirm", "most"):
      if getattr(self, name) < 1:
        raise ValueError(f"{name} is {getattr(self, name)}, must be at least 1")


class Tracker:
  """Gives identities frame by frame; see the module.

  Identities count up from 0 as people get them, from left to right in a frame.
  They depend on nothing but what `update` was given: not on the order of the
  people in a frame, nor on the frame rate but for `confirm`. Memory is bounded
  by the people of the last `gap` seconds, and by `most`.
  """

  def __init__(self, options: Options | None = None):
    self.options = Options() if options is None else options
    self._joints = len(self.options.sigmas)
    self._time = -math.inf  # of the last frame
    self._next = 0  # identity
    self._known = people.nobody(self._joints)

  def update(
    self,
    time: float,
    boxes: Float[np.ndarray, "m 4"],
    scores: Float[np.ndarray, "m"],
    joints: Float[np.ndarray, "m k 2"] | None = None,
    joint_scores: Float[np.ndarray, "m k"] | None = None,
  ) -> Int[np.ndarray, "m"]:
    """Identities of the people of the next frame; -1 for who has none.

    None has who is below `low`, is new and not yet confirmed, or is doubtful
    and like nobody known. The people of the first frame need no confirmation.

    Args:
      time: seconds, not before the last frame's.
      boxes: xyxy edges, picture pixels.
      scores: of the boxes, 0 to 1.
      joints: picture pixels; NaN where absent. The same number in each frame.
      joint_scores: 0 to 1, by which joints count; 0 is absent. None: 1.

    Raises:
      ValueError: what is given does not fit the above.
    """
    if not math.isfinite(time) or time < self._time:
      raise ValueError(
        f"a frame at {time} s after one at {self._time} s; give frames in the "
        "order of their times"
      )
    if joints is None or not len(boxes):
      joints = np.full((len(boxes), self._joints, 2), np.nan)
    seen = people.seen(boxes, scores, joints, joint_scores, f"at {time} s")
    self._expect_joints(joints.shape[1], time)
    order = people.order(seen)
    start = math.isinf(self._time)
    self._advance(time)
    found = self._match(time, seen.at(order))
    ids = np.full(len(boxes), -1)
    ids[order] = self._take(time, seen.at(order), found, start)
    return ids

  def _expect_joints(self, joints: int, time: float) -> None:
    """Makes place for joints when they are first given."""
    if joints == self._joints:
      return
    if self._joints:
      raise ValueError(
        f"at {time} s: {joints} joints a person, {self._joints} were expected; "
        "give the same joints, and as many sigmas, all the time"
      )
    self._joints = joints
    new = motion.unseen(len(self._known.ids), joints)
    self._known = dataclasses.replace(
      self._known, points=motion.join(self._known.points, new, axis=1)
    )

  def _speed(self, size: Float[np.ndarray, "n"]) -> Float[np.ndarray, "n p"]:
    return size[:, None] * self._by_point(
      self.options.speed, self.options.joint_speed
    )

  def _by_point(self, box: float, joint: float) -> Float[np.ndarray, "p"]:
    return np.array([box] * people.BOX + [joint] * self._joints)

  @property
  def _falloff(self) -> Float[np.ndarray, "p"]:
    sigmas = np.array(self.options.sigmas or [0.07] * self._joints, float)
    return np.append([self.options.falloff] * people.BOX, 2 * sigmas)

  def _advance(self, time: float) -> None:
    """Forgets who is gone, and expects the others where they should be."""
    known, options = self._known, self.options
    # Seconds of the same gap differ in the last bits, by where it is.
    known = known.at(time - known.last <= options.gap + 1e-6)
    if len(known.ids) > options.most:
      latest = np.argsort(-known.last, kind="stable")[: options.most]
      known = known.at(np.sort(latest))
    seconds = 0.0 if math.isinf(self._time) else time - self._time
    points = motion.predict(
      known.points, seconds, self._speed(known.size), options.memory
    )
    self._known = dataclasses.replace(known, points=points)
    self._time = float(time)

  def _match(self, time: float, seen: people.Seen) -> Int[np.ndarray, "m"]:
    """Who of the known each person is; -1 for none of them."""
    known, options = self._known, self.options
    similar = affinity.similarity(
      known, seen, self._falloff, near=options.near, pose=options.pose
    )
    found = np.full(len(seen.scores), -1)
    free = np.ones(len(known.ids), bool)

    def stage(who: np.ndarray, which: np.ndarray, least: float) -> None:
      rows, columns = np.flatnonzero(who & free), np.flatnonzero(which)
      i, j = affinity.assign(similar[np.ix_(rows, columns)], least)
      found[columns[j]] = rows[i]
      free[rows[i]] = False

    sure = seen.scores >= options.high
    doubtful = (seen.scores >= options.low) & ~sure
    named = known.ids >= 0
    recent = time - known.last <= options.recent + 1e-6
    stage(named, sure, options.least)
    stage(named & recent, doubtful, options.least_low)
    stage(~named, sure & (found < 0), options.least)
    return found

  def _take(
    self,
    time: float,
    seen: people.Seen,
    found: Int[np.ndarray, "m"],
    start: bool,
  ) -> Int[np.ndarray, "m"]:
    """The identities, after everybody known has been brought up to date."""
    known, options = self._known, self.options
    old = found >= 0
    rows = found[old]
    last, hits = known.last.copy(), known.hits.copy()
    last[rows], hits[rows] = time, hits[rows] + 1
    points = known.points.put(
      rows, self._corrected(known.points.at(rows), seen.at(old))
    )
    # A newcomer who is missed once is forgotten.
    kept = (known.ids >= 0) | (last == time)
    born = np.flatnonzero(~old & (seen.scores >= options.birth))
    nothing = motion.unseen(len(born), points.place.shape[1])
    fresh = self._corrected(nothing, seen.at(born))
    none = np.full(len(born), -1)
    all_known = people.Known(
      ids=np.append(known.ids, none),
      hits=np.append(hits, -none),
      last=np.append(last, np.full(len(born), time)),
      points=motion.join(points, fresh, axis=0),
    )
    place = found.copy()
    place[born] = len(known.ids) + np.arange(len(born))
    ids = np.append(self._named(all_known, place, start), -1)[place]
    all_known.ids[place[place >= 0]] = ids[place >= 0]
    self._known = all_known.at(np.append(kept, none < 0))
    return ids

  def _named(
    self, known: people.Known, place: Int[np.ndarray, "m"], start: bool
  ) -> Int[np.ndarray, "n"]:
    """Identities of the known, with new ones for who is confirmed now."""
    ids = known.ids.copy()
    enough = 1 if start else self.options.confirm
    for row in place[place >= 0]:
      if ids[row] < 0 and known.hits[row] >= enough:
        ids[row] = self._next
        self._next += 1
    return ids

  def _corrected(
    self, points: motion.Points, seen: people.Seen
  ) -> motion.Points:
    options = self.options
    noise = self._by_point(options.noise, options.joint_noise)
    # A joint of low score is less surely where it is said to be.
    doubt = 1 / np.sqrt(np.maximum(seen.weights, 1e-3))
    return motion.correct(
      points,
      seen.points,
      seen.weights > 0,
      seen.size[:, None] * noise * doubt,
      self._speed(seen.size),
    )

  @property
  def state(self) -> dict[str, Any]:
    """All that the next calls depend on, in plain JSON types, bit for bit."""
    return {
      "version": _VERSION,
      "options": _plain(self.options),
      "joints": self._joints,
      "time": None if math.isinf(self._time) else self._time,
      "next": self._next,
      "known": people.to_json(self._known),
    }

  def restore(self, state: dict[str, Any]) -> None:
    """Goes on from where a tracker with these options was, see `state`.

    Raises ValueError where it is of other options or of another version.
    """
    if state.get("version") != _VERSION:
      raise ValueError(
        f"the tracker's state has version {state.get('version')}, this program "
        f"reads {_VERSION}; start the video over"
      )
    if state["options"] != _plain(self.options):
      raise ValueError(
        f"the tracker's state was made with {state['options']}, now it is "
        f"{_plain(self.options)}; give the same options or start over"
      )
    self._joints, self._next = state["joints"], state["next"]
    self._time = -math.inf if state["time"] is None else state["time"]
    self._known = people.from_json(state["known"], self._joints)


def _plain(options: Options) -> dict[str, Any]:
  """The options in JSON's types."""
  return dataclasses.asdict(options) | {"sigmas": list(options.sigmas)}
