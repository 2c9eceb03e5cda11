"""What an input means, in which order, and how its outputs are called."""

import pathlib

import cv2
import numpy as np
import pytest

from diffpose_jax.data import sources


def _touch(root, *names):
  for name in names:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix.lower() in sources.PICTURES:
      cv2.imwrite(str(path), np.zeros((5, 7, 3), np.uint8))
    else:
      path.write_bytes(b"looked at by its name alone")


def _names(found):
  return [source.name for source in found]


def test_a_video(tmp_path):
  _touch(tmp_path, "Walk.v2.mp4")
  (source,) = sources.find(str(tmp_path / "Walk.v2.mp4"))
  assert source == sources.Source("Walk.v2", tmp_path / "Walk.v2.mp4")
  assert source.is_file


def test_a_folder_of_videos_in_natural_order(tmp_path):
  _touch(tmp_path, "b10.mp4", "b9.MOV", "a.webm", "notes.md", ".b1.mp4")
  assert _names(sources.find(tmp_path)) == ["a", "b9", "b10"]


def test_a_folder_of_pictures_is_one_video(tmp_path):
  folder = tmp_path / "walk"
  _touch(folder, "10.png", "9.jpg", "11.JPEG", ".12.png", "readme.txt")
  (source,) = sources.find(folder, fps=12.5)
  assert source.name == "walk"
  assert source.fps == 12.5
  assert [f.name for f in source.pictures] == ["9.jpg", "10.png", "11.JPEG"]
  assert not source.is_file


def test_a_folder_of_folders_of_pictures(tmp_path):
  _touch(tmp_path, "run10/1.png", "run2/1.png", "run2/2.png", "no/a.md")
  found = sources.find(tmp_path, fps=50.0)
  assert _names(found) == ["run2", "run10"]
  assert [len(source.pictures) for source in found] == [2, 1]
  assert {source.fps for source in found} == {50}


def test_a_picture_is_a_video_of_one_frame(tmp_path):
  _touch(tmp_path, "one.png")
  (source,) = sources.find(tmp_path / "one.png")
  assert source.name == "one"
  assert source.pictures == (tmp_path / "one.png",)


def test_patterns(tmp_path):
  _touch(tmp_path, "x/f10.jpg", "x/f2.jpg", "x/clip.mp4", "y/f1.jpg", "y/2.mp4")
  (source,) = sources.find(f"{tmp_path}/x/*.jpg")
  assert source.name == "x"
  assert [f.name for f in source.pictures] == ["f2.jpg", "f10.jpg"]
  assert _names(sources.find(f"{tmp_path}/**/*.mp4")) == ["clip", "2"]
  (source,) = sources.find(f"{tmp_path}/*/f?.jpg")
  assert source.name == tmp_path.name
  assert [f.parent.name for f in source.pictures] == ["x", "y"]


def test_a_name_with_brackets_is_no_pattern(tmp_path):
  _touch(tmp_path, "a[1].mp4")
  assert _names(sources.find(tmp_path / "a[1].mp4")) == ["a[1]"]


def test_lists(tmp_path):
  _touch(tmp_path, "p/3.png", "q/1.png", "a.mp4", "b.mp4")
  files = [tmp_path / "p" / "3.png", tmp_path / "q" / "1.png"]
  (source,) = sources.find([str(file) for file in files])
  assert source.pictures == tuple(files)  # in the order given
  assert _names(sources.find([tmp_path / "b.mp4", tmp_path / "a.mp4"])) == [
    "b",
    "a",
  ]
  text = tmp_path / "frames.txt"
  text.write_text("q/1.png\n\np/3.png\n")
  (source,) = sources.find(text)
  assert source.name == "frames"
  assert source.pictures == tuple(reversed(files))


def test_names_are_different(tmp_path):
  _touch(tmp_path, "a.mp4", "A.avi", "b.mp4", "sub/b.mp4", "c.mp4")
  found = sources.find(f"{tmp_path}/**/*.*")
  by_file = {
    str(s.path.relative_to(tmp_path)): s.name
    for s in found  # of a and A, in letters of one case on some disks
  }
  assert by_file == {
    "a.mp4": "a.mp4",
    "A.avi": "A.avi",
    "b.mp4": "b.mp4",
    "sub/b.mp4": "sub-b.mp4",
    "c.mp4": "c",
  }
  twice = sources.find([tmp_path / "c.mp4", tmp_path / "c.mp4"])
  assert len(set(_names(twice))) == 2


def test_camera():
  (source,) = sources.find("camera:3")
  assert (source.name, source.camera) == ("camera3", 3)
  assert not source.is_file
  for text in ("camera:", "camera:front", "camera:-1"):
    with pytest.raises(ValueError, match="camera:0"):
      sources.find(text)


@pytest.mark.parametrize(
  ("files", "given", "message"),
  [
    ([], "absent.mp4", "absent.mp4: no such file"),
    ([], "*.mp4", "no files"),
    (["a.jpg", "b.mp4"], "", r"pictures \(1, such as a.jpg\) and videos"),
    (["a.jpg", "b.mp4"], "*.*", r"pictures \(1, such as a.jpg\) and videos"),
    (["a.bmp", "b.tiff"], "", r"but .bmp, .tiff; convert them"),
    (["a/b.bmp"], "a", "neither pictures"),
    (["a.jpg", "l.txt"], "l.txt", r"path 0 .*no picture"),
  ],
)
def test_what_is_refused_in_one_line(tmp_path, files, given, message):
  _touch(tmp_path, *files)
  with pytest.raises(ValueError, match=message) as caught:
    sources.find(f"{tmp_path}/{given}" if given else tmp_path)
  assert "\n" not in str(caught.value)


def test_an_empty_folder_list_and_rate_are_refused(tmp_path):
  with pytest.raises(ValueError, match="empty"):
    sources.find(tmp_path)
  (tmp_path / "l.txt").write_text("\n")
  with pytest.raises(ValueError, match="lists no pictures"):
    sources.find(tmp_path / "l.txt")
  (tmp_path / "l.txt").write_bytes(b"\xff\xfe\x00")
  with pytest.raises(ValueError, match="not a text file"):
    sources.find(tmp_path / "l.txt")
  with pytest.raises(ValueError, match="no files"):
    sources.find([])
  for fps in (0.0, -1.0, float("nan"), float("inf")):
    with pytest.raises(ValueError, match="fps"):
      sources.find(pathlib.Path(tmp_path), fps=fps)
