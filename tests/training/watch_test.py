"""Skipped updates and spikes: counted, told once, and enough is enough."""

import json
import signal

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import tiny

from diffpose_jax import config as config_lib
from diffpose_jax import main
from diffpose_jax.evaluation import evaluate
from diffpose_jax.training import log, milestones, train, watch
from diffpose_jax.training import step as step_lib
from diffpose_jax.weights import checkpoint

NAN = float("nan")


def _clips(step):
  return [
    {
      "data": "d train",
      "video": f"v{i}",
      "frame": step,
      "file": "a.jpg",
      "track": i,
    }
    for i in range(5)
  ]


def _watch(folder, *, span=(0, 1000), skipped=0, **changes):
  config = config_lib.default().train
  config.update(changes)
  return watch.Watch(
    config,
    folder,
    _clips,
    latest=lambda: 40,
    span=span,
    skipped=skipped,
  )


def _file(folder):
  return json.loads((folder / watch.FILE).read_text())["steps"]


def test_a_skipped_update_is_counted_and_a_row_told_once(tmp_path, caplog):
  seen = _watch(tmp_path, skipped=2)
  for step, skipped in enumerate([0, 1, 1, 0, 1, 0], start=1):
    loss, norm = (NAN, float("inf")) if skipped else (0.5, 0.5)
    seen.look(step, loss, norm, bool(skipped))
    assert seen.row == [0, 1, 2, 0, 1, 0][step - 1]
  assert seen.counts() == {"skipped": 5, "clipped": 0.0, "spikes": 0}
  first, second = [record.getMessage() for record in caplog.records]
  assert first == (
    "step 2: its update is skipped (loss nan, gradient norm inf); clips of step "
    "2: v0 frame 1 track 0, v1 frame 1 track 1, v2 frame 1 track 2 and 2 more, "
    f"all in {tmp_path / 'bad_steps.json'}"
  )
  assert second.startswith("step 5: its update is skipped (")
  stored = _file(tmp_path)
  assert [entry["step"] for entry in stored] == [2, 3, 5]
  assert stored[0] == {
    "step": 2,
    "what": "skipped",
    "loss": "nan",
    "gradient_norm": "inf",
    "clips": _clips(1),
  }


def test_too_many_in_a_row_stop_with_one_line(tmp_path):
  seen = _watch(tmp_path, max_skipped=3)
  for step in (7, 8):
    seen.look(step, NAN, NAN, True)
  seen.look(9, 1.0, 1.0, False)
  for step in (10, 11):
    seen.look(step, 1.0, 1.0, True)
  with pytest.raises(ValueError) as caught:
    seen.look(12, NAN, 2.5, True)
  line = str(caught.value)
  assert line.startswith(
    f"{tmp_path}: the last 3 updates, of steps 10 to 12, were skipped (loss "
    "nan, gradient norm 2.5); clips of step 10: v0 frame 9 track 0, "
  )
  assert "and checkpoint 40 is as it was: the same command" in line
  assert "\n" not in line
  assert [entry["step"] for entry in _file(tmp_path)] == [7, 8, 10, 11, 12]


def test_one_may_be_too_many(tmp_path):
  seen = _watch(tmp_path, max_skipped=1)
  with pytest.raises(ValueError, match="the last 1 updates, of step 4, were"):
    seen.look(4, NAN, NAN, True)


def test_what_the_file_says_of_steps_that_are_repeated_is_forgotten(tmp_path):
  seen = _watch(tmp_path)
  for step in (3, 6, 9):
    seen.look(step, NAN, 1.0, True)
  seen = _watch(tmp_path, span=(6, 100))
  seen.look(8, NAN, 1.0, True)
  assert [entry["step"] for entry in _file(tmp_path)] == [3, 6, 8]
  (tmp_path / watch.FILE).write_text('{"steps": [3')
  seen = _watch(tmp_path, span=(8, 100))
  seen.look(9, NAN, 1.0, True)
  assert [entry["step"] for entry in _file(tmp_path)] == [9]


def test_the_file_keeps_the_last_hundred_steps(tmp_path):
  seen = _watch(tmp_path, max_skipped=1000)
  for step in range(1, 131):
    seen.look(step, NAN, 1.0, True)
  assert [entry["step"] for entry in _file(tmp_path)] == list(range(31, 131))


