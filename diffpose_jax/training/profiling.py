"""A trace of some steps, as `--profile_steps=A:B` asks for."""

import pathlib
import re
from typing import Any

import jax

from diffpose_jax.training import goodput

FOLDER = "profile"


def parse(text: str) -> tuple[int, int] | None:
  """First and last step to profile; None for none.

  Raises ValueError where the text is no range of steps.
  """
  if not text:
    return None
  match = re.fullmatch(r"(\d{1,18}):(\d{1,18})", text)
  if not match:
    raise ValueError(
      f"--profile_steps={text}: give A:B, the first and the last step to "
      "profile, as 10:12"
    )
  first, last = int(match[1]), int(match[2])
  if not 1 <= first <= last:
    raise ValueError(
      f"--profile_steps={text}: steps are counted from 1, and the last is not "
      "before the first"
    )
  return first, last


class Trace:
  """Profiles the steps of a range, on the first process.

  The time that starting and writing take is counted as `other`.
  """

  def __init__(
    self,
    span: tuple[int, int] | None,
    folder: pathlib.Path,
    account: goodput.Account,
  ):
    """`span` is what `parse` gave, `folder` the workdir."""
    self._span = span
    self._folder = folder / FOLDER
    self._account = account
    self._running = False
    self._step: Any = None

  def check(self, start: int, steps: int) -> None:
    """Raises ValueError unless the run does these steps after `start`."""
    if self._span is None:
      return
    first, last = self._span
    if first <= start or last > steps:
      left = f"{start + 1} to {steps}" if start < steps else "none"
      raise ValueError(
        f"--profile_steps={first}:{last}: the steps of the run that are not "
        f"done are {left}; profile some of these"
      )

  def begin(self, step: int) -> None:
    """Starts where `step`, which is about to be done, is the first."""
    if self._span is None or jax.process_index() != 0:
      return
    if step == self._span[0]:
      with self._account.phase("other"):
        jax.profiler.start_trace(str(self._folder), create_perfetto_trace=True)
      self._running = True
    if self._running:
      self._step = jax.profiler.StepTraceAnnotation("train", step_num=step)
      self._step.__enter__()

  def end(self, step: int, values: Any) -> None:
    """Waits for `values` and writes the trace where `step` was the last."""
    if not self._running:
      return
    last = self._span is not None and step == self._span[1]
    if last:
      jax.block_until_ready(values)
    self._step.__exit__(None, None, None)
    self._step = None
    if last:
      self.close()

  def close(self) -> None:
    """Writes what was traced; also where a run ends before the last step."""
    if not self._running:
      return
    self._running = False
    with self._account.phase("other"):
      jax.profiler.stop_trace()
    print(
      f"profile: {self._folder}; look at it with `pip install xprof` and "
      f"`xprof --logdir={self._folder}`, or give its perfetto_trace.json.gz to "
      "https://ui.perfetto.dev",
      flush=True,
    )
