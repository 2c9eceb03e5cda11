"""Times of frames out of the time stamps of a file, and its mean rate."""

import math
import pathlib
from collections.abc import Sequence

from absl import logging

DEFAULT_FPS = 25.0  # of pictures, and of a file that does not state its rate
SAMPLE = 300  # packets whose stamps are looked at for the mean rate
# Their header holds the number of frames and the mean rate; that of others
# often holds the finest step of their clock (600 or 1000 frames/s).
_EXACT = (".mp4", ".m4v", ".mov")


class Clock:
  """Seconds of each frame since the first, always after the one before.

  A time stamp is taken as it is, less the first one's. Where it is not there,
  or starts again from the first one's, the frame comes one mean interval after
  the one before. Where it is otherwise that of the frame before or an earlier
  one, it comes half an interval after, so that a single wrong stamp moves no
  other frame; from the second one in a row on, the stamps that follow are moved
  with it, as in two recordings joined to one. The first such frame of a file is
  reported as a warning.
  """

  def __init__(self, place: str, interval: float) -> None:
    """Starts before the first frame.

    Args:
      place: what to call the video in the warning.
      interval: seconds between frames, > 0, for what has no good stamp.
    """
    self._place = place
    self._interval = interval
    self._index = -1
    self._first = 0.0  # stamp
    self._last = 0.0  # time
    self._shift = 0.0  # of the stamps since, against the first
    self._wrong = 0  # frames in a row
    self._reported = False

  def __call__(self, stamp: float | None) -> float:
    """The time of the next frame; `stamp` is its own, in seconds, if any."""
    self._index += 1
    if self._index == 0:
      self._first = stamp or 0.0
      return self._last
    since = None if stamp is None else stamp - self._first
    if since is not None and since + self._shift > self._last:
      self._wrong = 0
      self._last = since + self._shift
    else:
      self._report(since)
      self._repair(since)
    return self._last

  def _repair(self, since: float | None) -> None:
    self._wrong += 1
    again = since is None or since <= 0
    half = self._wrong == 1 and not again
    self._last += self._interval * (0.5 if half else 1.0)
    if since is not None and self._wrong > 1:
      self._shift = self._last - since

  def _report(self, since: float | None) -> None:
    if self._reported:
      return
    self._reported = True
    logging.warning(
      "%s: frame %d has %s; its time and that of others like it is reckoned "
      "from the frame before and the mean rate (%.4g frames/s)",
      self._place,
      self._index,
      "no time stamp"
      if since is None
      else f"a time stamp ({since + self._shift:.3f} s) that is not after the "
      f"frame before ({self._last:.3f} s)",
      1 / self._interval,
    )


def rate(
  path: pathlib.Path, stated: float, stamps: Sequence[float]
) -> tuple[float, bool]:
  """Mean frames a second, and whether it is the stated one.

  Args:
    path: the file; what an MP4 or MOV states is its mean rate and is kept.
    stated: by the header; nonsense (0, nan, above 1000) counts as not stated.
    stamps: seconds, of the first packets, in any order. What they say is taken
      where the header differs from it by more than 2 %.
  """
  sane = math.isfinite(stated) and 0 < stated <= 1000
  different = sorted(set(stamps))
  span = different[-1] - different[0] if different else 0.0
  measured = (len(different) - 1) / span if span > 0 else math.nan
  if sane and path.suffix.lower() in _EXACT:
    return stated, True
  if 0 < measured <= 1000 and not abs(measured - stated) < 0.02 * stated:
    return measured, False
  return (stated, True) if sane else (DEFAULT_FPS, False)
