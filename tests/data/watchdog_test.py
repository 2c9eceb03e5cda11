"""Iterators that hang, raise, or end: all in order, and no thread is left."""

import gc
import itertools
import pathlib
import subprocess
import sys
import threading
import time

import pytest

from diffpose_jax.data import watchdog

REPO = pathlib.Path(__file__).resolve().parent.parent.parent


def threads():
  return [t.name for t in threading.enumerate() if t.name.startswith("fetch")]


def test_items_pass_in_order_and_as_they_are():
  items = [object() for _ in range(101)]
  taken = list(watchdog.watch(iter(items), 5.0, "data"))
  assert all(a is b for a, b in zip(items, taken, strict=True))
  assert not threads()


def test_ends_only_once():
  watched = watchdog.watch(iter([7]), 5.0, "data")
  assert list(watched) == [7]
  assert list(watched) == []


@pytest.mark.parametrize("kind", [ValueError, KeyError, OSError, SystemExit])
def test_an_error_comes_unchanged_after_the_items_before_it(kind):
  error = kind("record 5 is broken")

  def items():
    yield from range(5)
    raise error

  watched = watchdog.watch(items(), 5.0, "data")
  assert [next(watched) for _ in range(5)] == [0, 1, 2, 3, 4]
  with pytest.raises(kind) as caught:
    next(watched)
  assert caught.value is error
  assert any(entry.name == "items" for entry in caught.traceback)
  assert list(watched) == []
  assert not threads()


def test_says_where_it_hangs(capfd):
  release = threading.Event()

  def read_from_a_dead_disk():
    yield 1
    release.wait()

  watched = watchdog.watch(read_from_a_dead_disk(), 0.4, "train of DIR")
  assert next(watched) == 1
  begin = time.monotonic()
  with pytest.raises(
    TimeoutError, match="train of DIR: nothing came for 0.4 s"
  ):
    next(watched)
  assert 0.3 < time.monotonic() - begin < 3
  assert list(watched) == []
  text = capfd.readouterr().err
  assert text.startswith("train of DIR: nothing came")
  assert "in read_from_a_dead_disk" in text
  assert "in test_says_where_it_hangs" in text
  assert text.count("in read_from_a_dead_disk") == 1
  release.set()
  deadline = time.monotonic() + 5
  while threads() and time.monotonic() < deadline:
    time.sleep(0.01)
  assert not threads()


def test_a_slow_item_within_the_limit_is_no_error():
  def slow():
    for i in range(3):
      time.sleep(0.2)
      yield i

  assert list(watchdog.watch(slow(), 2.0, "data")) == [0, 1, 2]


def test_reads_one_ahead_of_what_is_taken_and_begins_at_once():
  read = []

  def items():
    for i in itertools.count():
      read.append(i)
      yield i

  watched = watchdog.watch(items(), 5.0, "data")
  time.sleep(0.2)
  assert read == [0, 1]  # one waits, one is at the door
  assert next(watched) == 0
  time.sleep(0.2)
  assert read == [0, 1, 2]
  watched.close()
  watched.close()
  assert list(watched) == []
  assert not threads()


def test_forgetting_it_ends_the_thread():
  watched = watchdog.watch(itertools.count(), 5.0, "data")
  assert next(watched) == 0
  assert len(threads()) == 1
  del watched
  gc.collect()
  assert not threads()


def test_seconds_are_checked():
  for seconds in (0.0, -1.0, float("nan")):
    with pytest.raises(ValueError, match="above 0"):
      watchdog.watch(iter([]), seconds, "data")


@pytest.mark.parametrize(
  "source",
  [
    "itertools.count()",
    "hang()",
    "iter(grain.MapDataset.range(97).repeat(None).to_iter_dataset())",
  ],
)
def test_the_process_ends(source):
  """With an iterator open, endless or hanging: exit code 0, soon, in peace."""
  code = f"""
import itertools, threading, grain
from diffpose_jax.data import watchdog
def hang():
  yield 0
  threading.Event().wait()
watched = watchdog.watch({source}, 60.0, "data")
assert next(watched) == 0
print("done", flush=True)
"""
  process = subprocess.Popen(
    [sys.executable, "-c", code],
    cwd=REPO,
    stdout=subprocess.PIPE,
    stderr=subprocess.PIPE,
    text=True,
  )
  with process:
    assert process.stdout is not None
    assert process.stdout.readline() == "done\n"
    begin = time.monotonic()
    _, errors = process.communicate(timeout=30)
  assert process.returncode == 0, errors
  assert errors == ""
  assert time.monotonic() - begin < 5
