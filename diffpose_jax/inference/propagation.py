"""People given in some frames, followed by their own poses through the others.

The box of the next frame is made of the joints found in this one, so each
frame's poses must be known before the next frame's boxes: frames cannot be
batched over time, only the people of a frame. The δ frames of look-ahead of a
clip stay, as its pictures are known beforehand.
"""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from diffpose_jax.inference import following
from diffpose_jax.pose import geometry


@dataclasses.dataclass(frozen=True)
class Given:
  """A box that the user, or a detector, gives for a frame."""

  box: np.ndarray  # (4,) xyxy edges, picture pixels
  score: float = 1.0
  track_id: int = -1  # -1: unknown


@dataclasses.dataclass(frozen=True)
class Followed:
  """A box of a frame, and whose it is."""

  number: int  # of the person in this video, from 0 on; never used again
  box: np.ndarray  # float32 (4,) xyxy edges, picture pixels
  score: float  # of the box that was given last
  track_id: int  # that was given last; -1: none
  given: bool  # in this very frame


class Propagation:
  """People followed through one video, frame by frame.

  For each frame in turn, first `boxes`, then `update` with the poses found in
  these boxes. Nobody is made up: without given boxes there are none, and who
  is given up does not come back. Memory is that of the people in a frame.
  """

  def __init__(
    self,
    options: following.Options | None = None,
    *,
    joints: Sequence[int],
  ) -> None:
    """Starts without anybody.

    Args:
      options: when somebody is lost, and how smoothly boxes move.
      joints: which of the joints count, as `Skeleton.evaluated`: others were
        never learned.

    Raises:
      ValueError: options that cannot work.
    """
    self._options = options or following.Options()
    self._options.check()
    self._joints = list(joints)
    self._people: tuple[following.Person, ...] = ()
    self._time = -math.inf
    self._next = 0

  def protocol(self) -> dict[str, Any]:
    """What the protocol of a result says of it."""
    return {"propagation": dataclasses.asdict(self._options)}

  def boxes(
    self,
    time: float,
    size: tuple[int, int],
    given: Sequence[Given] = (),
  ) -> list[Followed]:
    """The boxes of a frame: those given, and those of the others followed.

    A given box is of the followed person that has its track id, or else of the
    one it overlaps most, and takes the place of the box that was expected.
    Changes nothing.

    Args:
      time: of the frame, seconds; later than that of the last `update`.
      size: (height, width) of the picture.
      given: boxes for this frame, if any; those of other people stay.

    Raises:
      ValueError: time does not run forward, or a box has no area.
    """
    wait = self._wait(time)
    hopes = [following.expected(p, wait, self._options) for p in self._people]
    for index, one in enumerate(given):
      box = np.asarray(one.box, np.float64)
      geometry.check_box(box, f"time {time:g} s, given box {index}")
    ids = [one.track_id for one in given if one.track_id >= 0]
    if len(set(ids)) < len(ids):
      raise ValueError(
        f"time {time:g} s: track ids {sorted(ids)} of given boxes; one person "
        "has one box in a frame"
      )
    owners = self._owners(given, hopes)
    result, number = [], self._next
    for one, owner in zip(given, owners, strict=True):
      box, track = np.asarray(one.box, np.float32), one.track_id
      if owner is None:
        result.append(Followed(number, box, one.score, track, True))
        number += 1
      else:
        person = self._people[owner]
        track = person.track_id if track < 0 else track
        result.append(Followed(person.number, box, one.score, track, True))
    for index, (person, hope) in enumerate(
      zip(self._people, hopes, strict=True)
    ):
      if index in owners or _inside(hope, size) < self._options.inside:
        continue
      box = hope.astype(np.float32)
      result.append(
        Followed(person.number, box, person.score, person.track_id, False)
      )
    return result

  def update(
    self,
    time: float,
    people: Sequence[Followed],
    joints: Float[np.ndarray, "n k 2"],
    scores: Float[np.ndarray, "n k"],
  ) -> Bool[np.ndarray, "n"]:
    """Who of the people is seen in this frame; the others are still looked for.

    Only who is seen belongs in a result; who was given in this frame is, as
    the user says so. A person not seen for `patience` seconds is given up; at
    once so is who is not among `people`, as `boxes` leaves out who has left the
    picture. Where two have the same pose, only the one with the better scores
    is seen.

    Args:
      time: of the frame, seconds.
      people: what `boxes` gave for it.
      joints: their poses, picture pixels.
      scores: of their joints, in [0, 1], without the scores of the boxes.

    Raises:
      ValueError: time does not run forward, or poses are not of these people.
    """
    wait = self._wait(time)
    if not len(people) == len(joints) == len(scores):
      raise ValueError(
        f"time {time:g} s: {len(people)} people, {len(joints)} poses and "
        f"{len(scores)} rows of scores; give a pose for each"
      )
    poses = [self._pose(*pose) for pose in zip(joints, scores, strict=True)]
    seen = self._seen(people, poses)
    kept = []
    for one, pose, is_seen in zip(people, poses, seen, strict=True):
      person = self._after(one, pose, wait)
      unseen = 0.0 if is_seen else person.unseen + wait
      if unseen <= self._options.patience:
        kept.append(dataclasses.replace(person, unseen=unseen))
    self._people, self._time = tuple(kept), float(time)
    self._next = max([self._next, *(one.number + 1 for one in people)])
    return seen

  def state(self) -> dict[str, Any]:
    """All there is to know after an `update`, as JSON can hold it."""
    return {
      "time": None if math.isinf(self._time) else self._time,
      "next": self._next,
      "people": [dataclasses.asdict(person) for person in self._people],
    }

  def restore(self, state: dict[str, Any]) -> None:
    """Goes on where `state` was taken, to the last bit.

    Raises ValueError where it is none.
    """
    try:
      time, number = state["time"], int(state["next"])
      people = tuple(map(following.Person.from_record, state["people"]))
      time = -math.inf if time is None else float(time)
      if any(len(p.places) != len(self._joints) for p in people):
        raise ValueError("other joints")
    except (KeyError, TypeError, ValueError) as error:
      raise ValueError(
        f"no state of people that are followed ({error!r}); start anew"
      ) from error
    self._people, self._time, self._next = people, time, number

  def _wait(self, time: float) -> float:
    """Seconds since the last frame; 0 at the first."""
    if not self._time < time < math.inf:
      raise ValueError(
        f"a frame at {time} s comes after one at {self._time} s; times must grow"
      )
    return 0.0 if math.isinf(self._time) else time - self._time

  def _pose(self, joints: np.ndarray, scores: np.ndarray) -> following.Pose:
    points = np.asarray(joints, np.float64)[self._joints]
    trust = np.asarray(scores, np.float64)[self._joints]
    known = np.isfinite(points).all(axis=1) & np.isfinite(trust)
    return following.Pose(points, np.where(known, trust, 0.0))

  def _after(
    self, one: Followed, pose: following.Pose, wait: float
  ) -> following.Person:
    """The person after a frame."""
    options = self._options
    old = next((p for p in self._people if p.number == one.number), None)
    if old is None:
      empty = (0.0, 0.0)
      new = following.Person(
        number=one.number,
        score=float(one.score),
        track_id=int(one.track_id),
        centre=empty,
        sides=empty,
        velocity=empty,
        margins=None,
        places=(None,) * len(self._joints),
      )
      return following.begun(new, one.box, pose, options)
    if not one.given:
      return following.moved(old, wait, pose, options)
    old = dataclasses.replace(
      old, score=float(one.score), track_id=int(one.track_id)
    )
    return following.corrected(old, wait, one.box, pose, options)

  def _owners(
    self, given: Sequence[Given], hopes: Sequence[np.ndarray]
  ) -> list[int | None]:
    """Which of the people each given box is of; None: of somebody new."""
    tracks = [person.track_id for person in self._people]
    owners: list[int | None] = [
      tracks.index(one.track_id)
      if one.track_id >= 0 and one.track_id in tracks
      else None
      for one in given
    ]
    if not given or not hopes:
      return owners
    boxes = np.array([one.box for one in given], np.float64)
    overlap = geometry.iou(boxes, np.array(hopes))
    pairs = [
      (-overlap[i, j], i, j)
      for i, one in enumerate(given)
      for j, track in enumerate(tracks)
      if overlap[i, j] >= self._options.same and min(one.track_id, track) < 0
    ]
    for _, i, j in sorted(pairs):
      if owners[i] is None and j not in owners:
        owners[i] = j
    return owners

  def _seen(
    self, people: Sequence[Followed], poses: Sequence[following.Pose]
  ) -> np.ndarray:
    """Whose pose is good enough, and nobody else's of those already seen."""
    seen = np.zeros(len(people), bool)
    if not people:
      return seen
    mean = [float(pose.trust.mean()) for pose in poses]
    order = sorted(
      range(len(people)), key=lambda i: (not people[i].given, -mean[i], i)
    )
    for i in order:
      alone = not any(
        self._same(people[i], poses[i], poses[j])
        for j in np.flatnonzero(seen).tolist()
      )
      good = mean[i] >= self._options.least_score and alone
      seen[i] = people[i].given or good
    return seen

  def _same(
    self, one: Followed, pose: following.Pose, other: following.Pose
  ) -> bool:
    """Whether two poses are of one person, by the joints seen in both."""
    both = pose.seen(self._options) & other.seen(self._options)
    if not both.any():
      return False
    apart = np.linalg.norm(pose.points[both] - other.points[both], axis=1)
    longer = float((one.box[2:] - one.box[:2]).max())
    return float(apart.mean()) < self._options.twice * longer


def _inside(box: np.ndarray, size: tuple[int, int]) -> float:
  """Share of a box that is in the picture."""
  low = np.maximum(box[:2], -0.5)
  high = np.minimum(box[2:], [size[1] - 0.5, size[0] - 0.5])
  common, area = geometry.area(np.array([[*low, *high], box]))
  return float(common / area)
