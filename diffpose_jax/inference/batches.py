"""People of frames through the network, in batches of a fixed size."""

import collections
import dataclasses
import time
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from diffpose_jax.data import annotations
from diffpose_jax.inference import estimator as estimator_lib
from diffpose_jax.inference import flow, token_bank
from diffpose_jax.inference import stages as stages_lib


@dataclasses.dataclass(frozen=True)
class Sent:
  """Frames that came since the batch before, and a batch on the devices."""

  came: list[flow.Item]
  asked: list[tuple[flow.Shown, flow.Asked]]
  pending: estimator_lib.Pending | None = None
  began: float = 0.0


class Batches:
  """Sends people to the devices, and reads their poses back."""

  def __init__(
    self,
    estimator: estimator_lib.Estimator,
    stages: stages_lib.Stages,
    *,
    shared: bool = False,
    heat: bool = False,
  ):
    """The network's time is added to `stages`.

    `shared` clips are of looks; `heat` is kept, to be drawn.
    """
    self._heat = heat
    self._estimator = estimator
    self._stages = stages
    self._bank = token_bank.Bank(estimator) if shared else None
    self._free = 0.0  # when the devices were done with the batch before

  def sent(
    self, frames: Iterable[flow.Item], size: int | None = None
  ) -> Iterator[Sent]:
    """Batches, begun on the devices; all frames are in one of them or before.

    Whatever the crowd, there is one size: `size`, or the full one, or a small
    one where all the people there are fit into it. So nothing is compiled on
    the way, and no pose depends on what else there is.
    """
    batch = size or self._estimator.sizes[-1]
    came: list[flow.Item] = []
    asked: list[tuple[flow.Shown, flow.Asked]] = []
    waiting = 0
    for frame in frames:
      came.append(frame)
      if isinstance(frame, flow.Shown):
        waiting += 1
        for one in _unknown(frame):
          asked.append((frame, one))
          if len(asked) == batch:
            yield self._send(asked, size := batch, came)
            came, asked, waiting = [], [], 0
      # Frames with few people must not pile up behind a batch that does not
      # fill.
      if asked and waiting >= batch:
        yield self._send(asked, size := batch, came)
        came, asked, waiting = [], [], 0
      elif not asked:
        yield Sent(came, [])
        came, waiting = [], 0
    if asked:
      fitting = _fitting(self._estimator.sizes, len(asked))
      yield self._send(asked, size or fitting, came)

  def read(self, batches: Iterable[Sent]) -> Iterator[flow.Item]:
    """The frames in order, as soon as all their people's poses are known."""
    held: collections.deque[flow.Item] = collections.deque()
    for sent in batches:
      held.extend(sent.came)
      self._receive(sent)
      while held and held[0].known:
        yield held.popleft()

  def estimate(self, frame: flow.Shown) -> None:
    """Finds the poses of one frame's people, in sizes of `Estimator.ladder`."""
    ladder = self._estimator.ladder
    unknown = _unknown(frame)
    for first in range(0, len(unknown), ladder[-1]):
      asked = [(frame, one) for one in unknown[first : first + ladder[-1]]]
      self._receive(self._send(asked, _fitting(ladder, len(asked)), []))

  def warm_up(self) -> None:
    """Compiles all that `estimate` needs, whatever the crowd."""
    (self._estimator if self._bank is None else self._bank).warm_up()

  def _send(
    self,
    asked: list[tuple[flow.Shown, flow.Asked]],
    size: int,
    came: list[flow.Item],
  ) -> Sent:
    began = time.perf_counter()
    noise = [
      annotations.noise_id(frame.job.name, one.person.track_id)
      for frame, one in asked
    ]
    clips = [one.clip for _, one in asked]
    for frame, one in asked:
      one.clip, frame.batch = None, size
    pending = self._start(clips, np.array(noise, np.uint32), size)
    return Sent(came, asked, pending, began)

  def _start(
    self, clips: list[Any], noise: np.ndarray, size: int
  ) -> estimator_lib.Pending:
    if self._bank is None:
      return self._estimator.start(np.stack(clips), noise, size=size)
    return self._bank.start(clips, noise, size=size)

  def _receive(self, sent: Sent) -> None:
    """Waits for a batch and hands its poses to those who asked."""
    if sent.pending is None:
      return
    try:
      poses = sent.pending.poses()
    except ValueError as error:
      raise flow.BrokenError(f"{sent.asked[0][0].place}: {error}") from error
    now = time.perf_counter()
    self._stages.add(stages_lib.NETWORK, now - max(sent.began, self._free))
    self._free = now
    if not self._heat:
      poses = dataclasses.replace(poses, heat=None)
    for i, (_, one) in enumerate(sent.asked):
      one.poses = poses.row(i)


def _fitting(sizes: tuple[int, ...], count: int) -> int:
  """The smallest size that holds so many."""
  return next(size for size in sizes if size >= count)


def _unknown(frame: flow.Shown) -> list[flow.Asked]:
  """Those of a frame's people whose poses are not known from before."""
  return [one for one in frame.asked if one.poses is None]
