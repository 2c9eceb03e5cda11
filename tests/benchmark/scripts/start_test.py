"""Start and compilation: what is run and how it is put into rows."""

import pathlib

import pytest

from diffpose_jax import main as command


def test_the_made_run_can_be_predicted_with(
  script, config, tmp_path, monkeypatch
):
  start = script("start")
  monkeypatch.setattr(start.verb, "default", lambda: config)
  assert start.make_run(tmp_path)["picture"] == [32, 24]
  module, *arguments = start.predict_command(tmp_path)[1:]
  assert module == "diffpose_jax.main"
  assert command.main(arguments) == 0
  assert (tmp_path / "out" / "frames.json").is_file()


def test_cold_and_warm_take_turns(script, monkeypatch):
  start = script("start")
  caches = []

  def call(arguments, cache):
    caches.append(cache.name)
    cold = cache.name.startswith("cold")
    return (9.0, "1.5 20.0\n") if cold else (2.0, "1.5 0.5\n")

  monkeypatch.setattr(start, "call", call)
  warm, beside = start.first_results(pathlib.Path("x"), 2)
  assert caches == ["warm", "cold_0", "warm", "cold_1", "warm"]
  assert warm.ratio.median == 2.0 and warm.bar.value == 3.0
  assert beside.ratio.median == 4.5
  row = start.gradients(pathlib.Path("x"), 2)
  assert row.ratio.median == 40.0
  assert row.figures == {"trace s": 1.5, "cold s": 20.0, "warm s": 0.5}


def test_a_call_gets_its_cache_and_tells_what_failed(script, tmp_path):
  start = script("start")
  code = "import os; print(os.environ['JAX_COMPILATION_CACHE_DIR'])"
  taken, text = start.call(["-c", code], tmp_path)
  assert text == f"{tmp_path}\n" and taken > 0
  with pytest.raises(RuntimeError, match="no such luck"):
    start.call(["-c", "raise SystemExit('no such luck')"], tmp_path)
