"""A process that does one job after the other, and is ended if it must be.

Uploads are files of strangers: what decodes them may crash, hang or take all
memory. Then that process ends, its job is refused in a line, and the next job
gets a new one; the page goes on. It also means that a job's time can be limited
whatever it is at.

Messages are JSON, so that nothing of a process is run in the other.
"""

import contextlib
import json
import logging
import multiprocessing
import signal
import threading
import time
import traceback
from collections.abc import Callable
from multiprocessing import connection
from typing import Any

START_SECONDS = 1800.0  # to import what it needs, and to prepare: to compile
_GOODBYE = 3.0  # to end by itself
_TOLD = 0.25  # seconds, at least, between two reports
_READY, _TELLS, _DONE = "ready", "tells", "done"
_REFUSED, _BROKEN = "refused", "broken"

Told = Callable[[int, int], None]  # how much is done, of how much
# Does what is asked, in JSON types; it is sent to the process, with `pickle`'s
# rules for that.
Work = Callable[[dict[str, Any], Told], dict[str, Any]]


class BrokenError(RuntimeError):
  """A mistake of this program; its traceback was printed."""


class Worker:
  """Does jobs in a process of its own; a context, at whose end that ends."""

  def __init__(self, work: Work, *, seconds: float, what: str):
    """Starts it.

    Args:
      work: what it does; called in the process alone. What it has of a method
        `prepare` is called once before.
      seconds: that a job may take.
      what: a job is called.
    """
    self._work, self._seconds, self._what = work, seconds, what
    self._lock = threading.Lock()
    self._closed = False
    self._whose = ""  # the job that it is at
    self._stopped = self._over = False
    self._link: connection.Connection | None = None
    self._start()

  def __enter__(self) -> "Worker":
    return self

  def __exit__(self, *_: object) -> None:
    self._closed = True
    if self._link is not None and not self._lock.locked():
      self._link.close()  # at which it ends by itself, and tidies up
      self._process.join(_GOODBYE)
    self._end()

  def __call__(
    self,
    asked: dict[str, Any],
    told: Told = lambda done, count: None,
    *,
    whose: str = "",
  ) -> dict[str, Any]:
    """What became of a job, once those before it are done.

    Args:
      asked: for `work`.
      told: is called now and then with how much is done.
      whose: by which `stop` knows it.

    Raises:
      ValueError: what the work refuses, or it took too long, was stopped, or
        its process ended.
      BrokenError: a mistake of this program.
    """
    with self._lock:
      if self._link is None:
        self._start()
      self._whose, self._stopped, self._over = whose, False, False
      try:
        return self._do(asked, told)
      except (EOFError, OSError) as error:
        code = self._end()
        if self._stopped:
          raise ValueError(f"{self._what} was stopped") from error
        raise ValueError(
          f"{self._what} ended its process ({_how(code)}); it may be damaged, "
          "or need too much memory"
        ) from error
      finally:
        self._whose = ""
        if not self._over:  # what it still says is of no use to the next job
          self._end()

  def stop(self, whose: str) -> bool:
    """Ends somebody's job where it is the one under way; whether it was."""
    if not whose or self._whose != whose:
      return False
    self._stopped = True
    self._process.kill()
    return True

  def _do(self, asked: dict[str, Any], told: Told) -> dict[str, Any]:
    assert self._link is not None
    self._await_start()
    self._link.send_bytes(json.dumps(asked).encode())
    end = time.monotonic() + self._seconds
    while True:
      kind, value = self._heard(end)
      if kind == _TELLS:
        told(*value)
        continue
      self._over = True
      if kind == _REFUSED:
        raise ValueError(value)
      if kind == _BROKEN:
        raise BrokenError(value)
      return value

  def _await_start(self) -> None:
    """Its time is none of the job's."""
    if not self._ready:
      self._heard(time.monotonic() + START_SECONDS)
      self._ready = True

  def _heard(self, end: float) -> tuple[str, Any]:
    """The next message; raises ValueError where none comes in time."""
    assert self._link is not None
    if self._link.poll(max(0.0, end - time.monotonic())):
      kind, value = json.loads(self._link.recv_bytes())
      return kind, value
    self._end()
    if not self._ready:
      raise ValueError(
        f"{self._what} was not begun: its process was not ready in "
        f"{START_SECONDS:g} s; the output of the server may say why"
      )
    raise ValueError(
      f"{self._what} was stopped: it took more than {self._seconds:g} s; give a "
      "shorter clip, fewer people, steps or samples"
    )

  def _start(self) -> None:
    if self._closed:
      raise ValueError("the page is being closed")
    context = multiprocessing.get_context("spawn")
    self._link, theirs = context.Pipe()
    self._ready = False
    self._process = context.Process(
      target=_serve,
      args=(self._work, theirs),
      name="diffpose_webdemo",
      daemon=True,
    )
    # Ctrl-C reaches all processes of a terminal, and is for the first of them.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    try:
      self._process.start()
    finally:
      signal.pthread_sigmask(signal.SIG_SETMASK, before)
    theirs.close()

  def _end(self) -> int | None:
    """Ends the process, whatever it is at; its exit code."""
    link, self._link = self._link, None
    if link is None:
      return None
    self._process.join(0.2)  # it may have ended by itself
    code = self._process.exitcode
    self._process.kill()
    self._process.join()
    link.close()
    return code


def _how(code: int | None) -> str:
  if code is not None and code < 0:
    return signal.Signals(-code).name
  return "it was closed" if code is None else f"code {code}"


def _serve(work: Work, link: connection.Connection) -> None:
  """The process: jobs, one after the other, until nobody asks any more."""
  logging.getLogger("absl").setLevel(logging.WARNING)
  with contextlib.suppress(EOFError, BrokenPipeError, ConnectionError):
    prepare = getattr(work, "prepare", None)
    if prepare is not None:
      prepare()
    _say(link, _READY, None)
    while True:
      asked = json.loads(link.recv_bytes())
      try:
        _say(link, _DONE, work(asked, _Teller(link)))
      except (ValueError, OSError, MemoryError) as error:
        text = " ".join(str(error).split())
        _say(link, _REFUSED, text or type(error).__name__)
      except Exception as error:
        traceback.print_exc()
        _say(link, _BROKEN, type(error).__name__)


class _Teller:
  """Reports how far a job is, not too often."""

  def __init__(self, link: connection.Connection):
    self._link, self._last = link, 0.0

  def __call__(self, done: int, count: int) -> None:
    now = time.monotonic()
    if now - self._last >= _TOLD:
      self._last = now
      _say(self._link, _TELLS, [done, count])


def _say(link: connection.Connection, kind: str, value: Any) -> None:
  link.send_bytes(json.dumps([kind, value]).encode())
