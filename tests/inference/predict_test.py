"""Poses of a known dot come back in picture coordinates, frame by frame."""

import dataclasses
import itertools
import json
import pathlib
import signal
from typing import ClassVar

import cv2
import numpy as np
import pytest

from diffpose_jax.data import annotations, sources, video
from diffpose_jax.inference import (
  boxes_in,
  detection,
  predict,
  run,
  stream,
  wanted,
)
from diffpose_jax.inference import estimator as estimator_lib
from diffpose_jax.pose.skeleton import POSETRACK

K = len(POSETRACK.joints)
EVALUATED = list(POSETRACK.evaluated)


def _supplied(path, boxes, threshold=0.3):
  """The video that a path is, and its boxes."""
  [source] = sources.find(path)
  info = video.open_video(source)
  if boxes == "whole":
    return run.Video(source, info, boxes_in.whole())
  file, pair = pathlib.Path(boxes), (source, info)
  [supply] = boxes_in.of_file(file, [pair], threshold=threshold)
  return run.Video(source, info, supply)


def _run(dots, path, boxes, tmp_path, estimator=None, threshold=0.3, **way):
  estimator = estimator or dots.Estimator()
  out = tmp_path / "out"
  given = _supplied(path, boxes, threshold)
  files = wanted.Wanted(smooth=way.pop("smooth", "none"))
  [result] = run.run(
    [given], estimator, out, way=stream.Way(**way), wanted=files
  )
  return result, json.loads(result.poses[0].read_text())


def _joints(content, index):
  """The 15 joints (x, y) of each person of a frame, as the file has them."""
  return [
    np.array(a["keypoints"]).reshape(-1, 3)[EVALUATED, :2]
    for a in content["annotations"]
    if a["image_id"] == index
  ]


@pytest.mark.parametrize("span", [0, 1, 2, 7])
@pytest.mark.parametrize("batch", [1, 4, 32])
def test_whole_finds_the_dot_in_every_frame(dots, clip, tmp_path, span, batch):
  fake = dots.Estimator(batch=batch, span=span)
  result, content = _run(dots, clip, "whole", tmp_path, fake)
  assert result.frames == result.people == 11
  assert [image["id"] for image in content["images"]] == list(range(11))
  for index in range(11):
    [joints] = _joints(content, index)
    np.testing.assert_allclose(
      joints, np.tile(dots.dot(index), (15, 1)), atol=1
    )
  assert fake.noise == [0] * 11  # no tracks: everybody shares it


def test_records_have_time_size_and_protocol(dots, clip, tmp_path):
  _, content = _run(dots, clip, "whole", tmp_path)
  times = [image["time"] for image in content["images"]]
  np.testing.assert_allclose(times, np.arange(11) / 10, atol=2e-3)
  image = content["images"][3]
  assert (image["height"], image["width"]) == dots.SIZE
  assert image["file_name"] == "000003.jpg"
  protocol = content["protocol"]
  assert protocol.pop("uncertainty").startswith("raw spread")
  assert protocol.pop("decoded_by") in ("opencv", "pyav")
  assert protocol == {
    "steps": 4,
    "boxes": "whole",
    "smooth": "none",
    "identities": "tracker",
  }


def test_every_joint_states_its_spread_in_the_picture(dots, clip, tmp_path):
  _, content = _run(dots, clip, "whole", tmp_path)
  # 48 pixels of the crop show 1.25 times the picture's 240.
  xx, yy = np.array(dots.SPREAD) * (1.25 * 240 / 48) ** 2
  for person in content["annotations"]:
    scale = np.array(person["uncertainty"]["scale"])
    np.testing.assert_allclose(scale, [[xx, 0, yy]] * K, rtol=1e-3, atol=1e-3)
    assert "within" not in person["uncertainty"]


