"""Metrics on disk: one record per step, whatever stopped a run."""

import json
import struct

import jax.numpy as jnp
import numpy as np
import pytest
from tensorboardX.proto import event_pb2

from diffpose_jax import config as config_lib
from diffpose_jax.training import log


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


def test_a_value_that_is_not_finite_is_kept(tmp_path):
  records = log.Log(tmp_path, steps=3, start=0)
  records.write(1, {"val/ap": float("nan")})
  records.close()
  assert np.isnan(log.read(tmp_path / "metrics.jsonl")[0]["val/ap"])


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


class _Recorder(log.Log):
  """Stands for the log and keeps what is written."""

  def __init__(self):
    self.written, self.steps = [], 0

  def advance(self):
    self.steps += 1

  def write(self, step, values):
    self.written.append((step, values))


@pytest.fixture
def metrics():
  """A recorder and the metrics of a run of 11 steps that logs every third."""
  config = config_lib.default().train
  config.log_every, config.batch = 3, 5
  config.warmup, config.learning_rate = 4, 1.0
  recorder = _Recorder()
  return recorder, log.StepMetrics(recorder, config, 11)


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


def test_speed_is_clips_a_second_without_pauses(metrics, monkeypatch):
  recorder, steps = metrics
  clock = [100.0]
  monkeypatch.setattr(log.time, "monotonic", lambda: clock[0])
  for step in range(1, 11):
    _add(steps, [step])
    clock[0] += 2.0
    if step == 5:
      with steps.pause():
        clock[0] += 1000.0
  speeds = [values.get("clips_per_second") for _, values in recorder.written]
  # Two seconds a step of five clips; the first reading has none before it.
  assert speeds == [None, 2.5, 2.5]


def test_a_pause_writes_what_came_before(metrics):
  recorder, steps = metrics
  _add(steps, range(1, 4))
  with steps.pause():
    assert [step for step, _ in recorder.written] == [3]
