import dataclasses
import json
import re
import shutil

import numpy as np
import pytest

from diffpose_jax.data import (
  annolist,
  annotations,
  poses,
  result_formats,
  results,
)
from diffpose_jax.data.annotations import Frame, Person, Video
from diffpose_jax.evaluation import from_files
from diffpose_jax.pose import skeleton

SKELETON = skeleton.POSETRACK


@pytest.fixture
def folder(tmp_path):
  """Ground truth of two short videos of one person."""
  rng = np.random.default_rng(0)
  for name in ("000001_x_val", "000002_x_val"):
    frames = []
    for i in range(5):
      labelled = np.ones(17, bool)
      labelled[[3, 4]] = False
      joints = rng.uniform(10, 400, (17, 2)).astype(np.float32)
      person = Person(
        box=np.array([5, 5, 405, 405], np.float32),
        joints=joints * labelled[:, None],
        labelled=labelled,
        head_box=np.array([50, 50, 80, 90], np.float32),
      )
      frames.append(Frame(f"images/val/{name}/{i:06}.jpg", i, True, (person,)))
    annotations.write_video(
      tmp_path / "gt" / f"{name}.json",
      Video(name, tuple(frames)),
      skeleton=SKELETON,
    )
  shutil.copytree(tmp_path / "gt", tmp_path / "pred")
  return tmp_path


def test_truth_against_itself_is_100_written_and_printed(folder, capsys):
  out = folder / "new" / "out.json"
  report = from_files.evaluate_files(folder / "gt", folder / "pred", out)
  assert json.loads(out.read_text()) == report
  for name in ("ap", "ap_groups", "precision", "recall"):
    assert set(report[name].values()) == {100.0}
  assert report["protocol"]["videos"] == 2
  assert report["protocol"]["frames"] == 10
  printed = capsys.readouterr().out
  assert printed.split("\n")[0] == "Average precision, %"
  assert printed.split("\n")[1].split() == [
    "Head", "Shoulder", "Elbow", "Wrist", "Hip", "Knee", "Ankle", "Mean"
  ]  # fmt: skip
  assert printed.split("\n")[2].split() == ["AP"] + ["100.0"] * 8
  assert str(out) in printed


def test_agrees_with_poseval(shared_data, tmp_path):
  folder = shared_data / "poseval_reference"
  out = tmp_path / "out.json"
  from_files.evaluate_files(folder / "gt", folder / "pred", out)
  got = json.loads(out.read_text())
  want = json.loads((folder / "expected.json").read_text())
  for name in ("ap", "ap_groups", "precision", "recall"):
    assert list(got[name]) == list(want[name])
    for key, value in want[name].items():
      assert abs(got[name][key] - value) <= 1e-6, (name, key)


def test_own_json_is_judged_as_posetrack_json_is(folder):
  """Both are of the same poses, at their own precision."""
  rng = np.random.default_rng(1)
  for path in (folder / "gt").iterdir():
    _edit(path, lambda r: [a.update(track_id=7) for a in r["annotations"]])
  for truth in results.read_poses(folder / "gt", skeleton=SKELETON).videos:
    frames = []
    for frame in truth.frames:
      (person,) = frame.people
      moved = person.joints + rng.normal(0, 12, (17, 2)).astype(np.float32)
      found = Person(
        box=np.array([5.3, 5.1, 405.7, 404.9], np.float32),
        joints=moved,
        labelled=person.labelled,
        track_id=3,
        scores=(rng.random(17) * person.labelled).astype(np.float32),
        box_score=0.7,
        scale=np.tile(np.eye(2), (17, 1, 1)),
        samples=np.stack([moved, moved + 150]),
      )
      doubt = dataclasses.replace(found, joints=moved + 9, track_id=4)
      frames.append(dataclasses.replace(frame, people=(found, doubt)))
    head = poses.Head(
      truth.name, "x.mp4", 25.0, 480, 640, SKELETON, {"steps": 4}
    )
    for name, place in (("posetrack", "a"), ("json", "b"), ("json", "a")):
      path, *_ = result_formats.paths(name, folder / place, truth.name)
      result_formats.write(name, path, head, frames, samples=True)
  metrics = ("ap", "pck", "oks", "mota", "hota", "jitter", "sides")
  one, two = (
    from_files.evaluate_files(
      folder / "gt", folder / place, folder / "out.json", metrics=metrics
    )
    for place in "ab"
  )
  assert 20 < one["ap"]["total"] < 95
  differ = {"predictions_form", "predictions_sha256", "predictions"}
  said = two.pop("protocol")
  assert said["predictions_form"] == "diffpose_jax JSON"
  assert said["steps"] == 4
  assert {k for k, v in one.pop("protocol").items() if said[k] != v} == differ
  assert one == two


