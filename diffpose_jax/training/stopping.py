"""Stopping when asked: by Ctrl-C, or by SIGTERM, as clusters do beforehand."""

import contextlib
import functools
import itertools
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator

from diffpose_jax import supervisor
from diffpose_jax.model import hosts

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Watch:
  """Ends the process where it was asked to stop twice, or does not in time."""

  def __init__(self, grace: float):
    """`grace`: seconds to stop in; 0 for no limit."""
    self._grace = grace
    self._lock = threading.RLock()
    self._timer: threading.Timer | None = None
    self._asked = False

  def signal(self, number: int) -> None:
    """Takes note of a signal, in any thread."""
    with self._lock:
      if self._asked:
        _leave(number, "stopped at once")
        return
      self._asked = True
      if self._grace:
        late = f"not stopped within {self._grace:g} s (train.grace)"
        self._timer = threading.Timer(self._grace, _leave, (number, late))
        self._timer.daemon = True
        self._timer.start()
    limit = f" within {self._grace:g} s" if self._grace else ""
    print(
      f"\n{signal.Signals(number).name}: stopping after this step{limit}; "
      "again to stop at once",
      file=sys.stderr,
      flush=True,
    )

  def end(self) -> None:
    """The time that is left no longer matters."""
    with self._lock:
      if self._timer is not None:
        self._timer.cancel()


def _leave(number: int, why: str) -> None:
  """Ends the process; a checkpoint is whole or not there at any time."""
  supervisor.say(f"{why}; the same command goes on from the newest checkpoint")
  os._exit(128 + number)


@contextlib.contextmanager
def held(grace: float) -> Iterator[Callable[[], None]]:
  """A context in which signals wait until the function it gives is called.

  Raised inside of a step, an exception would lose the state: the old one is
  already donated, the new one not yet assigned. A second signal ends the
  process at once, also while it computes, and so does the first one after
  `grace` seconds, if not 0.

  With several hosts, a signal to one of them stops all at the same call of that
  function, which all must call equally often.

  The function raises KeyboardInterrupt with the number of the signal.
  """
  watch = Watch(grace)
  try:
    if hosts.count() > 1:
      with supervisor.signals_to(watch.signal):
        yield _agreed_stop()
    elif threading.current_thread() is threading.main_thread():
      with _handled(watch) as came:
        yield functools.partial(_raise_first, came)
    else:  # Python gives signals to the main thread alone.
      yield lambda: None
  finally:
    watch.end()


def _raise_first(came: list[int]) -> None:
  if came:
    raise KeyboardInterrupt(came[0])


def _agreed_stop() -> Callable[[], None]:
  calls = itertools.count(1)

  def stop_if_asked() -> None:
    if hosts.stop_agreed(next(calls)):
      raise KeyboardInterrupt(signal.SIGTERM)

  return stop_if_asked


@contextlib.contextmanager
def _handled(watch: Watch) -> Iterator[list[int]]:
  """A context in which signals are listed, and told to `watch` without delay.

  Python calls a handler between two of its own instructions, which a step on
  the device may put off for long. So the numbers of signals are written to a
  socket, too, from which a thread reads.
  """
  came: list[int] = []
  ours, theirs = socket.socketpair()
  theirs.setblocking(False)

  def read() -> None:
    while numbers := ours.recv(16):
      for number in numbers:
        if number in SIGNALS:
          watch.signal(number)

  reader = threading.Thread(target=read, name="signals", daemon=True)
  reader.start()
  old = signal.set_wakeup_fd(theirs.fileno(), warn_on_full_buffer=False)
  note = lambda number, _: came.append(number)  # noqa: E731
  before = {number: signal.signal(number, note) for number in SIGNALS}
  try:
    yield came
  finally:
    for number, handler in before.items():
      signal.signal(number, handler)
    signal.set_wakeup_fd(old)
    theirs.close()
    reader.join()
    ours.close()
