"""A process that watches the one that works, and says how it ended.

JAX ends a process by SIGABRT as soon as it knows that another one of the run is
gone, and no Python code of that process is asked. Its parent is: it prints one
clear line and ends with an exit code that says "start again". The worker ends
with its parent, however that ends.
"""

import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence

LOST = 75  # exit code, EX_TEMPFAIL of sysexits.h: start the same command again
LOST_LINE = (
  "another process of this run is gone or cannot be reached; the same command, "
  "started on all hosts, goes on from the newest checkpoint"
)
_VARIABLE = "DIFFPOSE_SUPERVISOR"  # the worker's end of a pipe, its number
_SIGNALS = (signal.SIGTERM, signal.SIGINT)


def is_worker() -> bool:
  """True in a process that `run` started."""
  return _VARIABLE in os.environ


def run(arguments: Sequence[str]) -> int:
  """The exit code of the command with these arguments, in a worker process.

  SIGTERM and SIGINT come to it as SIGTERM, and to `signals_to` by their
  numbers. The second one ends it at once.
  """
  theirs, ours = os.pipe()
  worker = subprocess.Popen(
    [sys.executable, "-m", "diffpose_jax.main", *arguments],
    env=os.environ | {_VARIABLE: str(theirs)},
    pass_fds=[theirs],
    start_new_session=True,  # Ctrl-C comes once, from here
  )
  os.close(theirs)
  came: list[int] = []

  def pass_on(number: int, _: object) -> None:
    came.append(number)
    if len(came) > 1:
      worker.kill()
      return
    os.write(ours, bytes([number]))
    worker.send_signal(signal.SIGTERM)  # which JAX tells the other hosts of

  before = {number: signal.signal(number, pass_on) for number in _SIGNALS}
  try:
    code = worker.wait()
  finally:
    os.close(ours)
    for number, handler in before.items():
      signal.signal(number, handler)
  if code >= 0:
    return code
  if len(came) > 1:
    say("stopped at once; the same command goes on from the newest checkpoint")
    return 128 + came[-1]
  if -code == signal.SIGABRT:
    say(f"{LOST_LINE} (what JAX says is above)")
    return LOST
  reason = ", as where memory runs out" if -code == signal.SIGKILL else ""
  say(f"the worker was ended by {signal.Signals(-code).name}{reason}")
  return 128 - code


def say(line: str) -> None:
  """Prints an error as the command does."""
  print(f"diffpose_jax: error: {line}", file=sys.stderr, flush=True)


def work() -> None:
  """Lets this process, a worker, end as soon as its parent does.

  A signal ends it, too, outside of `signals_to`.
  """
  end = int(os.environ.pop(_VARIABLE))

  def wait() -> None:
    with contextlib.suppress(OSError):
      while number := os.read(end, 1):
        _takers[-1](number[0])
    os._exit(LOST)

  threading.Thread(target=wait, name="supervisor", daemon=True).start()


def _end(number: int) -> None:
  os._exit(128 + number)


_takers: list[Callable[[int], None]] = [_end]  # of signals; the last one counts


@contextlib.contextmanager
def signals_to(taker: Callable[[int], None]) -> Iterator[None]:
  """A context in which `taker` is told the numbers of signals, in a thread."""
  _takers.append(taker)
  try:
    yield
  finally:
    _takers.remove(taker)


def leave(code: int) -> None:
  """Ends a worker that failed: an orderly end would wait for the others."""
  sys.stdout.flush()
  sys.stderr.flush()
  os._exit(code)