def test_a_disk_that_is_full_stops_nothing(tmp_path, monkeypatch, caplog):
  def full(*_):
    raise OSError(28, "No space left on device")

  monkeypatch.setattr(watch.strict_json, "dump", full)
  seen = _watch(tmp_path)
  seen.look(1, NAN, 1.0, True)
  assert "bad_steps.json: not written (No space left" in caplog.text


def _spikes(seen, losses, norms):
  for step, (loss, norm) in enumerate(zip(losses, norms, strict=True), 1):
    seen.look(step, loss, norm, False)
  return seen.spikes


def test_a_spike_is_told_with_its_clips_and_counted(tmp_path, caplog):
  rng = np.random.default_rng(0)
  losses = rng.uniform(0.9, 1.1, 60)
  norms = rng.uniform(0.4, 0.6, 60)
  losses[40:43], norms[50] = 10.9, 5.9  # three times as often in a row
  losses[30], norms[31] = 9.0 * 0.9, 4.0  # below ten times the median
  seen = _watch(tmp_path)
  assert _spikes(seen, losses, norms) == 4
  told = [record.getMessage() for record in caplog.records]
  assert len(told) == 2
  assert told[0].startswith("step 41: loss 10.9, usually ")
  assert "clips of step 41: v0 frame 40 track 0, " in told[0]
  assert told[1].startswith("step 51: gradient norm 5.9, usually 0.5")
  assert [entry["what"] for entry in _file(tmp_path)] == ["spike", "spike"]
  assert seen.row == 0 and seen.skipped == 0
  # Above the clip of 1 were the gradients of two steps.
  assert seen.counts()["clipped"] == pytest.approx(2 / 60)
  assert seen.counts()["clipped"] == 0


def test_there_is_no_spike_where_none_can_be_known(tmp_path):
  first = [1.0] * 19 + [1000.0] + [1.0] * 5
  assert _spikes(_watch(tmp_path / "a"), first, [0.5] * 25) == 0
  # A loss that falls a thousandfold, gradients that grow from nothing.
  falling = np.geomspace(1000, 1, 300)
  growing = np.geomspace(1e-6, 1, 300)
  assert _spikes(_watch(tmp_path / "b"), falling, growing) == 0
  late = [1.0] * 50 + [1000.0]
  assert _spikes(_watch(tmp_path / "c", spike=0.0), late, [0.5] * 51) == 0
  assert _spikes(_watch(tmp_path / "d"), late, [0.5] * 51) == 1
  # Nothing was labelled so far.
  none = [0.0] * 50 + [1.0]
  assert _spikes(_watch(tmp_path / "e"), none, none) == 0
  # What has become usual is no spike.
  new = [1.0] * 101 + [100.0] * 101
  assert _spikes(_watch(tmp_path / "f"), new, [0.5] * 202) == 51


def _state(value=1.0, *, made=3, step=3):
  leaf = {"a": jnp.full((2, 3), value)}
  optimiser = optax.adam(1e-3).init(leaf)
  adam = optimiser[0]._replace(count=jnp.int32(made))
  return step_lib.State(jnp.int32(step), leaf, leaf, (adam, *optimiser[1:]))


def test_only_good_work_is_saved(tmp_path):
  seen = _watch(tmp_path, span=(0, 9))
  assert seen.may_save(_state(), 4) and not seen.owed
  with pytest.raises(ValueError, match="after step 4 weights or optimiser s"):
    seen.may_save(_state(NAN), 4)
  seen.look(5, NAN, NAN, True)
  assert not seen.may_save(_state(), 5) and seen.owed
  seen.look(6, 1.0, 1.0, False)
  assert seen.may_save(_state(), 6) and not seen.owed
  # No update can follow the last step.
  seen.look(9, NAN, NAN, True)
  assert seen.may_save(_state(), 9)
  with pytest.raises(ValueError, match="after step 9 weights or optimiser s"):
    seen.may_save(_state(NAN), 9)


def test_skipped_updates_are_those_that_the_optimiser_does_not_count():
  assert watch.skipped_before(_state(made=5, step=12)) == 7
  state = step_lib.State(jnp.int32(3), {}, {}, (optax.EmptyState(),))
  assert watch.skipped_before(state) == 0


