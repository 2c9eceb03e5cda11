"""Whole runs on two tiny videos: start, stop, resume, finish, refuse."""

import collections
import contextlib
import functools
import json
import logging
import pathlib
import signal

import jax
import numpy as np
import pytest

from diffpose_jax import config as config_lib
from diffpose_jax import main
from diffpose_jax.evaluation import evaluate
from diffpose_jax.model import sharding
from diffpose_jax.pose.skeleton import POSETRACK
from diffpose_jax.training import checks, milestones, optim, train
from diffpose_jax.training import start as start_lib
from diffpose_jax.training import step as step_lib
from diffpose_jax.weights import checkpoint

SIZES = {  # of a network that compiles in seconds
  "data.size": (32, 24),
  "data.span": 1,
  "data.threads": 1,
  "model.size": "cpu",
  "model.patch": 8,
  "model.stem": "conv",
  "model.strl_depth": 1,
  "model.decoder_width": 16,
  "model.heatmap_width": 8,
  "model.drop_path": 0.1,
  "model.scales": 1,
  "augment.shift": 0.05,
  "augment.colour": 0.3,
  "augment.erase_probability": 0.5,
  "train.batch": 8,
  "train.learning_rate": 1e-3,
  "train.warmup": 2,
  "train.ema": 0.9,
  "train.log_every": 1,
  "evaluate.batch": 8,
  "evaluate.steps": 2,
  "evaluate.samples": 2,
}


def _config(root: pathlib.Path, **changes):
  """A run of six steps, validated after three and six."""
  config = config_lib.default()
  config.update_from_flattened_dict(
    {"data.root": str(root), "train.steps": 6, "train.evaluate_every": 3}
    | SIZES
    | {key.replace("__", "."): value for key, value in changes.items()}
  )
  return config


@contextlib.contextmanager
def _compiled():
  """The names of what JAX compiles, as JAX says them."""
  names: list[str] = []

  class Listener(logging.Handler):
    def emit(self, record):
      text = record.getMessage()
      if text.startswith("Compiling "):
        names.append(text.split()[1])

  logger = logging.getLogger("jax._src.interpreters.pxla")
  listener = Listener()
  logger.addHandler(listener)
  try:
    with jax.log_compiles():
      yield names
  finally:
    logger.removeHandler(listener)


Run = collections.namedtuple("Run", ["folder", "config", "result", "compiled"])


@pytest.fixture(scope="module")
def whole(root, compiled_once, tmp_path_factory):
  """A run that nothing interrupted."""
  folder = tmp_path_factory.mktemp("whole")
  config = _config(root)
  with _compiled() as compiled:
    result = train.train(config=config, workdir=str(folder))
  return Run(folder, config, result, compiled)


def _state(run: pathlib.Path, config, step: int):
  """The checkpoint of a step, on the host."""
  optimiser = optim.optimiser(config.train, 6)
  init = lambda: vars(step_lib.init_state(config, POSETRACK, optimiser))  # noqa: E731
  place = sharding.replicated(sharding.mesh())
  like = jax.tree.map(
    lambda s: jax.ShapeDtypeStruct(s.shape, s.dtype, sharding=place),
    jax.eval_shape(init),
  )
  checkpoints = checkpoint.Checkpoints(run)
  try:
    return jax.device_get(checkpoints.restore(like, step))
  finally:
    checkpoints.close()


def _records(run: pathlib.Path):
  text = (run / "metrics.jsonl").read_text()
  return [json.loads(line) for line in text.splitlines()]


def _interrupt_at(monkeypatch, step: int, act) -> None:
  """Lets `act` happen where the batch of this step is asked for."""
  real = train.pipeline.train_batches

  def batches(*args, start_step, **kwargs):
    made = real(*args, start_step=start_step, **kwargs)
    for number, batch in enumerate(made, start=start_step + 1):
      if number == step:
        act()
      yield batch

  monkeypatch.setattr(train.pipeline, "train_batches", batches)


def _press_ctrl_c() -> None:
  signal.raise_signal(signal.SIGINT)


def _preempt() -> None:
  signal.raise_signal(signal.SIGTERM)


def _not_evaluated(monkeypatch) -> None:
  monkeypatch.setattr(evaluate, "finish", lambda *_: {})


