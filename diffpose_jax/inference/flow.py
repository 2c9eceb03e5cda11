"""What flows through a prediction: videos, their frames, the people in them."""

import collections
import contextlib
import dataclasses
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np

from diffpose_jax.data import annotations, sources, video
from diffpose_jax.inference import boxes_in
from diffpose_jax.inference import estimator as estimator_lib

Timed = tuple[int, float, np.ndarray]  # index, seconds, RGB frame


class BrokenError(ValueError):
  """The network itself is at fault, so that no video can be done."""


@dataclasses.dataclass
class Job:
  """A video that is to be done."""

  source: sources.Source
  info: video.VideoInfo
  supply: boxes_in.Supply
  # A context with the frames, which are decoded beside their use.
  frames: Callable[[], contextlib.AbstractContextManager[Iterable[Timed]]]
  # What is known of its frames from before, from the first on.
  known: Callable[[], Iterator["Recalled"]] = lambda: iter(())
  size: int | None = None  # of the batches in which that was estimated
  dropped: bool = False  # nobody wants its frames any more
  over: bool = False  # its `End` has come

  @property
  def name(self) -> str:
    """On which people's noise depends: not on what other videos there are."""
    return self.source.path.stem


@dataclasses.dataclass
class Asked:
  """A person of a frame, on the way through the network."""

  person: boxes_in.Box
  to_picture: np.ndarray  # affine (2, 3) from crop to picture
  clip: np.ndarray | None  # uint8 (t, h, w, 3); None once it is on the way
  poses: estimator_lib.Poses | None = None  # of this one; None: not yet known


@dataclasses.dataclass(frozen=True)
class Recalled:
  """What is known of a frame from before."""

  index: int
  batch: int
  asked: list[Asked]
  given: list[boxes_in.Box] | None


@dataclasses.dataclass
class Shown:
  """A frame whose people are being found."""

  job: Job
  index: int
  time: float  # seconds
  size: tuple[int, int]  # (height, width) of the frame itself
  picture: np.ndarray  # what to draw on
  asked: list[Asked] = dataclasses.field(default_factory=list)
  people: list[annotations.Person] = dataclasses.field(default_factory=list)
  batch: int = 0  # size of the batches in which they are estimated
  # Boxes that were given; None where they are those of `asked`.
  given: list[boxes_in.Box] | None = None
  recalled: bool = False  # what is asked was known from before

  @property
  def nbytes(self) -> int:
    """Of the arrays, for `ahead.Ahead`."""
    clips = (one.clip for one in self.asked)
    return self.picture.nbytes + sum(c.nbytes for c in clips if c is not None)

  @property
  def known(self) -> bool:
    """Whether everybody's pose is."""
    return all(one.poses is not None for one in self.asked)

  @property
  def place(self) -> str:
    """What errors call it."""
    return f"{self.job.name}: frame {self.index}"


@dataclasses.dataclass(frozen=True)
class End:
  """After the last frame of a video, with what was wrong with it."""

  job: Job
  error: Exception | None = None
  known: bool = True  # as of a frame


Item = Shown | End


def each(
  jobs: Iterable[Job], frames: Callable[[Job], Iterator[Shown]]
) -> Iterator[Item]:
  """The frames of all videos and their ends.

  What is wrong with a video ends that one, and the next one follows.
  """
  for job in jobs:
    try:
      yield from frames(job)
    except BrokenError:
      raise
    except (ValueError, OSError) as error:
      yield End(job, error)
    else:
      yield End(job)


def of(job: Job, items: Iterator[Item]) -> Iterator[Shown]:
  """The frames of one video, out of all of which it is next.

  Raises what was wrong with it, after its last frame.
  """
  for item in items:
    if isinstance(item, End):
      job.over = True
      if item.error is not None:
        raise item.error
      return
    yield item


def skip(job: Job, items: Iterator[Item]) -> None:
  """Goes to the end of a video whose frames nobody wants any more."""
  job.dropped = True
  while not job.over:
    job.over = isinstance(next(items), End)


def windows(frames: Iterable[Any], span: int) -> Iterator[list[Any]]:
  """Each item in the middle of its 2·span + 1 neighbours, ends repeated."""
  ring = collections.deque(maxlen=2 * span + 1)
  item = None
  for item in frames:
    ring.extend([item] * (1 if ring else span + 1))
    if len(ring) == 2 * span + 1:
      yield list(ring)
  for _ in range(span if ring else 0):
    ring.append(item)
    if len(ring) == 2 * span + 1:
      yield list(ring)
