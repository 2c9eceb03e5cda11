"""Whatever is given: poses of what there is, or one line; outputs whole or none.

The rest is told where it is found: `sources`, `video`, `boxes` and `images`.
"""

import json
import os
import resource

import cv2
import numpy as np
import pytest

from diffpose_jax.data import video
from diffpose_jax.inference import estimator as estimator_lib
from diffpose_jax.inference import predict


@pytest.fixture
def fake(dots, monkeypatch):
  """The estimator that any weights give."""
  found = dots.Estimator(batch=9)
  monkeypatch.setattr(estimator_lib.Estimator, "load", lambda *_, **__: found)
  return found


@pytest.fixture
def run(fake, tmp_path):
  """Predicts with that estimator; gives the output and what is in its file."""

  def call(given, boxes="whole", **others):
    [output] = predict.predict(
      input=given,
      boxes=boxes,
      weights=tmp_path,
      out=tmp_path / "out",
      **others,
    )
    return output, json.loads(output.poses[0].read_text())

  return call


def _refused(tmp_path, run, given, line, **others):
  """Refused in one line, with nothing left but what can be gone on with."""
  with pytest.raises(ValueError, match=line) as caught:
    run(given, **others)
  assert "\n" not in str(caught.value)
  out = tmp_path / "out"
  left = {path.name for path in out.iterdir()} if out.exists() else set()
  assert all(name.endswith(".journal") for name in left)


def test_no_such_file(tmp_path, run):
  _refused(tmp_path, run, tmp_path / "none.mp4", r"none\.mp4: no such file")


@pytest.mark.parametrize("name", ["empty.mp4", "empty.webm", "empty.jpg"])
def test_nothing_in_a_file(tmp_path, run, name):
  (tmp_path / name).write_bytes(b"")
  _refused(tmp_path, run, tmp_path / name, f"{name}: ")


def test_a_video_without_frames(tmp_path, run, clip):
  """Its header is whole, and nothing follows."""
  content = clip.read_bytes()
  cut = tmp_path / "cut.webm"
  cut.write_bytes(content[: content.index(b"\x1f\x43\xb6\x75")])  # a cluster
  _refused(tmp_path, run, cut, r"cut\.webm: (no frame decodes|cannot be open)")


