"""What a run goes on from: its own checkpoint, another's, or nothing."""

import json
import os
import pathlib
import random
import signal
import subprocess
import sys
import time

import jax
import numpy as np
import pytest
import tiny

from diffpose_jax import config as config_lib
from diffpose_jax import main
from diffpose_jax.inference import workdir as run_folder
from diffpose_jax.model import sharding
from diffpose_jax.pose.skeleton import POSETRACK
from diffpose_jax.training import ledger, lock
from diffpose_jax.training import start as start_lib
from diffpose_jax.weights import checkpoint, seal

REPO = pathlib.Path(__file__).resolve().parents[2]
TINY = tiny.RUN | {  # with all that is random in training
  "model.drop_path": 0.1,
  "augment.colour": 0.3,
  "evaluate.steps": 1,
  "evaluate.samples": 1,
}


def _config(**changes):
  config = config_lib.default()
  config.update_from_flattened_dict(
    TINY | {key.replace("__", "."): value for key, value in changes.items()}
  )
  return config


def _begin(config, folder, states=()):
  """The state that a run of this workdir starts with, and the step.

  `states` are saved first, as those of steps 3 and 6.
  """
  checkpoints = checkpoint.Checkpoints(folder)
  try:
    for step, state in zip((3, 6), states, strict=False):
      checkpoints.save(vars(state), step, 1.0 / step)
    if states:
      return states[-1], 6
    return start_lib.state(config, POSETRACK, checkpoints, sharding.mesh(), 6)
  finally:
    checkpoints.close()


@pytest.fixture(scope="module")
def states(tmp_path_factory):
  """Two states of the tiny network, not equal in any leaf."""
  first, start = _begin(_config(), tmp_path_factory.mktemp("new"))
  assert start == 0
  later = lambda by: jax.tree.map(lambda v: v + v.dtype.type(by), first)  # noqa: E731
  return later(3), later(6)


@pytest.fixture
def run(states, tmp_path):
  """A workdir with checkpoints of steps 3 and 6."""
  run_folder.save(tmp_path / "run", _config(), POSETRACK)
  _begin(_config(), tmp_path / "run", states)
  return tmp_path / "run"


def _equal(a, b):
  jax.tree.map(np.testing.assert_array_equal, vars(a), vars(b))


def test_a_run_goes_on_from_another_s_checkpoint(run, states, tmp_path):
  """With optimiser and step, before any weights to start from, after its own."""
  other = tmp_path / "other"
  for source, step, expected in (
    (run, 6, states[1]),
    (run / "checkpoints" / "3", 3, states[0]),
  ):
    config = _config(
      train__resume=str(source), train__init_from=str(tmp_path / "none")
    )
    state, start = _begin(config, other)
    assert start == step
    _equal(state, expected)
  own = checkpoint.Checkpoints(other)
  own.save(vars(states[0]), 4, 0.0)
  own.close()
  state, start = _begin(config, other)
  assert start == 4
  _equal(state, states[0])


def test_a_damaged_checkpoint_is_not_gone_on_from(run, states):
  folder = run / "checkpoints"
  files = (folder / "6").rglob("*")
  data = max(files, key=lambda path: path.stat().st_size)
  content = bytearray(data.read_bytes())
  content[len(content) // 3] ^= 4
  data.write_bytes(bytes(content))
  state, start = _begin(_config(), run)
  assert start == 3
  _equal(state, states[0])
  (folder / "3" / "state" / "_METADATA").write_text("")
  with pytest.raises(ValueError, match="no good checkpoint is left in"):
    _begin(_config(), run)
  state, start = _begin(_config(train__start_over=True), run)
  assert start == int(state.step) == 0


def _flags(folder, root, **changes):
  changes = TINY | {k.replace("__", "."): v for k, v in changes.items()}
  keys = [f"--config.{key}={value}" for key, value in changes.items()]
  data = f"--config.data.root={root}"
  return ["--config=configs/pt18.py", f"--workdir={folder}", data, *keys]


def _refused(capsys, *flags) -> str:
  """The one line of the command."""
  assert main.main(list(flags)) == 2
  error = capsys.readouterr().err.splitlines()[-1]
  return error.removeprefix("diffpose_jax: error: ")


def test_only_the_same_run_can_be_gone_on_with(run, root, tmp_path, capsys):
  other, none = tmp_path / "other", tmp_path / "none"
  line = _refused(capsys, *_flags(other, root, train__resume=none))
  assert line.startswith(f"{none}: no checkpoint here; give the workdir of")
  line = _refused(
    capsys, *_flags(other, root, train__resume=run, train__warmup=3)
  )
  assert line.startswith(
    f"{run} belongs to another config (train.warmup was 2, now 3); "
  )
  line = _refused(capsys, *_flags(other, root, train__resume=run))
  assert line.startswith(f"{run}: the data of ")
  assert not (other / "config.json").exists()


def test_a_second_trainer_is_told_who_is_there(root, tmp_path, capsys):
  with lock.held(tmp_path):
    line = _refused(capsys, *_flags(tmp_path, root))
  assert line.startswith(f"{tmp_path}: process {os.getpid()} on ")
  assert list(tmp_path.iterdir()) == []


def _steps_logged(folder):
  path = folder / "metrics.jsonl"
  return path.read_text().count("\n") if path.exists() else 0


@pytest.mark.slow
def test_killed_at_random_it_ends_bit_for_bit_like_a_whole_run(root, tmp_path):
  """Two kills of the command at random times, then the end."""

  def command(folder):
    more = dict(train__steps=40, train__evaluate_every=20)
    flags = _flags(folder, root, train__checkpoint_every=2, **more)
    flags.append("--skip_evaluation")  # validated it is all the same
    return subprocess.Popen(
      [sys.executable, "-m", "diffpose_jax.main", *flags],
      cwd=REPO,
      stdout=subprocess.DEVNULL,
      stderr=subprocess.DEVNULL,
    )

  plain, killed = tmp_path / "plain", tmp_path / "killed"
  assert command(plain).wait(timeout=250) == 0
  rng = random.Random(0)
  for _ in range(2):
    process = command(killed)
    known = _steps_logged(killed)
    while _steps_logged(killed) <= known and process.poll() is None:
      time.sleep(0.01)  # The start takes much longer than the steps.
    time.sleep(rng.uniform(0, 1))
    process.send_signal(signal.SIGKILL)
    process.wait()
  assert command(killed).wait(timeout=250) == 0
  leaves = [
    seal.read(run / "checkpoints" / "40")["leaves"] for run in (plain, killed)
  ]
  assert leaves[0] == leaves[1] and len(leaves[0]) > 100
  text = (killed / "metrics.jsonl").read_text()
  records = [json.loads(line) for line in text.splitlines()]
  steps = [record["step"] for record in records if "loss" in record]
  assert steps == list(range(1, 41))
  exact = [ledger.read(run)[1] for run in (plain, killed)]
  assert list(exact[1]) == list(range(1, 41)) and exact[0] == exact[1]
