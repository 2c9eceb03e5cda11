"""Seconds go to the stage in which they were spent."""

import threading
import time

import pytest

from diffpose_jax.inference import stages as stages_lib


def _spin(seconds):
  """Keeps this thread's processor time busy, however loaded the machine."""
  end = time.thread_time() + seconds
  while time.thread_time() < end:
    pass


def test_sleep_is_not_processor_time():
  stages = stages_lib.Stages()
  with stages("asleep"):
    time.sleep(0.05)
  with stages("awake"):
    _spin(0.05)
  assert stages.wall["asleep"] >= 0.05 > 0.02 > stages.cpu["asleep"]
  assert stages.cpu["awake"] >= 0.05
  # The two clocks are read one after the other: microseconds apart.
  assert stages.wall["awake"] > 0.05 - 0.001


def test_the_network_takes_what_remains_of_the_process():
  stages = stages_lib.Stages()
  with stages("drawing"):
    _spin(0.05)
  other = threading.Thread(target=_spin, args=(0.1,))
  other.start()
  other.join()
  stages.add(stages_lib.NETWORK, 0.3)
  assert stages.cpu[stages_lib.NETWORK] >= 0.1
  # Another thread's seconds are not drawing's.
  assert 0.05 <= stages.cpu["drawing"] < 0.1


def test_the_slowest_is_named():
  stages = stages_lib.Stages()
  assert "slowest" not in str(stages)
  stages.add("decoding", 1.25, 2.5)
  stages.add("drawing", 3.75, 0.5)
  stages.add("decoding", 1.0, 0.25)
  text = str(stages)
  assert (
    "drawing 3.8 s (0.5), decoding 2.2 s (2.8); the slowest stage is draw"
    in text
  )


def test_stages_may_be_in_several_threads():
  stages = stages_lib.Stages()

  def add():
    for _ in range(1000):
      stages.add("one", 1.0, 0.5)

  threads = [threading.Thread(target=add) for _ in range(4)]
  for thread in threads:
    thread.start()
  for thread in threads:
    thread.join()
  assert stages.wall == {"one": pytest.approx(4000)}
  assert stages.cpu == {"one": pytest.approx(2000)}


def test_seconds_of_another_process_are_not_the_network_s():
  stages = stages_lib.Stages()
  stages.add(stages_lib.NETWORK, 0.3)
  _spin(0.05)
  stages.apart("files", 5.0)
  assert stages.wall["files"] == stages.cpu["files"] == 5.0
  assert 0.05 <= stages.cpu[stages_lib.NETWORK] < 1
  assert "of processor time 5." in str(stages)
