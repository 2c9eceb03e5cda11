"""The verb: what it runs, writes and refuses."""

import sys

import pytest

from diffpose_jax import main as command
from diffpose_jax.benchmark import measure, result, training, verb
from diffpose_jax.benchmark.result import Row

from ml_collections import config_flags  # isort: skip


def _rows(*rows):
  return lambda *_: iter(rows)


def test_rows_are_printed_and_written(config, tmp_path, monkeypatch, capsys):
  over = Row(
    "P6",
    "slow",
    ratio=measure.Spread(9.0, 8.0, 9.5),
    bar=result.Bar("at most", 1.03),
  )
  monkeypatch.setattr(training, "train_step", _rows(over))
  argv = ["/bin/python", "-m", "diffpose_jax.main", "benchmark", "--rows=P6"]
  monkeypatch.setattr(sys, "orig_argv", argv)
  path = tmp_path / "a.json"
  found = verb.main(config=config, rows=" P6", pairs=1, out=path)
  assert result.read(path) == found
  assert found.rows == (over,)
  assert found.command == "python -m diffpose_jax.main benchmark --rows=P6"
  assert found.sizes["model"] == "tiny" and found.sizes["picture"] == [32, 24]
  out = capsys.readouterr().out
  assert "9.00 (8.00–9.50)  ≤ 1.03 OVER THE BAR" in out
  assert "1 rows, 1 of them miss their bar" in out


def test_refused_rows_end_it_after_the_others(config, tmp_path, monkeypatch):
  def train_step(*_):
    yield Row("P6", "first")
    raise measure.DifferentOutputsError("weights: outputs differ")

  monkeypatch.setattr(training, "train_step", train_step)
  monkeypatch.setattr(verb.steady, "repeats", _rows(Row("P14", "last")))
  path = tmp_path / "a.json"
  with pytest.raises(ValueError, match="P6 .*: weights: outputs differ"):
    verb.main(config=config, rows="P14,P6", out=path)
  names = [row.name for row in result.read(path).rows]
  assert names == ["first", "outputs compared first", "last"]


@pytest.mark.parametrize(
  ("flag", "message"),
  [
    ({"rows": "P3,P33"}, "no row 'P33'; there are P3, P4"),
    ({"rows": ""}, "no row ''"),
    ({"batches": "1,two"}, "--batches=1,two: must be whole numbers"),
    ({"batches": "0"}, "--batches=0"),
    ({"batches": "1,,2"}, "--batches=1,,2"),
  ],
)
def test_wrong_flags(flag, message):
  with pytest.raises(ValueError, match=message):
    verb.main(**flag)


def test_batches():
  assert verb._batches("1, 8,32") == (1, 8, 32)
  assert verb._batches("") == verb.BATCHES["cpu"]


def test_the_default_is_the_demos_network():
  path = command.find_config("configs/synthetic.py")
  loaded = config_flags.config_flags._LoadConfigModule("demo", str(path))
  demo, ours = loaded.get_config(), verb.default()
  assert ours.model.to_dict() == demo.model.to_dict()
  assert (ours.data.size, ours.data.span) == (demo.data.size, demo.data.span)


def test_elsewhere_it_is_the_papers(monkeypatch):
  monkeypatch.setattr(verb.jax, "default_backend", lambda: "gpu")
  config = verb.default()
  assert (config.model.size, config.model.dtype) == ("B", "auto")


@pytest.mark.parametrize(
  ("argv", "text"),
  [
    (["/a/python3", "x.py", "--beside=a b"], "python x.py '--beside=a b'"),
    (["/a/python3", "/b/bin/diffpose-jax", "v"], "python diffpose-jax v"),
  ],
)
def test_the_command_names_no_folder_of_the_machine(monkeypatch, argv, text):
  monkeypatch.setattr(sys, "orig_argv", argv)
  assert verb.command() == text


def test_the_command_line_reaches_it(monkeypatch, tmp_path):
  found = {}
  monkeypatch.setattr(verb, "main", lambda **flags: found.update(flags))
  out = tmp_path / "a.json"
  line = ["benchmark", "--rows=P3", "--pairs=2", "--calls=3", "--batches=1,2"]
  assert command.main([*line, f"--out={out}"]) == 0
  assert found == {
    "rows": "P3",
    "pairs": 2,
    "calls": 3,
    "batches": "1,2",
    "out": out,
  }
