"""Points made smooth along their tracks, a fixed time behind what is seen.

Each point is put where a short polynomial in time, fitted to the person's points
before and after it, passes (`local_fit`): no lag, any frame rate and uneven
times. For points without looking ahead see `one_euro`.
"""

import collections
import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from diffpose_jax.inference import local_fit, one_euro


@dataclasses.dataclass(frozen=True)
class Options:
  """How much, and across what."""

  reach: float = 0.2  # seconds looked at on either side, the lag
  degree: int = 2  # of the polynomial; 1 is smoother and cuts off peaks
  gap: float = 0.25  # seconds without a point that are not smoothed across
  fill: bool = False  # points that are absent, between others within `gap`
  # Residuals in sizes of the person below which nothing is an outlier; 0 turns
  # outliers' treatment off.
  outlier: float = 0.02
  most: int = 256  # frames that wait; more of them within `reach` are not used

  def __post_init__(self) -> None:
    """Raises ValueError for what cannot work."""
    for name in ("reach", "gap"):
      if not 0 < getattr(self, name) < math.inf:
        raise ValueError(f"{name} is {getattr(self, name)} s, must be above 0")
    if self.degree not in (0, 1, 2, 3):
      raise ValueError(f"degree is {self.degree}, must be from 0 to 3")
    if not 0 <= self.outlier < math.inf or self.most < 1:
      raise ValueError(
        f"outlier {self.outlier} must be 0 or above, most {self.most} 1 or above"
      )


@dataclasses.dataclass(frozen=True)
class _Frame:
  """A frame's people; a point counts by its weight, 0 where absent."""

  time: float
  ids: tuple[int, ...]
  points: np.ndarray  # (n, p, 2)
  weights: np.ndarray  # (n, p)
  sizes: np.ndarray  # (n,)


class FixedLag:
  """Smooths frame by frame; each frame comes out `reach` seconds later.

  In memory are the people of the frames within `reach` before and after the
  frame that comes next: at most 2 `most` frames.
  """

  def __init__(self, options: Options | None = None):
    self.options = Options() if options is None else options
    self._past: collections.deque[_Frame] = collections.deque()
    self._waiting: collections.deque[_Frame] = collections.deque()
    self._time = -math.inf

  def push(
    self,
    time: float,
    ids: Sequence[int] | Int[np.ndarray, "n"],
    points: Float[np.ndarray, "n p 2"],
    sizes: Float[np.ndarray, "n"],
    weights: Float[np.ndarray, "n p"] | None = None,
  ) -> list[np.ndarray]:
    """Points of the frames that are ready: one array a frame, in their order.

    Float64, and NaN for a point that is absent, unless it is to be filled.

    Args:
      time: seconds, not before the last frame's.
      ids: whose they are; people below 0 are left as they are.
      points: picture pixels; NaN where absent. Corners of boxes are points,
        too: `corners`.
      sizes: of the people, pixels, above 0: square roots of their boxes' areas.
      weights: what each point counts, from 0, which is absent: a score, or the
        inverse of an error's variance (`precision`). None: all alike.

    Raises:
      ValueError: time runs back or an identity is twice in the frame.
    """
    one_euro.check_frame(time, self._time, ids)
    self._time = time = float(time)
    there = np.all(np.isfinite(points), axis=-1)
    weights = np.ones(there.shape) if weights is None else weights
    weights = np.where(there, np.maximum(np.nan_to_num(weights), 0), 0.0)
    frame = _Frame(
      time,
      tuple(int(i) for i in ids),
      np.asarray(points, float),
      weights,
      np.asarray(sizes, float),
    )
    self._waiting.append(frame)
    ready = []
    while (
      not self._near(self._waiting[0].time, time)
      or len(self._waiting) > self.options.most
    ):
      ready.append(self._next())
    return ready

  def finish(self) -> list[np.ndarray]:
    """Points of the frames that still wait; then nothing is known any more."""
    ready = []
    while self._waiting:
      ready.append(self._next())
    self._past.clear()
    self._time = -math.inf
    return ready

  def _near(self, first: float, then: float) -> bool:
    """Whether a frame counts for another; the last bits of times do not."""
    return first == then or then - first < self.options.reach - 1e-6

  def _next(self) -> np.ndarray:
    """The points of the frame that has waited longest."""
    frame = self._waiting[0]
    while self._past and not self._near(self._past[0].time, frame.time):
      self._past.popleft()
    result = self._smooth(frame)
    self._past.append(self._waiting.popleft())
    while len(self._past) > self.options.most:
      self._past.popleft()
    return result

  def _smooth(self, frame: _Frame) -> np.ndarray:
    rows = [row for row, identity in enumerate(frame.ids) if identity >= 0]
    result = np.where((frame.weights > 0)[..., None], frame.points, np.nan)
    if not rows or not frame.points.shape[1]:
      return result
    options = self.options
    near = [f for f in self._waiting if self._near(frame.time, f.time)]
    frames = [*self._past, *near]
    middle = len(self._past)
    points, weights = _gathered(frames, [frame.ids[row] for row in rows])
    times = np.array([f.time for f in frames])
    weights = _unbroken(times, weights, middle, options)
    floor = np.repeat(options.outlier * frame.sizes[rows], points.shape[2])
    smooth = local_fit.fit(
      times - frame.time,
      points.reshape(len(frames), -1, 2),
      weights.reshape(len(frames), -1),
      reach=options.reach,
      degree=options.degree,
      floor=floor if options.outlier else None,
    )
    result[rows] = smooth.reshape(len(rows), -1, 2)
    return result

  @property
  def state(self) -> list[dict[str, Any]]:
    """What has come out and still counts, in plain JSON types, bit for bit.

    Frames that wait are not in it: after `restore`, go on with `push` from the
    first frame that had not come out, and what comes out is as it would have
    been.
    """
    return [
      {
        "time": frame.time,
        "ids": list(frame.ids),
        "points": one_euro.plain(frame.points),
        "weights": frame.weights.tolist(),
        "sizes": frame.sizes.tolist(),
      }
      for frame in self._past
    ]

  def restore(self, state: list[dict[str, Any]]) -> None:
    """Goes on from where a smoother with these options was, see `state`."""
    self._waiting.clear()
    self._past.clear()
    for record in state:
      people = len(record["ids"])
      weights = np.array(record["weights"], float)
      points = weights.size // people if people else 0
      self._past.append(
        _Frame(
          record["time"],
          tuple(record["ids"]),
          np.array(record["points"], float).reshape(people, points, 2),
          weights.reshape(people, points),
          np.array(record["sizes"], float),
        )
      )
    self._time = state[-1]["time"] if state else -math.inf


