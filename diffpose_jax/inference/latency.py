"""How long after a frame came its poses are known."""

import collections
import math
import time
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

_MOST = 10_000  # frames of which it is kept


class Latency:
  """Of the last frames of a camera.

  A frame's own time is when it was taken, on a clock that began elsewhere: here
  it begins with the frame that came soonest after it was taken.
  """

  def __init__(self) -> None:
    """Before the first frame."""
    self._zero = math.inf  # time 0 of the frames, by our clock
    self._seconds: collections.deque[float] = collections.deque(maxlen=_MOST)

  def noted(self, frames: Iterable[Any]) -> Iterator[Any]:
    """The frames (index, seconds, ...), whose coming is noted."""
    for frame in frames:
      self._zero = min(self._zero, time.monotonic() - frame[1])
      yield frame

  def done(self, seconds: float) -> None:
    """The poses of the frame of this time are known."""
    self._seconds.append(time.monotonic() - self._zero - seconds)

  @property
  def milliseconds(self) -> tuple[float, float]:
    """Median, and what 95 % stay below; NaN without a frame."""
    if not self._seconds:
      return math.nan, math.nan
    median, high = np.percentile(np.array(self._seconds) * 1e3, [50, 95])
    return float(median), float(high)

  def __str__(self) -> str:
    median, high = self.milliseconds
    return (
      f"latency, from the frame to its poses: median {median:.0f} ms, 95 % below "
      f"{high:.0f} ms"
    )
