"""Processes of their own for what may hang, be killed or kill.

A server that has imported everything and started nothing forks them, so that
one takes a tenth of a second. They end with everything they started.
"""

import contextlib
import logging
import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any
from unittest import mock

import absl.flags
import absl.logging

LIMIT = 30.0  # seconds for one injection or one message
_SLOW_START = 120.0
_PRELOAD = (
  *("jax", "grain", "orbax.checkpoint", "diffpose_jax.training.train"),
  "fault_cases.trainers",
)


class Hang(Exception):  # noqa: N818
  """A process said nothing for longer than the limit."""


class Ended(Exception):  # noqa: N818
  """A process ended before it said what was waited for."""


class Child:
  """A process that says tuples: a word and what belongs to it."""

  def __init__(self, target: Callable[..., None], *arguments: Any):
    """`target` is called with a function to say something, and these."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(_PRELOAD))
    self._ear, mouth = context.Pipe(duplex=False)
    self._process = context.Process(
      target=_run, args=(mouth, target, *arguments)
    )
    with _server_environment():
      self._process.start()
    mouth.close()
    self.heard: list[tuple[Any, ...]] = []

  def hear(self, *words: str, limit: float = LIMIT) -> tuple[Any, ...]:
    """The next thing that begins with one of the words, any where none.

    Raises:
      Hang: nothing is said for so long.
      Ended: the process ended.
    """
    end = time.monotonic() + limit
    while True:
      if not self._ear.poll(max(0.0, end - time.monotonic())):
        raise Hang(f"nothing for {limit:g} s")
      try:
        said = self._ear.recv()
      except (EOFError, OSError) as error:
        raise Ended(self._how()) from error
      self.heard.append(said)
      if not words or said[0] in words:
        return said

  def signal(self, number: int) -> None:
    """Sends a signal to the process alone."""
    assert self._process.pid is not None
    with contextlib.suppress(ProcessLookupError):
      os.kill(self._process.pid, number)

  def end(self, limit: float = LIMIT) -> int:
    """Waits for its end; the exit code. Raises Hang."""
    with contextlib.suppress(Ended):
      while True:
        self.hear(limit=limit)
    self._process.join(limit)
    if self._process.exitcode is None:
      raise Hang(f"does not end for {limit:g} s")
    return self._process.exitcode

  def close(self) -> None:
    """Ends it and all that it started."""
    if self._process.pid is not None and self._process.exitcode is None:
      with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(self._process.pid, signal.SIGKILL)
      self.signal(signal.SIGKILL)
    self._process.join(LIMIT)
    self._ear.close()

  def _how(self) -> str:
    for word, *rest in self.heard:
      if word == "error":
        return f"{rest[0]}: {rest[1][0]}"
    self._process.join(LIMIT)
    code = self._process.exitcode
    if code is not None and code < 0:
      return f"ended by {signal.Signals(-code).name}"
    return f"ended with {code}"


@contextlib.contextmanager
def child(target: Callable[..., None], *arguments: Any) -> Iterator[Child]:
  """A context with a process, which is gone after it."""
  process = Child(target, *arguments)
  try:
    yield process
  finally:
    process.close()


@contextlib.contextmanager
def _server_environment() -> Iterator[None]:
  """A context in which the server starts, if it has not.

  It imports what this process would, not what lies where it was started. JAX
  warns of every fork; the server has started no thread of it.
  """
  wanted = {
    "PYTHONWARNINGS": "ignore",
    "PYTHONSAFEPATH": "1",
    "PYTHONPATH": os.pathsep.join(path or os.getcwd() for path in sys.path),
  }
  with mock.patch.dict(os.environ, wanted):
    yield


def quiet() -> None:
  """Leaves out what libraries log of the faults."""
  absl.logging.set_verbosity(absl.logging.FATAL)
  logging.disable(logging.CRITICAL)
  if not absl.flags.FLAGS.is_parsed():
    absl.flags.FLAGS.mark_as_parsed()  # Grain's workers ask for it.


def _run(mouth: Any, target: Callable[..., None], *arguments: Any) -> None:
  os.setsid()
  nowhere = os.open(os.devnull, os.O_RDWR)
  for stream in (0, 1, 2):
    os.dup2(nowhere, stream)
  quiet()

  def say(*words: Any) -> None:
    mouth.send(words)

  try:
    target(say, *arguments)
  except Exception as error:
    say("error", type(error).__name__, _chain(error))
    os._exit(1)  # whatever threads wait for


def _chain(error: BaseException | None) -> tuple[str, ...]:
  """What the error says, and those that caused it."""
  texts = []
  while error is not None:
    texts.append(str(error)[:4000])
    error = error.__cause__ or error.__context__
  return tuple(texts)


def all_of(
  child_of: Callable[[int], Child], labels: Sequence[str], limit: float = LIMIT
) -> Iterator[tuple[int, Any]]:
  """What a child says of each of the labels; Hang or Ended for some of them.

  After these another child goes on with the next label.

  Args:
    child_of: starts one that goes on at a number, and says ("ready",) first and
      then ("outcome", number, what).
    labels: what there is to do.
    limit: seconds for one.
  """
  number = 0
  while number < len(labels):
    process = child_of(number)
    try:
      process.hear("ready", limit=_SLOW_START)
      while number < len(labels):
        _, number, what = process.hear("outcome", limit=limit)
        yield number, what
        number += 1
    except (Hang, Ended) as error:
      yield number, error
      number += 1
    finally:
      process.close()
