"""The videos that are tried, and codecs that do not work."""

import sys
import types

import cv2
import numpy as np
import pytest

from diffpose_jax.data import video
from diffpose_jax.doctor import codecs, finding


@pytest.mark.parametrize("grey", [16, 110, 235])
def test_the_stream_is_h264(tmp_path, grey):
  """Against OpenCV's decoder: 16 is black, 235 white."""
  path = tmp_path / "a.h264"
  path.write_bytes(codecs.h264(grey) * 3)
  capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG)
  code = int(capture.get(cv2.CAP_PROP_FOURCC)).to_bytes(4, "little")
  capture.release()
  assert code.lower() == b"h264"
  frames = [frame for _, _, frame in video.read(path)]
  assert [frame.shape for frame in frames] == [(64, 64, 3)] * 3
  wanted = (grey - 16) * 255 / 219
  np.testing.assert_allclose(frames[0], wanted, atol=1)


def test_numbers_as_the_standard_has_them():
  assert (
    codecs._golomb(0, 1, 2, 3, 7) == "1" + "010" + "011" + "00100" + "0001000"
  )


def _states(found):
  return {one.name: one.state for one in found}


def test_what_does_not_come_back_is_a_problem(monkeypatch):
  assert set(_states(codecs.check()).values()) == {finding.OK}
  read = video.read

  def darker(path):
    return ((i, t, frame // 2) for i, t, frame in read(path))

  monkeypatch.setattr(video, "read", darker)
  found = _states(codecs.check())
  assert found["WebM"] == found["H.264"] == finding.PROBLEM
  assert found["HOG"] == finding.OK
  monkeypatch.setattr(video, "read", lambda path: list(read(path))[:-1])
  [line] = [str(one) for one in codecs.check() if one.name == "WebM"]
  assert "3 frames came back of 4" in line and "-> pip install" in line


def test_no_people_detector(monkeypatch):
  monkeypatch.delattr(cv2, "HOGDescriptor")
  assert _states(codecs.check())["HOG"] == finding.PROBLEM


def test_pyav(monkeypatch):
  monkeypatch.setitem(sys.modules, "av", None)
  [line] = codecs._pyav()
  assert line.state == finding.OK and "not installed (optional)" in line.value
  av = types.ModuleType("av")
  vars(av).update(__version__="14.0", codecs_available={"h264", "flac"})
  monkeypatch.setitem(sys.modules, "av", av)
  [line] = codecs._pyav()
  assert line.value == "14.0: h264"
