"""Videos, pictures and cameras give every frame once, at its time."""

import importlib.util
import logging
import pathlib
import struct
import subprocess
import sys

import cv2
import numpy as np
import pytest

from diffpose_jax.data import images, sources, video

SIZE = (46, 62)  # (height, width)


def _frame(index, size=SIZE):
  """A dark picture with a bright, red square that moves right."""
  frame = np.full((*size, 3), 30, np.uint8)
  frame[11:23, 5 + 3 * index : 17 + 3 * index] = (250, 40, 20)
  return frame


def _write(path, frames, fps=10.0, codec="VP90"):
  """Not by the program's own writer."""
  size = frames[0].shape[1::-1]
  writer = cv2.VideoWriter(
    str(path), cv2.CAP_FFMPEG, cv2.VideoWriter.fourcc(*codec), fps, size
  )
  assert writer.isOpened()
  for frame in frames:
    writer.write(frame[..., ::-1])
  writer.release()


def _box(data, path):
  """(first byte, end) of a box of an MP4, by its path of four-letter names."""
  begin, end = 0, len(data)
  for name in path.split("/"):
    at = begin
    while data[at + 4 : at + 8] != name.encode():
      at += int.from_bytes(data[at : at + 4], "big")
      assert at < end, name
    begin, end = at + 8, at + int.from_bytes(data[at : at + 4], "big")
  return begin, end


def _with_box(data, path, content):
  """An MP4 with the box replaced; the frames come before it, so stay."""
  begin, end = _box(data, path)
  assert data.index(b"mdat") < begin
  new = bytearray(data[:begin] + content + data[end:])
  parts = path.split("/")
  for depth in range(1, len(parts) + 1):
    start, old = _box(data, "/".join(parts[:depth]))
    size = old - start + 8 + len(content) - (end - begin)
    new[start - 8 : start - 4] = size.to_bytes(4, "big")
  return bytes(new)


def _without_frame(data, index):
  """A Motion JPEG AVI with one frame's bytes zeroed."""
  at = data.index(b"movi")
  for _ in range(index + 1):
    at = data.index(b"00dc", at + 1)
  size = int.from_bytes(data[at + 4 : at + 8], "little")
  return data[: at + 8] + bytes(size) + data[at + 8 + size :]


def _with_durations(data, ticks):
  """An MP4 whose frames are shown so many ticks each."""
  table = b"".join(struct.pack(">II", 1, tick) for tick in ticks)
  content = struct.pack(">II", 0, len(ticks)) + table
  return _with_box(data, "moov/trak/mdia/minf/stbl/stts", content)


def _write_pictures(folder, names, sizes):
  folder.mkdir()
  for name, size in zip(names, sizes, strict=True):
    picture = np.full((*size, 3), 90, np.uint8)
    cv2.imwrite(str(folder / name), picture)


@pytest.fixture(params=["opencv", "pyav"])
def backend(request):
  if request.param == "pyav" and importlib.util.find_spec("av") is None:
    pytest.skip("PyAV is not installed (the extra `video`)")
  return request.param


@pytest.fixture
def mp4(tmp_path):
  path = tmp_path / "clip.mp4"
  frames = [_frame(i, (48, 64)) for i in range(7)]
  _write(path, frames, codec="mp4v")
  return path


@pytest.fixture
def clip(tmp_path):
  path = tmp_path / "clip.webm"
  _write(path, [_frame(i) for i in range(13)])
  return path


def test_every_frame_comes_back_once_and_looks_alike(clip, backend):
  frames = list(video.read(clip, backend=backend))
  assert [index for index, _, _ in frames] == list(range(13))
  for index, _, frame in frames:
    assert frame.dtype == np.uint8
    # VP9 is lossy: the mean error of so plain a picture stays small, while
    # swapped channels or a square one step off would cost > 8.
    error = np.abs(frame.astype(int) - _frame(index)).mean()
    assert error < 5, (index, error)


def test_times_follow_the_rate(clip, backend):
  times = [time for _, time, _ in video.read(clip, backend=backend)]
  np.testing.assert_allclose(times, np.arange(13) / 10, atol=2e-3)


def test_header(clip, backend):
  info = video.open_video(clip, backend=backend)
  assert info.backend == backend
  assert (info.height, info.width) == SIZE
  assert info.fps == pytest.approx(10)
  assert info.count_hint == 13
  assert video.count(clip, backend=backend) == 13


def test_one_frame_is_a_video(tmp_path, backend):
  _write(tmp_path / "one.webm", [_frame(0)])
  ((index, time, frame),) = video.read(tmp_path / "one.webm", backend=backend)
  assert (index, time, frame.shape) == (0, 0.0, (*SIZE, 3))
  assert video.count(tmp_path / "one.webm", backend=backend) == 1