def test_visibility_zero_with_a_position_is_annotated(folder):
  """As poseval has it: files made from PoseTrack17 have such joints."""
  for side in ("gt", "pred"):
    path = folder / side / "000001_x_val.json"
    record = json.loads(path.read_text())
    for annotation in record["annotations"]:
      annotation["keypoints"][2] = 0  # the nose
    if side == "pred":
      for annotation in record["annotations"]:
        annotation["keypoints"][0] += 1000
    path.write_text(json.dumps(record))
  report = from_files.evaluate_files(
    folder / "gt", folder / "pred", folder / "out.json"
  )
  assert report["recall"]["nose"] == 50


def test_a_missing_file_is_an_error_and_nothing_is_written(folder):
  (folder / "pred" / "000002_x_val.json").unlink()
  with pytest.raises(ValueError, match="000002_x_val has no prediction"):
    from_files.evaluate_files(
      folder / "gt", folder / "pred", folder / "out.json"
    )
  with pytest.raises(ValueError, match="no such folder"):
    from_files.evaluate_files(
      folder / "none", folder / "pred", folder / "out.json"
    )
  assert not (folder / "out.json").exists()


def _edit(path, change):
  record = json.loads(path.read_text())
  change(record)
  path.write_text(json.dumps(record))


def _evaluate(folder, **more):
  return from_files.evaluate_files(
    folder / "gt", folder / "pred", folder / "out.json", **more
  )


def to_annolist(path):
  """A PoseTrack18 file in the form of PoseTrack17, by its rules."""
  record = json.loads(path.read_text())
  names = record["categories"][0]["keypoints"]
  listed = []
  for image in record["images"]:
    people = []
    for a in record["annotations"]:
      if a["image_id"] != image["id"]:
        continue
      points = []
      for i, joint in enumerate(annolist.JOINTS):
        slot = names.index(joint)
        x, y, v = a["keypoints"][3 * slot : 3 * slot + 3]
        if x == y == v == 0:
          continue
        point = {"id": [i], "x": [x], "y": [y]}
        if a.get("scores"):
          point["score"] = [a["scores"][slot]]
        points.append(point)
      rect = {"track_id": [a["track_id"]], "annopoints": [{"point": points}]}
      if "bbox_head" in a:
        x, y, w, h = a["bbox_head"]
        rect |= {"x1": [x], "y1": [y], "x2": [x + w], "y2": [y + h]}
      people.append(rect)
    entry = {"image": [{"name": image["file_name"]}], "annorect": people}
    regions = zip(
      image.get("ignore_regions_x", []),
      image.get("ignore_regions_y", []),
      strict=True,
    )
    entry["ignore_regions"] = [
      {"point": [{"x": [x], "y": [y]} for x, y in zip(*region, strict=True)]}
      for region in regions
    ]
    listed.append(entry)
  path.write_text(json.dumps({"annolist": listed}))


@pytest.mark.parametrize("sides", [("gt",), ("pred",), ("gt", "pred")])
def test_both_encodings_give_poseval_scores(shared_data, tmp_path, sides):
  reference = shared_data / "poseval_reference"
  for side in ("gt", "pred"):
    shutil.copytree(reference / side, tmp_path / side)
  for side in sides:
    for path in (tmp_path / side).glob("*.json"):
      to_annolist(path)
  got = _evaluate(tmp_path)
  want = json.loads((reference / "expected.json").read_text())
  for name in ("ap", "ap_groups", "precision", "recall"):
    for key, value in want[name].items():
      assert abs(got[name][key] - value) <= 1e-6, (name, key)
  assert (got["protocol"]["ground_truth_form"] == "annolist") == ("gt" in sides)


def test_renumbered_images_are_found_by_name_and_said(folder, capsys):
  def renumber(record):
    for image in record["images"]:
      image["id"] += 1000
    for annotation in record["annotations"]:
      annotation["image_id"] += 1000

  _edit(folder / "pred" / "000001_x_val.json", renumber)
  result = _evaluate(folder)
  assert result["ap"]["total"] == 100
  _, warning = result["warnings"]
  assert "paired by file name, in 5 frames, first in 000001_x_val" in warning
  assert f"warning: {warning}" in capsys.readouterr().err


@pytest.mark.parametrize(
  ("scores", "message"),
  [
    ([], "without joint scores: they rank last, in 5 frames"),
    ([7.5] * 17, r"scores outside \[0, 1\]: their order is what counts"),
    ([-0.1] * 17, r"scores outside \[0, 1\]"),
  ],
)
def test_odd_scores_are_accepted_and_said(folder, scores, message):
  def change(record):
    for annotation in record["annotations"]:
      annotation["scores"] = scores

  for name in ("000001_x_val", "000002_x_val"):
    _edit(
      folder / "pred" / f"{name}.json",
      lambda record: [
        a.update(scores=[0.5] * 17) for a in record["annotations"]
      ],
    )
  assert _evaluate(folder)["warnings"] == []
  _edit(folder / "pred" / "000002_x_val.json", change)
  (warning,) = _evaluate(folder)["warnings"]
  assert re.search(message, warning)


