"""A camera's newest frame wins, and its thread ends with its user."""

import logging
import re
import threading
import time

import cv2
import numpy as np
import pytest

from diffpose_jax.data import camera, sources, video


class FakeCamera:
  """As many frames as it is told to give, each of its number's grey."""

  def __init__(self, frames, *, fps=30.0):
    self.frames = frames
    self.given = 0
    self.released = False
    self.go = threading.Semaphore(0)  # one frame for each release
    self.fps = fps

  def isOpened(self):  # noqa: N802
    return True

  def read(self):
    assert self.go.acquire(timeout=5)
    if self.released or self.given >= self.frames:
      return False, None
    self.given += 1
    frame = np.zeros((6, 10, 3), np.uint8)
    frame[..., 0] = self.given  # blue
    return True, frame

  def get(self, what):
    assert what == cv2.CAP_PROP_FPS
    return self.fps

  def release(self):
    self.released = True


@pytest.fixture
def fake(monkeypatch):
  """A function that puts a camera in place of number 0."""

  def put(frames, **settings):
    made = FakeCamera(frames, **settings)
    monkeypatch.setattr(cv2, "VideoCapture", lambda number: made)
    return made

  return put


def _threads():
  return [t for t in threading.enumerate() if t.name == "camera"]


def _until(condition):
  end = time.monotonic() + 5
  while not condition():
    assert time.monotonic() < end
    time.sleep(0.001)


def test_the_newest_frame_wins(fake, caplog):
  caplog.set_level(logging.INFO)
  source = fake(9)
  frames = camera.frames(0)
  source.go.release()
  stamp, picture = next(frames)
  assert picture()[0, 0].tolist() == [0, 0, 1]  # RGB
  source.go.release(3)
  _until(lambda: source.given == 4)
  time.sleep(0.05)  # the thread puts the fourth in place
  later, picture = next(frames)
  assert picture()[0, 0].tolist() == [0, 0, 4]
  assert later > stamp
  source.go.release()  # a camera never waits long
  frames.close()
  assert source.released
  assert not _threads()
  found = re.search(r"2 frames taken, (\d) left out", caplog.text)
  assert found is not None
  assert int(found[1]) in (2, 3)  # the one at the end came or came not


def test_read_counts_what_it_gives_and_starts_at_zero(fake, caplog):
  source = fake(2)
  source.go.release()
  (given,) = sources.find("camera:0")
  frames = video.read(given)
  index, at, frame = next(frames)
  assert (index, at, frame.shape) == (0, 0.0, (6, 10, 3))
  source.go.release()
  index, at, _ = next(frames)
  assert index == 1 and 0 < at < 5
  source.go.release()
  assert next(frames, None) is None
  assert "no more frames" in caplog.text
  assert source.released
  with pytest.raises(ValueError, match="does not start at 3"):
    video.read(given, start=3)
  with pytest.raises(ValueError, match="no number of frames"):
    video.count(given)


def test_header(fake):
  (given,) = sources.find("camera:0")
  source = fake(1)
  source.go.release()
  info = video.open_video(given)
  assert (info.width, info.height, info.fps) == (10, 6, 30.0)
  assert info.live and info.count_hint == 0
  assert source.released
  source = fake(1, fps=0.0)  # as many say
  source.go.release()
  assert video.open_video(given).fps == video.DEFAULT_FPS


def test_a_camera_without_frames_is_refused(fake):
  (given,) = sources.find("camera:0")
  for use in (video.open_video, lambda s: next(video.read(s))):
    source = fake(0)
    source.go.release()
    with pytest.raises(ValueError, match="camera:0: gives no frame"):
      use(given)
    assert source.released


def test_no_camera_is_refused_in_one_line(capfd):
  with pytest.raises(ValueError, match="camera:97: no such camera") as caught:
    camera.header(97)
  assert "\n" not in str(caught.value)
  assert capfd.readouterr().err == ""


def test_an_interrupt_stops_the_thread(fake):
  source = fake(9)
  source.go.release()

  def use():
    for _ in camera.frames(0):
      source.go.release()
      raise KeyboardInterrupt

  with pytest.raises(KeyboardInterrupt):
    use()
  _until(lambda: not _threads())
  assert source.released
