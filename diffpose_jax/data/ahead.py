"""Takes items of an iterator in a thread, some of them ahead of their use."""

import collections
import os
import pathlib
import threading
import time
import weakref
from collections.abc import Iterable, Iterator
from typing import Any, Generic, TypeVar

T = TypeVar("T")
BYTES = 256 << 20  # of the arrays that wait, by default: two frames of 8K
_TASKS = pathlib.Path("/proc/self/task")
# How FFmpeg's libavcodec and dav1d call the threads in which they decode.
_DECODERS = ("av:", "dav1d")


class Ahead(Generic[T]):
  """The same items, up to `frames` of them made before they are asked for.

  An iterator and a context manager. An error of the iterator comes out after
  the items before it. `close`, the end of the `with` block, or the loss of the
  last reference stops the thread and closes the iterator, after the item it is
  at: also where the block is left by an exception or Ctrl-C. A camera needs
  none: it has a thread of its own, and frames that wait would grow old.
  """

  def __init__(
    self,
    iterator: Iterable[T],
    frames: int = 8,
    *,
    bytes: int = BYTES,
    decodes: bool = True,
  ) -> None:
    """Starts the thread.

    Args:
      iterator: is used, and closed, in the thread alone.
      frames: items that may wait, ≥ 1.
      bytes: that the arrays in them may have together. One item may always
        wait, however large it is.
      decodes: whether decoders' threads are its own, see `cpu_seconds`.
    """
    if frames < 1:
      raise ValueError(f"frames is {frames}; give 1 or more")
    self._shared: _Shared[T] = _Shared(frames, bytes)
    # The thread holds no reference to this object, so it can be collected.
    thread = threading.Thread(
      target=_run,
      args=(iterator, self._shared, decodes),
      name="ahead",
      daemon=True,
    )
    thread.start()
    # Called at the end of the program too: a thread that is then still inside
    # of a decoder makes it crash.
    self._end = weakref.finalize(self, _end, self._shared, thread)

  @property
  def cpu_seconds(self) -> float:
    """Processor time of the iterator so far.

    That of the thread itself and, on Linux, of the threads in which FFmpeg and
    dav1d decode, as far as they started after this one did: those of another
    reader beside it are counted too.
    """
    return self._shared.cpu_seconds

  @property
  def wall_seconds(self) -> float:
    """Seconds on the clock in which the iterator was at work so far."""
    return self._shared.wall_seconds

  def __iter__(self) -> Iterator[T]:
    return self

  def __next__(self) -> T:
    return self._shared.get()

  def close(self) -> None:
    """Stops the thread, waits for it, and forgets what it holds."""
    self._end()

  def __enter__(self) -> "Ahead[T]":
    return self

  def __exit__(self, kind, value, traceback) -> None:
    self.close()


class _Shared(Generic[T]):
  """What the thread and its user both hold."""

  def __init__(self, frames: int, most: int) -> None:
    self.cpu_seconds = 0.0
    self.wall_seconds = 0.0
    self._changed = threading.Condition()
    self._items: collections.deque[tuple[T, int]] = collections.deque()
    self._frames = frames
    self._most = most
    self._held = 0  # bytes
    self._stopped = False
    self._done = False
    self._error: BaseException | None = None

  def put(self, item: T) -> bool:
    """Waits for room; whether to go on."""
    size = _size(item)
    with self._changed:
      while not self._stopped and self._full(size):
        self._changed.wait()
      if not self._stopped:
        self._items.append((item, size))
        self._held += size
        self._changed.notify_all()
      return not self._stopped

  def _full(self, size: int) -> bool:
    if not self._items:
      return False
    return len(self._items) >= self._frames or self._held + size > self._most

  def finish(self, error: BaseException | None) -> None:
    """No more items come."""
    with self._changed:
      self._error, self._done = error, True
      self._changed.notify_all()

  def get(self) -> T:
    """The next item; StopIteration or the iterator's error at the end."""
    with self._changed:
      while not (self._items or self._done or self._stopped):
        self._changed.wait()
      if self._items:
        item, size = self._items.popleft()
        self._held -= size
        self._changed.notify_all()
        return item
      error, self._error = self._error, None
    if error is not None and not self._stopped:
      raise error
    raise StopIteration

  def stop(self) -> None:
    """Nothing more is wanted."""
    with self._changed:
      self._stopped = True
      self._items.clear()
      self._changed.notify_all()


def _end(shared: _Shared, thread: threading.Thread) -> None:
  """Stops the thread and waits for it."""
  shared.stop()
  if thread is not threading.current_thread():  # where garbage is collected
    thread.join()


def _run(iterable: Iterable[T], shared: _Shared, decodes: bool) -> None:
  """The thread: items go into `shared` until they end or are not wanted."""
  before = _tasks()
  began = time.thread_time()
  others = 0.0
  error = None
  iterator = iter(iterable)
  try:
    for item in _timed(iterator, shared):
      # Threads of a decoder vanish with it, and their time with them.
      others = max(others, _decoding(before)) if decodes else 0.0
      shared.cpu_seconds = time.thread_time() - began + others
      if not shared.put(item):
        break
  except BaseException as caught:
    error = caught
  try:
    close: Any = getattr(iterator, "close", lambda: None)
    close()
  except BaseException as caught:
    error = error or caught
  shared.cpu_seconds = time.thread_time() - began + others
  shared.finish(error)


def _timed(iterator: Iterator[T], shared: _Shared) -> Iterator[T]:
  """The items, while `shared` counts the seconds that they take."""
  began = time.perf_counter()
  for item in iterator:
    shared.wall_seconds += time.perf_counter() - began
    yield item
    began = time.perf_counter()


def _size(item: object) -> int:
  """Bytes of the arrays in an item, or in a tuple."""
  parts = item if isinstance(item, tuple) else (item,)
  return sum(getattr(part, "nbytes", 0) for part in parts)


def _tasks() -> set[str]:
  """Numbers of the threads of this process; empty where it is not Linux."""
  try:
    return set(os.listdir(_TASKS))
  except OSError:
    return set()


def _decoding(before: set[str]) -> float:
  """Processor seconds of the decoders' threads that are not in `before`."""
  nanoseconds = 0
  for task in _tasks() - before:
    folder = _TASKS / task
    try:
      if folder.joinpath("comm").read_text().startswith(_DECODERS):
        nanoseconds += int(folder.joinpath("schedstat").read_text().split()[0])
    except (OSError, ValueError, IndexError):  # ended, or a kernel without it
      continue
  return nanoseconds / 1e9