def test_scores_that_are_no_numbers_are_refused(folder):
  path = folder / "pred" / "000001_x_val.json"
  text = path.read_text()
  for bad in ("NaN", '"high"'):
    path.write_text(text.replace('"scores": []', f'"scores": [{bad}]', 1))
    with pytest.raises(ValueError, match="000001_x_val"):
      _evaluate(folder)


def test_a_track_twice_in_a_frame_is_said(folder):
  def twice(record):
    record["annotations"][0]["track_id"] = 3
    record["annotations"].append(record["annotations"][0] | {"id": 999})

  _edit(folder / "pred" / "000001_x_val.json", twice)
  warnings = _evaluate(folder)["warnings"]
  assert any("track id twice in a frame" in line for line in warnings)


def test_unknown_and_missing_joints_are_named(folder):
  path = folder / "pred" / "000001_x_val.json"

  def rename(record):
    record["categories"][0]["keypoints"][1] = "head_bottem"

  _edit(path, rename)
  with pytest.raises(ValueError, match="'head_bottem'.*mean 'head_bottom'"):
    _evaluate(folder)

  def leave_out(record):
    record["categories"][0]["keypoints"][1:2] = []
    for annotation in record["annotations"]:
      del annotation["keypoints"][3:6]

  _edit(path, leave_out)
  with pytest.raises(ValueError, match=r"not name 'head_bottom'.*score 0"):
    _evaluate(folder)
  assert not (folder / "out.json").exists()


def test_files_named_otherwise_are_named(folder):
  (folder / "pred" / "000001_x_val.json").rename(folder / "pred" / "1.json")
  with pytest.raises(ValueError, match="000001_x_val has no prediction"):
    _evaluate(folder)


def test_other_frame_counts_are_named(folder):
  def shorten(record):
    last = record["images"].pop()["id"]
    record["annotations"] = [
      a for a in record["annotations"] if a["image_id"] != last
    ]

  _edit(folder / "pred" / "000002_x_val.json", shorten)
  with pytest.raises(ValueError, match=r"000002_x_val: 1 frame\(s\).*000004"):
    _evaluate(folder)


def test_predictions_of_mmpose_are_accepted(folder):
  """No category ids or boxes, and third numbers that are scores."""
  for path in (folder / "pred").glob("*.json"):

    def change(record):
      record["images"] = [
        {"id": image["id"], "file_name": image["file_name"]}
        for image in record["images"]
      ]
      for i, a in enumerate(record["annotations"]):
        a["keypoints"][2::3] = [0.25] * 17
        record["annotations"][i] = {
          "image_id": a["image_id"],
          "keypoints": a["keypoints"],
          "scores": [0.25] * 17,
          "score": 0.5,
          "track_id": 0,
        }

    _edit(path, change)
  result = _evaluate(folder)
  assert result["ap"]["total"] == 100 and result["warnings"] == []


def test_the_protocol_says_what_was_compared(folder):
  """Also what the predictions say of how they came about."""
  first = _evaluate(folder)["protocol"]
  for path in (folder / "pred").glob("*.json"):
    _edit(path, lambda record: record.update(protocol={"steps": 4}))
  second = _evaluate(folder)["protocol"]
  assert (first.get("steps"), second["steps"]) == (None, 4)
  same = ("ground_truth_sha256", "videos", "frames", "measure", "code_version")
  for key in same:
    assert first[key] == second[key]
  assert first["predictions_sha256"] != second["predictions_sha256"]
  _edit(
    folder / "pred" / "000001_x_val.json",
    lambda record: record.update(protocol={"steps": 5}),
  )
  assert "steps" not in _evaluate(folder)["protocol"]


def test_the_data_set_names_its_labels_by_their_number(folder):
  """PoseTrack18 val: 74 videos are v0.2 and 170 are v0.45."""
  assert "labels" not in _evaluate(folder)["protocol"]
  protocol = _evaluate(folder, of=from_files.DataSet("posetrack18"))["protocol"]
  assert (protocol["data"], protocol["split"]) == ("posetrack18", "val")
  assert protocol["labels"].startswith("subset of 2 videos (74 in PoseTrack18")
  with pytest.raises(ValueError, match="'posetrak18' is not known"):
    _evaluate(folder, of=from_files.DataSet("posetrak18"))


def test_an_unknown_metric_is_refused_before_anything_is_read(tmp_path):
  with pytest.raises(ValueError, match="'map' is not known"):
    from_files.evaluate_files(
      tmp_path, tmp_path, tmp_path / "x", metrics=["ap", "map"]
    )
