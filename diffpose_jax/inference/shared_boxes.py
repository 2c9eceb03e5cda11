"""One box for a person's clips through a window of frames.

The network crops all frames of a clip by the key frame's box, so that a frame
is cropped anew for each key frame that it is a neighbour of. Where key frames
share a box, it is cropped, and looked at, once.

A window goes on as long as no edge of the person's own boxes strays from their
mean by more than a part of the person's size, and for a limited number of
frames, which wait for it. Its box is that of the window before where this would
do for all of it, within the same part; else the mean. So who stands still has
one box throughout, and boxes do not change at every window's end.

The mean, not the union: the person keeps the size in the crop that the network
knows. With windows of one frame nothing waits, and a box holds until the
person's own strays from it: for what is live, or where poses lead to the next
boxes.
"""

import collections
import dataclasses
import itertools
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int

_GONE = 100  # frames after which somebody who is not seen is forgotten


@dataclasses.dataclass(frozen=True)
class Options:
  """How far boxes are shared."""

  most: int = 16  # frames of a window, which wait for its end
  stray: float = 0.1  # sizes by which an edge may be off the shared box

  def __post_init__(self) -> None:
    """Raises ValueError for what cannot work."""
    if self.most < 1 or not 0 <= self.stray < np.inf:
      raise ValueError(
        f"most {self.most} must be 1 frame or more, stray {self.stray} 0 or more"
      )


@dataclasses.dataclass(frozen=True)
class View:
  """How a person is looked at in a frame."""

  box: Float[np.ndarray, "4"]  # float64 xyxy edges, picture pixels
  number: int  # of the box in its video: equal numbers, equal boxes


@dataclasses.dataclass
class _Track:
  """A person, and the frames that wait for the end of the window."""

  seen: int  # number of the frame in which they were seen last
  start: int = 0  # of the first one that waits
  boxes: list[np.ndarray] = dataclasses.field(default_factory=list)
  places: list[tuple[list, int]] = dataclasses.field(default_factory=list)
  view: View | None = None  # in the window before


class SharedBoxes:
  """Shares boxes along the tracks of one video, frame by frame.

  In memory are the people of at most `most` frames.
  """

  def __init__(self, options: Options | None = None):
    """Before the first frame."""
    self.options = Options() if options is None else options
    self._numbers = itertools.count()
    self._frame = 0  # number of the next one
    # Views of the frames that wait, None where they are not yet known.
    self._waiting: collections.deque[list[View | None]] = collections.deque()
    self._tracks: dict[int, _Track] = {}

  def push(
    self,
    ids: Sequence[int] | Int[np.ndarray, "n"],
    boxes: Float[np.ndarray, "n 4"],
  ) -> list[list[View]]:
    """The views of the frames that are ready, in their order.

    Args:
      ids: whose boxes they are, each once; below 0 nobody's, who shares none.
      boxes: of the next frame, xyxy edges with an area.
    """
    views: list[View | None] = [None] * len(boxes)
    self._waiting.append(views)
    for place, (identity, box) in enumerate(zip(ids, boxes, strict=True)):
      box = np.asarray(box, np.float64)
      if identity < 0:
        views[place] = View(box, next(self._numbers))
      else:
        self._add(int(identity), box, (views, place))
    for identity, track in list(self._tracks.items()):
      if track.boxes and self._frame - track.start + 1 >= self.options.most:
        self._end(track)
      if self._frame - track.seen > _GONE + self.options.most:
        del self._tracks[identity]
    self._frame += 1
    return self._ready()

  def finish(self) -> list[list[View]]:
    """The views of the frames that still wait; then nobody is known."""
    for track in self._tracks.values():
      self._end(track)
    self._tracks.clear()
    return self._ready()

  def _add(
    self, identity: int, box: np.ndarray, place: tuple[list, int]
  ) -> None:
    """Adds a box to a person's window, or ends that and begins the next."""
    track = self._tracks.setdefault(identity, _Track(self._frame))
    boxes = [*track.boxes, box]
    if _apart(boxes, np.mean(boxes, axis=0)) > self.options.stray:
      self._end(track)
    if not track.boxes:
      track.start = self._frame
    track.boxes.append(box)
    track.places.append(place)
    track.seen = self._frame

  def _end(self, track: _Track) -> None:
    """Gives the frames of a window their shared box."""
    if not track.boxes:
      return
    view = track.view
    if view is None or _apart(track.boxes, view.box) > self.options.stray:
      view = View(np.mean(track.boxes, axis=0), next(self._numbers))
    for views, place in track.places:
      views[place] = view
    track.view = view
    track.boxes, track.places = [], []

  def _ready(self) -> list[list[View]]:
    ready = []
    while self._waiting and None not in self._waiting[0]:
      ready.append(self._waiting.popleft())
    return ready


def _apart(
  boxes: Sequence[Float[np.ndarray, "4"]], shared: Float[np.ndarray, "4"]
) -> float:
  """How far an edge of boxes is from that of another, in sizes of the latter."""
  size = np.sqrt(np.prod(shared[2:] - shared[:2]))
  return float(np.abs(np.stack(boxes) - shared).max() / size)
