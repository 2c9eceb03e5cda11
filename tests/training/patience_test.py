"""When training is finished early, by hand and in a whole run."""

import json

import numpy as np
import pytest
import tiny

from diffpose_jax import config as config_lib
from diffpose_jax.evaluation import evaluate, measure
from diffpose_jax.inference import estimator
from diffpose_jax.training import log, patience, train
from diffpose_jax.weights import checkpoint, seal, steps

NAN = float("nan")


@pytest.mark.parametrize(
  ("values", "min_gain", "expected"),
  [
    ([], 0.0, (0, 0)),
    ([5.0], 0.0, (0, 1)),
    ([5.0, 6.0, 5.5, 5.9], 0.0, (2, 2)),
    # As good is no gain.
    ([5.0, 5.0, 5.0], 0.0, (2, 1)),
    # Gains of 0.4 are too small one by one, but two of them are not.
    ([5.0, 5.4, 5.8], 0.5, (0, 3)),
    ([5.0, 5.4, 5.4], 0.5, (2, 1)),
    ([5.0, 5.5], 0.5, (1, 1)),
    # What could not be measured is neither a gain nor a wait.
    ([NAN, NAN], 0.0, (0, 0)),
    ([5.0, NAN, 4.0, NAN], 0.0, (1, 1)),
    # A late gain makes it forget the wait.
    ([3.0, 2.0, 1.0, 4.0, 3.0], 0.0, (1, 4)),
  ],
)
def test_how_long_by_hand(values, min_gain, expected):
  history = list(enumerate(values, start=1))
  assert patience.waited(history, min_gain) == expected


def test_quality_is_ap_and_without_it_pck():
  assert patience.quality({"val/ap": 71.5, "val/pck_0.1": 0.5}) == 71.5
  assert patience.quality({"val/ap": NAN, "val/pck_0.1": 0.5}) == 0.5
  assert str(patience.quality({"loss": 0.5})) == "nan"


def _write(folder, values):
  lines = [{"step": 1, "loss": 9.0}]
  lines += [{"step": 10 * i, "val/ap": v} for i, v in enumerate(values, 1)]
  text = "".join(json.dumps(line) + "\n" for line in lines)
  (folder / "metrics.jsonl").write_text(text)


def test_the_history_is_that_of_the_file_up_to_the_step(tmp_path, capsys):
  config = config_lib.default().train
  _write(tmp_path, [70.0, 71.0, 70.5, 71.05, 60.0])
  config.patience, config.min_gain = 2, 0.1
  found = [patience.reached(tmp_path, config, step) for step in (20, 30, 40)]
  assert found == [False, False, True]
  assert capsys.readouterr().out.strip() == (
    f"{tmp_path}: no gain of more than 0.1 in the last 2 validations, since "
    "step 20; finished at step 40, the best checkpoint is evaluated"
  )
  config.min_gain = 0.01  # 71.05 is one then
  assert not patience.reached(tmp_path, config, 40)
  config.patience = 0
  assert not patience.reached(tmp_path, config, 50)


def test_a_new_run_is_not_finished(tmp_path):
  config = config_lib.default().train
  config.patience = 1
  assert not patience.reached(tmp_path, config, 0)


def test_all_processes_are_told_what_the_first_one_finds(tmp_path, monkeypatch):
  """The others may not see its file yet."""
  config = config_lib.default().train
  config.patience = 1
  told = []
  monkeypatch.setattr(patience.hosts, "count", lambda: 2)
  monkeypatch.setattr(
    patience.multihost_utils,
    "broadcast_one_to_all",
    lambda value: told.append(bool(value)) or np.bool_(True),
  )
  monkeypatch.setattr(patience.hosts, "is_first", lambda: False)
  assert patience.reached(tmp_path, config, 20) is True
  monkeypatch.setattr(patience.hosts, "is_first", lambda: True)
  _write(tmp_path, [70.0, 60.0])
  assert patience.reached(tmp_path, config, 20) is True
  assert told == [False, True]


