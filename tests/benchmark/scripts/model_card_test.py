"""The figures of the model card are those of an evaluation."""

import json

import pytest

from diffpose_jax.evaluation import pack
from diffpose_jax.inference import estimator as estimator_lib
from diffpose_jax.inference import pack_file


@pytest.fixture
def weights(tiny_run, tmp_path, monkeypatch):
  path = tmp_path / "a.safetensors"
  before = estimator_lib.Estimator.load(tiny_run)
  before.config.data.synthetic.val_videos = 2
  before.config.data.synthetic.frames = 5
  pack_file.write(pack.pack(before, tiny_run, path, "float16"))
  monkeypatch.chdir(tmp_path)
  monkeypatch.setattr(pack, "_SCENES", 1)
  return path


def test_the_table_is_what_evaluate_says(
  script, weights, tiny_run, tmp_path, capsys
):
  arguments = [f"--weights={weights}", f"--synthetic={tmp_path / 'people'}"]
  script("model_card").main(
    [*arguments, "--sampling=1x2", f"--workdir={tiny_run}"]
  )
  lines = capsys.readouterr().out.splitlines()
  assert lines[0].startswith("- file: `a.safetensors`, ")
  assert "training step 7" in lines[0] and "crops 32×24, δ = 1" in lines[2]
  assert "float16 beside float32: on " in lines[4]
  head, _, row = lines[-3:]
  found = dict(zip(head.split(" | "), row.split(" | "), strict=True))
  folder = tmp_path / "runs" / "a"
  result = json.loads((folder / "evaluation-val.json").read_text())
  assert result["protocol"]["samples"] == 2
  assert result["protocol"]["data"] == "people"
  assert found["people"] == str(result["protocol"]["people"])
  assert int(found["people"]) >= 8
  assert found["steps × samples"] == "1 × 2"
  assert found["AP"] == f"{result['ap_groups']['total']:.1f}"
  pck = result["pck_box"]["all"]
  assert found["PCK@0.1"] == f"{pck['0.1']:.3f}"
  assert found["| data"] == "| people, val"


def test_what_is_not_known_is_a_dash(script):
  card = script("model_card")
  assert card._number(None, 1) == card._number(float("nan"), 1) == "–"
  assert card._number(12.34, 1) == "12.3"
  with pytest.raises(ValueError, match="give NAME=ROOT"):
    card._source("jhmdb")
