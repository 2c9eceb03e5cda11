"""Metrics on disk: one record per step, whatever stopped a run."""

import json
import struct

import jax.numpy as jnp
import numpy as np
import pytest
from tensorboardX.proto import event_pb2

from diffpose_jax import config as config_lib
from diffpose_jax.training import goodput, log


def _lines(workdir):
  text = (workdir / "metrics.jsonl").read_text()
  return [json.loads(line) for line in text.splitlines()]


def _run(workdir, first, last, *, steps=12):
  """A run that goes on after `first` and logs up to `last`."""
  records = log.Log(workdir, steps=steps, start=first)
  for step in range(first + 1, last + 1):
    records.advance()
    records.write(step, {"loss": step / 4})
  records.close()


def test_records_are_lines_of_plain_numbers(tmp_path):
  _run(tmp_path, 0, 3)
  assert _lines(tmp_path) == [
    {"step": 1, "loss": 0.25},
    {"step": 2, "loss": 0.5},
    {"step": 3, "loss": 0.75},
  ]


def test_what_a_resumed_run_repeats_is_removed(tmp_path):
  _run(tmp_path, 0, 7)
  _run(tmp_path, 5, 9)
  assert [r["step"] for r in _lines(tmp_path)] == list(range(1, 10))


@pytest.mark.parametrize("torn", ['{"step": 8, "lo', "{", '{"step"'])
def test_a_torn_last_line_is_left_out(tmp_path, torn):
  _run(tmp_path, 0, 7)
  with (tmp_path / "metrics.jsonl").open("a") as file:
    file.write(torn)
  read = log.read(tmp_path / "metrics.jsonl")
  assert [r["step"] for r in read] == list(range(1, 8))
  _run(tmp_path, 7, 9)
  assert [r["step"] for r in _lines(tmp_path)] == list(range(1, 10))


def test_no_file_has_no_records(tmp_path):
  assert log.read(tmp_path / "metrics.jsonl") == []


def test_a_value_that_is_not_finite_is_null(tmp_path):
  records = log.Log(tmp_path, steps=3, start=0)
  records.write(1, {"val/ap": float("nan"), "loss": float("inf"), "a": 2.5})
  records.close()
  path = tmp_path / "metrics.jsonl"
  # Strict JSON knows neither NaN nor Infinity.
  assert path.read_text() == (
    '{"step": 1, "val/ap": null, "loss": null, "a": 2.5}\n'
  )
  (found,) = log.read(path)
  nan = float("nan")
  wanted = {"step": 1, "val/ap": nan, "loss": nan, "a": 2.5}
  assert found == pytest.approx(wanted, nan_ok=True)


def test_a_record_of_an_older_version_becomes_strict(tmp_path):
  path = tmp_path / "metrics.jsonl"
  path.write_text('{"step": 1, "val/ap": NaN}\n')
  _run(tmp_path, 1, 2)
  assert path.read_text() == (
    '{"step": 1, "val/ap": null}\n{"step": 2, "loss": 0.5}\n'
  )


def test_a_record_is_on_the_disk_when_it_is_written(tmp_path):
  records = log.Log(tmp_path, steps=3, start=0)
  records.write(1, {"loss": 0.5})
  assert _lines(tmp_path) == [{"step": 1, "loss": 0.5}]
  records.close()


def test_other_processes_write_and_show_nothing(tmp_path, monkeypatch, capsys):
  monkeypatch.setattr(log.jax, "process_index", lambda: 1)
  _run(tmp_path, 0, 12)
  assert list(tmp_path.iterdir()) == []
  assert capsys.readouterr() == ("", "")


def _events(workdir):
  """All TensorBoard events, in the order in which they were written."""
  events = []
  for path in sorted((workdir / "tensorboard").iterdir()):
    data, at = path.read_bytes(), 0
    while at < len(data):  # length, checksum, message, checksum
      (length,) = struct.unpack_from("<Q", data, at)
      message = data[at + 12 : at + 12 + length]
      events.append(event_pb2.Event.FromString(message))
      at += 16 + length
  return events


