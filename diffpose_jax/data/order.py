"""In what order training takes the people: at random, or at random but near.

A frame is decoded for all the people in it and for all the clips that it is
part of, if these are read while it is in memory. A full shuffle of a large set
never does that. The near order does: each place of a batch walks through blocks
of neighbouring frames of one video, in random order; the places of a batch walk
through different videos.
"""

import collections
import dataclasses
import threading

import numpy as np
from jaxtyping import Int

BLOCK = 16  # consecutive frames whose clips are read together
_KEPT = 2  # epochs whose order is kept: threads read ahead into the next


@dataclasses.dataclass(frozen=True)
class Order:
  """Who is clip number `position` of a run.

  It is a function of (seed, position), whatever the number of hosts or where a
  run was resumed; in the near order also of the batch, of which a position is
  (step, place) = divmod(position, batch).

  `video` and `frame` are those of each person's key frame. In the full order
  every epoch visits each person once. In the near order the places share an
  epoch equally, so that up to batch - 1 people, others each time, are left out
  of it.
  """

  video: np.ndarray  # int32 (n,)
  frame: np.ndarray  # int32 (n,), position in the video
  seed: int
  batch: int
  near: bool
  _epochs: collections.OrderedDict = dataclasses.field(
    default_factory=collections.OrderedDict, repr=False
  )
  _lock: threading.Lock = dataclasses.field(
    default_factory=threading.Lock, repr=False
  )

  def at(self, position: int) -> int:
    """The person of a position from 0 on, without end."""
    if not self.near:
      epoch, place = divmod(position, len(self.video))
      return int(self._epoch(epoch)[place])
    share = len(self.video) // self.batch  # steps in an epoch
    step, place = divmod(position, self.batch)
    epoch, step = divmod(step, share)
    return int(self._epoch(epoch)[place * share + step])

  def _epoch(self, epoch: int) -> Int[np.ndarray, "n"]:
    with self._lock:
      if epoch not in self._epochs:
        self._epochs[epoch] = self._shuffled(epoch)
        while len(self._epochs) > _KEPT:
          self._epochs.popitem(last=False)
      return self._epochs[epoch]

  def _shuffled(self, epoch: int) -> Int[np.ndarray, "n"]:
    rng = np.random.default_rng([self.seed, epoch])
    if not self.near:
      return rng.permutation(len(self.video))
    # The start of the blocks moves from epoch to epoch: other neighbours meet.
    pairs = np.stack(
      [self.video, (self.frame + epoch % BLOCK) // BLOCK], axis=1
    )
    _, block = np.unique(pairs, axis=0, return_inverse=True)
    block = block.reshape(-1)
    rank = rng.permutation(block.max() + 1)[block]  # blocks in random order
    people = rng.permutation(len(block))
    return people[np.argsort(rank[people], kind="stable")]


def decoded_bytes(
  height: Int[np.ndarray, "n"],
  width: Int[np.ndarray, "n"],
  rows: Int[np.ndarray, "..."],
) -> int:
  """Memory of the frames in `rows`, each once, as RGB."""
  used = np.unique(rows)
  return int(3 * np.sum(height[used].astype(np.int64) * width[used]))
