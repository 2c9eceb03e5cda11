"""A written video is whole or absent, shows its frames, and plays."""

import base64
import importlib.util
import shutil
import subprocess
import sys

import cv2
import numpy as np
import pytest

from diffpose_jax.data import video, video_writer

SIZE = (46, 62)  # (height, width)
KINDS = [("opencv", ".webm"), ("pyav", ".webm"), ("pyav", ".mp4")]
CODECS = {
  ("opencv", ".webm"): b"VP80",
  ("pyav", ".webm"): b"VP90",
  ("pyav", ".mp4"): b"h264",
}


@pytest.fixture(params=KINDS, ids=lambda kind: "".join(kind))
def kind(request):
  """(backend, suffix)."""
  if request.param[0] == "pyav" and importlib.util.find_spec("av") is None:
    pytest.skip("PyAV is not installed (the extra `video`)")
  return request.param


def _frame(index, size=SIZE):
  """Flat colours, with a bright square that moves right."""
  frame = np.full((*size, 3), 30, np.uint8)
  frame[24:, :30] = (20, 60, 200)
  frame[24:, 30:] = (40, 190, 30)
  frame[4:16, 5 + 3 * index : 17 + 3 * index] = (250, 40, 20)
  return frame


def _write(path, backend, count=13, size=SIZE, times=None):
  with video_writer.Writer(
    path, fps=10.0, size=size, backend=backend
  ) as writer:
    for index in range(count):
      writer.write(_frame(index, size), times[index] if times else None)
  return writer


def test_each_frame_once_in_its_colours(tmp_path, kind):
  backend, suffix = kind
  path = tmp_path / f"clip{suffix}"
  writer = _write(path, backend)
  found = list(video.read(path))
  assert [index for index, _, _ in found] == list(range(13))
  times = [time for _, time, _ in found]
  np.testing.assert_allclose(times, np.arange(13) / 10, atol=2e-3)
  for index, _, frame in found:
    error = np.abs(frame.astype(int) - _frame(index)).mean()
    assert error < 6, (index, error)
    # In the middle of the flat parts: a wrong colour matrix costs 10 and more.
    for x, colour in ((14, (20, 60, 200)), (46, (40, 190, 30))):
      assert np.abs(frame[36, x].astype(int) - colour).max() < 7
  assert [f.name for f in tmp_path.iterdir()] == [path.name]
  assert 0 < writer.cpu_seconds < 60


def test_the_codec_is_one_that_browsers_play(tmp_path, kind):
  backend, suffix = kind
  path = tmp_path / f"clip{suffix}"
  _write(path, backend, count=3)
  capture = cv2.VideoCapture(str(path))
  code = int(capture.get(cv2.CAP_PROP_FOURCC))
  assert code.to_bytes(4, "little") == CODECS[kind]
  capture.release()
  if suffix == ".mp4":  # the index first, so that it plays while it loads
    data = path.read_bytes()
    assert data.index(b"moov") < data.index(b"mdat")


def test_frames_keep_their_own_times(tmp_path, kind):
  backend, suffix = kind
  path = tmp_path / f"clip{suffix}"
  times = [0.0, 0.04, 0.5, 0.52, 1.0]
  _write(path, backend, count=5, times=times)
  found = [time for _, time, _ in video.read(path)]
  constant = [0.0, 0.1, 0.2, 0.3, 0.4]  # OpenCV's
  expected = constant if backend == "opencv" else times
  np.testing.assert_allclose(found, expected, atol=2e-3)
  # By its packets alone, which H.264 stores in another order.
  shown = video.shown_at(path)
  np.testing.assert_allclose(shown, expected, atol=2e-3)
  np.testing.assert_allclose(
    video.shown_at(path, backend="opencv"), expected, atol=2e-3
  )


def test_times_that_stand_still_lose_no_frame(tmp_path, kind):
  backend, suffix = kind
  path = tmp_path / f"clip{suffix}"
  _write(path, backend, count=4, times=[0.0, 0.5, 0.5, 0.2])
  assert video.count(path) == 4


def test_one_frame(tmp_path, kind):
  backend, suffix = kind
  path = tmp_path / f"one{suffix}"
  _write(path, backend, count=1)
  assert video.count(path) == 1


def test_odd_sizes_are_padded_to_even(tmp_path, kind):
  backend, suffix = kind
  size = (37, 53)
  path = tmp_path / f"odd{suffix}"
  _write(path, backend, count=3, size=size)
  _, _, frame = next(video.read(path))
  assert frame.shape == (38, 54, 3)
  assert np.abs(frame[:37, :53].astype(int) - _frame(0, size)).mean() < 6
  assert np.abs(frame[37].astype(int) - frame[36]).mean() < 5


