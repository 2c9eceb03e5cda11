"""PyAV's frames are OpenCV's, in formats that only PyAV writes."""

import fractions

import numpy as np
import pytest

from diffpose_jax.data import video

av = pytest.importorskip("av", reason="needs PyAV (the extra `video`)")
TICKS = 600  # a second


def _frame(index, size):
  frame = np.full((*size, 3), 40, np.uint8)
  at = 4 + 3 * index
  frame[10:30, at : at + 16] = (250, 60, 20)
  frame[-30:, :40] = (20, 200, 40)
  return frame


def _write(path, codec, *, count=17, size=(70, 110), pixels="yuv420p", **more):
  """Frames at 30 a second, or at `ticks`; `more`: matrix, options."""
  ticks = more.get("ticks", range(0, 20 * count, 20))
  with av.open(str(path), "w") as container:
    stream = container.add_stream(codec, rate=30, options=more.get("options"))
    stream.height, stream.width = size
    stream.pix_fmt = pixels
    stream.codec_context.time_base = fractions.Fraction(1, TICKS)
    if "matrix" in more:
      stream.codec_context.colorspace = more["matrix"]
    for index, tick in enumerate(ticks):
      frame = av.VideoFrame.from_ndarray(_frame(index, size), "rgb24")
      if "matrix" in more:
        frame = frame.reformat(format=pixels, dst_colorspace=more["matrix"])
      frame.pts, frame.time_base = tick, fractions.Fraction(1, TICKS)
      container.mux(stream.encode(frame))
    container.mux(stream.encode(None))


def _both(path):
  """The frames by OpenCV and by PyAV, which are as many at the same times."""
  for backend in ("opencv", "pyav"):
    assert video.open_video(path, backend=backend).backend == backend
  one = list(video.read(path, backend="opencv"))
  other = list(video.read(path, backend="pyav"))
  assert [index for index, _, _ in one] == [index for index, _, _ in other]
  assert video.count(path, backend="pyav") == len(other)
  np.testing.assert_allclose(
    [time for _, time, _ in one], [time for _, time, _ in other], atol=1e-9
  )
  return one, other


CODECS = {
  "a.mp4": ("libx264", "yuv420p"),  # with frames out of order
  "b.mp4": ("libx265", "yuv420p"),
  "c.webm": ("libvpx-vp9", "yuv420p"),
  "d.mp4": ("libsvtav1", "yuv420p"),
  "e.mkv": ("ffv1", "bgr0"),
  "f.mkv": ("ffv1", "gray"),
  "g.mkv": ("ffv1", "gray16le"),
  "h.mov": ("prores_ks", "yuva444p10le"),  # with alpha
  "i.mkv": ("libx264", "yuv420p10le"),
  "j.ts": ("libx264", "yuv420p"),
}


@pytest.mark.parametrize("name", CODECS)
def test_both_give_the_same_frames(tmp_path, name):
  codec, pixels = CODECS[name]
  options = {
    "libx265": {"x265-params": "log-level=none"},
    "libsvtav1": {"preset": "12", "svtav1-params": "lp=1"},
  }
  _write(tmp_path / name, codec, pixels=pixels, options=options.get(codec))
  one, other = _both(tmp_path / name)
  assert len(other) == 17
  np.testing.assert_allclose(
    [time for _, time, _ in other], np.arange(17) / 30, atol=6e-4
  )
  # Another way to 8 bits and to full colour resolution differs a little.
  most = 4 if "10" in pixels else 0
  for (index, _, frame), (_, _, picture) in zip(one, other, strict=True):
    assert np.abs(frame.astype(int) - picture).max() <= most
    expected = _frame(index, (70, 110))
    if "gray" not in pixels:
      assert np.abs(picture.astype(int) - expected).mean() < 5


def test_a_colour_matrix_is_honoured(tmp_path):
  for number, name in ((1, "709.mp4"), (5, "601.mp4")):
    _write(tmp_path / name, "libx264", matrix=number)
    for frames in _both(tmp_path / name):
      for index, _, frame in frames:
        expected = _frame(index, (70, 110)).astype(int)
        assert np.abs(frame - expected)[55, 20].max() < 6