def test_every_step_is_looked_at_one_late(tmp_path):
  """Also those that are not logged; the rate is that of the update made."""
  written = []

  class Records(log.Log):
    def __init__(self):
      pass

    def advance(self):
      pass

    def reached(self, step, seconds):
      pass

    def write(self, step, values):
      written.append((step, values))

  config = config_lib.default().train
  config.log_every, config.warmup, config.learning_rate = 4, 10, 1.0
  seen = _watch(tmp_path)
  metrics = log.StepMetrics(Records(), config, 100, seen=seen)
  for step in range(1, 6):
    values = {"loss": 1.0, "gradient_norm": 2.0, "skipped": float(step == 2)}
    metrics.add(step, {k: jnp.float32(v) for k, v in values.items()})
    assert seen.skipped == (step > 2)
  ((step, values),) = written
  assert step == 4 and values["skipped"] == 1 and values["clipped"] == 0.75
  # Of the three steps before one made no update: 0.1 and twice 0.09.
  np.testing.assert_allclose(values["learning_rate"], 0.28, rtol=1e-6)


# Whole runs.

TINY = tiny.RUN | {
  "train.steps": 12,
  "train.evaluate_every": 100,
  "train.checkpoint_every": 3,
  "train.max_skipped": 3,
  "evaluate.steps": 1,
  "evaluate.samples": 1,
}


def _run(root, folder, **changes) -> int:
  keys = TINY | {k.replace("__", "."): v for k, v in changes.items()}
  flags = [f"--config.{key}={value}" for key, value in keys.items()]
  data = f"--config.data.root={root}"
  return main.main(
    ["--config=configs/pt18.py", f"--workdir={folder}", data, *flags]
  )


def _bits(state):
  return [
    np.asarray(leaf).tobytes()
    for leaf in jax.tree.leaves((state.params, state.ema, state.optimiser))
  ]


@pytest.fixture
def faults(monkeypatch, compiled_once):
  """What to do to (state, batch) before a step; and what was not kept.

  The run is not evaluated.
  """
  plan, changed = {}, []
  compiled = train.compiled_step

  def broken(*args):
    step = compiled(*args)

    def run(state, batch):
      number = int(jax.device_get(state.step)) + 1
      if number not in plan:
        return step(state, batch)
      state, batch = plan[number](state, batch)
      before = _bits(jax.device_get(state))
      state, metrics = step(state, batch)
      if _bits(jax.device_get(state)) != before:
        changed.append(number)
      return state, metrics

    return run

  monkeypatch.setattr(train, "compiled_step", broken)
  monkeypatch.setattr(
    milestones.measure,
    "Validation",
    lambda *_: lambda params, *_: {"val/ap": 1.0},
  )
  monkeypatch.setattr(evaluate, "finish", lambda *_: {})
  return plan, changed


def _placed(array, like):
  return jax.device_put(array, like.sharding)


def _bad_label(state, batch):
  joints = np.array(jax.device_get(batch["joints"]))
  joints[jax.device_get(batch["labelled"])] = NAN
  return state, batch | {"joints": _placed(joints, batch["joints"])}


def _bad(field):
  def change(state, batch):
    def spoil(leaf):
      if leaf.ndim < 2:
        return leaf
      value = np.array(jax.device_get(leaf))
      value.reshape(-1)[0] = NAN
      return _placed(value, leaf)

    tree = jax.tree.map(spoil, getattr(state, field))
    return state.replace(**{field: tree}), batch

  return change


def _records(folder):
  return log.read(folder / "metrics.jsonl")


def _saved(folder):
  return sorted(
    int(place.name)
    for place in (folder / "checkpoints").iterdir()
    if place.name.isdecimal()
  )


def test_a_run_goes_on_after_a_bad_batch(
  root, tmp_path, faults, capfd, monkeypatch
):
  """Its checkpoint is written after the next good step, not over good work.

  After the last step there is none; the state is the one of before.
  """
  plan, changed = faults
  plan |= {6: _bad_label, 10: _bad_label, 12: _bad_label}
  saves = []
  save = checkpoint.Checkpoints.save

  def saved(self, state, step, *args, **options):
    saves.append(step)
    return save(self, state, step, *args, **options)

  monkeypatch.setattr(checkpoint.Checkpoints, "save", saved)
  assert _run(root, tmp_path) == 0
  assert changed == []
  assert saves == [3, 7, 9, 12]
  records = {r["step"]: r for r in _records(tmp_path) if "loss" in r}
  assert list(records) == list(range(1, 13))
  for step, record in records.items():
    assert np.isnan(record["loss"]) == (step in (6, 10, 12))
    assert record["skipped"] == sum(step >= bad for bad in (6, 10, 12))
  bad = [entry["step"] for entry in _file(tmp_path)]
  assert bad == [6, 10, 12]
  assert "3 of the run's updates were skipped" in capfd.readouterr().out


