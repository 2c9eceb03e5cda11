"""Frames beside their use, and a camera that is asked to stop."""

import signal
import threading

import numpy as np
import pytest

from diffpose_jax.data import sources, video
from diffpose_jax.inference import reading
from diffpose_jax.inference import stages as stages_lib


def test_a_file_is_decoded_and_its_time_counted(dots, clip):
  [source] = sources.find(clip)
  info, stages = video.open_video(source), stages_lib.Stages()
  with reading.opened(source, info, stages, threading.Event()) as frames:
    found = [(index, picture) for index, _, picture in frames]
  assert [index for index, _ in found] == list(range(11))
  x, y = dots.peak(found[6][1].astype(float).sum(axis=-1))
  np.testing.assert_allclose([x, y], dots.dot(6), atol=1)
  assert stages.wall["decoding"] > 0 and stages.cpu["decoding"] > 0


def test_a_camera_ends_once_it_is_asked_to(monkeypatch):
  closed, asked = [], threading.Event()

  def read(source):
    try:
      for index in range(1000):
        yield index, index / 10, np.zeros((5, 7, 3), np.uint8)
    finally:
      closed.append(True)

  monkeypatch.setattr(video, "read", read)
  [source] = sources.find("camera:0")
  live = video.VideoInfo(10.0, 7, 5, 0, live=True)
  seen = []
  with reading.opened(source, live, stages_lib.Stages(), asked) as frames:
    for index, _, _ in frames:
      seen.append(index)
      if index == 4:
        asked.set()
  assert seen == [0, 1, 2, 3, 4] and closed


def test_the_first_interrupt_asks_and_the_second_ends():
  before = signal.getsignal(signal.SIGINT)
  with reading.asked_to_stop(live=True) as asked:
    assert not asked.is_set()
    signal.raise_signal(signal.SIGINT)
    assert asked.is_set()
    with pytest.raises(KeyboardInterrupt):
      signal.raise_signal(signal.SIGINT)
  assert signal.getsignal(signal.SIGINT) is before
  with (
    reading.asked_to_stop(live=False) as asked,
    pytest.raises(KeyboardInterrupt),
  ):
    signal.raise_signal(signal.SIGINT)
  assert not asked.is_set()


def test_signals_are_the_main_thread_s_alone():
  found = []

  def run():
    with reading.asked_to_stop(live=True) as asked:
      found.append(asked.is_set())

  thread = threading.Thread(target=run)
  thread.start()
  thread.join()
  assert found == [False]
