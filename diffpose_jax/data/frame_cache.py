"""A bounded cache of decoded frames that threads share."""

import collections
import threading
from collections.abc import Callable
from concurrent import futures

import numpy as np


class FrameCache:
  """Frames by key, least recently used out first, within a budget of bytes.

  Threads may share it: a frame that one thread is loading is waited for by the
  others and loaded once. A frame larger than the budget is passed through.
  """

  def __init__(
    self, load: Callable[[int], np.ndarray], *, max_bytes: int
  ) -> None:
    self._load = load
    self.max_bytes = max_bytes
    self._bytes = 0
    self._lock = threading.Lock()
    self._frames: collections.OrderedDict[int, futures.Future] = (
      collections.OrderedDict()
    )

  def __len__(self) -> int:
    return len(self._frames)

  def get(self, key: int) -> np.ndarray:
    """The frame, read-only; whatever `load` raises is raised here too."""
    with self._lock:
      future = self._frames.get(key)
      mine = future is None
      if future is None:
        future = futures.Future()
        self._frames[key] = future
      else:
        self._frames.move_to_end(key)
    if mine:
      self._fill(key, future)
    return future.result()

  def _fill(self, key: int, future: futures.Future) -> None:
    try:
      frame = self._load(key)
    except BaseException as error:
      with self._lock:
        self._frames.pop(key, None)
      future.set_exception(error)
      return
    frame.flags.writeable = False
    with self._lock:
      future.set_result(frame)
      self._bytes += frame.nbytes
      while self._bytes > self.max_bytes and self._evict():
        pass

  def _evict(self) -> bool:
    """Drops the oldest frame that is loaded; False if there is none."""
    for key, future in self._frames.items():
      if future.done():
        if future.exception() is None:
          self._bytes -= future.result().nbytes
        del self._frames[key]
        return True
    return False