def _refused(capfd) -> str:
  """The one line of the error."""
  lines = capfd.readouterr().err.splitlines()
  (line,) = [text for text in lines if "diffpose_jax: error: " in text]
  return line


@pytest.mark.slow
@pytest.mark.parametrize("field", ["optimiser", "ema"])
def test_a_broken_state_is_not_saved(root, tmp_path, faults, capfd, field):
  """It is not in the loss at first, or never."""
  plan, _ = faults
  plan[6] = _bad(field)
  assert _run(root, tmp_path) == 2
  line = _refused(capfd)
  assert "after step 6 weights or optimiser state are not finite;" in line
  assert "checkpoint 3 is as it was: the same command goes on" in line
  assert _saved(tmp_path) == [3]


def test_broken_weights_stop_the_run_which_can_go_on(
  root, tmp_path, faults, capfd
):
  plan, changed = faults
  plan[7] = _bad("params")
  assert _run(root, tmp_path) == 2
  assert changed == []
  line = _refused(capfd)
  assert "the last 3 updates, of steps 7 to 9, were skipped (" in line
  assert "clips of step 7: 00000" in line and " track " in line
  assert "checkpoint 6 is as it was: the same command goes on" in line
  assert _saved(tmp_path)[-1] == 6
  listed = _file(tmp_path)
  assert [entry["step"] for entry in listed] == [7, 8, 9]
  assert all(len(entry["clips"]) == 8 for entry in listed)
  # Once more, and nothing is broken.
  plan.clear()
  assert _run(root, tmp_path) == 0
  assert 12 in _saved(tmp_path)
  last = [r for r in _records(tmp_path) if "loss" in r][-1]
  assert last["step"] == 12
  assert np.isfinite(last["loss"]) and last["skipped"] == 0


@pytest.mark.slow
def test_an_interrupted_run_is_not_saved_while_updates_are_skipped(
  root, tmp_path, faults, capfd
):
  def stop(state, batch):
    signal.raise_signal(signal.SIGINT)
    return _bad_label(state, batch)

  plan, _ = faults
  plan[5] = stop
  before = signal.signal(signal.SIGINT, signal.default_int_handler)
  try:
    _run(root, tmp_path)
  except SystemExit:
    pass
  finally:
    signal.signal(signal.SIGINT, before)
  assert "1 updates skipped: nothing is saved" in capfd.readouterr().out
  assert _saved(tmp_path) == [3]


@pytest.mark.slow
def test_a_state_that_breaks_at_the_end_is_not_saved(
  root, tmp_path, faults, capfd
):
  plan, _ = faults
  plan[12] = _bad("ema")
  assert _run(root, tmp_path) == 2
  error = capfd.readouterr().err
  assert "after step 12 weights or optimiser state are not finite" in error
  assert 12 not in _saved(tmp_path) and 9 in _saved(tmp_path)


def test_a_spike_is_clipped_and_logged(root, tmp_path, faults, monkeypatch):
  """Parameters move no further than at any other step."""
  monkeypatch.setattr(watch, "_LEAST", 5)
  plan, moves = faults[0], {}

  def spike(state, batch):
    kernel = state.params["decoder"]["head"]["kernel"]
    head = state.params["decoder"]["head"] | {
      "kernel": _placed(np.array(kernel) + 30, kernel)
    }
    decoder = state.params["decoder"] | {"head": head}
    moves["before"] = np.array(head["kernel"])
    return state.replace(params=state.params | {"decoder": decoder}), batch

  def after(state, batch):
    moves["after"] = np.array(state.params["decoder"]["head"]["kernel"])
    return state, batch

  plan |= {9: spike, 10: after}
  assert _run(root, tmp_path) == 0
  records = {r["step"]: r for r in _records(tmp_path) if "loss" in r}
  assert records[8]["spikes"] == 0 and records[9]["spikes"] == 1
  assert records[9]["clipped"] == 1 and records[9]["skipped"] == 0
  assert records[9]["gradient_norm"] > 100
  # The rate of 2e-4, Adam's step of at most sqrt(1 / (1 - b2)) of it or so.
  assert 0 < np.abs(moves["after"] - moves["before"]).max() < 2e-3
  assert _file(tmp_path)[0]["what"] == "spike"
