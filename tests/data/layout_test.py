"""Folders in PoseTrack18's layout are read for what they hold."""

import io
import os

import cv2
import numpy as np
import PIL.Image
import pytest

from diffpose_jax.data import annotations, images, layout
from diffpose_jax.pose import skeleton


def _video(root, split="train"):
  videos = annotations.read_split(root, split, skeleton=skeleton.POSETRACK)
  return videos[0]


def test_splits_are_the_folders_with_json(tmp_path, scene):
  scene.write(tmp_path, "val", videos=1, frames=1)
  scene.write(tmp_path, "train", videos=1, frames=1)
  (tmp_path / "annotations" / "empty").mkdir()
  (tmp_path / "results.json").write_text("{}")
  (tmp_path / "annotations" / "synthetic.json").write_text("{}")
  assert layout.splits(tmp_path) == ["train", "val"]


def test_splits_of_the_2021_layout(tmp_path, scene):
  scene.write(tmp_path, "val", videos=1, frames=1)
  (tmp_path / "annotations").rename(tmp_path / "posetrack_data")
  assert layout.splits(tmp_path) == ["val"]


@pytest.mark.parametrize(
  ("name", "state"), [("absent", "does not exist"), (".", "is empty")]
)
def test_root_without_annotations_says_how_to_get_them(tmp_path, name, state):
  with pytest.raises(ValueError, match=f"{state}.*https://posetrack.net"):
    layout.splits(tmp_path / name)


def test_missing_unlabelled_pictures_are_passed_over(tmp_path, scene):
  scene.write(
    tmp_path, "train", labelled=lambda f: f == 3, missing=(0, 5), videos=1
  )
  assert layout.present(tmp_path, _video(tmp_path)) == [1, 2, 3, 4, 6]


def test_a_missing_labelled_picture_is_named(tmp_path, scene):
  scene.write(tmp_path, "train", missing=(4,), videos=1)
  with pytest.raises(ValueError, match=r"000004\.jpg: picture of a labelled"):
    layout.present(tmp_path, _video(tmp_path))


def test_a_video_without_any_picture_is_refused(tmp_path, scene):
  scene.write(
    tmp_path,
    "train",
    frames=2,
    missing=(0, 1),
    labelled=lambda f: False,
    videos=1,
  )
  with pytest.raises(ValueError, match="none of the 2 pictures"):
    layout.present(tmp_path, _video(tmp_path))


def test_fingerprint_sees_pictures_and_labels_only(tmp_path, scene):
  scene.write(tmp_path, "train", videos=1, frames=2)
  first = layout.fingerprint(tmp_path)
  (tmp_path / "notes.txt").write_text("hello")
  (tmp_path / "results.json").write_text("{}")
  (tmp_path / "annotations" / "synthetic.json").write_text("{}")
  assert layout.fingerprint(tmp_path) == first
  picture = next(tmp_path.rglob("000001.jpg"))
  os.utime(picture, ns=(0, 12345))
  second = layout.fingerprint(tmp_path)
  assert second != first
  labels = next(tmp_path.rglob("000000_train.json"))
  os.utime(labels, ns=(0, 12345))
  third = layout.fingerprint(tmp_path)
  assert third not in (first, second)
  picture.unlink()
  assert layout.fingerprint(tmp_path) not in (first, second, third)


def _outside(tmp_path, scene):
  """A root, and a folder beside it that has a picture of its own."""
  scene.write(tmp_path / "root", "train", videos=1, frames=3)
  (tmp_path / "root2").mkdir()
  picture = next((tmp_path / "root").rglob("000001.jpg"))
  (tmp_path / "root2" / "000001.jpg").write_bytes(picture.read_bytes())
  return tmp_path / "root", picture


@pytest.mark.parametrize("relative", [False, True])
@pytest.mark.parametrize("level", ["file", "folder"])
def test_a_link_out_of_the_root_is_refused(tmp_path, scene, level, relative):
  root, picture = _outside(tmp_path, scene)
  target = tmp_path / "root2" / "000001.jpg"
  link = picture
  if level == "folder":
    for name in ("000000.jpg", "000002.jpg"):
      (target.parent / name).write_bytes(target.read_bytes())
    link, target = picture.parent, target.parent
    for path in link.iterdir():
      path.unlink()
    link.rmdir()
  else:
    link.unlink()
  link.symlink_to(os.path.relpath(target, link.parent) if relative else target)
  with pytest.raises(
    ValueError, match=r"0\.jpg|1\.jpg: picture .* link to .*root2.*put the"
  ) as caught:
    layout.present(root, _video(root))
  assert "\n" not in str(caught.value)