def test_tensorboard_has_the_same_and_forgets_what_is_repeated(tmp_path):
  _run(tmp_path, 0, 7)
  first = _events(tmp_path)
  scalars = [
    (e.step, e.summary.value[0].tag, e.summary.value[0].simple_value)
    for e in first
    if e.summary.value
  ]
  assert scalars == [(step, "loss", step / 4) for step in range(1, 8)]
  (tmp_path / "tensorboard").rename(tmp_path / "before")
  _run(tmp_path, 5, 6)
  # TensorBoard drops what it has from this step on: steps 6 and 7, not 5.
  starts = [
    e.step
    for e in _events(tmp_path)
    if e.session_log.status == event_pb2.SessionLog.START
  ]
  assert starts == [6]


def _scalars(workdir):
  """All values in TensorBoard by name, in their order."""
  found = {}
  for event in _events(workdir):
    for value in event.summary.value:
      found.setdefault(value.tag, []).append(value.simple_value)
  return found


def test_what_validation_cannot_tell_is_not_shown(tmp_path, capsys):
  """AP of people without head boxes: PCK stands in the line instead."""
  nan = float("nan")
  records = log.Log(tmp_path, steps=1, start=0)
  records.advance()
  records.write(1, {"loss": 0.5, "val/ap": nan, "val/pck_0.1": 0.25})
  records.close()
  line = capsys.readouterr().err.splitlines()[-1]
  assert line.endswith("loss 0.5, val/pck_0.1 0.25")
  assert _scalars(tmp_path) == {"loss": [0.5], "val/pck_0.1": [0.25]}


def test_ap_that_is_known_is_shown_without_pck(tmp_path, capsys):
  records = log.Log(tmp_path, steps=1, start=0)
  records.advance()
  records.write(1, {"val/ap": 61.5, "val/pck_0.1": 0.25})
  records.close()
  assert capsys.readouterr().err.splitlines()[-1].endswith(", val/ap 61.5")
  assert _scalars(tmp_path) == {"val/ap": [61.5], "val/pck_0.1": [0.25]}


class _Recorder(log.Log):
  """Stands for the log and keeps what is written."""

  def __init__(self):
    self.written, self.steps, self.readings = [], 0, []
    self.clock = [100.0]
    self.account = goodput.Account(at="step", clock=lambda: self.clock[0])

  def advance(self):
    self.steps += 1

  def reached(self, step, seconds):
    self.readings.append((step, seconds))

  def write(self, step, values):
    self.written.append((step, values))


@pytest.fixture
def metrics():
  """A recorder and the metrics of a run of 11 steps that logs every third."""
  config = config_lib.default().train
  config.log_every, config.batch = 3, 5
  config.warmup, config.learning_rate = 4, 1.0
  recorder = _Recorder()
  return recorder, log.StepMetrics(recorder, config, 11, recorder.account)


def _add(metrics, steps):
  for step in steps:
    metrics.add(step, {"loss": jnp.float32(10 * step)})


def test_metrics_of_a_step_are_read_while_the_next_runs(metrics):
  recorder, steps = metrics
  _add(steps, range(1, 4))
  assert recorder.written == []
  _add(steps, [4])
  assert [step for step, _ in recorder.written] == [3]
  _add(steps, range(5, 12))
  steps.flush()
  steps.flush()  # once written, not again
  # Every third, and the last.
  assert [step for step, _ in recorder.written] == [3, 6, 9, 11]
  assert [v["loss"] for _, v in recorder.written] == [30, 60, 90, 110]
  # The third update's rate: after two of the four steps from 1/4 to 1.
  np.testing.assert_allclose(recorder.written[0][1]["learning_rate"], 0.625)
  assert recorder.steps == 11


def test_speed_is_clips_a_second_of_training_alone(metrics):
  recorder, steps = metrics
  clock, account = recorder.clock, recorder.account
  for step in range(1, 11):
    with account.phase("data"):
      clock[0] += 0.5
    with account.phase("compile" if step == 1 else "step"):
      clock[0] += 300.0 if step == 1 else 0.0
    _add(steps, [step])
    clock[0] += 1.5
    if step == 5:
      steps.flush()
      with account.phase("other"):
        clock[0] += 1000.0
        with account.phase("evaluation"):
          clock[0] += 1000.0
  speeds = [values.get("clips_per_second") for _, values in recorder.written]
  # Two seconds a step of five clips; the first reading has none before it.
  assert speeds == [None, 2.5, 2.5]
  # Each is read where the next step was given its batch.
  assert recorder.readings == [(3, 6.5), (6, 12.5), (9, 18.5)]
