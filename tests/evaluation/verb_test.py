"""What the flags of `evaluate` call, from the command line."""

import json
import shutil
import zipfile

import numpy as np
import pytest

from diffpose_jax import main
from diffpose_jax.data import results
from diffpose_jax.data.annotations import Frame, Person, Video
from diffpose_jax.pose import skeleton


def _write(folder, skeleton_):
  joints = np.arange(2.0 * len(skeleton_.joints)).reshape(-1, 2) + 1
  person = Person(
    box=np.array([0, 0, 40, 40]),
    joints=joints,
    labelled=np.ones(len(joints), bool),
    track_id=0,
    head_box=np.array([0, 0, 6, 8]),
    scores=np.full(len(joints), 0.5),
  )
  frames = tuple(Frame(f"a/{i}.jpg", i, True, (person,)) for i in range(3))
  results.write_posetrack(
    folder, [Video("a", frames)], skeleton=skeleton_, protocol=None
  )


@pytest.fixture
def folder(tmp_path):
  _write(tmp_path / "gt", skeleton.POSETRACK)
  shutil.copytree(tmp_path / "gt", tmp_path / "pred")
  return tmp_path


def _run(folder, *flags):
  sides = (f"--gt={folder / 'gt'}", f"--pred={folder / 'pred'}")
  return main.main(["evaluate", *sides, *flags])


def test_files_compared_and_zipped(folder, capsys):
  out, again = folder / "a.json", folder / "b.json"
  assert _run(folder, f"--out={out}", "--metrics=ap") == 0
  assert json.loads(out.read_text())["ap"]["total"] == 100
  assert _run(folder, f"--out={again}") == 0
  assert main.main(["evaluate", f"--compare={out},{again}"]) == 0
  assert capsys.readouterr().out.count("100.0") == 4 * 8
  assert _run(folder, f"--zip={folder / 'a.zip'}") == 0
  assert zipfile.ZipFile(folder / "a.zip").namelist() == ["a.json"]
  shutil.copytree(folder / "gt", folder / "more")
  (folder / "more" / "a.json").rename(folder / "more" / "b.json")
  sides = (f"--gt={folder / 'more'}", f"--pred={folder / 'more'}")
  other = folder / "c.json"
  assert main.main(["evaluate", *sides, f"--out={other}"]) == 0
  compared = ["evaluate", f"--compare={out},{other}"]
  assert main.main(compared) == 2
  assert "ground_truth_sha256" in capsys.readouterr().err
  assert main.main([*compared, "--mixed-protocols"]) == 0


def test_the_data_set_is_said_in_the_protocol(folder, capsys):
  out = folder / "a.json"
  flags = (f"--out={out}", "--split=test")
  assert _run(folder, *flags) == 2
  assert "give --dataset too" in capsys.readouterr().err
  assert _run(folder, *flags, "--dataset=posetrack18") == 0
  protocol = json.loads(out.read_text())["protocol"]
  assert (protocol["data"], protocol["split"]) == ("posetrack18", "test")
  assert protocol["poseval_compatible"] is True
  assert _run(folder, f"--out={out}", "--noposeval-compatible") == 0
  protocol = json.loads(out.read_text())["protocol"]
  assert protocol["poseval_compatible"] is False


def test_joints_of_other_data(tmp_path, capsys):
  for side in ("gt", "pred"):
    _write(tmp_path / side, skeleton.COCO)
  out = f"--out={tmp_path / 'a.json'}"
  assert _run(tmp_path, out) == 2
  assert "'left_eye', which is no joint of posetrack" in capsys.readouterr().err
  assert _run(tmp_path, out, "--skeleton=coco") == 0
  assert json.loads((tmp_path / "a.json").read_text())["ap"]["left_eye"] == 100
  assert _run(tmp_path, out, "--skeleton=nowhere.json") == 2
  assert "nowhere.json: no such file" in capsys.readouterr().err


def test_a_metric_that_does_not_exist(folder, capsys):
  assert _run(folder, f"--out={folder / 'a.json'}", "--metrics=ap,map") == 2
  assert "'map' is not known; there are ap" in capsys.readouterr().err