def test_what_is_left_from_a_frame_on_is_the_same(clip, backend):
  whole = list(video.read(clip, backend=backend))
  for start in (0, 1, 5, 12, 13, 99):
    rest = list(video.read(clip, start=start, backend=backend))
    assert len(rest) == max(0, 13 - start)
    for (i, time, frame), (j, when, picture) in zip(
      rest, whole[start:], strict=True
    ):
      assert (i, time) == (j, when)
      np.testing.assert_array_equal(frame, picture)
  with pytest.raises(ValueError, match="start is -1"):
    video.read(clip, start=-1)


def test_variable_rate(mp4, backend):
  # In ticks of 1/10240 s, as OpenCV's MP4 of 10 frames/s has them.
  # Together as long as before: the MP4's edit list says where to stop.
  ticks = [1024, 512, 2048, 256, 1792, 1024, 512]
  mp4.write_bytes(_with_durations(mp4.read_bytes(), ticks))
  times = [time for _, time, _ in video.read(mp4, backend=backend)]
  expected = np.cumsum([0, *ticks[:-1]]) / 10240
  np.testing.assert_allclose(times, expected, atol=1e-6)
  info = video.open_video(mp4, backend=backend)
  assert info.fps == pytest.approx(10)  # the mean
  assert info.count_hint == 7


@pytest.mark.parametrize(
  ("matrix", "turns"),  # clockwise, by the matrix of the track's header
  [((0, 1, -1, 0), 1), ((-1, 0, 0, -1), 2), ((0, -1, 1, 0), 3)],
)
def test_rotation_is_honoured(mp4, backend, matrix, turns):
  data = mp4.read_bytes()
  begin, end = _box(data, "moov/trak/tkhd")
  a, b, c, d = (value << 16 for value in matrix)
  content = bytearray(data[begin:end])
  content[40:76] = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)
  mp4.write_bytes(_with_box(data, "moov/trak/tkhd", bytes(content)))
  expected = np.rot90(_frame(0, (48, 64)), -turns)
  _, _, frame = next(video.read(mp4, backend=backend))
  assert frame.shape == expected.shape
  assert np.abs(frame.astype(int) - expected).mean() < 5
  info = video.open_video(mp4, backend=backend)
  assert (info.height, info.width) == expected.shape[:2]


def test_a_damaged_frame_does_not_end_the_video(tmp_path, backend, caplog):
  path = tmp_path / "clip.avi"
  _write(path, [_frame(i) for i in range(7)], codec="MJPG")
  whole = list(video.read(path, backend=backend))
  path.write_bytes(_without_frame(path.read_bytes(), 3))
  left = list(video.read(path, backend=backend))
  assert [index for index, _, _ in left] == [0, 1, 2, 3, 4, 5]
  expected = whole[:3] + whole[4:]
  for (_, time, frame), (_, when, picture) in zip(left, expected, strict=True):
    assert time == pytest.approx(when)
    np.testing.assert_array_equal(frame, picture)
  assert "damaged" in caplog.text
  assert video.count(path, backend=backend) == 6


def test_a_video_of_which_nothing_decodes_is_refused(tmp_path, backend):
  path = tmp_path / "clip.avi"
  _write(path, [_frame(0)], codec="MJPG")
  path.write_bytes(_without_frame(path.read_bytes(), 0))
  for use in (video.open_video, video.count, _all):
    with pytest.raises(ValueError, match="clip.avi: no frame decodes"):
      use(path, backend=backend)


def _all(path, **settings):
  return list(video.read(path, **settings))


def test_frames_that_are_too_large_are_refused(clip, backend, monkeypatch):
  monkeypatch.setattr(images, "MAX_PIXELS", SIZE[0] * SIZE[1] - 1)
  for use in (video.open_video, video.count, _all):
    with pytest.raises(ValueError, match="frames of 62x46 pixels; up to 2851"):
      use(clip, backend=backend)


def test_a_name_that_looks_like_a_protocol(clip, backend, monkeypatch):
  monkeypatch.chdir(clip.parent)
  path = pathlib.Path("12:30 %d.webm")
  clip.rename(path)
  assert len(_all(path, backend=backend)) == 13


def test_nothing_runs_on_after_a_closed_reader(clip, backend):
  tasks = pathlib.Path("/proc/self/task")
  if not tasks.is_dir():
    pytest.skip("threads are looked up in Linux's /proc")

  def decoders():
    names = [(task / "comm").read_text() for task in tasks.iterdir()]
    return sum(name.startswith("av:") for name in names)

  before = decoders()
  frames = video.read(clip, backend=backend)
  next(frames)
  frames.close()
  assert decoders() == before


def test_pictures_of_every_kind(tmp_path):
  folder = tmp_path / "pictures"
  folder.mkdir()
  rng = np.random.default_rng(3)
  color = rng.integers(0, 256, (*SIZE, 3), np.uint8)
  alpha = np.dstack([color, rng.integers(0, 256, SIZE, np.uint8)])
  deep = color.astype(np.uint16) * 257
  for name, picture in {
    "0": color,
    "1": alpha,
    "2": deep,
    "3": color[..., 0],
    "4": deep[..., 0],
  }.items():
    cv2.imwrite(str(folder / f"{name}.png"), picture)
  frames = [frame for _, _, frame in video.read(folder)]
  for frame in frames[:3]:
    np.testing.assert_array_equal(frame, color[..., ::-1])
  for frame in frames[3:]:
    np.testing.assert_array_equal(frame, np.dstack([color[..., 0]] * 3))