def _gathered(
  frames: Sequence[_Frame], ids: Sequence[int]
) -> tuple[Float[np.ndarray, "w n p 2"], Float[np.ndarray, "w n p"]]:
  """The points of some people through frames, of weight 0 where they are not."""
  places = {identity: place for place, identity in enumerate(ids)}
  count = max(frame.points.shape[1] for frame in frames)
  points = np.zeros((len(frames), len(ids), count, 2))
  weights = np.zeros((len(frames), len(ids), count))
  for number, frame in enumerate(frames):
    rows = [row for row, i in enumerate(frame.ids) if i in places]
    if rows:
      to = [places[frame.ids[row]] for row in rows]
      points[number, to] = frame.points[rows]
      weights[number, to] = frame.weights[rows]
  return np.where((weights > 0)[..., None], points, 0), weights


def _unbroken(
  times: Float[np.ndarray, "w"],
  weights: Float[np.ndarray, "w *p"],
  middle: int,
  options: Options,
) -> Float[np.ndarray, "w *p"]:
  """The weights, 0 beyond a gap on either side of the frame in the middle.

  All 0 for a point that is absent there, unless it is to be filled: then there
  is one before and one after it, not more than `gap` apart.
  """
  there = weights > 0
  kept = np.zeros_like(there)
  kept[middle] = there[middle]
  first = {}
  for direction in (-1, 1):
    at = middle + direction
    last = np.full(there.shape[1:], times[middle])
    first[direction] = np.full(there.shape[1:], np.inf)
    while 0 <= at < len(times):
      seconds = np.abs(times[at] - times[middle])
      near = there[at] & (np.abs(times[at] - last) <= options.gap + 1e-6)
      kept[at] = near
      last = np.where(near, times[at], last)
      first[direction] = np.where(
        near, np.minimum(first[direction], seconds), first[direction]
      )
      at += direction
  between = first[-1] + first[1] <= options.gap + 1e-6
  shown = there[middle] | (between & options.fill)
  return np.where(kept & shown, weights, 0.0)


def corners(boxes: Float[np.ndarray, "n 4"]) -> Float[np.ndarray, "n 2 2"]:
  """Boxes of xyxy edges as two points each, to be smoothed."""
  return boxes.reshape(-1, 2, 2)


def boxes_of(
  points: Float[np.ndarray, "n 2 2"], raw: Float[np.ndarray, "n 4"]
) -> Float[np.ndarray, "n 4"]:
  """Boxes again, float32; the raw one where smoothing left no extent."""
  boxes = points.reshape(-1, 4).astype(np.float32)
  whole = np.all(boxes[:, 2:] > boxes[:, :2], axis=1)
  return np.where(whole[:, None], boxes, raw.astype(np.float32))


def precision(
  covariance: Float[np.ndarray, "n p 2 2"],
) -> Float[np.ndarray, "n p"]:
  """Weights of points by their errors' covariance; 0 where it is not known.

  Two over its trace: the inverse of the variance by axis, in the mean.
  """
  trace = covariance[..., 0, 0] + covariance[..., 1, 1]
  known = np.isfinite(trace) & (trace > 0)
  return np.where(known, 2 / np.where(known, trace, 1), 0.0)
