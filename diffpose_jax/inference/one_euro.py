"""Points made steady as they come, without looking ahead: the One-Euro filter.

A low-pass whose cut-off rises with the speed, so that what rests does not
tremble and what moves does not lag much. Source: Casiez, Roussel and Vogel,
1€ filter: a simple speed-based low-pass filter for noisy input in interactive
systems (CHI 2012).

Differs: the share of a new value is 1 - exp(-2 pi cutoff seconds), the low-pass
in continuous time, in place of its first-order approximation, and the speed is
that between two places as they were seen, not from the steadied one to the new,
which grows with the frame rate: a step is answered alike at any frame rate.
Differs: speeds are in sizes of the person, so that near and far people are
smoothed alike.
"""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, Int


@dataclasses.dataclass(frozen=True)
class Options:
  """How much, and across what."""

  cutoff: float = 1.0  # Hz, of what rests
  rise: float = 4.0  # Hz for a speed of one size a second (beta in the paper)
  speed_cutoff: float = 2.0  # Hz, of the speed's own low-pass
  gap: float = 0.25  # seconds without a point after which it starts afresh

  def __post_init__(self) -> None:
    """Raises ValueError for what cannot work."""
    for name in ("cutoff", "speed_cutoff", "gap"):
      if not 0 < getattr(self, name) < math.inf:
        raise ValueError(f"{name} is {getattr(self, name)}, must be above 0")
    if not 0 <= self.rise < math.inf:
      raise ValueError(f"rise is {self.rise}, must be 0 or above")


@dataclasses.dataclass
class _Track:
  """The last of a person's p points."""

  seen: np.ndarray  # (p,) seconds, when each was last there; -inf: never
  raw: np.ndarray  # (p, 2) as seen then
  place: np.ndarray  # (p, 2) steady
  speed: np.ndarray  # (p, 2) steady, pixels a second
  last: float  # seconds, of the person


class OneEuro:
  """Makes the points of people with identities steady, frame by frame.

  Memory is that of the people of the last `gap` seconds.
  """

  def __init__(self, options: Options | None = None):
    self.options = Options() if options is None else options
    self._tracks: dict[int, _Track] = {}
    self._time = -math.inf

  def update(
    self,
    time: float,
    ids: Sequence[int] | Int[np.ndarray, "n"],
    points: Float[np.ndarray, "n p 2"],
    sizes: Float[np.ndarray, "n"],
  ) -> Float[np.ndarray, "n p 2"]:
    """The points of a frame, steadied; float64, NaN where they are NaN.

    Args:
      time: seconds, not before the last frame's.
      ids: whose they are; people below 0 are left as they are.
      points: picture pixels; NaN where absent.
      sizes: of the people, pixels, above 0: square roots of their boxes' areas.

    Raises:
      ValueError: time runs back or an identity is twice in the frame.
    """
    check_frame(time, self._time, ids)
    self._time = time = float(time)
    result = points.astype(float)
    for row, identity in enumerate(int(i) for i in ids):
      if identity < 0:
        continue
      track = self._tracks.get(identity)
      if track is None:
        shape = result[row].shape
        nothing = np.full(shape, np.nan)
        never = np.full(shape[0], -math.inf)
        track = _Track(never, nothing, nothing.copy(), nothing.copy(), time)
        self._tracks[identity] = track
      result[row] = self._steady(track, time, result[row], float(sizes[row]))
    gone = [
      identity
      for identity, track in self._tracks.items()
      if time - track.last > self.options.gap
    ]
    for identity in gone:
      del self._tracks[identity]
    return result

  def _steady(
    self, track: _Track, time: float, new: np.ndarray, size: float
  ) -> np.ndarray:
    """A person's points; the track is brought up to date."""
    options = self.options
    there = np.all(np.isfinite(new), axis=-1)
    seconds = time - track.seen
    goes_on = there & (seconds <= options.gap)
    fresh = there & ~goes_on
    track.last = time
    track.place[fresh], track.speed[fresh] = new[fresh], 0.0
    moved = goes_on & (seconds > 0)
    step = np.where(moved, seconds, 1.0)[:, None]
    share = -np.expm1(-2 * np.pi * options.speed_cutoff * step)
    speed = track.speed + share * ((new - track.raw) / step - track.speed)
    track.speed[moved] = speed[moved]
    pace = np.hypot(*track.speed.T)[:, None] / size
    cutoff = options.cutoff + options.rise * pace
    share = -np.expm1(-2 * np.pi * cutoff * step)
    # Not a weighted mean: what does not change stays so to the last bit.
    place = track.place + share * (new - track.place)
    track.place[moved] = place[moved]
    track.raw[there], track.seen[there] = new[there], time
    return np.where(there[:, None], track.place, np.nan)

  @property
  def state(self) -> dict[str, Any]:
    """All that the next calls depend on, in plain JSON types, bit for bit."""
    return {
      "time": plain(np.array([self._time])),
      "tracks": {
        str(identity): {
          "last": track.last,
          "seen": plain(track.seen),
          "raw": plain(track.raw),
          "place": plain(track.place),
          "speed": plain(track.speed),
        }
        for identity, track in self._tracks.items()
      },
    }

  def restore(self, state: dict[str, Any]) -> None:
    """Goes on from where a filter with these options was, see `state`."""
    (time,) = state["time"]
    self._time = -math.inf if time is None else time
    self._tracks = {}
    for identity, record in state["tracks"].items():
      seen = np.array(record["seen"], float)
      self._tracks[int(identity)] = _Track(
        seen=np.where(np.isnan(seen), -math.inf, seen),
        raw=np.array(record["raw"], float).reshape(-1, 2),
        place=np.array(record["place"], float).reshape(-1, 2),
        speed=np.array(record["speed"], float).reshape(-1, 2),
        last=record["last"],
      )


def check_frame(
  time: float, last: float, ids: Sequence[int] | Int[np.ndarray, "n"]
) -> None:
  """Raises ValueError where time runs back or an identity is there twice."""
  if not math.isfinite(time) or time < last:
    raise ValueError(
      f"a frame at {time} s after one at {last} s; give frames in the order of "
      "their times"
    )
  known = [int(i) for i in ids if i >= 0]
  if len(set(known)) < len(known):
    twice = next(i for i in known if known.count(i) > 1)
    raise ValueError(
      f"at {time} s: identity {twice} is there {known.count(twice)} times; "
      "give each person of a frame an own one, or -1"
    )


def plain(values: np.ndarray) -> list[float | None]:
  """A flat list for JSON; None for what is not finite."""
  return [v if math.isfinite(v) else None for v in values.ravel().tolist()]