@pytest.fixture(scope="module")
def resumed(root, whole, tmp_path_factory):
  """The same run, stopped in steps 2 and 4, killed in steps 1 and 6.

  Its step is that of `whole`.
  """
  folder = tmp_path_factory.mktemp("resumed")
  config = _config(root)
  run = functools.partial(train.train, config=config, workdir=str(folder))
  latest = []
  acts = (1, _crash), (2, _press_ctrl_c), (4, _preempt), (6, _crash)
  for step, act in acts:
    with pytest.MonkeyPatch.context() as monkeypatch:
      _interrupt_at(monkeypatch, step, act)
      with pytest.raises((KeyboardInterrupt, _Crash)):
        run()
    folders = (folder / "checkpoints").iterdir()
    latest.append(max((int(p.name) for p in folders), default=0))
  with pytest.MonkeyPatch.context() as monkeypatch:
    _not_evaluated(monkeypatch)
    run()
  return folder, latest


class _Crash(Exception):  # noqa: N818
  pass


def _crash() -> None:
  raise _Crash


def test_an_interrupted_run_ends_bit_for_bit_like_a_whole_one(whole, resumed):
  folder, _ = resumed
  expected = _state(whole.folder, whole.config, 6)
  found = _state(folder, whole.config, 6)
  paths = jax.tree_util.tree_flatten_with_path(expected)[0]
  assert len(paths) > 100
  for (path, a), b in zip(paths, jax.tree.leaves(found), strict=True):
    assert a.tobytes() == b.tobytes(), jax.tree_util.keystr(path)
  # Every parameter had a gradient: equal is not untouched.
  moments = found["optimiser"][1].mu
  assert len(jax.tree.leaves(moments)) == len(jax.tree.leaves(found["params"]))
  assert all(leaf.any() for leaf in jax.tree.leaves(moments))


def test_a_stopped_run_keeps_its_last_whole_step(resumed):
  # Ctrl-C in step 2 and SIGTERM in step 4, which are let finish, the latter
  # while the checkpoint of step 3 is written; a crash in step 6 loses step 5.
  assert resumed[1] == [0, 2, 4, 4]


class _Saved(checkpoint.Checkpoints):
  """Stands for the checkpoints of a run and keeps what is saved."""

  def __init__(self, latest):
    self.steps, self._latest = [], latest

  def latest(self):
    return self._latest

  def save(self, state, step, ap, *, wait=False):
    assert wait and int(state["step"]) == step and np.isnan(ap)
    self.steps.append(step)


@pytest.mark.parametrize(("latest", "saved"), [(None, [3]), (2, [3]), (3, [])])
def test_a_step_is_saved_once_when_interrupted(latest, saved, capsys):
  state = step_lib.State(jax.numpy.asarray(3), {}, {}, ())
  checkpoints = _Saved(latest)
  milestones.save_interrupted(state, checkpoints)
  assert checkpoints.steps == saved
  assert "stopped after step 3" in capsys.readouterr().out


def test_a_state_lost_in_its_step_is_not_saved(capsys):
  state = step_lib.State(jax.numpy.asarray(3), {}, {}, ())
  state.step.delete()
  checkpoints = _Saved(2)
  milestones.save_interrupted(state, checkpoints)
  assert checkpoints.steps == []
  assert "goes on from 2" in capsys.readouterr().out


def test_metrics_have_every_step_once(whole, resumed):
  for folder in (whole.folder, resumed[0]):
    records = _records(folder)
    assert [r["step"] for r in records if "loss" in r] == list(range(1, 7))
    assert [r["step"] for r in records if "val/ap" in r] == [3, 6]
  for a, b in zip(_records(whole.folder), _records(resumed[0]), strict=True):
    for name in ("loss", "gradient_norm", "learning_rate", "val/pck_0.1"):
      assert a.get(name) == b.get(name)
  # Warm-up over two steps from 1e-3 / 2; a tenth from steps 4 and 5 on.
  rates = [r["learning_rate"] for r in _records(whole.folder) if "loss" in r]
  np.testing.assert_allclose(
    rates, [5e-4, 7.5e-4, 1e-3, 1e-3, 1e-4, 1e-5], rtol=1e-6
  )


def test_the_step_and_the_estimator_are_compiled_once(whole):
  counts = collections.Counter(whole.compiled)
  assert counts["jit(step)"] == 1
  # One of validation, 1 x 1, and one of the end, 2 x 2.
  assert counts["jit(_estimate)"] == 2