@pytest.mark.parametrize("name", ["a.mp4", "b.mkv", "c.webm"])
def test_variable_rate(tmp_path, name):
  codec = "libvpx-vp9" if name == "c.webm" else "libx264"
  rng = np.random.default_rng(11)
  ticks = np.cumsum(rng.integers(6, 97, 17)).tolist()
  _write(tmp_path / name, codec, ticks=ticks)
  expected = (np.array(ticks) - ticks[0]) / TICKS
  for frames in _both(tmp_path / name):
    # Matroska has whole milliseconds.
    np.testing.assert_allclose(
      [time for _, time, _ in frames], expected, atol=1.1e-3
    )
  for backend in ("opencv", "pyav"):
    info = video.open_video(tmp_path / name, backend=backend)
    assert info.fps == pytest.approx(16 / expected[-1], rel=0.07)
    assert abs(info.count_hint - 17) <= 2


def test_two_recordings_in_one(tmp_path, caplog):
  """Their stamps start again, and frames get another size."""
  _write(tmp_path / "a.ts", "libx264")
  _write(tmp_path / "b.ts", "libx264", size=(140, 220))
  path = tmp_path / "both.ts"
  parts = [(tmp_path / name).read_bytes() for name in ("a.ts", "b.ts")]
  path.write_bytes(b"".join(parts))
  one, other = _both(path)
  expected = np.arange(34) / 30
  np.testing.assert_allclose([t for _, t, _ in other], expected, atol=1e-3)
  assert "frame 17 is 220x140 pixels, the first is 110x70" in caplog.text
  assert "not after the frame before" in caplog.text
  for (_, _, frame), (_, _, picture) in zip(one, other, strict=True):
    assert picture.shape == (70, 110, 3)
    assert np.abs(frame.astype(int) - picture).max() <= 4
  # Scaled, not cut: the green field keeps its part of the picture.
  assert np.abs(other[20][2][65, 10].astype(int) - (20, 200, 40)).max() < 8
  assert np.abs(other[20][2][50, 10].astype(int) - 40).max() < 8


def test_no_time_stamps_at_all(tmp_path, caplog):
  path = tmp_path / "raw.h264"
  _write(path, "libx264", count=5)
  for frames in _both(path):
    times = [time for _, time, _ in frames]
    np.testing.assert_allclose(times, np.arange(5) / video.DEFAULT_FPS)
  assert "frame 1 has no time stamp" in caplog.text


def test_damage_in_the_middle(tmp_path, caplog):
  path = tmp_path / "clip.mp4"
  _write(path, "libx264", options={"bf": "0", "g": "1"})  # each by itself
  data = bytearray(path.read_bytes())
  begin, end = data.index(b"mdat") + 8, data.index(b"moov")
  middle = (begin + end) // 2
  data[middle : middle + 300] = bytes(300)
  path.write_bytes(data)
  one, other = _both(path)
  assert 12 <= len(other) < 17
  assert [time for _, time, _ in other][-1] == pytest.approx(16 / 30)
  for (_, _, frame), (_, _, picture) in zip(one, other, strict=True):
    np.testing.assert_array_equal(frame, picture)
  for record in caplog.records:
    assert "damaged" in record.getMessage()
  assert caplog.records


def test_sound_alone_is_no_video(tmp_path):
  path = tmp_path / "sound.mp4"
  with av.open(str(path), "w") as container:
    stream = container.add_stream("aac", rate=8000, layout="mono")
    sound = np.zeros((1, 1024), np.float32)
    frame = av.AudioFrame.from_ndarray(sound, "fltp", "mono")
    frame.sample_rate = 8000
    container.mux(stream.encode(frame))
    container.mux(stream.encode(None))
  for backend in ("opencv", "pyav"):
    with pytest.raises(ValueError, match="cannot be opened as video"):
      video.open_video(path, backend=backend)
