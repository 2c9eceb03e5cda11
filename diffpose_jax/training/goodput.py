"""Where the time of a run goes: seconds by purpose, over all of its starts.

`docs/training.md` says what is counted as what. Time is wall time of the first
process by a monotonic clock; between two starts none is counted.
"""

import contextlib
import datetime
import json
import os
import pathlib
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np
from absl import logging

BUCKETS = (
  *("start", "compile", "data", "step", "evaluation", "checkpoint"),
  *("wasted", "other"),
)
NAME = "goodput.json"
_TRAINING = ("data", "step")  # what a lost step had taken
_MARKS = 50  # checkpoints of a start whose time is remembered


class Account:
  """Seconds of this start by bucket, beside those of earlier starts.

  Until `open` it only counts; then it also writes, on the first process.
  """

  def __init__(
    self,
    *,
    at: str = "start",
    clock: Callable[[], float] = time.monotonic,
  ):
    """Time is counted as `at` from now on; `clock` gives seconds."""
    self._clock = clock
    self._seconds = dict.fromkeys(BUCKETS, 0.0)
    self._now, self._since = at, clock()
    self._path: pathlib.Path | None = None
    self._sessions: list[dict[str, Any]] = []  # this start is the last one

  def turn(self, name: str) -> str:
    """Counts time as `name` from now on; returns what it was until now."""
    if name not in BUCKETS:
      raise ValueError(f"no bucket {name!r}; there are {', '.join(BUCKETS)}")
    now, before = self._clock(), self._now
    self._seconds[before] += now - self._since
    self._now, self._since = name, now
    return before

  @contextlib.contextmanager
  def phase(self, name: str) -> Iterator[None]:
    """A context whose time is counted as `name`, and as nothing around it."""
    before = self.turn(name)
    try:
      yield
    finally:
      self.turn(before)

  def training(self) -> float:
    """Seconds that this start has spent on steps and on waiting for data."""
    self.turn(self._now)
    return sum(self._seconds[name] for name in _TRAINING)

  def open(self, folder: pathlib.Path, start: int) -> None:
    """Goes on with the account of a workdir, whose run goes on after `start`.

    What earlier starts had done of later steps becomes wasted.
    """
    self._sessions = [
      {
        "started": datetime.datetime.now(datetime.UTC).isoformat(
          "T", "seconds"
        ),
        "hosts": jax.process_count(),
        "devices": jax.device_count(),
        "device": jax.devices()[0].device_kind,
        "from": start,
        "to": start,
        "wasted_steps": 0,
        "marks": [],
      }
    ]
    if jax.process_index() != 0:
      return
    self._path = folder / NAME
    earlier = _earlier(self._path)
    for session in earlier:
      _waste(session, start)
    for session in earlier[:-1]:
      session["marks"] = []  # Their steps are not lost any more.
    self._sessions = earlier + self._sessions
    self.write()

  def begun(self, step: int) -> None:
    """Takes notice that a step was given to the devices."""
    if self._sessions:
      self._sessions[-1]["to"] = step

  def saved(self, step: int) -> None:
    """Remembers the time at which a step was saved; writes the account."""
    if not self._sessions:
      return
    self.turn(self._now)
    marks = self._sessions[-1]["marks"]
    marks.append([step, *(round(self._seconds[n], 3) for n in _TRAINING)])
    del marks[:-_MARKS]
    self.write()

  def seconds(self) -> dict[str, float]:
    """Seconds of all starts by bucket."""
    sessions = self._whole()
    return {n: sum(s["seconds"][n] for s in sessions) for n in BUCKETS}

  def write(self) -> None:
    """Writes what is known now; a reader sees the old file or the new one."""
    if self._path is None:
      return
    found = self.seconds()
    content = {
      "goodput": round(found["step"] / max(sum(found.values()), 1e-9), 4),
      "seconds": {name: round(value, 3) for name, value in found.items()},
      "wasted_steps": sum(s["wasted_steps"] for s in self._sessions),
      "sessions": self._whole(),
    }
    # Without fsync, which would keep the loop waiting: a machine that loses
    # its power may lose the account, a process that is killed does not.
    part = self._path.with_name(f".{NAME}.tmp")
    try:
      part.write_text(json.dumps(content, indent=1, allow_nan=False) + "\n")
      os.replace(part, self._path)
    except OSError as error:
      logging.warning("%s: not written (%s)", self._path, error.strerror)

  def summary(self) -> str:
    """One line: the share of steps, and the shares of all else over 0.5 %."""
    found = self.seconds()
    total = max(sum(found.values()), 1e-9)
    shares = {name: round(100 * value / total) for name, value in found.items()}
    text = ", ".join(
      f"{name} {share}"
      for name, share in sorted(shares.items(), key=lambda item: -item[1])
      if share
    )
    lost = sum(session["wasted_steps"] for session in self._sessions)
    starts = len(self._sessions)
    return (
      f"goodput {shares['step']} % of {datetime.timedelta(seconds=round(total))}"
      + (f" in {starts} starts" if starts > 1 else "")
      + f": {text}"
      + (f"; {lost} steps done twice" if lost else "")
    )

  def close(self) -> None:
    """Writes the account and prints its summary, once it was opened.

    To stderr, as progress: the last of stdout is the table of results.
    """
    self.write()
    if self._path is not None:
      print(self.summary(), file=sys.stderr, flush=True)
    self._path, self._sessions = None, []

  def _whole(self) -> list[dict[str, Any]]:
    """The sessions; the last one with its seconds until now."""
    self.turn(self._now)
    now = {name: round(value, 3) for name, value in self._seconds.items()}
    return [
      *self._sessions[:-1],
      {**(self._sessions or [{}])[-1], "seconds": now},
    ]


def _waste(session: dict[str, Any], start: int) -> None:
  """Counts what a session did after step `start` as wasted.

  Its time up to there is known from its checkpoints; between two of them it is
  in proportion to the steps.
  """
  keep = max(start, session["from"])
  lost = session["to"] - keep
  if lost <= 0:
    return
  seconds = session["seconds"]
  now = [session["to"], *(seconds[name] for name in _TRAINING)]
  marks = [m for m in session["marks"] if m[0] < session["to"]]
  table = np.array([[session["from"], 0.0, 0.0], *marks, now])
  session["marks"] = [m for m in marks if m[0] <= keep]
  for column, name in enumerate(_TRAINING, start=1):
    kept = float(np.interp(keep, table[:, 0], table[:, column]))
    seconds["wasted"] = round(seconds["wasted"] + seconds[name] - kept, 3)
    seconds[name] = round(kept, 3)
  session["to"] = keep
  session["wasted_steps"] += lost


def _earlier(path: pathlib.Path) -> list[dict[str, Any]]:
  """The sessions of an account; none where there is none that can be read."""
  if not path.exists():
    return []
  try:
    sessions = json.loads(path.read_text())["sessions"]
    for session in sessions:
      _waste(json.loads(json.dumps(session)), -1)  # which reads all there is
      session["seconds"] = {n: float(session["seconds"][n]) for n in BUCKETS}
  except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
    logging.warning("%s: not an account (%s); begun anew", path, error)
    return []
  return sessions
