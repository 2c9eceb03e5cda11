"""What flows through a prediction: videos, their frames, the people in them."""

import collections
import contextlib
import dataclasses
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np

from diffpose_jax.data import annotations, sources, video
from diffpose_jax.inference import (
  annotated,
  boxes_in,
  shared_boxes,
  token_bank,
)
from diffpose_jax.inference import latency as latency_lib
from diffpose_jax.inference import poses as poses_lib

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
  latency: latency_lib.Latency = dataclasses.field(
    default_factory=latency_lib.Latency
  )
  dropped: bool = False  # nobody wants its frames any more
  over: bool = False  # its `End` has come

  # On which people's noise depends: not on what other videos there are.
  name: str = dataclasses.field(init=False)

  def __post_init__(self) -> None:
    """Names it as its file of labels would be, if there were one."""
    path = self.source.path
    self.name = path.resolve().name if path.is_dir() else path.stem


Clip = np.ndarray | list[token_bank.Look]


@dataclasses.dataclass
class Asked:
  """A person of a frame, on the way through the network."""

  person: boxes_in.Box
  to_picture: np.ndarray  # affine (2, 3) from crop to picture
  # uint8 (t, h, w, 3), or what its frames look like; None once it is sent.
  clip: Clip | None
  # uint8 (h, w, 3), of the frame itself; where it is drawn.
  crop: np.ndarray | None = None
  poses: poses_lib.Poses | None = None  # of this one; None: not yet known


@dataclasses.dataclass(frozen=True)
class Recalled:
  """What is known of a frame from before."""

  index: int
  batch: int
  asked: list[Asked]
  given: list[boxes_in.Box]


@dataclasses.dataclass
class Shown:
  """A frame whose people are being found."""

  job: Job
  index: int
  time: float  # seconds
  size: tuple[int, int]  # (height, width) of the frame itself
  picture: np.ndarray  # what to draw on
  # It among its 2δ + 1 neighbours; None once people are cut out.
  window: list[Timed] | None = None
  given: list[boxes_in.Box] = dataclasses.field(default_factory=list)
  # Of those who are to be cut out: the given ones, or what is made of them.
  boxes: list[boxes_in.Box] = dataclasses.field(default_factory=list)
  # How they are looked at; None: by their own boxes.
  views: list[shared_boxes.View] | None = None
  asked: list[Asked] = dataclasses.field(default_factory=list)
  people: list[annotations.Person] = dataclasses.field(default_factory=list)
  # What the network saw of them and made of it; where it is drawn.
  seen: list[annotated.View] = dataclasses.field(default_factory=list)
  batch: int = 0  # size of the batches in which they are estimated
  recalled: bool = False  # what is asked was known from before

  @property
  def nbytes(self) -> int:
    """Of the arrays, for `ahead.Ahead`."""
    clips = [one.clip for one in self.asked if one.clip is not None]
    return self.picture.nbytes + sum(map(_bytes, clips))

  @property
  def known(self) -> bool:
    """Whether everybody's pose is."""
    return all(one.poses is not None for one in self.asked)

  @property
  def place(self) -> str:
    """What errors call it."""
    return f"{self.job.name}: frame {self.index}"


def _bytes(clip: Clip) -> int:
  """Memory of a clip, of which all but one look are another's too."""
  return clip.nbytes if isinstance(clip, np.ndarray) else clip[0].crop.nbytes


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


class Windows:
  """Puts each item in the middle of its 2·span + 1 neighbours.

  The ends are repeated. Causal, a window is given at once: in the place of
  items that are still to come are those that were, in reverse.
  """

  def __init__(self, span: int, causal: bool = False):
    """Before the first item."""
    self._span = span
    self._causal = causal
    most = span + 1 if causal else 2 * span + 1
    self._ring: collections.deque[Any] = collections.deque(maxlen=most)

  def push(self, item: Any) -> list[list[Any]]:
    """The windows that are ready with one more item: one or none."""
    self._ring.extend([item] * (1 if self._ring else self._span + 1))
    return self._ready()

  def finish(self) -> list[list[Any]]:
    """The windows that still wait for the end."""
    ready = []
    for _ in range(0 if self._causal or not self._ring else self._span):
      self._ring.append(self._ring[-1])
      ready += self._ready()
    return ready

  def _ready(self) -> list[list[Any]]:
    if len(self._ring) < (self._ring.maxlen or 0):
      return []
    items = list(self._ring)
    return [items + items[-2::-1] if self._causal else items]


def windows(
  frames: Iterable[Any], span: int, causal: bool = False
) -> Iterator[list[Any]]:
  """The windows of all items, see `Windows`."""
  ring = Windows(span, causal)
  for frame in frames:
    yield from ring.push(frame)
  yield from ring.finish()
