"""A user's own joints: trained, resumed, evaluated and predicted by name."""

import json
import shutil

import cv2
import numpy as np
import pytest

from diffpose_jax import main
from diffpose_jax.inference import workdir as run_folder
from diffpose_jax.pose.skeleton import COCO, POSETRACK
from diffpose_jax.training import start as start_lib
from diffpose_jax.training import train

JOINTS = ["left_hand", "right_hand", "nose", "left_foot", "right_foot"]
SIZE = (71, 97)
SMALL = (  # a network that compiles in seconds
  "data.size=(32,24)",
  "data.span=1",
  "model.size=cpu",
  "model.patch=8",
  "model.stem=conv",
  "model.strl_depth=0",
  "model.decoder_width=8",
  "model.heatmap_width=8",
  "model.scales=1",
  "train.batch=8",
  "evaluate.batch=8",
)


def _write_root(root, order=JOINTS):
  """Two splits of a video of eight frames; a person in each, no head box."""
  root.mkdir()
  pairs = [["left_hand", "right_hand"], ["left_foot", "right_foot"]]
  skeleton = {"name": "own", "joints": order, "pairs": pairs, "limbs": []}
  (root / "skeleton.json").write_text(json.dumps(skeleton))
  (root / "annotations").mkdir()
  rng = np.random.default_rng(0)
  for split in ("train", "val"):
    (root / "images" / split).mkdir(parents=True)
    images, people = [], []
    for i in range(8):
      name = f"images/{split}/{i:03d}.jpg"
      picture = rng.integers(0, 256, (*SIZE, 3), np.uint8)
      assert cv2.imwrite(str(root / name), picture)
      images.append({"id": i, "file_name": name})
      points = [v for j in range(5) for v in (20 + 11 * j, 15 + 7 * j + i, 2)]
      people.append(
        {
          "id": i,
          "image_id": i,
          "category_id": 1,
          "track_id": 7,
          "bbox": [15, 11, 55, 41],
          "keypoints": points,
        }
      )
    record = {
      "images": images,
      "annotations": people,
      "categories": [{"id": 1, "name": "person", "keypoints": JOINTS}],
    }
    path = root / "annotations" / f"{split}.json"
    path.write_text(json.dumps(record))
  return root


@pytest.fixture(scope="module")
def root(tmp_path_factory):
  return _write_root(tmp_path_factory.mktemp("own") / "root")


def _run(workdir, root, *more):
  sizes = [f"--config.{setting}" for setting in SMALL]
  return main.main(
    [
      "--config=configs/pt18.py",
      f"--workdir={workdir}",
      "--config.data.name=custom",
      f"--config.data.root={root}",
      "--config.train.steps=2",
      *sizes,
      *more,
    ]
  )


@pytest.fixture(scope="module")
def workdir(root, tmp_path_factory):
  folder = tmp_path_factory.mktemp("run") / "run"
  assert _run(folder, root) == 0
  return folder


def test_the_network_has_a_heatmap_for_each_joint(workdir):
  config, skeleton = run_folder.load(workdir)
  assert config.data.name == "custom"
  assert skeleton.joints == tuple(JOINTS)
  assert skeleton.flip == (1, 0, 2, 4, 3)


def test_data_without_head_boxes_have_pck_but_no_ap(workdir):
  result = json.loads((workdir / "evaluation.json").read_text())
  for part in (result, result["mean_pose"]):
    assert list(part["ap"]) == [*JOINTS, "total"]
    assert set(part["ap"].values()) == {None}
    assert 0 <= part["pck_box"]["all"]["0.1"] <= 1
    assert part["pck_head"]["all"]["0.1"] is None
  # The mean pose is that of eight frames that move 7 pixels in all.
  assert result["mean_pose"]["pck_box"]["all"]["0.1"] == 1
  assert "foot" in (workdir / "report.html").read_text()
  best = [p.name for p in (workdir / "checkpoints").iterdir()]
  assert "2" in best


def test_predictions_are_called_by_their_names(workdir, tmp_path):
  folder = tmp_path / "clip"
  folder.mkdir()
  for i in range(3):
    picture = np.full((*SIZE, 3), 60 + 30 * i, np.uint8)
    cv2.imwrite(str(folder / f"{i:06d}.png"), picture)
  flags = [f"--input={folder}", "--boxes=whole", f"--weights={workdir}"]
  assert main.main(["predict", *flags, f"--out={tmp_path}"]) == 0
  record = json.loads((tmp_path / "clip.json").read_text())
  assert record["categories"][0]["keypoints"] == JOINTS
  assert all(len(a["keypoints"]) == 15 for a in record["annotations"])
  assert len(record["annotations"]) == 3


