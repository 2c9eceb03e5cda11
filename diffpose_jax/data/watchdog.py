"""An iterator that says so when nothing comes, rather than waiting for ever.

A read from a disk that does not answer, or a lock that nobody gives back, hangs
without a word. Here one thread fetches and the caller waits with a limit. What
is fetched is handed on as it is, in order, errors included.
"""

import faulthandler
import queue
import sys
import threading
import weakref
from collections.abc import Iterator
from typing import Any, Generic, TypeVar

_T = TypeVar("_T")
_TICK = 0.5  # seconds, at most, between two looks
_ITEM, _ERROR = "item", "error"


class Watched(Iterator[_T], Generic[_T]):
  """What `watch` gives: an iterator, with `close` to stop fetching."""

  def __init__(self, iterator: Iterator[_T], seconds: float, place: str):
    self._seconds, self._place = seconds, place
    self._queue: queue.Queue[tuple[str, Any]] = queue.Queue(maxsize=1)
    self._ended = False
    stop = threading.Event()
    # A daemon, since one that hangs in a read can be neither stopped nor
    # waited for. It must not hold `self`, which could then never be freed.
    self._thread = threading.Thread(
      target=_fetch,
      args=(iterator, self._queue, stop),
      name=f"fetch {place}",
      daemon=True,
    )
    self._thread.start()
    # At exit too: a thread that still runs then may crash the interpreter.
    self._stop = weakref.finalize(self, _end, stop, self._queue, self._thread)

  def __next__(self) -> _T:
    """The next item.

    Raises TimeoutError where none comes, and what the iterator raises.
    """
    if self._ended:
      raise StopIteration
    kind, value = self._get()
    if kind == _ITEM:
      return value
    self.close()
    raise value

  def _get(self) -> tuple[str, Any]:
    # Looks are counted, not the clock: a stopped process (Ctrl-Z) is not slow.
    tick = min(_TICK, self._seconds / 4)
    for _ in range(round(self._seconds / tick)):
      try:
        return self._queue.get(timeout=tick)
      except queue.Empty:
        pass
    print(
      f"{self._place}: nothing came for {self._seconds:g} s; the threads are at",
      file=sys.stderr,
      flush=True,
    )
    faulthandler.dump_traceback(sys.__stderr__ or 2, all_threads=True)
    self.close()
    raise TimeoutError(
      f"{self._place}: nothing came for {self._seconds:g} s; where the threads "
      "wait is printed above: look whether that disk or network drive answers "
      "and has not become very slow, then run the command again"
    )

  def close(self) -> None:
    """Ends the fetching; nothing more comes. May be called twice."""
    self._ended = True
    self._stop()


def watch(iterator: Iterator[_T], seconds: float, place: str) -> Watched[_T]:
  """The items of an iterator, each within `seconds` or with an error.

  Fetching begins at once, in a thread, one item ahead of those taken. Where
  nothing comes, the stacks of all threads go to stderr and the next item is a
  TimeoutError; after it, or any error, the iterator is at its end.

  Args:
    iterator: used by that one thread from now on.
    seconds: to wait for an item, above 0.
    place: what is read, for messages.
  """
  if not seconds > 0:
    raise ValueError(f"{place}: seconds to wait must be above 0, not {seconds}")
  return Watched(iterator, seconds, place)


def _fetch(iterator, items, stop):
  """What the thread does."""
  try:
    for item in iterator:
      if not _put(items, stop, (_ITEM, item)):
        return
      del item  # or it would be kept until the next one is there
    error = StopIteration()
  except BaseException as raised:
    error = raised
  _put(items, stop, (_ERROR, error))


def _put(items, stop, item):
  """Waits for room, and returns whether there was any before the stop."""
  while not stop.is_set():
    try:
      items.put(item, timeout=_TICK)
    except queue.Full:
      continue
    return True
  return False


def _end(stop, items, thread):
  """Stops the thread, and waits for it unless it hangs."""
  stop.set()
  while not items.empty():  # There is room, and so no wait for it.
    try:
      items.get_nowait()
    except queue.Empty:
      break
  if thread is not threading.current_thread():
    thread.join(timeout=2 * _TICK)