def test_a_truncated_video(tmp_path, run, dots):
  """What decodes is kept, each frame with its own people."""
  whole, cut = tmp_path / "whole.webm", tmp_path / "cut.webm"
  with video.Writer(whole, fps=10.0, size=dots.SIZE) as writer:
    for index in range(50):
      writer.write(dots.frame(index % 11))
  cut.write_bytes(whole.read_bytes()[: whole.stat().st_size * 2 // 3])
  output, content = run(cut)
  assert 2 <= output.frames == output.people < 50
  for index, person in enumerate(content["annotations"]):
    joints = np.array(person["keypoints"]).reshape(-1, 3)[0, :2]
    np.testing.assert_allclose(joints, dots.dot(index % 11), atol=2)
  assert video.count(output.video) == output.frames


def test_a_video_of_one_frame(tmp_path, run, dots):
  path = tmp_path / "one.webm"
  with video.Writer(path, fps=10.0, size=dots.SIZE) as writer:
    writer.write(dots.frame(3))
  output, content = run(path)
  assert (output.frames, output.people, output.jitter) == (1, 1, None)
  joints = np.array(content["annotations"][0]["keypoints"]).reshape(-1, 3)
  np.testing.assert_allclose(joints[0, :2], dots.dot(3), atol=1)


def test_another_size_in_mid_stream(tmp_path, run, folder, dots):
  """Pictures are refused at the frame; what was found before can be used."""
  small = cv2.resize(dots.frame(6), (120, 90))
  cv2.imwrite(str(folder / "000006.png"), small)
  line = r"frame 6 is 120x90 pixels, the first is 240x180"
  _refused(tmp_path, run, folder, line)


def test_frames_of_8k(tmp_path, run, dots):
  """Found in full, drawn smaller."""
  folder = tmp_path / "large"
  folder.mkdir()
  picture = cv2.resize(dots.frame(3), (7680, 5760 - 1440))
  for index in range(2):
    cv2.imwrite(str(folder / f"{index}.jpg"), picture)
  output, content = run(folder)
  image = content["images"][0]
  assert (image["height"], image["width"]) == (4320, 7680)
  joints = np.array(content["annotations"][1]["keypoints"]).reshape(-1, 3)
  x, y = dots.dot(3)
  wanted = [32 * x + 15.5, 24 * y + 11.5]
  np.testing.assert_allclose(joints[0, :2], wanted, atol=40)
  info = video.open_video(output.video)
  assert (info.height, info.width) == (720, 1280)


@pytest.mark.parametrize("kind", ["grey", "alpha", "deep"])
def test_alpha_grey_and_sixteen_bits(tmp_path, run, dots, kind):
  folder = tmp_path / kind
  folder.mkdir()
  for index in range(3):
    picture = dots.frame(index)
    if kind == "grey":
      picture = picture[..., 0]
    elif kind == "alpha":
      picture = np.dstack([picture, np.full(dots.SIZE, 9, np.uint8)])
    else:
      picture = picture.astype(np.uint16) * 257
    cv2.imwrite(str(folder / f"{index}.png"), picture)
  _, content = run(folder)
  for index, person in enumerate(content["annotations"]):
    joints = np.array(person["keypoints"]).reshape(-1, 3)
    np.testing.assert_allclose(joints[0, :2], dots.dot(index), atol=1)


def _boxes(tmp_path, *boxes):
  path = tmp_path / "boxes.json"
  records = [
    {"image_id": frame, "bbox": list(box), "score": 0.9, "category_id": 1}
    for frame, box in boxes
  ]
  path.write_text(json.dumps(records))
  return path


def test_boxes_of_frames_that_are_not_there(tmp_path, run, clip, caplog):
  boxes = _boxes(tmp_path, (0, [9, 9, 99, 99]), (500, [9, 9, 99, 99]))
  output, _ = run(clip, boxes)
  assert (output.frames, output.people) == (11, 1)
  line = "clip.webm: 1 boxes are of frames from 11 on, which did not come"
  assert line in caplog.text
  far = _boxes(tmp_path, (0, [9, 9, 99, 99]), (9999, [9, 9, 99, 99]))
  output, _ = run(clip, far)
  assert output.people == 1
  assert "1 boxes are of pictures that are not in the input" in caplog.text


@pytest.mark.parametrize("text", ["NaN", "1e999", "-Infinity"])
def test_boxes_that_are_no_numbers(tmp_path, run, clip, text):
  boxes = _boxes(tmp_path, (3, [9, 9, 99, 12345]))
  boxes.write_text(boxes.read_text().replace("12345", text))
  _refused(tmp_path, run, clip, "boxes.json.* is not finite", boxes=boxes)


def test_people_larger_than_the_picture(tmp_path, run, clip, dots):
  boxes = _boxes(
    tmp_path, (0, [-400, -300, 1000, 900]), (1, [-9e4, -9e4, 2e5, 2e5])
  )
  output, content = run(clip, boxes)
  assert output.people == 2
  first = np.array(content["annotations"][0]["keypoints"]).reshape(-1, 3)
  np.testing.assert_allclose(first[0, :2], dots.dot(0), atol=15)
  second = np.array(content["annotations"][1]["keypoints"])
  assert np.isfinite(second).all()


def test_200_people_in_a_frame(tmp_path, run, fake, clip):
  rng = np.random.default_rng(0)
  boxes = [
    (3, [*rng.uniform(0, 100, 2), *rng.uniform(40, 90, 2)]) for _ in range(200)
  ]
  output, content = run(clip, _boxes(tmp_path, *boxes, (4, [9, 9, 99, 99])))
  assert (output.frames, output.people) == (11, 201)
  counts = np.bincount([a["image_id"] for a in content["annotations"]])
  assert counts.tolist() == [0, 0, 0, 200, 1]
  assert max(count for _, count in fake.used) == 9


@pytest.mark.parametrize("limit", [900, 3_000, 8_000])
def test_a_full_disk(tmp_path, run, fake, clip, limit):
  """No file may grow larger: it fails as on a full disk, wherever that is.

  Then there is room, and the same command goes on.
  """
  before = resource.getrlimit(resource.RLIMIT_FSIZE)
  resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
  try:
    _refused(tmp_path, run, clip, "cannot be (written|kept)|File too large")
  finally:
    resource.setrlimit(resource.RLIMIT_FSIZE, before)
  assert not any(name.startswith("tmp") for name in os.listdir(tmp_path))
  fake.clips.clear()
  output, content = run(clip)
  assert output.frames == len(content["images"]) == 11
  assert len(fake.clips) < 11 or limit < 2_000