def test_nothing_is_left_when_the_block_raises(tmp_path, kind):
  backend, suffix = kind

  def interrupted():
    path = tmp_path / f"half{suffix}"
    with video_writer.Writer(
      path, fps=10.0, size=SIZE, backend=backend
    ) as writer:
      writer.write(_frame(0))
      raise KeyboardInterrupt

  with pytest.raises(KeyboardInterrupt):
    interrupted()
  assert list(tmp_path.iterdir()) == []


def test_an_older_video_stays_until_the_new_one_is_whole(tmp_path, kind):
  backend, suffix = kind
  path = tmp_path / f"clip{suffix}"
  _write(path, backend)
  before = path.read_bytes()
  with video_writer.Writer(
    path, fps=10.0, size=SIZE, backend=backend
  ) as writer:
    writer.write(_frame(0))
    assert path.read_bytes() == before
  assert video.count(path) == 1


def test_what_is_refused(tmp_path, kind):
  backend, suffix = kind

  def make(name):
    path = tmp_path / f"{name}{suffix}"
    return video_writer.Writer(path, fps=10.0, size=SIZE, backend=backend)

  with pytest.raises(ValueError, match="absent"):
    make("absent/a")
  with pytest.raises(ValueError, match="0 frames"), make("a"):
    pass
  writer = make("a")
  with pytest.raises(ValueError, match="53x37"), writer:
    writer.write(np.zeros((37, 53, 3), np.uint8))
  assert list(tmp_path.iterdir()) == []


def test_formats_that_cannot_be_written(tmp_path):
  for name, backend in (("a.avi", "auto"), ("a.mp4", "opencv")):
    with pytest.raises(ValueError, match=r"name it \*.webm") as caught:
      video_writer.Writer(tmp_path / name, fps=10.0, size=SIZE, backend=backend)
    assert "\n" not in str(caught.value)


def test_a_disk_without_space_is_noticed_early(tmp_path, kind, monkeypatch):
  backend, suffix = kind
  path = tmp_path / f"clip{suffix}"
  usage = shutil.disk_usage(tmp_path)._replace(free=1000)
  monkeypatch.setattr(shutil, "disk_usage", lambda place: usage)
  with pytest.raises(ValueError, match="disk is full.*after 0 frames"):
    _write(path, backend)
  assert list(tmp_path.iterdir()) == []


FULL = """
import pathlib, resource, sys
import numpy as np
from diffpose_jax.data import video_writer
path, backend = pathlib.Path(sys.argv[1]), sys.argv[2]
noise = np.random.default_rng(0).integers(0, 256, (96, 128, 3), np.uint8)
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
try:
  with video_writer.Writer(
    path, fps=10.0, size=(96, 128), backend=backend
  ) as writer:
    for shift in range(40):
      writer.write(np.roll(noise, 7 * shift, 0))
except ValueError as error:
  print(error)
"""


def test_a_file_that_cannot_grow_is_not_there(tmp_path, kind):
  """As on a full disk, or beyond a quota."""
  backend, suffix = kind
  path = tmp_path / f"clip{suffix}"
  ran = subprocess.run(
    [sys.executable, "-c", FULL, str(path), backend],
    capture_output=True,
    text=True,
    check=False,
  )
  assert ran.returncode == 0, ran.stderr
  (line,) = ran.stdout.splitlines()
  assert "is the disk full?" in line
  assert list(tmp_path.iterdir()) == []


# In the page itself, so that its pixels may be read.
PAGE = (
  '<!doctype html><video preload="auto" muted src="data:video/{};base64,{}">'
)
SEEN = """(() => {
  const v = document.querySelector("video");
  const c = document.createElement("canvas");
  c.width = v.videoWidth; c.height = v.videoHeight;
  const g = c.getContext("2d"); g.drawImage(v, 0, 0);
  const rgb = Array.from(g.getImageData(14, 36, 1, 1).data).slice(0, 3);
  return {width: v.videoWidth, duration: v.duration, rgb};
})()"""


@pytest.mark.slow
def test_a_browser_plays_it(tmp_path, kind, browser):
  backend, suffix = kind
  clip = tmp_path / f"clip{suffix}"
  _write(clip, backend)
  path = tmp_path / "page.html"
  data = base64.b64encode(clip.read_bytes()).decode()
  path.write_text(PAGE.format(suffix[1:], data))
  with browser.page(path.as_uri()) as page:
    page.wait("document.querySelector('video').readyState >= 2")
    said = page.run(SEEN)
    assert said["width"] == SIZE[1], said
    assert said["duration"] == pytest.approx(1.3, abs=0.11)
    np.testing.assert_allclose(said["rgb"], (20, 60, 200), atol=15)
    page.run("document.querySelector('video').play()")
    page.wait("document.querySelector('video').ended")
    assert page.faults() == []
