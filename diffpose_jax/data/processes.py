"""Processes that do a list of jobs, and an error soon where one of them dies.

A worker that is killed, that runs out of memory, raises or hangs ends all of
the work with an error within seconds. Workers end with the process that
started them, however that ends.
"""

import contextlib
import faulthandler
import multiprocessing
import os
import signal
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from multiprocessing import connection, reduction
from typing import Any

START_SECONDS = 60.0  # for a worker to import what it needs
_TICK = 0.5  # seconds, at most, between two looks
_READY, _BEAT, _DONE, _ERROR = "ready", "beat", "done", "error"
Work = Callable[..., Any]  # work(job, beat=...), of a module: it is sent


def run(
  work: Work, jobs: Sequence[Any], *, count: int, seconds: float, name: str
) -> Iterator[int]:
  """Does `work(job, beat=beat)` for each job, and yields positions as done.

  `work` calls `beat()`, without arguments, whenever it has come a step
  further. If it leaves `seconds` between two calls, it hangs.

  Args:
    work: function of a module, or a partial of one.
    jobs: what to do, in the order to begin with.
    count: processes.
    seconds: longest time between two steps of a job.
    name: what a job is, for messages: "video".

  Raises:
    ChildProcessError: a worker was killed or ended by itself.
    TimeoutError: a worker hangs; where, it prints to stderr.
    Exception: what `work` raised, with the worker's traceback as a note.
  """
  waiting = list(enumerate(jobs))[::-1]
  left = len(waiting)
  with contextlib.ExitStack() as stack:
    workers = [
      stack.enter_context(_Worker(work, seconds, name))
      for _ in range(min(count, left))
    ]
    while left:
      for worker in workers:
        if worker.idle and waiting:
          worker.give(*waiting.pop())
      for position in _look(workers):
        left -= 1
        yield position


def _look(workers: list["_Worker"]) -> list[int]:
  """Jobs that have ended; waits a moment for any news."""
  begin = time.monotonic()
  places = [w.link for w in workers] + [w.process.sentinel for w in workers]
  connection.wait(places, timeout=_TICK)
  # A process that is stopped (Ctrl-Z) and goes on counts as one tick.
  passed = min(time.monotonic() - begin, 2 * _TICK)
  return [p for worker in workers for p in worker.news(passed)]


class _Worker:
  """One process, and what is known of it."""

  def __init__(self, work: Work, seconds: float, name: str):
    context = multiprocessing.get_context("spawn")
    self.link, theirs = context.Pipe()
    self.process = context.Process(
      target=_serve, args=(work, theirs), name="diffpose_worker", daemon=True
    )
    self._seconds, self._name = seconds, name
    self._job: tuple[int, Any] | None = None
    self._silent = 0.0
    self._ready = False
    # The worker begins with these blocked: Ctrl-C, which reaches all processes
    # of a terminal, and SIGTERM, which Slurm sends to all of a job, are for the
    # one that started it.
    both = [signal.SIGINT, signal.SIGTERM]
    before = signal.pthread_sigmask(signal.SIG_BLOCK, both)
    try:
      self.process.start()
    finally:
      signal.pthread_sigmask(signal.SIG_SETMASK, before)
    theirs.close()

  def __enter__(self) -> "_Worker":
    return self

  def __exit__(self, *_: object) -> None:
    # Nothing that it does is of use any more, and it may hang.
    self.process.kill()
    self.process.join()
    self.link.close()

  @property
  def idle(self) -> bool:
    return self._ready and self._job is None

  def give(self, position: int, job: Any) -> None:
    self._job, self._silent = (position, job), 0.0
    with contextlib.suppress(OSError):  # It died: `news` will tell.
      self.link.send(job)

  def news(self, passed: float) -> list[int]:
    """Positions of jobs that it has done; raises where something is wrong.

    `passed` seconds have gone by since the last call.
    """
    done = []
    self._silent += passed
    try:
      while self.link.poll():
        kind, value = self.link.recv()
        self._silent, self._ready = 0.0, True
        if kind == _ERROR:
          raise self._failure(value)
        if kind == _DONE and self._job is not None:
          done.append(self._job[0])
          self._job = None
    except (EOFError, ConnectionError):
      self.process.join(1)
      raise self._death() from None
    limit = self._seconds if self._ready else START_SECONDS
    if not self.idle and self._silent > limit:
      raise self._hang()
    return done

  def _doing(self) -> str:
    return f"{self._name} {self._job[1]}" if self._job else "its start"

  def _failure(self, error: BaseException) -> BaseException:
    if isinstance(error, MemoryError):
      return ChildProcessError(
        f"a worker process ran out of memory at {self._doing()}; take fewer "
        "workers, then run the command again: what is done stays"
      )
    return error

  def _death(self) -> ChildProcessError:
    code = self.process.exitcode
    how = f"ended by itself, with code {code},"
    if code is not None and code < 0:
      how = f"was killed by {signal.Signals(-code).name}"
      how += ", for want of memory perhaps," if code == -signal.SIGKILL else ""
    return ChildProcessError(
      f"worker process {self.process.pid} {how} at {self._doing()}; take fewer "
      "workers if memory is short, then run the command again: what is done "
      "stays"
    )

  def _hang(self) -> TimeoutError:
    if self._ready and self.process.pid is not None:
      os.kill(self.process.pid, signal.SIGUSR1)  # Prints where it is.
      self.process.join(_TICK)
    return TimeoutError(
      f"worker process {self.process.pid} hangs: at {self._doing()} it came no "
      f"further for {self._silent:.0f} s; look whether the disk answers and the "
      "machine is not overloaded, then run the command again: what is done stays"
    )


def _serve(work: Work, link: connection.Connection) -> None:
  """What a worker does: one job after another."""
  threading.Thread(target=_end_with_parent, daemon=True).start()
  faulthandler.register(signal.SIGUSR1)

  def beat() -> None:
    link.send((_BEAT, None))

  link.send((_READY, None))
  while True:
    job = link.recv()
    try:
      work(job, beat=beat)
    except BaseException as error:
      link.send((_ERROR, _sendable(error)))
      return
    link.send((_DONE, None))


def _sendable(error: BaseException) -> BaseException:
  """The error, with its traceback as a note, or one that can be sent."""
  text = "".join(traceback.format_exception(error))
  error.add_note(f"in a worker process:\n{text}")
  try:
    reduction.ForkingPickler.dumps(error)
    make, arguments = error.__reduce__()[:2]
    make(*arguments)  # type: ignore[operator]
  except Exception:
    return RuntimeError(f"a worker process failed:\n{text}")
  return error


def _end_with_parent() -> None:
  """Ends this process when the one that started it has ended."""
  parent = multiprocessing.parent_process()
  if parent is not None:
    connection.wait([parent.sentinel])
    os._exit(1)
