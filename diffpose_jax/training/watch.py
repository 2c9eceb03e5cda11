"""A watch over the numbers of every step: skipped updates and spikes."""

import collections
import math
import pathlib
import statistics
from collections.abc import Callable
from typing import Any

import jax
import ml_collections
import optax
from absl import logging

from diffpose_jax.data import roster, strict_json
from diffpose_jax.training import guard
from diffpose_jax.training import step as step_lib

FILE = "bad_steps.json"  # in the workdir: skipped steps and spikes, with clips
_KEPT = 100  # steps in the file
_WINDOW, _LEAST = 101, 20  # steps a median is of: at most, at least
_NAMED = 3  # clips in a line


class Watch:
  """Looks at the metrics of every step, in order, on every host alike.

  The metrics are the same everywhere, so that all hosts decide alike; the first
  one warns and writes.
  """

  def __init__(
    self,
    config: ml_collections.ConfigDict,
    workdir: pathlib.Path,
    clips: Callable[[int], list[dict[str, Any]]],
    *,
    latest: Callable[[], int | None],
    span: tuple[int, int],
    skipped: int = 0,
  ):
    """Before the first step.

    Args:
      config: of training.
      workdir: of the run.
      clips: of a step, counted from 0; asked only where something is wrong.
      latest: step of the newest checkpoint.
      span: steps done before, and in the whole run.
      skipped: updates skipped before, see `skipped_before`.
    """
    self._config = config
    self._workdir = workdir
    self._clips = clips
    self._latest = latest
    self._last = span[1]
    self._first = jax.process_index() == 0
    self._sound = jax.jit(guard.is_sound)
    self._written = collections.deque(_read(workdir / FILE, span[0]), _KEPT)
    self._windows = [collections.deque(maxlen=_WINDOW) for _ in range(2)]
    self._looked = self._clipped = 0  # steps since `counts`
    self._spiking = False
    self.skipped = skipped
    self.spikes = 0
    self.row = 0  # updates skipped since the last one that was made
    self.owed = False  # a checkpoint that was due in such a row

  def look(self, step: int, loss: float, norm: float, skipped: bool) -> None:
    """Takes the metrics of the next step, once it is done.

    Raises ValueError where `train.max_skipped` updates in a row were skipped.
    """
    self._looked += 1
    if skipped:
      self.skipped += 1
      self.row += 1
      self._skipped(step, loss, norm)
      return
    self.row = 0
    self._clipped += norm > self._config.clip
    causes = self._spikes(loss, norm)
    if causes and not self._spiking:
      self._tell(
        f"step {step}: {' and '.join(causes)}",
        self._write(step, "spike", loss, norm),
      )
    self._spiking = bool(causes)
    self.spikes += self._spiking

  def counts(self) -> dict[str, int | float]:
    """Skipped updates and spikes so far; share of steps clipped since asked."""
    share = self._clipped / max(self._looked, 1)
    self._looked = self._clipped = 0
    found = {"skipped": self.skipped, "clipped": share}
    return found | ({"spikes": self.spikes} if self._config.spike else {})

  def may_save(self, state: step_lib.State, step: int) -> bool:
    """Whether the state after `step` is good work; all hosts must ask.

    It is not while updates are being skipped, but for the end of the run, where
    none can follow; then a checkpoint is owed. Raises ValueError where weights
    or optimiser state are not finite.
    """
    state_now = (state.params, state.ema, state.optimiser)
    if not bool(jax.device_get(self._sound(state_now))):
      raise ValueError(
        f"{self._workdir}: after step {step} weights or optimiser state are "
        f"not finite; nothing is saved, {self._remaining()}"
      )
    self.owed = self.row > 0 and step != self._last
    if self.owed and self._first:
      logging.warning("step %d: not saved before an update is made", step)
    return not self.owed

  def close(self) -> None:
    """Tells how many updates were skipped."""
    if self._first and (self.skipped or self.spikes):
      print(
        f"{self.skipped} of the run's updates were skipped, {self.spikes} "
        f"spikes since its last start (see {self._workdir / FILE})",
        flush=True,
      )

  def _skipped(self, step: int, loss: float, norm: float) -> None:
    cause = f"loss {loss:.4g}, gradient norm {norm:.4g}"
    clips = self._write(step, "skipped", loss, norm)
    if self.row == 1:
      self._tell(f"step {step}: its update is skipped ({cause})", clips)
    if self.row < self._config.max_skipped:
      return
    first = step - self.row + 1
    steps = f"steps {first} to {step}" if self.row > 1 else f"step {step}"
    raise ValueError(
      f"{self._workdir}: the last {self.row} updates, of {steps}, were skipped "
      f"({cause}); {self._named(self._clips(first - 1), first)}; nothing is "
      f"saved, {self._remaining()}"
    )

  def _spikes(self, loss: float, norm: float) -> list[str]:
    """What is far above the usual; takes the values in."""
    config, causes = self._config, []
    # A gradient that needs no clipping is none, however small they were.
    for name, value, least, window in zip(
      ("loss", "gradient norm"),
      (loss, norm),
      (0.0, config.clip),
      self._windows,
      strict=True,
    ):
      if config.spike and value > least and len(window) >= _LEAST:
        usual = statistics.median(window)
        if value > config.spike * usual > 0:
          causes.append(f"{name} {value:.4g}, usually {usual:.4g}")
      window.append(value)
    return causes

  def _write(self, step: int, what: str, loss: float, norm: float) -> list:
    """Adds a step to the file; its clips."""
    clips = self._clips(step - 1)
    self._written.append(
      {
        "step": step,
        "what": what,
        "loss": _json(loss),
        "gradient_norm": _json(norm),
        "clips": clips,
      }
    )
    if self._first:
      try:
        strict_json.dump(self._workdir / FILE, {"steps": list(self._written)})
      except OSError as error:
        logging.warning("%s: not written (%s)", FILE, error.strerror)
    return clips

  def _tell(self, what: str, clips: list) -> None:
    if self._first:
      step = self._written[-1]["step"]
      logging.warning("%s; %s", what, self._named(clips, step))

  def _named(self, clips: list, step: int) -> str:
    """The first few clips of a step, and where the others are to be found."""
    names = ", ".join(roster.name(clip) for clip in clips[:_NAMED])
    more = len(clips) - _NAMED
    more = f" and {more} more" if more > 0 else ""
    return f"clips of step {step}: {names}{more}, all in {self._workdir / FILE}"

  def _remaining(self) -> str:
    latest = self._latest()
    if latest is None:
      return (
        "and there is no checkpoint yet: correct what is wrong with these "
        "clips, or train in a new --workdir with a lower "
        "--config.train.learning_rate"
      )
    return (
      f"and checkpoint {latest} is as it was: the same command goes on from "
      "there; where it stops again, correct what is wrong with these clips, or "
      f"train in a new --workdir with --config.train.init_from={self._workdir} "
      "and a lower --config.train.learning_rate"
    )


def skipped_before(state: step_lib.State) -> int:
  """How many steps of a state's past made no update; 0 where nothing counts."""
  counters = optax.tree.get_all_with_path(state.optimiser, "count")
  if not counters:
    return 0
  step, made = jax.device_get((state.step, counters[0][1]))
  return int(step) - int(made)


def _json(value: float) -> float | str:
  """JSON has no number that is not finite."""
  return value if math.isfinite(value) else str(value)


def _read(path: pathlib.Path, start: int) -> list[dict[str, Any]]:
  """What the file says of the steps up to a start, if it is whole."""
  try:
    steps = strict_json.load(path)["steps"] if path.exists() else []
    return [found for found in steps if found["step"] <= start]
  except (ValueError, TypeError, KeyError):
    return []