def test_links_inside_the_root_and_a_linked_root_are_fine(tmp_path, scene):
  root, picture = _outside(tmp_path, scene)
  picture.rename(root / "moved.jpg")
  picture.symlink_to(root / "moved.jpg")
  (tmp_path / "link").symlink_to(root)
  for place in (root, tmp_path / "link"):
    assert layout.present(place, _video(place)) == [0, 1, 2]


def test_a_link_to_nowhere_and_an_endless_name_are_missing(tmp_path):
  (tmp_path / "0.jpg").symlink_to(tmp_path / "absent.jpg")
  (tmp_path / "1.jpg").symlink_to(tmp_path / "1.jpg")  # to itself
  for name in ("0.jpg", "1.jpg", "2" * 300 + ".jpg"):
    frame = annotations.Frame(name, 0, labelled=True)
    with pytest.raises(ValueError, match=r"jpg: picture of a labelled frame"):
      layout.present(tmp_path, annotations.Video("v", (frame,)))


def _encoded(suffix, **options):
  picture = np.full((11, 17, 3), 99, np.uint8)
  return cv2.imencode(suffix, picture, **options)[1].tobytes()


def _rotated():
  """A JPEG whose EXIF asks a viewer to turn it."""
  file, exif = io.BytesIO(), PIL.Image.Exif()
  exif[0x0112] = 6
  PIL.Image.new("RGB", (17, 11)).save(file, "JPEG", exif=exif)
  return file.getvalue()


def _read(tmp_path, name, content, **said):
  (tmp_path / name).write_bytes(content)
  frame = annotations.Frame(name, 0, labelled=True, **said)
  return layout.read_picture(tmp_path, frame)


@pytest.mark.parametrize(
  ("name", "content", "message"),
  [
    ("a.jpg", b"", "picture is empty"),
    ("a.jpg", b"<!DOCTYPE html><html>404</html>", "neither JPEG nor PNG"),
    ("a.jpg", b"GIF89a" + bytes(99), "neither JPEG nor PNG"),
    ("a.jpg", _encoded(".png"), "not what its name says; name JPEG files .jpg"),
    ("a.png", _encoded(".jpg"), "not what its name says"),
    ("a.gif", _encoded(".jpg"), "not what its name says"),
    ("a.jpg", _encoded(".jpg")[:-30], "truncated"),
  ],
)
def test_a_picture_that_is_none_is_named(tmp_path, name, content, message):
  with pytest.raises(ValueError, match=f"/{name}: .*{message}") as caught:
    _read(tmp_path, name, content)
  assert "\n" not in str(caught.value)


def test_a_picture_has_the_size_that_is_said(tmp_path):
  picture = _read(tmp_path, "a.JPG", _encoded(".jpg"), height=11, width=17)
  assert (picture.height, picture.width) == (11, 17)
  assert picture.data == _encoded(".jpg")
  with pytest.raises(ValueError, match=r"picture is 17x11 but .* says 18x11"):
    _read(tmp_path, "a.jpg", _encoded(".jpg"), width=18)
  # As stored, whatever EXIF says, since labels were made on that.
  picture = _read(tmp_path, "a.jpg", _rotated(), height=11, width=17)
  assert (picture.height, picture.width) == (11, 17)
  with pytest.raises(ValueError, match=r"picture is 17x11 but .* says 11x17"):
    _read(tmp_path, "a.jpg", _rotated(), height=17, width=11)


def test_a_file_too_large_for_any_picture_is_refused_unread(tmp_path):
  (tmp_path / "a.jpg").write_bytes(_encoded(".jpg"))
  os.truncate(tmp_path / "a.jpg", 10 * images.MAX_PIXELS + 1)
  frame = annotations.Frame("a.jpg", 0, labelled=True)
  with pytest.raises(ValueError, match=r"a\.jpg: 500000001 bytes, more than"):
    layout.read_picture(tmp_path, frame)


def test_a_picture_that_cannot_be_read_is_named(tmp_path):
  (tmp_path / "a.jpg").mkdir()
  frame = annotations.Frame("a.jpg", 0, labelled=True)
  with pytest.raises(ValueError, match=r"a\.jpg: cannot be read \(Is a dir"):
    layout.read_picture(tmp_path, frame)
