"""Configs: what is refused, what is kept on disk, and the files in configs/."""

import ast
import importlib.util
import json
import pathlib

import pytest

from diffpose_jax import config as config_lib
from diffpose_jax import main, verbs

CONFIGS = sorted(
  (pathlib.Path(__file__).resolve().parent.parent / "configs").glob("*.py")
)


def _changed(**values):
  """The default config with keys changed; `__` stands for the dot."""
  config = config_lib.default()
  config.update_from_flattened_dict(
    {key.replace("__", "."): value for key, value in values.items()}
  )
  return config


def test_the_default_can_work():
  config_lib.check(config_lib.default())


@pytest.mark.parametrize(
  ("values", "message"),
  [
    (
      dict(data__size=(100, 90)),
      r"data.size \(100, 90\) .* model.patch 16, .* \(96, 96\) with patch 16$",
    ),
    (
      dict(data__size=(36, 24), model__patch=6),
      r"data.size \(36, 24\) .* model.patch 6, .* \(32, 24\) with patch 8$",
    ),
    (dict(data__size=(1,)), r"data.size is \(1,\), must be two whole numbers"),
    (dict(data__size=(8, 8, 3)), r"data.size is \(8, 8, 3\), must be two"),
    (dict(data__size=(32.0, 24)), r"data.size is \(32.0, 24\), must be two"),
    (dict(data__size=(0, 16)), r"data.size is \(0, 16\), must be two"),
    (dict(data__synthetic__size=(9,)), r"data.synthetic.size is \(9,\), must"),
    (
      dict(evaluate__steps=65),
      "evaluate.steps 65 is above evaluate.max_steps 64",
    ),
    (
      dict(train__batch=10, train__accumulate=4),
      "train.batch 10 must be divisible by train.accumulate 4",
    ),
    (dict(train__epochs=0.0), "train.steps is 0 and train.epochs 0.0"),
    (dict(model__patch=0), "model.patch is 0, must be at least 1"),
    (dict(train__log_every=0), "train.log_every is 0, must be at least 1"),
    (dict(train__batch=0), "train.batch is 0, must be at least 1"),
    (dict(data__span=-1), "data.span is -1, must be at least 0"),
    (dict(train__learning_rate=0.0), "train.learning_rate is 0.0, .* above 0"),
    (dict(diffusion__signal_scale=-1.0), "signal_scale is -1.0, .* above 0"),
    (dict(model__drop_path=1.0), "model.drop_path is 1.0, .* from 0 to 0.99"),
    (
      dict(augment__flip_probability=-0.1),
      "augment.flip_probability is -0.1, must be from 0 to 1",
    ),
    (
      dict(data__name="coco17"),
      r"data.name is 'coco17', must be one of \['posetrack17', ",
    ),
    (dict(model__scales=2), r"model.scales is 2, must be one of \[1, 3\]"),
    (dict(train__schedule="poly"), "train.schedule is 'poly', must be one of"),
  ],
)
def test_what_cannot_work_is_refused_with_key_and_value(values, message):
  with pytest.raises(ValueError, match=message) as caught:
    config_lib.check(_changed(**values))
  assert "\n" not in str(caught.value)


def test_not_a_number_is_in_no_range():
  for key in ("train__learning_rate", "model__drop_path", "train__epochs"):
    with pytest.raises(ValueError, match="is nan|epochs nan"):
      config_lib.check(_changed(**{key: float("nan")}))


def test_a_locked_config_refuses_new_keys():
  config = config_lib.default().lock()
  with pytest.raises(AttributeError, match="stepz"):
    config.train.stepz = 3
  with pytest.raises(AttributeError, match="modle"):
    config.modle = 3


def test_steps_by_hand():
  assert config_lib.train_steps(_changed(train__steps=7), 1000) == 7
  # 1.5 passes over 67 people in batches of 8: 100.5 / 8, rounded up.
  config = _changed(train__epochs=1.5, train__batch=8)
  assert config_lib.train_steps(config, 67) == 13


def test_heatmaps_have_four_cells_a_patch():
  assert config_lib.heatmap_size(_changed()) == (64, 48)
  config = _changed(data__size=(56, 24), model__patch=8)
  assert config_lib.heatmap_size(config) == (28, 12)
  assert config_lib.frames(_changed(data__span=3)) == 7


def _types(tree):
  if isinstance(tree, dict):
    return {key: _types(value) for key, value in tree.items()}
  return type(tree)


def test_what_is_saved_is_loaded_with_its_types(tmp_path):
  config = _changed(
    data__size=(64, 48), data__root="über/was", train__learning_rate=3e-7
  )
  config_lib.save(config, tmp_path / "config.json")
  loaded = config_lib.load(tmp_path / "config.json")
  assert loaded.to_dict() == config.to_dict()
  assert _types(loaded.to_dict()) == _types(config.to_dict())
  assert loaded.data.size == (64, 48) and isinstance(loaded.data.size, tuple)


@pytest.mark.parametrize(
  ("text", "message"),
  [
    ("", "Expecting value"),
    ('{"train": {"steps": 3', "delimiter"),
    ("[]", "a list where keys were"),
    (json.dumps({"train": {"stepz": 3}}), "no such key: train.stepz"),
    (json.dumps({"train": {"steps": "many"}}), "'steps'.* many"),
    (json.dumps({"train": {"steps": None}}), "not a config"),
    (json.dumps({"train": 3}), "no such key: train"),
    (json.dumps({"data": {"size": [24]}}), r"data.size is \(24,\)"),
  ],
)
def test_a_broken_file_is_named(tmp_path, text, message):
  path = tmp_path / "config.json"
  path.write_text(text)
  with pytest.raises(ValueError, match=message) as caught:
    config_lib.load(path)
  assert str(caught.value).startswith(f"{path}: not a config of this version")
  assert "\n" not in str(caught.value)


def test_bytes_that_are_no_text_are_named(tmp_path):
  path = tmp_path / "config.json"
  path.write_bytes(b"\xff\xfe\x00")
  with pytest.raises(ValueError, match=f"{path}: not a config"):
    config_lib.load(path)


def test_a_copy_is_its_own():
  config = config_lib.default()
  other = config_lib.copy(config)
  other.train.steps = 5
  assert config.train.steps == 0


def test_there_are_configs():
  names = {path.stem for path in CONFIGS}
  assert {"pt17", "pt18", "pt21", "coco"} <= names
  assert {"synthetic", "synthetic_hard", "pretrain", "jhmdb"} <= names


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_a_config_file_can_work_and_says_its_command(path):
  spec = importlib.util.spec_from_file_location(f"config_{path.stem}", path)
  assert spec is not None and spec.loader is not None
  module = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(module)
  config_lib.check(module.get_config())
  text = path.read_text()
  assert len(text.splitlines()) <= 40
  docstring = ast.get_docstring(ast.parse(text)) or ""
  assert f"--config=configs/{path.name}" in docstring
  assert "python -m diffpose_jax.main" in docstring


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_a_config_file_resolves_on_the_command_line(path):
  given = main.parse(
    "train", verbs.VERBS["train"], [f"--config=configs/{path.name}"]
  )
  assert given["workdir"] == f"runs/{path.stem}"
  assert given["config"].is_locked
