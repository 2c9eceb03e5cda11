"""What an upload is, and what is refused of it, each in a line."""

import cv2
import numpy as np
import pytest

from diffpose_jax.webdemo import clip
from diffpose_jax.webdemo import limits as limits_lib

LIMITS = limits_lib.Limits()


def preview(folder):
  found = cv2.imread(str(folder / clip.PREVIEW))
  assert found is not None
  return found


def test_a_video_is_counted_and_its_first_frame_kept(clip_file, tmp_path):
  path = tmp_path / "walk.webm"
  path.write_bytes(clip_file.read_bytes())
  told = []
  found = clip.look(path, LIMITS, lambda done, count: told.append(done))
  assert (found.width, found.height, found.frames) == (160, 120, 9)
  assert found.fps == pytest.approx(6) and found.seconds == pytest.approx(
    1.5, abs=0.01
  )
  assert found.text() == "9 frames of 160×120 pixels, 1.5 s at 6 a second."
  assert told == list(range(1, 10))
  assert preview(tmp_path).shape == (120, 160, 3)


def test_a_picture_is_a_clip_of_one_frame(tmp_path):
  path = tmp_path / "one.png"
  cv2.imwrite(str(path), np.full((50, 70, 3), 90, np.uint8))
  found = clip.look(path, LIMITS)
  assert (found.width, found.height, found.frames) == (70, 50, 1)
  assert found.text() == "A picture of 70×50 pixels."


def test_its_preview_is_no_larger_than_need_be(tmp_path):
  path = tmp_path / "large.png"
  cv2.imwrite(str(path), np.zeros((200, 2000, 3), np.uint8))
  assert clip.look(path, LIMITS).width == 2000
  assert preview(tmp_path).shape == (128, 1280, 3)


@pytest.mark.parametrize(
  ("limits", "message"),
  [
    (dict(frames=8), "more than 8 frames: at most 20 s and 8 frames"),
    (dict(frames=4), "about 9 frames: at most"),
    (dict(seconds=1.0), "more than 1 s: at most 1 s and 600 frames"),
    (dict(pixels=160 * 119), "frames of 160×120 pixels: at most 0.01904 mill"),
  ],
)
def test_what_is_above_a_limit(clip_file, tmp_path, limits, message):
  path = tmp_path / "walk.webm"
  path.write_bytes(clip_file.read_bytes())
  with pytest.raises(ValueError, match=message):
    clip.look(path, limits_lib.Limits(**limits))
  assert not (tmp_path / clip.PREVIEW).exists()


@pytest.mark.parametrize("name", ["walk.mp4", "walk.webm", "walk.jpg"])
@pytest.mark.parametrize("content", [b"", b"no video", bytes(5000)])
def test_what_is_no_video(tmp_path, name, content):
  path = tmp_path / name
  path.write_bytes(content)
  with pytest.raises(ValueError, match="walk"):
    clip.look(path, LIMITS)


@pytest.mark.parametrize(
  ("given", "kept"),
  [
    ("walk.MP4", "walk.mp4"),
    ("../../etc/my walk (1).webm", "my-walk-1.webm"),
    (r"C:\clips\Läufer.mov", "L-ufer.mov"),
    ('"><script>.png', "script.png"),
    ("$HOME;rm -rf.avi", "HOME-rm--rf.avi"),
    ("....mp4", "clip.mp4"),
    (f"{'a' * 300}.mkv", f"{'a' * 40}.mkv"),
  ],
)
def test_names_are_harmless(given, kept):
  assert clip.safe_name(given) == kept


@pytest.mark.parametrize(
  "given", ["list.txt", "walk", "walk.mp4.exe", "page.html", "x.svg", ""]
)
def test_other_kinds_are_refused(given):
  with pytest.raises(ValueError, match="is no clip: give one of mp4, m4v, "):
    clip.safe_name(given)
