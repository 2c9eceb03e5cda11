"""Videos and folders give every frame once; the writer's file is whole."""

import cv2
import numpy as np
import pytest

from diffpose_jax.data import video

SIZE = (46, 62)  # (height, width)


def _frame(index, size=SIZE):
  """A dark picture with a bright, red square that moves right."""
  frame = np.full((*size, 3), 30, np.uint8)
  frame[11:23, 5 + 3 * index : 17 + 3 * index] = (250, 40, 20)
  return frame


def _write(path, frames, fps=10.0):
  with video.Writer(path, fps=fps, size=frames[0].shape[:2]) as writer:
    for frame in frames:
      writer.write(frame)


def _write_pictures(folder, names, sizes):
  folder.mkdir()
  for name, size in zip(names, sizes, strict=True):
    picture = np.full((*size, 3), 90, np.uint8)
    cv2.imwrite(str(folder / name), picture)


@pytest.fixture
def clip(tmp_path):
  path = tmp_path / "clip.webm"
  _write(path, [_frame(i) for i in range(13)])
  return path


def test_every_frame_comes_back_once_and_looks_alike(clip):
  frames = list(video.read(clip))
  assert [index for index, _, _ in frames] == list(range(13))
  for index, _, frame in frames:
    assert frame.dtype == np.uint8
    # VP9 is lossy: the mean error of so plain a picture stays small, while
    # swapped channels or a square one step off would cost > 8.
    error = np.abs(frame.astype(int) - _frame(index)).mean()
    assert error < 5, (index, error)


def test_times_follow_the_rate(clip):
  times = [time for _, time, _ in video.read(clip)]
  np.testing.assert_allclose(times, np.arange(13) / 10, atol=2e-3)


def test_header(clip):
  info = video.open_video(clip)
  assert (info.height, info.width) == SIZE
  assert info.fps == pytest.approx(10)
  assert info.count_hint == 13
  assert video.count(clip) == 13


def test_one_frame_is_a_video(tmp_path):
  _write(tmp_path / "one.webm", [_frame(0)])
  assert video.count(tmp_path / "one.webm") == 1


def test_the_codec_is_vp9(clip):
  capture = cv2.VideoCapture(str(clip))
  code = int(capture.get(cv2.CAP_PROP_FOURCC))
  assert code.to_bytes(4, "little") == b"VP90"
  capture.release()


def test_odd_sizes_are_padded_to_even(tmp_path):
  size = (37, 53)
  _write(tmp_path / "odd.webm", [_frame(i, size) for i in range(3)])
  _, _, frame = next(video.read(tmp_path / "odd.webm"))
  assert frame.shape == (38, 54, 3)
  assert np.abs(frame[:37, :53].astype(int) - _frame(0, size)).mean() < 5
  assert np.abs(frame[37].astype(int) - 30).mean() < 5


def _interrupted(path):
  with video.Writer(path, fps=10.0, size=SIZE) as writer:
    writer.write(_frame(0))
    raise KeyboardInterrupt


def test_nothing_is_left_when_the_block_raises(tmp_path):
  with pytest.raises(KeyboardInterrupt):
    _interrupted(tmp_path / "half.webm")
  assert list(tmp_path.iterdir()) == []


def test_an_older_video_stays_until_the_new_one_is_whole(clip):
  before = clip.read_bytes()
  with video.Writer(clip, fps=10.0, size=SIZE) as writer:
    writer.write(_frame(0))
    assert clip.read_bytes() == before
  assert video.count(clip) == 1


def test_writer_refuses(tmp_path):
  with pytest.raises(ValueError, match="absent"):
    video.Writer(tmp_path / "absent" / "a.webm", fps=10.0, size=SIZE)
  with pytest.raises(ValueError, match=r"\.webm"):
    video.Writer(tmp_path / "a.mp4", fps=10.0, size=SIZE)
  writer = video.Writer(tmp_path / "a.webm", fps=10.0, size=SIZE)
  with pytest.raises(ValueError, match="0 frames"), writer:
    pass
  writer = video.Writer(tmp_path / "a.webm", fps=10.0, size=SIZE)
  with pytest.raises(ValueError, match="53x37"), writer:
    writer.write(np.zeros((37, 53, 3), np.uint8))
  assert list(tmp_path.iterdir()) == []


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


def test_what_is_no_video_is_refused_in_one_line(tmp_path, capfd):
  (tmp_path / "bad.mp4").write_bytes(b"this is no video" * 99)
  (tmp_path / "empty.mp4").write_bytes(b"")
  (tmp_path / "folder").mkdir()
  for name in ("bad.mp4", "empty.mp4", "folder", "absent.mp4"):
    for use in (video.open_video, video.count, lambda p: list(video.read(p))):
      with pytest.raises(ValueError, match=name) as caught:
        use(tmp_path / name)
      assert "\n" not in str(caught.value)
  assert capfd.readouterr().err == ""


def test_a_video_that_is_cut_off_is_reported(clip, caplog):
  whole = clip.read_bytes()
  clip.write_bytes(whole[: len(whole) * 2 // 3])
  frames = list(video.read(clip))
  assert 0 < len(frames) < 13
  assert "may be cut off" in caplog.text


def test_real_clip_is_its_own_first_pictures(shared_data):
  folder = shared_data / "posetrack18_mini" / "videos" / "000001_mpiinew_test"
  path = folder / "000001_mpiinew_test.mp4"
  # Its `stsz` table has 5 samples, though ten pictures lie beside it.
  frames = [frame for _, _, frame in video.read(path)]
  assert len(frames) == video.count(path) == 5
  pictures = [frame for _, _, frame in video.read(folder)]
  assert len(pictures) == 10
  for index, frame in enumerate(frames):
    errors = [np.abs(frame.astype(int) - p).mean() for p in pictures]
    assert np.argmin(errors) == index
    assert errors[index] < 4