def test_ears_are_not_predicted(dots, clip, tmp_path):
  _, content = _run(dots, clip, "whole", tmp_path)
  person = content["annotations"][0]
  for ear in (POSETRACK.index("left_ear"), POSETRACK.index("right_ear")):
    assert person["keypoints"][3 * ear : 3 * ear + 3] == [0, 0, 0]
    assert person["scores"][ear] == 0
  assert person["num_keypoints"] == 15


def test_detections_and_frames_without_boxes(dots, clip, tmp_path):
  boxes = [{"image_id": i, **dots.around(i)} for i in (0, 1, 4, 10)]
  boxes += [{"image_id": 4, **dots.around(4, 0.6)}]
  boxes += [{"image_id": 5, **dots.around(5, 0.2)}]  # below the threshold
  (tmp_path / "boxes.json").write_text(json.dumps(boxes))
  result, content = _run(dots, clip, tmp_path / "boxes.json", tmp_path)
  assert (result.frames, result.people) == (11, 5)
  assert len(content["images"]) == 11
  counts = [len(_joints(content, index)) for index in range(11)]
  assert counts == [1, 1, 0, 0, 2, 0, 0, 0, 0, 0, 1]
  for index in (0, 1, 4, 10):
    for joints in _joints(content, index):
      np.testing.assert_allclose(
        joints, np.tile(dots.dot(index), (15, 1)), atol=1
      )
  scores = [a["scores"][0] for a in content["annotations"]]
  # Heatmap score 0.5 times the box's.
  np.testing.assert_allclose(scores, [0.4, 0.4, 0.4, 0.3, 0.4], atol=1e-6)
  assert content["protocol"]["boxes"] == "boxes.json"
  assert content["protocol"]["box_threshold"] == 0.3


def test_posetrack_boxes_of_a_folder_with_tracks(dots, folder, tmp_path):
  content = {"images": [], "annotations": [], "categories": []}
  for index in range(11):
    name = f"images/val/walk/{index:06d}.png"
    content["images"].append({"id": 100 + index, "file_name": name})
    if index != 6:
      person = {"id": index, "image_id": 100 + index, "track_id": 3}
      content["annotations"].append(dots.around(index) | person)
  (tmp_path / "walk.json").write_text(json.dumps(content))
  fake = dots.Estimator()
  result, found = _run(dots, folder, tmp_path / "walk.json", tmp_path, fake)
  assert result.poses[0].name == "walk.json"
  assert [len(_joints(found, i)) for i in range(11)] == [1] * 6 + [0] + [1] * 4
  for index in (0, 5, 10):
    [joints] = _joints(found, index)
    np.testing.assert_allclose(
      joints, np.tile(dots.dot(index), (15, 1)), atol=0.5
    )
  assert {a["track_id"] for a in found["annotations"]} == {3}
  assert set(fake.noise) == {annotations.noise_id("walk", 3)} != {0}
  assert found["images"][2]["file_name"] == "000002.png"


def test_clips_clamp_at_the_ends(dots, folder, tmp_path):
  fake = dots.Estimator(span=2)
  _run(dots, folder, "whole", tmp_path, fake)
  spots = [
    [dots.peak(f.astype(np.float32).sum(-1))[0] for f in c] for c in fake.clips
  ]
  shown = np.array(spots)
  centre = shown[:, 2]
  for index in range(11):
    rows = np.clip(np.arange(index - 2, index + 3), 0, 10)
    np.testing.assert_allclose(shown[index], centre[rows], atol=1e-3)


def test_annotated_video_shows_the_joints(dots, clip, tmp_path):
  result, _ = _run(dots, clip, "whole", tmp_path)
  before = [frame for _, _, frame in video.read(clip)]
  assert result.video is not None
  after = [frame for _, _, frame in video.read(result.video)]
  assert len(after) == 11
  x, y = dots.dot(7).astype(int)
  change = np.abs(after[7].astype(int) - before[7]).sum(axis=-1)
  assert change[y - 1 : y + 2, x - 1 : x + 2].mean() > 100
  assert change[20:60, 160:220].mean() < 30  # where nobody is


