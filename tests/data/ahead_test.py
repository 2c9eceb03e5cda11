"""Items come in order from a thread that works ahead within its bounds."""

import gc
import hashlib
import signal
import subprocess
import sys
import threading
import time

import cv2
import numpy as np
import pytest

from diffpose_jax.data import ahead


def _threads():
  return [t for t in threading.enumerate() if t.name == "ahead"]


def _until(condition):
  end = time.monotonic() + 5
  while not condition():
    assert time.monotonic() < end
    time.sleep(0.001)


class Counted:
  """A generator's items, how many were made, and whether it was closed."""

  def __init__(self, items, error=None):
    self.made = 0
    self.closed_by = None
    self.items = items
    self.error = error

  def __iter__(self):
    try:
      for item in self.items:
        self.made += 1
        yield item
      if self.error:
        raise self.error
    finally:
      self.closed_by = threading.current_thread().name


def test_all_items_in_order():
  source = Counted(range(31))
  with ahead.Ahead(source, 3) as items:
    assert list(items) == list(range(31))
    assert next(items, "end") == "end"
  assert source.closed_by == "ahead"
  assert not _threads()


def test_it_works_ahead_but_not_further():
  source = Counted(range(31))
  with ahead.Ahead(source, 5) as items:
    _until(lambda: source.made == 6)  # five wait, one is in hand
    time.sleep(0.05)
    assert source.made == 6
    assert next(items) == 0
    _until(lambda: source.made == 7)
    time.sleep(0.05)
    assert source.made == 7


def test_bytes_are_bounded_too():
  frames = [(i, np.zeros((10, 10), np.uint8)) for i in range(9)]
  source = Counted(frames)
  with ahead.Ahead(source, 8, bytes=250) as items:
    _until(lambda: source.made == 3)  # two wait
    time.sleep(0.05)
    assert source.made == 3
    assert len(list(items)) == 9
  # One may wait however large it is.
  assert len(list(ahead.Ahead(frames, 8, bytes=1))) == 9


class Closable:
  """An iterator without end that a reference elsewhere keeps alive."""

  closed_by = None

  def __iter__(self):
    return self

  def __next__(self):
    return 1

  def close(self):
    self.closed_by = threading.current_thread().name


def test_the_iterator_is_closed_in_its_thread():
  source = Closable()
  with ahead.Ahead(source) as items:
    next(items)
  assert source.closed_by == "ahead"


def test_an_error_comes_after_the_items_before_it():
  source = Counted(range(3), error=ValueError("clip.mp4: broken"))
  items = ahead.Ahead(source, 8)
  assert [next(items) for _ in range(3)] == [0, 1, 2]
  with pytest.raises(ValueError, match="clip.mp4: broken"):
    next(items)
  assert next(items, "end") == "end"
  items.close()
  assert not _threads()


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_leaving_the_block_stops_and_closes(error):
  source = Counted(iter(int, 1))  # without end

  def use():
    with ahead.Ahead(source, 4) as items:
      next(items)
      raise error

  with pytest.raises(error):
    use()
  assert not _threads()
  assert source.closed_by == "ahead"


def test_close_while_it_waits_for_room_or_is_at_work():
  source = Counted(iter(int, 1))
  items = ahead.Ahead(source, 2)
  _until(lambda: source.made == 3)
  items.close()
  items.close()
  assert not _threads()
  assert next(items, "end") == "end"


def test_losing_it_stops_the_thread():
  source = Counted(iter(int, 1))
  items = ahead.Ahead(source, 2)
  next(items)
  del items
  gc.collect()
  _until(lambda: not _threads())
  assert source.closed_by == "ahead"


def test_seconds_of_the_processor_are_the_threads_own():
  block = bytes(1 << 20)

  def work():
    for _ in range(5):
      for _ in range(20):
        hashlib.sha256(block)
      yield None
    time.sleep(0.2)  # costs nothing

  with ahead.Ahead(work(), 8) as items:
    list(items)
    found = items.cpu_seconds
  began = time.thread_time()
  list(work())
  expected = time.thread_time() - began
  assert 0.3 * expected < found < 3 * expected


def test_bad_bound():
  with pytest.raises(ValueError, match="frames is 0"):
    ahead.Ahead([], 0)


READER = """
import pathlib, signal, sys, time
signal.signal(signal.SIGINT, signal.default_int_handler)
from diffpose_jax.data import ahead, video
frames = ahead.Ahead(video.read(pathlib.Path(sys.argv[1]), backend="opencv"))
for index, time_, frame in frames:  # without a block around it
  if index == 3:
    print("reading", flush=True)
  time.sleep(0.02)
"""


def test_an_interrupted_program_ends_at_once_and_in_order(tmp_path):
  """In the middle of decoding, too, where an abrupt end of a thread aborts."""
  path = tmp_path / "clip.avi"
  noise = np.random.default_rng(0).integers(0, 256, (480, 640, 3), np.uint8)
  codec = cv2.VideoWriter.fourcc(*"MJPG")
  writer = cv2.VideoWriter(str(path), codec, 30.0, (640, 480))
  for _ in range(200):
    writer.write(noise)
  writer.release()
  program = subprocess.Popen(
    [sys.executable, "-c", READER, str(path)],
    stdout=subprocess.PIPE,
    stderr=subprocess.PIPE,
    text=True,
  )
  assert program.stdout is not None
  assert program.stdout.readline() == "reading\n"
  program.send_signal(signal.SIGINT)
  _, errors = program.communicate(timeout=30)
  assert errors.splitlines()[-1] == "KeyboardInterrupt"
  assert program.returncode == -signal.SIGINT