def test_pictures_at_a_rate_and_from_one_on(tmp_path):
  folder = tmp_path / "pictures"
  _write_pictures(folder, [f"{i}.png" for i in range(5)], [SIZE] * 5)
  (source,) = sources.find(folder, fps=4.0)
  assert video.open_video(source).fps == 4.0
  found = [(index, time) for index, time, _ in video.read(source, start=3)]
  assert found == [(3, 0.75), (4, 1.0)]
  # The first is looked at all the same: it says the size.
  cv2.imwrite(str(folder / "0.png"), np.zeros((5, 7, 3), np.uint8))
  with pytest.raises(ValueError, match="frame 3 is 62x46 .*first is 7x5"):
    list(video.read(source, start=3))


def test_pyav_that_is_not_there(clip, monkeypatch):
  monkeypatch.setattr(video.video_pyav, "package", lambda: None)
  assert video.open_video(clip).backend == "opencv"
  for use in (video.open_video, video.count, _all):
    with pytest.raises(ValueError, match=r"pip install 'diffpose-jax\[video"):
      use(clip, backend="pyav")
    with pytest.raises(ValueError, match="give auto, opencv or pyav"):
      use(clip, backend="ffmpeg")


def test_folder_is_read_in_natural_order(tmp_path):
  folder = tmp_path / "pictures"
  names = ["img10.jpg", "img9.png", "img11.JPG"]
  _write_pictures(folder, names, [SIZE] * 3)
  (folder / "notes.txt").write_text("not a picture")
  info = video.open_video(folder)
  assert info.names == ("img9.png", "img10.jpg", "img11.JPG")
  assert (info.height, info.width, info.count_hint) == (*SIZE, 3)
  frames = list(video.read(folder))
  assert [index for index, _, _ in frames] == [0, 1, 2]
  assert [time for _, time, _ in frames] == [0, 1 / 25, 2 / 25]
  assert video.count(folder) == 3


def test_folder_with_two_sizes_is_refused(tmp_path):
  folder = tmp_path / "pictures"
  _write_pictures(folder, ["1.png", "2.png"], [SIZE, (37, 53)])
  with pytest.raises(ValueError, match="pictures: frame 1 is 53x37"):
    list(video.read(folder))


def test_what_is_no_video_is_refused_in_one_line(tmp_path, capfd, backend):
  (tmp_path / "bad.mp4").write_bytes(b"this is no video" * 99)
  (tmp_path / "empty.mp4").write_bytes(b"")
  (tmp_path / "folder").mkdir()
  for name in ("bad.mp4", "empty.mp4", "folder", "absent.mp4"):
    for use in (video.open_video, video.count, _all):
      with pytest.raises(ValueError, match=name) as caught:
        use(tmp_path / name, backend=backend)
      assert "\n" not in str(caught.value)
  assert capfd.readouterr().err == ""


def test_a_video_that_is_cut_off_is_reported(clip, caplog, backend):
  caplog.set_level(logging.WARNING)
  assert len(_all(clip, backend=backend)) == 13
  assert not caplog.records
  whole = clip.read_bytes()
  clip.write_bytes(whole[: len(whole) * 2 // 3])
  frames = _all(clip, backend=backend)
  assert 0 < len(frames) < 13
  assert "may be cut off" in caplog.text


def test_a_broken_video_prints_nothing_but_our_lines(clip):
  whole = clip.read_bytes()
  clip.write_bytes(whole[: len(whole) * 2 // 3])
  # By itself: FFmpeg is told once in a process.
  program = (
    "import pathlib, sys; from diffpose_jax.data import video; "
    "print(len(list(video.read(pathlib.Path(sys.argv[1]), backend='opencv'))))"
  )
  ran = subprocess.run(
    [sys.executable, "-c", program, str(clip)],
    capture_output=True,
    text=True,
    check=True,
  )
  assert 0 < int(ran.stdout) < 13
  (line,) = ran.stderr.splitlines()
  assert "may be cut off" in line


def test_real_clip_is_its_own_first_pictures(shared_data, backend):
  folder = shared_data / "posetrack18_mini" / "videos" / "000001_mpiinew_test"
  path = folder / "000001_mpiinew_test.mp4"
  # Its `stsz` table has 5 samples, though ten pictures lie beside it.
  frames = [frame for _, _, frame in video.read(path, backend=backend)]
  assert len(frames) == video.count(path, backend=backend) == 5
  pictures = [frame for _, _, frame in video.read(folder)]
  assert len(pictures) == 10
  for index, frame in enumerate(frames):
    errors = [np.abs(frame.astype(int) - p).mean() for p in pictures]
    assert np.argmin(errors) == index
    assert errors[index] < 4
