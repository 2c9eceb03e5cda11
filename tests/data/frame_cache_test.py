"""Frames are loaded once, kept within a budget, and dropped oldest first."""

import threading
import time

import numpy as np
import pytest

from diffpose_jax.data import frame_cache


def _loader(calls):
  def load(key):
    calls.append(key)
    return np.full((2, 5), key, np.uint8)  # 10 bytes

  return load


def test_cache_drops_the_least_recently_used():
  calls = []
  cache = frame_cache.FrameCache(_loader(calls), max_bytes=30)
  for key in (1, 2, 3, 1, 4, 1, 2):
    assert cache.get(key)[0, 0] == key
  assert calls == [1, 2, 3, 4, 2]
  assert len(cache) == 3


def test_cache_without_budget_passes_frames_through():
  calls = []
  cache = frame_cache.FrameCache(_loader(calls), max_bytes=0)
  assert [cache.get(key)[0, 0] for key in (1, 1)] == [1, 1]
  assert calls == [1, 1]
  assert len(cache) == 0


def test_cached_frames_cannot_be_written():
  cache = frame_cache.FrameCache(_loader([]), max_bytes=30)
  with pytest.raises(ValueError, match="read-only"):
    cache.get(1)[0] = 0


def test_threads_load_a_frame_once():
  calls = []

  def load(key):
    calls.append(key)
    time.sleep(0.05)
    return np.zeros(3, np.uint8)

  cache = frame_cache.FrameCache(load, max_bytes=30)
  threads = [threading.Thread(target=cache.get, args=(7,)) for _ in range(5)]
  for thread in threads:
    thread.start()
  for thread in threads:
    thread.join()
  assert calls == [7]


def test_an_error_is_raised_each_time_and_not_kept():
  def load(key):
    raise ValueError("broken picture")

  cache = frame_cache.FrameCache(load, max_bytes=30)
  for _ in range(2):
    with pytest.raises(ValueError, match="broken picture"):
      cache.get(1)
  assert len(cache) == 0