def test_large_pictures_are_drawn_smaller_but_found_in_full(dots, tmp_path):
  folder = tmp_path / "large"
  folder.mkdir()
  picture = cv2.resize(
    dots.frame(3), (1920, 1440), interpolation=cv2.INTER_AREA
  )
  cv2.imwrite(str(folder / "0.png"), picture)
  result, content = _run(dots, folder, "whole", tmp_path)
  assert result.video is not None
  info = video.open_video(result.video)
  assert (info.height, info.width) == (960, 1280)
  [joints] = _joints(content, 0)
  # x becomes 8 x + 3.5 when each pixel becomes eight.
  np.testing.assert_allclose(joints[0], 8 * dots.dot(3) + 3.5, atol=4)


def test_interrupted_prediction_leaves_its_journal_alone(dots, clip, tmp_path):
  class Stopped(dots.Estimator):
    def find(self, frames):
      if len(self.clips) > 5:
        raise KeyboardInterrupt
      return super().find(frames)

  with pytest.raises(KeyboardInterrupt):
    _run(dots, clip, "whole", tmp_path, Stopped())
  [left] = (tmp_path / "out").iterdir()
  assert left.name == ".clip.journal"


def test_broken_weights_are_named(dots, clip, tmp_path):
  class Broken(dots.Estimator):
    def find(self, frames):
      poses = super().find(frames)
      poses.joints[-1, 2] = np.nan
      return poses

  with pytest.raises(ValueError, match=r"clip: frame 4: .*no finite pose"):
    _run(dots, clip, "whole", tmp_path, Broken())
  [left] = (tmp_path / "out").iterdir()
  assert left.name == ".clip.journal"


def test_mistakes_are_found_before_the_weights_are_read(clip, tmp_path):
  use = {"weights": tmp_path / "nowhere", "out": tmp_path / "out"}
  with pytest.raises(ValueError, match=r"absent\.mp4"):
    predict.predict(input=tmp_path / "absent.mp4", boxes="whole", **use)
  with pytest.raises(ValueError, match=r"boxes\.json: no such file"):
    predict.predict(input=clip, boxes=tmp_path / "boxes.json", **use)
  with pytest.raises(ValueError, match="nowhere"):
    predict.predict(input=clip, boxes="whole", **use)


def _tracks(content):
  """The identity of the one person of each frame; None where there is none."""
  found = {a["image_id"]: a["track_id"] for a in content["annotations"]}
  return [found.get(index) for index in range(11)]


def _detections(dots, tmp_path, indices):
  """A file of boxes without identities for some of the frames."""
  path = tmp_path / "boxes.json"
  path.write_text(
    json.dumps([{"image_id": index, **dots.around(index)} for index in indices])
  )
  return path


def test_people_without_identities_get_them(dots, clip, tmp_path):
  boxes = _detections(dots, tmp_path, [0, 1, 2, 6, 7, 8, 9])
  result, content = _run(dots, clip, boxes, tmp_path)
  # A gap of 0.4 s is bridged; who comes back is known at once.
  assert _tracks(content) == [0, 0, 0, None, None, None, 0, 0, 0, 0, None]
  assert result.tracks == 1
  assert content["protocol"]["identities"] == "tracker"


def test_people_are_followed_through_frames_without_boxes(dots, clip, tmp_path):
  """One joint after the other has the same place, so the box only moves."""
  boxes = _detections(dots, tmp_path, [2])
  _, alone = _run(dots, clip, boxes, tmp_path)
  assert [len(_joints(alone, i)) for i in range(11)] == [0, 0, 1] + [0] * 8
  result, content = _run(dots, clip, boxes, tmp_path, follow=True)
  counts = [len(_joints(content, index)) for index in range(11)]
  assert counts == [0, 0] + [1] * 9
  for index in range(2, 11):
    [joints] = _joints(content, index)
    np.testing.assert_allclose(
      joints, np.tile(dots.dot(index), (15, 1)), atol=1
    )
  assert result.tracks == 1 and "propagation" in content["protocol"]