def test_weights_are_evaluated_on_labels_in_another_order(
  workdir, root, tmp_path
):
  """The joints are found by name: the same run, the same numbers."""
  again = tmp_path / "run"
  shutil.copytree(workdir, again)
  shutil.rmtree(again / "data")
  other = _write_root(tmp_path / "other", order=JOINTS[::-1])
  config = json.loads((again / "config.json").read_text())
  config["data"]["root"] = str(other)
  (again / "config.json").write_text(json.dumps(config))
  for folder in (workdir, again):
    assert main.main(["evaluate", f"--weights={folder}"]) == 0
  first, second = (
    json.loads((folder / "evaluation-val.json").read_text())
    for folder in (workdir, again)
  )
  assert first["pck_box"] == second["pck_box"]


def test_a_run_goes_on_with_its_own_data_only(
  workdir, tmp_path, capsys, monkeypatch
):
  again = tmp_path / "run"
  shutil.copytree(workdir, again)
  other = _write_root(tmp_path / "changed")
  path = other / "annotations" / "train.json"
  record = json.loads(path.read_text())
  record["annotations"][3]["keypoints"][0] += 5
  path.write_text(json.dumps(record))
  (again / "evaluation.json").unlink()
  assert _run(again, other, "--config.train.steps=3") == 2
  line = capsys.readouterr().err.splitlines()[-1]
  assert "are not those that it was trained on until step 2" in line
  assert line.endswith(
    "go on with these by --config.train.accept_new_data=true"
  )
  accept = "--config.train.accept_new_data=true"
  monkeypatch.setattr(train, "_loop", _stop)
  assert _run(again, other, "--config.train.steps=3", accept) == 130
  assert "goes on at step 2 with other data" in capsys.readouterr().out
  # From now on, these are its data.
  assert _run(again, other, "--config.train.steps=3") == 130


def _stop(*_):
  raise KeyboardInterrupt


def test_a_run_does_not_go_on_with_other_joints(workdir, tmp_path, capsys):
  again = tmp_path / "run"
  shutil.copytree(workdir, again)
  other = _write_root(tmp_path / "other", order=JOINTS[::-1])
  accept = "--config.train.accept_new_data=true"
  assert _run(again, other, "--config.train.steps=3", accept) == 2
  line = capsys.readouterr().err
  assert "has learned the joints left_hand, right_hand, nose" in line


def test_a_run_without_its_joints_is_refused(workdir, tmp_path):
  again = tmp_path / "run"
  shutil.copytree(workdir, again)
  (again / "skeleton.json").unlink()
  with pytest.raises(ValueError, match=r"skeleton\.json: no such file, so an"):
    run_folder.load(again)


def test_named_joints_of_the_same_data(workdir, root, tmp_path, monkeypatch):
  """PoseTrack's channels from data that have but one of its joints."""
  learned = []

  def start(config, skeleton, *rest):
    learned.append(skeleton)
    raise InterruptedError

  monkeypatch.setattr(start_lib, "state", start)
  more = f"--config.data.prepared={workdir / 'data'}"
  for name, expected in (("posetrack", POSETRACK), ("coco", COCO)):
    named = f"--config.data.skeleton={name}"
    assert _run(tmp_path / "run", root, more, named) == 2
    assert learned.pop() is expected


def test_other_sets_are_mixed_in_by_the_names_of_joints(
  workdir, root, tmp_path, monkeypatch, capsys
):
  other = _write_root(tmp_path / "other", order=JOINTS[::-1])
  prepared = tmp_path / "prepared"
  flags = ["--dataset=custom", f"--source={other}", f"--out={prepared}"]
  assert main.main(["prepare", *flags]) == 0
  given = []

  def loop(config, folder, mesh, checkpoints, splits, *rest):
    given.extend(splits[0])
    raise KeyboardInterrupt

  monkeypatch.setattr(train, "_loop", loop)
  run = tmp_path / "run"
  mixture = [
    f"--config.data.mixture=('{prepared}',)",
    "--config.data.shares=(0.25,)",
  ]
  assert _run(run, root, *mixture) == 130
  assert [split.folder for split in given] == [run / "data", prepared]
  for split in given:
    assert split.skeleton.joints == tuple(JOINTS)
    # x is 20 + 11 times the place of the joint in the file.
    np.testing.assert_array_equal(
      split.people.joints[0, :, 0], [20, 31, 42, 53, 64]
    )
  known = json.loads((run / "data.json").read_text())["data"]
  assert len(set(known)) == 2
  capsys.readouterr()
  missing = "--config.data.mixture=('/nowhere',)"
  assert _run(tmp_path / "new", root, missing, mixture[1]) == 2
  line = capsys.readouterr().err.splitlines()[-1]
  assert "/nowhere: no prepared data here" in line
