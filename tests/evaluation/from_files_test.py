import json
import shutil

import numpy as np
import pytest

from diffpose_jax.data import annotations
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