@pytest.mark.parametrize(("smooth", "most"), [("online", 7.0), ("lag", 1.0)])
def test_joints_are_steadied(dots, clip, tmp_path, smooth, most):
  """The dot moves evenly: a lag behind it, or none where the future is seen."""
  _, content = _run(dots, clip, "whole", tmp_path, smooth=smooth)
  assert content["protocol"]["smooth"] == smooth
  joints = np.array([_joints(content, index)[0] for index in range(11)])
  wanted = np.array([dots.dot(index) for index in range(11)])
  error = np.abs(joints - wanted[:, None]).max()
  assert error < most
  assert (error > 1.5) == (smooth == "online")


def test_a_detector_is_asked_for_each_frame(dots, clip, tmp_path):
  class Detector:
    name = "dots"
    shapes: ClassVar[list] = []

    def protocol(self):
      return {"detector": "dots"}

    def __call__(self, frame):
      self.shapes.append(frame.shape)
      count = 0 if len(self.shapes) == 4 else 1
      x, y = dots.dot(len(self.shapes) - 1)
      box = np.array([[x - 31, y - 17, x + 22, y + 44]] * count, np.float32)
      score = np.full(count, 0.9, np.float32)
      return detection.Detections(box.reshape(-1, 4), score)

  given = dataclasses.replace(
    _supplied(clip, "whole"), supply=boxes_in.detected(Detector())
  )
  [result] = run.run([given], dots.Estimator(), tmp_path / "out")
  content = json.loads(result.poses[0].read_text())
  assert Detector.shapes == [(*dots.SIZE, 3)] * 11
  counts = [len(_joints(content, index)) for index in range(11)]
  assert counts == [1, 1, 1, 0] + [1] * 7
  assert _tracks(content) == [0, 0, 0, None] + [0] * 7
  assert content["protocol"]["detector"] == "dots"
  assert content["protocol"]["boxes"] == "detector"


def test_a_folder_of_videos_is_one_call(clip, tmp_path, loaded, capsys):
  more = tmp_path / "videos"
  more.mkdir()
  for name in ("b10.webm", "b9.webm"):
    (more / name).write_bytes(clip.read_bytes())
  out = tmp_path / "out"
  found = predict.predict(input=more, boxes="whole", weights=tmp_path, out=out)
  assert [output.poses[0].name for output in found] == ["b9.json", "b10.json"]
  assert [output.frames for output in found] == [11, 11]
  assert capsys.readouterr().out.count("11 people in 11 frames") == 2
  # One that fails stops no other.
  (out / "b9.json").unlink()
  (out / "b9.webm").rename(more / "c.webm")
  fails = predict.predict
  with pytest.raises(ValueError, match=r"1 of 3 videos were not done \(b10\)"):
    fails(
      input=more, boxes="whole", weights=tmp_path, out=_blocked(out, "b10.webm")
    )
  # Its poses were whole before its video was to take its place.
  assert sorted(path.name for path in (out / "new").iterdir()) == [
    *(".b10.journal", ".b9.journal", ".c.journal"),
    *("b10.json", "b10.poses.json", "b10.webm"),
    *("b9.json", "b9.poses.json", "b9.webm"),
    *("c.json", "c.poses.json", "c.webm"),
  ]


def _blocked(out, name):
  """A folder of outputs where one name is that of a folder."""
  (out / "new" / name).mkdir(parents=True)
  (out / "new" / name / "keep").write_text("")
  return out / "new"


