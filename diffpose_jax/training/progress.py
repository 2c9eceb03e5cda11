"""How far training is: a bar on a terminal, else a line now and then."""

import collections
import datetime
import io
import sys
import time
from collections.abc import Callable

import tqdm

_READINGS = 11  # over which the rate is taken
_PAUSE = 60.0  # seconds after which a line is due, wherever training is


class Progress:
  """Steps done, their rate and the time left.

  Both are of training alone: who calls `reached` gives the seconds that steps
  have taken, without evaluation, saving and compilation.
  """

  def __init__(
    self,
    steps: int,
    start: int,
    *,
    out: io.TextIOBase | None = None,
    clock: Callable[[], float] = time.monotonic,
  ):
    """A run of `steps` that goes on after step `start`.

    Args:
      steps: the last step.
      start: the steps done before.
      out: where to show it; stderr by default.
      clock: wall time in seconds, for lines.
    """
    self._out = out or sys.stderr
    self._clock = clock
    self._steps, self._done = steps, start
    self._told, self._told_at = start, clock()
    self._values: dict[str, float] = {}
    # Step and seconds of training at the newest readings.
    self._readings: collections.deque[tuple[int, float]] = collections.deque(
      maxlen=_READINGS
    )
    self._bar: _Bar | None = None
    if self._out.isatty():
      self._bar = _Bar(
        total=steps,
        initial=start,
        unit="step",
        desc="train",
        dynamic_ncols=True,
        file=self._out,
      )

  @property
  def rate(self) -> float | None:
    """Steps a second over the newest readings; None before the second one."""
    if len(self._readings) < 2:
      return None
    (first, since), (last, now) = self._readings[0], self._readings[-1]
    return (last - first) / (now - since) if now > since else None

  @property
  def left(self) -> float | None:
    """Seconds of training that the other steps will take."""
    return (self._steps - self._done) / self.rate if self.rate else None

  def advance(self) -> None:
    """One more step is under way."""
    self._done += 1
    if self._bar is not None:
      self._bar.update(1)
    elif self._is_due():
      self._tell()

  def reached(self, step: int, seconds: float) -> None:
    """Step `step` is done, after so many seconds of training."""
    self._readings.append((step, seconds))
    if self._bar is not None:
      self._bar.training = seconds, self.rate

  def show(self, values: dict[str, float]) -> None:
    """Keeps values to show beside the rest."""
    self._values |= values
    if self._bar is not None:
      self._bar.set_postfix_str(_text(self._values), refresh=False)

  def close(self) -> None:
    """Says where it ended."""
    if self._bar is not None:
      self._bar.close()
    elif self._told != self._done:
      self._tell()

  def _is_due(self) -> bool:
    """At each tenth of the run, and where nothing was said for long.

    The last line is said by `close`, which knows the last values.
    """
    if self._done >= self._steps:
      return False
    tenths = 10 * self._done // self._steps > 10 * self._told // self._steps
    return tenths or self._clock() - self._told_at >= _PAUSE

  def _tell(self) -> None:
    self._told, self._told_at = self._done, self._clock()
    parts = [
      f"train: step {self._done} of {self._steps} "
      f"({100 * self._done // self._steps} %)"
    ]
    if self.rate:
      parts += [f"{self.rate:.3g} steps a second"]
    if self.left:
      left = datetime.timedelta(seconds=round(self.left))
      parts += [f"{left} left without evaluation"]
    if self._values:
      parts += [_text(self._values)]
    print(", ".join(parts), file=self._out, flush=True)


class _Bar(tqdm.tqdm):
  """A bar whose times are of training alone."""

  training: tuple[float, float | None] = 0.0, None  # seconds, rate

  @property
  def format_dict(self):
    """What tqdm formats, with our times; a rate of 0 is shown as unknown."""
    seconds, rate = self.training
    return {**super().format_dict, "elapsed": seconds, "rate": rate or 0}


def _text(values: dict[str, float]) -> str:
  return ", ".join(f"{name} {value:.4g}" for name, value in values.items())