def test_a_run_leaves_what_it_promises(whole):
  for name in ("checkpoints/6", "report.html", "validation.webm"):
    assert (whole.folder / name).exists(), name
  assert "data:video/webm" in (whole.folder / "report.html").read_text()
  stored = json.loads((whole.folder / "evaluation.json").read_text())
  assert stored == json.loads(json.dumps(whole.result))
  keys = {"ap", "ap_groups", "precision", "recall", "pck_box", "pck_head"}
  assert keys <= stored.keys() and keys <= stored["mean_pose"].keys()
  protocol = stored["protocol"]
  assert protocol["people"] == 6 and protocol["videos"] == 2
  assert protocol["split"] == "val" and protocol["boxes"] == "ground truth"
  assert protocol["training_step"] == 6
  assert protocol["steps"] == protocol["samples"] == 2
  averaged = _state(whole.folder, whole.config, 6)["ema"]
  assert protocol["weights_sha256"] == checkpoint.weights_hash(averaged)
  loaded = config_lib.load(whole.folder / "config.json")
  assert loaded.to_dict() == whole.config.to_dict()


def test_a_finished_run_is_evaluated_not_trained(whole, monkeypatch, capsys):
  def no_step(*_):
    raise AssertionError("trained")

  monkeypatch.setattr(train.step_lib, "make_step", no_step)
  before = (whole.folder / "metrics.jsonl").read_text()
  (whole.folder / "evaluation.json").unlink()
  run = functools.partial(
    train.train, config=whole.config, workdir=str(whole.folder)
  )
  assert run(skip_evaluation=True) == {}
  assert not (whole.folder / "evaluation.json").exists()
  again = run()
  assert json.loads(json.dumps(again)) == json.loads(json.dumps(whole.result))
  assert (whole.folder / "evaluation.json").exists()
  assert (whole.folder / "metrics.jsonl").read_text() == before
  assert "all 6 steps are done" in capsys.readouterr().out


def _message(config, folder) -> str:
  """The one line with which a run is refused."""
  with pytest.raises(ValueError) as caught:
    train.train(config=config, workdir=str(folder))
  assert "\n" not in str(caught.value)
  return str(caught.value)


def test_a_workdir_of_another_config_is_refused(root, whole):
  changed = _config(root, model__heatmap_width=7, train__ema=0.5)
  before = (whole.folder / "config.json").read_text()
  assert _message(changed, whole.folder) == (
    f"{whole.folder} belongs to another config (model.heatmap_width was 8, "
    "now 7; train.ema was 0.9, now 0.5); use a new --workdir or the same config"
  )
  assert (whole.folder / "config.json").read_text() == before


def test_how_long_and_how_it_is_measured_may_change(whole):
  config = config_lib.copy(whole.config)
  config.update_from_flattened_dict(
    {
      "train.steps": 600,
      "train.log_every": 7,
      "evaluate.steps": 3,
      "evaluate.flip": True,
      "evaluate.boxes": "found.json",
      "data.root": "/elsewhere",
      "data.threads": 5,
    }
  )
  checks.check_workdir(config, whole.folder)
  config.seed = 1
  with pytest.raises(ValueError, match=r"config \(seed was 0, now 1\);"):
    checks.check_workdir(config, whole.folder)


@pytest.mark.parametrize(
  ("changes", "message"),
  [
    (
      dict(train__batch=12),
      "train.batch in 1 train.accumulate: batch of 12 clips is not divisible "
      "by 8 devices; 8 or 16 would be",
    ),
    (
      dict(train__batch=24, train__accumulate=4),
      "train.batch in 4 train.accumulate: batch of 6 clips is not divisible "
      "by 8 devices; 8 would be",
    ),
    (
      dict(evaluate__batch=9),
      "evaluate.batch: batch of 9 clips is not divisible by 8 devices; 8 or 16 "
      "would be",
    ),
    (dict(data__size=(30, 24)), "data.size (30, 24) must be divisible by"),
    (dict(data__size=(1,)), "data.size is (1,), must be two whole numbers"),
  ],
)
def test_what_cannot_work_is_refused_before_anything_is_made(
  root, tmp_path, changes, message
):
  assert _message(_config(root, **changes), tmp_path).startswith(message)
  assert list(tmp_path.iterdir()) == []


def test_a_split_that_is_not_there_can_be_corrected(root, whole, tmp_path):
  prepared = str(whole.folder / "data")
  config = _config(root, data__prepared=prepared, data__val_split="test")
  line = _message(config, tmp_path)
  assert "'test'" in line and "train" in line and "val" in line
  # The workdir does not belong to the config that could not work.
  checks.check_workdir(_config(root, data__prepared=prepared), tmp_path)


