"""A `prepare` that is killed leaves no set, or the old one; the next one ends."""

import json
import os
import pathlib
import signal
import subprocess
import sys
import time

import pytest

from diffpose_jax.data import build, prepare, prepared, stored_boxes

REPO = pathlib.Path(__file__).resolve().parents[2]

# The command itself, in which a function takes its time, says at which call it
# is, and never returns from that unless it reads a picture.
COMMAND = """
import importlib, pathlib, sys, time
from diffpose_jax import main
module, function, marker, calls = sys.argv[1:5]
module = importlib.import_module(module)
real, count = getattr(module, function), [0]
def slow(*args, **kwargs):
  count[0] += 1
  if count[0] == int(calls):
    pathlib.Path(marker).touch()
  time.sleep(0.02)
  result = real(*args, **kwargs)
  while count[0] >= int(calls) and function != "read_picture":
    time.sleep(0.02)
  return result
setattr(module, function, slow)
sys.argv = ["diffpose_jax", *sys.argv[5:]]
main.console()
"""


def _names(folder):
  return sorted(p.name for p in folder.iterdir() if p.suffix != ".lock")


def _flags(tmp_path, *more):
  source, out = tmp_path / "source", tmp_path / "out"
  where = [f"--source={source}", f"--out={out}"]
  return ["prepare", "--dataset=posetrack18", *where, *more]


def _kill(tmp_path, flags, how, function, calls):
  """The exit code and stderr of the command, killed in a call of `function`."""
  marker = tmp_path.parent / f"{tmp_path.name}-{how.name}"
  module, _, name = function.rpartition(".")
  script = ["-c", COMMAND, module, name, str(marker), str(calls)]
  process = subprocess.Popen(
    [sys.executable, *script, *flags],
    cwd=REPO,
    env=os.environ | {"JAX_PLATFORMS": "cpu"},
    stdout=subprocess.DEVNULL,
    stderr=subprocess.PIPE,
    text=True,
  )
  try:
    end = time.monotonic() + 120
    while not marker.exists() and process.poll() is None:
      assert time.monotonic() < end, "the command did not get there"
      time.sleep(0.01)
    assert process.poll() is None, process.communicate()[1]
    process.send_signal(how)
    _, errors = process.communicate(timeout=60)
  finally:
    process.kill()
  return process.returncode, errors


@pytest.fixture
def source(tmp_path, scene):
  scene.write(tmp_path / "source", "train", videos=5, frames=29)
  scene.write(tmp_path / "source", "val", videos=1, frames=3)
  return tmp_path / "source"


def _whole(out):
  prepare.verify(out)
  counts = [len(prepared.open_split(out, s).frames) for s in ("train", "val")]
  return counts == [145, 3]


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_killed_amid_the_records(source, tmp_path, how, capsys):
  place = "diffpose_jax.data.layout.read_picture"
  code, errors = _kill(tmp_path, _flags(tmp_path), how, place, 80)
  # 80 pictures are read, of 145: some are written, in a folder beside.
  assert not (tmp_path / "out").exists()
  if how == signal.SIGINT:
    assert code == 130
    assert errors.endswith("diffpose_jax: interrupted\n")
    assert "Traceback" not in errors
    assert _names(tmp_path) == ["source"]
  else:
    assert code == -signal.SIGKILL
    assert _names(tmp_path) == [".out.partial", "source"]
    with pytest.raises(ValueError, match="no prepared data here"):
      prepared.open_split(tmp_path / "out", "train")
  out = prepare.prepare(
    dataset="posetrack18", source=source, out=tmp_path / "out"
  )
  assert "waiting" not in capsys.readouterr().out  # the lock went with it
  assert _names(tmp_path) == ["out", "source"]
  assert _whole(out)


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_killed_amid_the_boxes(source, tmp_path, how):
  out = prepare.prepare(
    dataset="posetrack18", source=source, out=tmp_path / "out"
  )
  path = tmp_path / "found.json"
  name = prepared.open_split(out, "val").frames.file_name[0]
  box = {"image_name": str(name), "bbox": [3, 5, 23, 29], "score": 0.5}
  path.write_text(json.dumps([box]))
  place = "diffpose_jax.data.stored_boxes._write"
  flags = _flags(tmp_path, f"--boxes={path}")
  code, _ = _kill(tmp_path, flags, how, place, 1)
  assert code == (130 if how == signal.SIGINT else -signal.SIGKILL)
  assert stored_boxes.about(out) is None
  assert _whole(out)
  records = next(out.glob("*train.array_record*")).stat().st_ino
  prepare.prepare(dataset="posetrack18", source=source, out=out, boxes=path)
  assert _whole(out)
  assert stored_boxes.check(out)["splits"]["val"]["boxes"] == 1
  assert next(out.glob("*train.array_record*")).stat().st_ino == records
  assert _names(tmp_path) == ["found.json", "out", "source"]


def test_killed_between_the_two_moves(tmp_path, scene, capsys):
  """The old set was moved away and the new one is not yet there."""
  scene.write(tmp_path / "source", "val", videos=1, frames=2)
  where = {"dataset": "posetrack18", "source": tmp_path / "source"}
  out = prepare.prepare(**where, out=tmp_path / "out")
  out.rename(tmp_path / ".out.old")
  capsys.readouterr()
  prepare.prepare(**where, out=out)
  assert "already prepared" in capsys.readouterr().out
  prepare.verify(out)
  assert _names(tmp_path) == ["out", "source"]


def test_a_second_process_waits_and_says_so(tmp_path):
  out = tmp_path / "out"
  script = (
    "import pathlib, sys\n"
    "from diffpose_jax.data import build\n"
    "with build.lock(pathlib.Path(sys.argv[1])):\n"
    "  print('has it', flush=True)\n"
  )
  with build.lock(out):
    process = subprocess.Popen(
      [sys.executable, "-c", script, str(out)],
      cwd=REPO,
      stdout=subprocess.PIPE,
      text=True,
      env=os.environ | {"PYTHONUNBUFFERED": "1"},
    )
    assert process.stdout is not None
    first = process.stdout.readline()
    assert first == f"{out}: waiting for another process that prepares it\n"
    assert process.poll() is None
  rest, _ = process.communicate(timeout=60)
  assert (process.returncode, rest) == (0, "has it\n")


def test_own_data_without_a_skeleton_are_told_to_write_one(tmp_path):
  (tmp_path / "annotations").mkdir()
  (tmp_path / "annotations" / "train.json").write_text("{}")
  with pytest.raises(
    ValueError,
    match=r"skeleton\.json: no such file; write one with .*, see datasets/custom",
  ):
    build.builder_of("custom", tmp_path, 0.0)