def test_a_camera_is_read_until_ctrl_c(dots, tmp_path, monkeypatch):
  """And all that was seen is written."""

  def endless(source, **_):
    for index in itertools.count():
      if index == 6:
        signal.raise_signal(signal.SIGINT)
      yield index, index / 10, dots.frame(index % 11)

  live = video.VideoInfo(10.0, dots.SIZE[1], dots.SIZE[0], 0, live=True)
  real = video.open_video
  open_video = lambda s, **k: live if s.camera is not None else real(s, **k)  # noqa: E731
  monkeypatch.setattr(video, "open_video", open_video)
  monkeypatch.setattr(video, "read", endless)
  before = signal.getsignal(signal.SIGINT)
  [source] = sources.find("camera:0")
  given = run.Video(source, live, boxes_in.whole())
  [result] = run.run([given], dots.Estimator(), tmp_path / "out")
  assert signal.getsignal(signal.SIGINT) is before
  # What asks to stop runs in another thread than what reads.
  assert 6 <= result.frames < 60 and result.poses[0].name == "camera0.json"
  content = json.loads(result.poses[0].read_text())
  assert len(content["images"]) == result.frames


@pytest.mark.parametrize(
  ("given", "line"),
  [
    (dict(), "give either --boxes"),
    (dict(boxes="whole", detector="hog"), "give either --boxes"),
    (dict(boxes="whole", smooth="much"), "--smooth=much: there are none, onl"),
    (dict(detector="nothing"), "no detector 'nothing'; there are hog"),
    (dict(boxes="whole", fps=0.0), "fps is 0"),
    (dict(boxes="whole", formats="xml"), "no format 'xml'; there are posetr"),
    (dict(boxes="whole", draw="bones"), "no 'bones' there; give some of skel"),
    (dict(boxes="whole", video="avi"), "--video=avi: there are webm, mp4, n"),
    (
      dict(boxes="whole", formats="csv,coco", keep_samples=True),
      "none of --formats=csv,coco can hold samples; add one of json, npz",
    ),
  ],
)
def test_what_cannot_work_is_told_first(clip, tmp_path, given, line):
  with pytest.raises(ValueError, match=line):
    predict.predict(
      input=clip, weights=tmp_path / "no", out=tmp_path / "out", **given
    )


@pytest.fixture
def loaded(dots, monkeypatch):
  """The estimator that any weights give."""
  fake = dots.Estimator()
  monkeypatch.setattr(estimator_lib.Estimator, "load", lambda *_, **__: fake)
  return fake


def test_input_and_boxes_are_never_overwritten(dots, clip, tmp_path, loaded):
  before = clip.read_bytes()
  with pytest.raises(ValueError, match=r"clip\.webm: would be overwritten"):
    run.run([_supplied(clip, "whole")], dots.Estimator(), tmp_path)
  assert clip.read_bytes() == before
  boxes = tmp_path / "out" / "clip.json"
  boxes.parent.mkdir()
  boxes.write_text(json.dumps([{"image_id": 0, **dots.around(0)}]))
  with pytest.raises(ValueError, match=r"clip\.json: would be overwritten"):
    predict.predict(input=clip, boxes=boxes, weights=tmp_path, out=boxes.parent)
  assert json.loads(boxes.read_text())[0]["score"] == 0.8


def test_real_video(dots, shared_data, tmp_path):
  root = shared_data / "posetrack18_mini" / "videos" / "000001_mpiinew_test"
  path = root / "000001_mpiinew_test.mp4"
  boxes = [
    {"file_name": f"{i:06d}.jpg", "bbox": [200, 100, 300, 500]}
    for i in range(4)
  ]
  (tmp_path / "boxes.json").write_text(json.dumps(boxes))
  for source, people in (("whole", 5), (tmp_path / "boxes.json", 4)):
    result, content = _run(dots, path, source, tmp_path)
    assert len(content["images"]) == result.frames == 5
    assert result.people == people
    assert result.video is not None and video.count(result.video) == 5
  read = annotations.read_video(result.poses[0], skeleton=POSETRACK)
  assert [len(frame.people) for frame in read.frames] == [1, 1, 1, 1, 0]