def test_missing_data_is_told_how_to_get(root, tmp_path, monkeypatch):
  monkeypatch.delenv("DIFFPOSE_DATA_ROOT", raising=False)
  line = _message(_config(root, data__root=""), tmp_path)
  assert "--config.data.root" in line and "https://posetrack.net" in line
  line = _message(_config(root, data__root="/nowhere"), tmp_path)
  assert line.startswith("data root /nowhere does not exist")


def test_averaged_weights_of_another_run_are_the_start(whole, root, tmp_path):
  averaged = _state(whole.folder, whole.config, 6)["ema"]
  config = _config(root, train__init_from=str(whole.folder))
  checkpoints = checkpoint.Checkpoints(tmp_path)
  state, start = start_lib.state(
    config, POSETRACK, checkpoints, sharding.mesh(), 6
  )
  checkpoints.close()
  assert start == 0 and int(state.step) == 0
  jax.tree.map(np.testing.assert_array_equal, state.params, averaged)
  jax.tree.map(np.testing.assert_array_equal, state.ema, averaged)
  # Memory of their own: the step is given both.
  for a, b in zip(
    jax.tree.leaves(state.params), jax.tree.leaves(state.ema), strict=True
  ):
    pointers = [
      v.addressable_shards[0].data.unsafe_buffer_pointer() for v in (a, b)
    ]
    assert pointers[0] != pointers[1]


def test_weights_of_another_network_are_no_start(whole, root, tmp_path):
  start = functools.partial(
    _config,
    root,
    data__prepared=str(whole.folder / "data"),
    train__init_from=str(whole.folder),
  )
  line = _message(start(model__decoder_width=24), tmp_path)
  another = f"{whole.folder}: weights of another network; give --config.model."
  assert line == f"{another}decoder_width=16"
  line = _message(start(model__strl_depth=2), tmp_path)
  assert line == f"{another}strl_depth=1"
  config = start(train__init_from=str(tmp_path / "none"))
  line = _message(config, tmp_path)
  assert f"{tmp_path / 'none'}: no such file or folder" in line


def _arguments(workdir, *more):
  """The project's command with all sizes made small."""
  sizes = [f"--config.{key}={value}" for key, value in SIZES.items()]
  return ["--config=configs/pt18.py", f"--workdir={workdir}", *sizes, *more]


def test_the_command_trains_resumes_and_evaluates(
  root, compiled_once, tmp_path, capsys
):
  data = f"--config.data.root={root}"
  # Once with six steps: the program of the other tests, in JAX's cache.
  assert main.main(_arguments(tmp_path, data, "--config.train.steps=2")) == 0
  assert (tmp_path / "checkpoints" / "2").is_dir()
  first = json.loads((tmp_path / "evaluation.json").read_text())
  capsys.readouterr()
  assert main.main(_arguments(tmp_path, data, "--config.train.steps=6")) == 0
  out = capsys.readouterr().out
  assert "resuming from step 2" in out
  assert "already prepared" in out
  last = out.rstrip().splitlines()[-1]
  assert last.startswith("DiffPose 2 steps x 2 samples")
  assert (tmp_path / "checkpoints" / "6").is_dir()
  steps = [r["step"] for r in _records(tmp_path) if "loss" in r]
  assert steps == [1, 2, 3, 4, 5, 6]
  second = json.loads((tmp_path / "evaluation.json").read_text())
  made = [r["protocol"]["training_step"] for r in (first, second)]
  assert made == [2, 6]


def test_the_command_without_data_exits_with_2(tmp_path, capsys, monkeypatch):
  monkeypatch.delenv("DIFFPOSE_DATA_ROOT", raising=False)
  assert main.main(_arguments(tmp_path)) == 2
  error = capsys.readouterr().err
  assert error.startswith("diffpose_jax: error: no data for posetrack18: set")
  assert "https://posetrack.net" in error and error.count("\n") == 1


def test_the_command_names_the_keys_of_another_config(whole, root, capsys):
  data = f"--config.data.root={root}"
  seed = "--config.seed=5"
  assert main.main(_arguments(whole.folder, data, seed)) == 2
  error = capsys.readouterr().err
  assert "belongs to another config (seed was 0, now 5)" in error
  assert error.count("\n") == 1