TINY = tiny.RUN | {
  "train.steps": 12,
  "train.evaluate_every": 2,
  "train.patience": 2,
  "train.min_gain": 0.5,
  "evaluate.steps": 1,
  "evaluate.samples": 1,
}
# AP of the validations at steps 2, 4, ...: the best is the third.
FOUND = {2: 10.0, 4: 20.0, 6: 20.25, 8: 20.125, 10: 50.0, 12: 60.0}


@pytest.fixture
def validations(monkeypatch, compiled_once):
  """The validations of a run, whose AP is that of `FOUND`."""
  asked = []

  def validate(self, params, between):
    del self, params, between
    step = 2 + 2 * len(asked)
    asked.append(step)
    return {"val/ap": FOUND[step], "val/pck_0.1": 0.5}

  monkeypatch.setattr(measure.Validation, "__call__", validate)
  return asked


def _loaded(config, workdir, data, mesh):
  """Stands for the evaluation: which step is to be evaluated."""
  del config, data
  return {"step": estimator.Estimator.load(workdir, mesh=mesh).step}


def test_a_run_stops_and_knows_that_it_is_finished(
  root, tmp_path, validations, monkeypatch, capsys
):
  monkeypatch.setattr(evaluate, "finish", _loaded)
  config = config_lib.default()
  config.update_from_flattened_dict({"data.root": str(root)} | TINY)
  result = train.train(config=config, workdir=str(tmp_path))
  # A gain at 4; neither 6 nor 8 is more than 0.5 above it. The second of the
  # two is the last step, and 6, which is the best, is the result.
  assert validations == [2, 4, 6, 8]
  folder = tmp_path / "checkpoints"
  assert steps.usable(folder) == [6, 8] and steps.best(folder) == 6
  assert result == {"step": 6}
  out = capsys.readouterr().out
  assert "since step 4; finished at step 8, the best checkpoint is eval" in out

  # Started again it trains no step, and evaluates the same.
  def no_loop(*_):
    raise AssertionError("trained")

  with monkeypatch.context() as context:
    context.setattr(train, "_loop", no_loop)
    again = train.train(config=config, workdir=str(tmp_path))
  assert again == {"step": 6}
  assert "finished at step 8" in capsys.readouterr().out
  # With more patience, or none, it goes on: at 10 there is a gain.
  config.train.patience = 3
  result = train.train(config=config, workdir=str(tmp_path))
  assert validations == [2, 4, 6, 8, 10, 12]
  assert steps.usable(folder) == [12]
  assert result == {"step": 12}
  records = log.read(tmp_path / "metrics.jsonl")
  assert [r["step"] for r in records if "loss" in r] == list(range(1, 13))


def test_a_run_that_was_killed_counts_on(
  root, tmp_path, validations, monkeypatch
):
  """It is stopped after the first validation without gain."""
  monkeypatch.setattr(evaluate, "finish", _loaded)
  config = config_lib.default()
  config.update_from_flattened_dict({"data.root": str(root)} | TINY)
  config.train.steps = 6  # as if killed there
  train.train(config=config, workdir=str(tmp_path))
  assert validations == [2, 4, 6]
  config.train.steps = 12
  train.train(config=config, workdir=str(tmp_path))
  assert validations == [2, 4, 6, 8]
  assert max(steps.usable(tmp_path / "checkpoints")) == 8


def test_without_patience_the_newest_is_the_result(tmp_path, monkeypatch):
  """And with it the best, unless that is damaged."""
  folder = tmp_path / "checkpoints"
  for step, quality in ((2, 0.5), (4, 0.25), (6, None)):
    (folder / str(step)).mkdir(parents=True)
    seal.write(
      folder / str(step), step=step, quality=quality, about={}, leaves={}
    )
  tried = []

  def part(place, name, like):
    del name, like
    tried.append(int(place.name))
    if place.name in damaged:
      raise seal.Damaged("x")
    return {}

  monkeypatch.setattr(checkpoint.restore, "part", part)
  damaged = ()
  assert checkpoint.load_averaged(tmp_path, {}) == ({}, 6)
  assert checkpoint.load_averaged(tmp_path, {}, best=True) == ({}, 2)
  damaged = ("2", "6")
  tried.clear()
  assert checkpoint.load_averaged(tmp_path, {}, best=True) == ({}, 4)
  assert tried == [2, 6, 4]
