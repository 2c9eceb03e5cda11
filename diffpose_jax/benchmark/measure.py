"""Times and ratios of contenders that take turns in one process.

What is compared runs A B A B …, so that a machine that is slower for a while is
so for all. A ratio is formed in each round and then the median taken, so that
it needs no two rounds to be alike.
"""

import dataclasses
import math
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

PAIRS = 7  # rounds, at least
Weights = Mapping[str, int | float]  # of contenders' times in a sum
_MOST_CALLS = 1000  # of one contender in a round


class DifferentOutputsError(ValueError):
  """Contenders that do not compute the same; their times mean nothing."""


@dataclasses.dataclass(frozen=True)
class Spread:
  """What was found in several rounds, or once."""

  median: float
  low: float
  high: float

  @classmethod
  def of(cls, values: Sequence[int | float]) -> "Spread":
    """That of at least one value."""
    found = (statistics.median(values), min(values), max(values))
    return cls(*map(float, found))


@dataclasses.dataclass(frozen=True)
class Clock:
  """A way to tell time.

  `rest` seconds go by before each contender, so that threads of another library
  that still wait for work in a loop have gone to sleep.
  """

  name: str  # "wall" or "cpu"
  now: Callable[[], float]
  rest: float = 0.0
  sleep: Callable[[float], None] = time.sleep


WALL = Clock("wall", time.perf_counter)
CPU = Clock("cpu", time.process_time)  # of all threads of this process


@dataclasses.dataclass(frozen=True)
class Times:
  """Seconds of a call of each contender in each round."""

  seconds: Mapping[str, Sequence[float]]
  clock: str

  @property
  def rounds(self) -> int:
    """Their number."""
    return len(next(iter(self.seconds.values())))

  def spread(self, name: str) -> Spread:
    """Seconds of one contender."""
    return Spread.of(self.seconds[name])

  def ratio(self, above: Weights, below: Weights) -> Spread:
    """Of two weighted sums of contenders' times, formed in each round."""

    def total(weights: Weights, i: int) -> float:
      return sum(
        (w * self.seconds[name][i] for name, w in weights.items()), 0.0
      )

    return Spread.of(
      [total(above, i) / total(below, i) for i in range(self.rounds)]
    )


def take_turns(
  contenders: Mapping[str, Callable[[], Any]],
  *,
  pairs: int = PAIRS,
  clock: Clock = WALL,
  at_least: float = 0.02,
) -> Times:
  """Times of contenders that run one after the other, `pairs` times.

  Args:
    contenders: by name; each call must wait until its result is there.
    pairs: number of rounds.
    clock: see `Clock`.
    at_least: seconds that a contender runs in a round; it is called as often as
      that takes, and the time is divided by the number of calls.

  Two calls of each come first and are not counted: one compiles, one tells how
  often to call.
  """
  calls = {}
  for name, run in contenders.items():
    run()
    taken = _seconds(run, 1, clock)
    often = _MOST_CALLS if taken <= 0 else math.ceil(at_least / taken)
    calls[name] = min(max(often, 1), _MOST_CALLS)
  seconds: dict[str, list[float]] = {name: [] for name in contenders}
  for _ in range(pairs):
    for name, run in contenders.items():
      seconds[name].append(_seconds(run, calls[name], clock))
  return Times(seconds, clock.name)


def _seconds(run: Callable[[], Any], calls: int, clock: Clock) -> float:
  if clock.rest:
    clock.sleep(clock.rest)
  began = clock.now()
  for _ in range(calls):
    run()
  return (clock.now() - began) / calls


def relative_error(found: Any, wanted: Any) -> float:
  """The largest difference over the largest wanted value; NaN counts as ∞.

  Raises DifferentOutputsError for other shapes.
  """
  found, wanted = (np.asarray(v, np.float64) for v in (found, wanted))
  if found.shape != wanted.shape:
    raise DifferentOutputsError(
      f"outputs have shapes {found.shape} and {wanted.shape}"
    )
  scale = float(np.abs(wanted).max(initial=0))
  error = float(np.abs(found - wanted).max(initial=0))
  if not math.isfinite(error):
    return math.inf
  return error / scale if scale else (math.inf if error else 0.0)


def check_equal(name: str, error: float, tolerance: float) -> None:
  """Raises DifferentOutputsError where an error is above its tolerance."""
  if not error <= tolerance:
    raise DifferentOutputsError(
      f"{name}: outputs differ by {error:.2g} of the largest value, allowed is "
      f"{tolerance:.2g}; nothing is timed"
    )
