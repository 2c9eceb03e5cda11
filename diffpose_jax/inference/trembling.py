"""How much predicted joints tremble along identities, as they come.

Without the truth it cannot be told from motion: what is measured is both. It is
for comparing predictions of one video with each other.
"""

import collections
from collections.abc import Sequence

import numpy as np

from diffpose_jax.data import annotations
from diffpose_jax.pose import temporal

_Seen = tuple[np.ndarray, np.ndarray, float]  # joints, which count, size


class Trembling:
  """Mean acceleration of joints, in sizes of the person per frame².

  Of people with an identity who are in three frames in a row; a size is the
  square root of the area of the person's box in the middle one. In memory are
  the people of two frames.
  """

  def __init__(self) -> None:
    """Before the first frame."""
    self._frames: collections.deque[dict[int, _Seen]] = collections.deque(
      maxlen=3
    )
    self._total = 0.0
    self._count = 0

  def add(self, people: Sequence[annotations.Person]) -> None:
    """Takes the people of the next frame."""
    seen: dict[int, _Seen] = {}
    for person in people:
      if person.track_id >= 0 and person.box is not None:
        sides = np.asarray(person.box[2:] - person.box[:2], float)
        size = float(np.sqrt(np.prod(np.maximum(sides, 1e-3))))
        seen[person.track_id] = (person.joints, person.labelled, size)
    self._frames.append(seen)
    if len(self._frames) == 3:
      self._measure()

  def _measure(self) -> None:
    first, middle, last = self._frames
    for identity in middle.keys() & first.keys() & last.keys():
      three = [frame[identity] for frame in (first, middle, last)]
      joints = np.stack([joints for joints, _, _ in three]).astype(float)
      there = np.all([labelled for _, labelled, _ in three], axis=0)
      [steps] = temporal.acceleration(joints)
      length = np.linalg.norm(steps[there], axis=1) / middle[identity][2]
      self._total += float(length.sum())
      self._count += len(length)

  @property
  def mean(self) -> float | None:
    """Over all joints; None where there are none in three frames in a row."""
    return self._total / self._count if self._count else None
