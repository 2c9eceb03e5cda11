"""One line a step, whatever stopped a run."""

import jax.numpy as jnp
import numpy as np
import pytest

from diffpose_jax import config as config_lib
from diffpose_jax.model import sharding
from diffpose_jax.training import ledger


def _session(start, steps=12):
  config = config_lib.default()
  config.train.init_from = "runs/a"
  return ledger.session(config, sharding.mesh(), ["d" * 4], (start, steps))


def _run(folder, first, last):
  with ledger.held(folder, _session(first)) as found:
    for step in range(first + 1, last + 1):
      found.add(
        step,
        {
          "loss": jnp.float32(step / 4),
          "gradient_norm": jnp.float32(-step),
          "other": jnp.float32(0),
        },
      )


# Of 1/4, 2/4 and 3/4, and of -1, -2 and -3, by the rules of float32.
BY_HAND = {
  1: (0x3E800000, 0xBF800000),
  2: (0x3F000000, 0xC0000000),
  3: (0x3F400000, 0xC0400000),
}


def test_a_step_is_its_number_and_the_bits(tmp_path):
  _run(tmp_path, 0, 3)
  lines = (tmp_path / "ledger.txt").read_text().splitlines()
  assert lines[1:] == [
    "1 3e800000 bf800000",
    "2 3f000000 c0000000",
    "3 3f400000 c0400000",
  ]
  (session,), steps = ledger.read(tmp_path)
  assert steps == BY_HAND
  assert session == _session(0)
  assert session.keys == {
    "train.steps": 12,
    "train.resume": "",
    "train.init_from": "runs/a",
    "model.init_from": "",
  }
  assert session.mesh == {"data": 8, "fsdp": 1, "tensor": 1}
  assert session.made_by["devices"] == "8 x cpu"


def test_a_step_is_written_while_the_next_runs_or_when_asked(tmp_path):
  value = {"loss": jnp.float32(1), "gradient_norm": jnp.float32(2)}
  with ledger.held(tmp_path, _session(0)) as found:
    found.add(1, value)
    assert list(ledger.read(tmp_path)[1]) == []
    found.add(2, value)
    assert list(ledger.read(tmp_path)[1]) == [1]
    found.flush()
    found.flush()
    assert list(ledger.read(tmp_path)[1]) == [1, 2]


def test_what_a_resumed_run_repeats_is_removed(tmp_path):
  for first, last in ((0, 7), (5, 6), (5, 9)):
    _run(tmp_path, first, last)
  sessions, steps = ledger.read(tmp_path)
  assert list(steps) == list(range(1, 10))
  assert [s.start for s in sessions] == [0, 5]
  text = (tmp_path / "ledger.txt").read_text().splitlines()
  assert len(text) == 11 and text[6].startswith("{")
  _run(tmp_path, 0, 2)
  assert list(ledger.read(tmp_path)[1]) == [1, 2]


@pytest.mark.parametrize("torn", ["8", "8 3e80", "8 3e800000 bf8", "{", "null"])
def test_a_torn_last_line_is_left_out(tmp_path, torn):
  _run(tmp_path, 0, 7)
  with (tmp_path / "ledger.txt").open("a") as file:
    file.write(torn)
  assert list(ledger.read(tmp_path)[1]) == list(range(1, 8))
  _run(tmp_path, 7, 9)
  assert list(ledger.read(tmp_path)[1]) == list(range(1, 10))


def test_nothing_of_a_run_without_one(tmp_path):
  assert ledger.read(tmp_path) == ([], {})


def test_a_run_that_fails_leaves_the_steps_that_it_did(tmp_path):
  lost = jnp.float32(3)

  def fail():
    with ledger.held(tmp_path, _session(0)) as found:
      found.add(1, {"loss": jnp.float32(1), "gradient_norm": jnp.float32(2)})
      found.add(2, {"loss": lost, "gradient_norm": lost})
      lost.delete()
      raise KeyError

  with pytest.raises(KeyError):
    fail()
  assert list(ledger.read(tmp_path)[1]) == [1]


def test_bits_are_those_of_the_number_and_not_of_its_sum():
  values = [np.float32(0.1), float("inf"), -0.0]
  assert ledger.bits(values) == (0x3DCCCCCD, 0x7F800000, 0x80000000)
