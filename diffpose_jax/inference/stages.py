"""Where the time of a pipeline goes: seconds of each of its stages."""

import collections
import contextlib
import os
import threading
import time
from collections.abc import Iterator

NETWORK = "network"


class Stages:
  """Seconds by stage, on the clock and of the processor; threads may share it.

  A stage's seconds on the clock are those in which it is busy, not those in
  which it waits for another. The network's processor time, which XLA spends in
  threads of its own, is what remains of the process's.
  """

  def __init__(self) -> None:
    """The process's time counts from here on."""
    self._wall: dict[str, float] = collections.defaultdict(float)
    self._cpu: dict[str, float] = collections.defaultdict(float)
    self._apart: dict[str, float] = collections.defaultdict(float)
    self._lock = threading.Lock()
    self._began = time.perf_counter(), time.process_time()

  @contextlib.contextmanager
  def __call__(self, name: str) -> Iterator[None]:
    """A context whose time is that of a stage."""
    wall, cpu = time.perf_counter(), time.thread_time()
    try:
      yield
    finally:
      self.add(name, time.perf_counter() - wall, time.thread_time() - cpu)

  def add(self, name: str, wall: float, cpu: float = 0.0) -> None:
    """More seconds of a stage."""
    with self._lock:
      self._wall[name] += wall
      self._cpu[name] += cpu

  def apart(self, name: str, seconds: float) -> None:
    """A stage of another process, which was busy so long."""
    self.add(name, seconds, seconds)
    self._apart[name] += seconds

  @property
  def wall(self) -> dict[str, float]:
    """Seconds on the clock of each stage, the slowest first."""
    return dict(sorted(self._wall.items(), key=lambda item: -item[1]))

  @property
  def cpu(self) -> dict[str, float]:
    """Processor seconds of each stage."""
    found = dict(self._cpu)
    if NETWORK in found:
      others = sum(found.values()) - found[NETWORK]
      total = self._total()
      found[NETWORK] = max(total - others, found[NETWORK])
    return found

  def _total(self) -> float:
    """Processor seconds of this process, and of stages in others."""
    here = time.process_time() - self._began[1]
    return here + sum(self._apart.values())

  def __str__(self) -> str:
    seconds = time.perf_counter() - self._began[0]
    total, cpu = self._total(), self.cpu
    parts = [
      f"{name} {wall:.1f} s ({cpu[name]:.1f})"
      for name, wall in self.wall.items()
    ]
    text = (
      f"{seconds:.1f} s, of processor time {total:.1f} s on {_cores()} cores"
    )
    if parts:
      slowest = next(iter(self.wall))
      text += f"; {', '.join(parts)}; the slowest stage is {slowest}"
    return text


def _cores() -> int:
  """Those that this process may use."""
  try:
    return len(os.sched_getaffinity(0))
  except AttributeError:  # not on macOS
    return os.cpu_count() or 1
