"""Configs: what is refused, what is kept on disk, and the files in configs/."""

import ast
import json
import pathlib
import runpy
import shutil

import numpy as np
import pytest

from diffpose_jax import config as config_lib
from diffpose_jax import main, verbs
from diffpose_jax.training import optim

FOLDER = pathlib.Path(__file__).resolve().parent.parent / "configs"
CONFIGS = sorted(FOLDER.rglob("*.py"))
# What each ablation is compared with, and the one key in which it differs.
ABLATIONS = {
  "single_frame": ("temporal", {"data.span": 0}),
  "temporal": ("full", {"model.diffusion": False}),
  "no_lookup": ("full", {"model.lookup": False}),
  "single_scale": ("full", {"model.scales": 1}),
  "full": ("", {}),
}


def _changed(**values):
  """The default config with keys changed; `__` stands for the dot."""
  config = config_lib.default()
  config.update_from_flattened_dict(
    {key.replace("__", "."): value for key, value in values.items()}
  )
  return config


def test_the_default_can_work():
  config_lib.check(config_lib.default())


@pytest.mark.parametrize("key", ["model__init_from", "train__init_from"])
def test_a_backbone_may_be_frozen_that_was_loaded(key):
  config_lib.check(_changed(train__freeze_backbone=True, **{key: "somewhere"}))


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
    (dict(train__max_skipped=0), "train.max_skipped is 0, must be at least 1"),
    (dict(train__spike=1.0), "train.spike is 1.0, must be above 1, or 0 for"),
    (dict(train__spike=float("nan")), "train.spike is nan, must be"),
    (dict(train__mesh__fsdp=0), "train.mesh.fsdp is 0, must be at least 1, or"),
    (dict(train__mesh__data=-2), "train.mesh.data is -2, must be at least 1"),
    (dict(evaluate__steps=0), "evaluate.steps is 0, must be at least 1"),
    (dict(evaluate__samples=0), "evaluate.samples is 0, must be at least 1"),
    (dict(diffusion__steps=0), "diffusion.steps is 0, must be at least 1"),
    (dict(model__scales=2), r"model.scales is 2, must be one of \[1, 3\]"),
    (dict(train__schedule="poly"), "train.schedule is 'poly', must be one of"),
    (dict(model__heads=-1), "model.heads is -1, must be at least 0"),
    (dict(model__depth=-1), "model.depth is -1, must be at least 0"),
    (dict(train__layer_decay=0.0), "train.layer_decay is 0.0, .* above 0"),
    (dict(train__layer_decay=1.1), "layer_decay is 1.1, .* from 0 to 1"),
    (
      dict(data__prepared="gs://bucket/data"),
      "data.prepared=gs://bucket/data is an address, not a path on a disk",
    ),
    (
      dict(data__mixture=("/a", "s3://b/c"), data__shares=(0.2, 0.2)),
      "data.mixture=s3://b/c is an address",
    ),
    (
      dict(train__resume="gs://bucket/run"),
      "train.resume=gs://bucket/run is an address",
    ),
    (
      dict(model__init_from="a.pth", train__init_from="runs/b"),
      "model.init_from 'a.pth' and train.init_from 'runs/b' both give .* one$",
    ),
    (
      dict(train__freeze_backbone=True),
      "train.freeze_backbone would keep a ViT of random weights; give model.in",
    ),
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


def _name(path):
  return path.relative_to(FOLDER).as_posix()


@pytest.mark.parametrize("path", CONFIGS, ids=_name)
def test_a_config_file_can_work_and_says_its_command(path):
  config_lib.check(runpy.run_path(str(path))["get_config"]())
  text = path.read_text()
  assert len(text.splitlines()) <= 40
  docstring = ast.get_docstring(ast.parse(text)) or ""
  assert f"--config=configs/{_name(path)}" in docstring
  assert "python -m diffpose_jax.main" in docstring


def _parsed(argument):
  return main.parse("train", verbs.VERBS["train"], [f"--config={argument}"])


@pytest.mark.parametrize("path", CONFIGS, ids=_name)
def test_a_config_file_resolves_on_the_command_line(path):
  given = _parsed(f"configs/{_name(path)}")
  assert given["workdir"] == f"runs/{path.stem}"
  assert given["config"].is_locked


def test_every_ablation_is_told_of():
  names = {path.stem for path in (FOLDER / "ablations").glob("*.py")}
  assert names == set(ABLATIONS)


@pytest.mark.parametrize("base", ["synthetic_hard", "pt17", "pt18", "pt21"])
@pytest.mark.parametrize("name", ABLATIONS)
def test_an_ablation_differs_in_the_key_that_it_is_about(name, base):
  def of(file):
    argument = "" if base == "synthetic_hard" else f":{base}"
    if not file:
      return config_lib._flatten(
        _parsed(f"configs/{base}.py")["config"].to_dict()
      )
    return config_lib._flatten(
      _parsed(f"configs/ablations/{file}.py{argument}")["config"].to_dict()
    )

  beside, expected = ABLATIONS[name]
  found, other = of(name), of(beside)
  differing = {key: found[key] for key in found if found[key] != other[key]}
  assert differing == expected


def test_an_installed_ablation_finds_its_installed_base(tmp_path, monkeypatch):
  monkeypatch.setattr(main, "PACKAGE", tmp_path / "package")
  monkeypatch.chdir(tmp_path)
  installed = tmp_path / "package" / "_configs"
  shutil.copytree(FOLDER, installed)
  base = (installed / "jhmdb.py").read_text()
  changed = base.replace("return config", "config.seed = 5\n  return config")
  (installed / "jhmdb.py").write_text(changed)
  given = _parsed("configs/ablations/temporal.py:jhmdb")
  config = given["config"]
  assert config.seed == 5 and config.data.name == "jhmdb"
  assert not config.model.diffusion
  assert given["workdir"] == "runs/temporal_jhmdb"


def test_a_base_that_is_not_there_is_named(capsys, tmp_path):
  arguments = [
    "--config=configs/ablations/full.py:pt19",
    f"--workdir={tmp_path / 'run'}",
  ]
  assert main.main(arguments) == 2
  error = capsys.readouterr().err
  assert error.count("\n") == 1
  assert f"No such file or directory: '{FOLDER / 'pt19.py'}'" in error
  assert list(tmp_path.iterdir()) == []


RECIPE = {  # of pt17, pt18 and pt21, typed from docs/configs.md's sources
  "train.learning_rate": 2e-4,
  "train.backbone_factor": 0.1,
  "train.weight_decay": 0.05,
  "train.clip": 1.0,
  "train.warmup": 500,
  "train.schedule": "step",
  "train.batch": 32,
  "train.freeze_steps": 0,
  "train.patience": 0,
  "data.size": (256, 192),
  "data.span": 2,
  "data.enlarge": 1.25,
  "augment.scale": 0.35,
  "augment.rotation": 45.0,
  "augment.rotation_probability": 0.6,
  "augment.flip_probability": 0.5,
  "augment.half_body_probability": 0.3,
  "diffusion.schedule": "cosine",
  "diffusion.steps": 1000,
  "diffusion.spread": 3.0,
  "model.size": "B",
}


@pytest.mark.parametrize(
  ("argument", "drops"),
  # Epochs of 100 batches: 60 and 20 of them, x0.1 at 2/3 and 5/6.
  [("", (6000, 4000, 5000)), (":short", (2000, 1333, 1666))],
)
@pytest.mark.parametrize("name", ["pt17", "pt18", "pt21"])
def test_the_recipe_of_the_paper_and_the_short_one(name, argument, drops):
  given = _parsed(f"configs/{name}.py{argument}")
  config = given["config"]
  assert given["workdir"] == f"runs/{name}{argument.replace(':', '_')}"
  assert config.data.name == name.replace("pt", "posetrack")
  flat = config_lib._flatten(config.to_dict())
  assert {key: flat[key] for key in RECIPE} == RECIPE
  assert config_lib.train_steps(config, 100 * 32) == drops[0]
  rate = optim.schedule(config.train, drops[0])
  for drop, before in zip(drops[1:], (2e-4, 2e-5), strict=True):
    found = [float(rate(drop - 1)), float(rate(drop))]
    np.testing.assert_allclose(found, [before, before / 10], rtol=1e-5)
  # Of the first, half and last step of the warm-up.
  found = [float(rate(step)) for step in (0, 250, 500)]
  np.testing.assert_allclose(found, [4e-7, 1.002e-4, 2e-4], rtol=1e-4)


def test_image_pretraining_is_the_same_network_on_coco():
  config = _parsed("configs/coco.py")["config"]
  flat = config_lib._flatten(config.to_dict())
  other = config_lib._flatten(_parsed("configs/pt18.py")["config"].to_dict())
  assert {k: v for k, v in flat.items() if v != other[k]} == {
    "data.name": "coco",
    "augment.camera": 0.03,
    "train.epochs": 20.0,
  }
  # 20 passes over the 149,813 people with joints, at 32 a step: 93,633.1.
  assert config_lib.train_steps(config, 149_813) == 93_634


def test_a_recipe_that_is_not_there_is_named(capsys, tmp_path):
  arguments = ["--config=configs/pt18.py:shrt", f"--workdir={tmp_path / 'run'}"]
  assert main.main(arguments) == 2
  error = capsys.readouterr().err
  assert error.count("\n") == 1
  assert "no recipe 'shrt'; there are paper, short" in error


def test_a_vit_may_be_frozen_for_a_while_that_was_loaded():
  config = _changed(train__freeze_steps=9, model__init_from="vit.pth")
  config_lib.check(config)
  config.train.steps = 10
  assert config_lib.train_steps(config, 1) == 10
  config.train.steps = 9
  with pytest.raises(ValueError, match="freeze_steps 9 is not below the run's"):
    config_lib.train_steps(config, 1)
  config.train.steps, config.train.epochs = 0, 1.0
  # 256 people in batches of 32 are eight steps.
  with pytest.raises(ValueError, match="not below the run's 8 steps; train.fr"):
    config_lib.train_steps(config, 256)


@pytest.mark.parametrize(
  ("values", "message"),
  [
    (
      dict(train__freeze_steps=-1),
      "train.freeze_steps is -1, must be at least",
    ),
    (dict(train__patience=-1), "train.patience is -1, must be at least 0"),
    (dict(train__min_gain=-0.5), "train.min_gain is -0.5, must be at least 0"),
    (
      dict(train__freeze_steps=5),
      "train.freeze_steps would keep a ViT of random weights; give model.init_",
    ),
    (
      dict(
        train__freeze_steps=5,
        train__freeze_backbone=True,
        model__init_from="a.pth",
      ),
      "freeze_backbone freezes .* whole run, train.freeze_steps for 5 steps;",
    ),
  ],
)
def test_nonsense_of_freezing_and_patience_is_refused(values, message):
  with pytest.raises(ValueError, match=message) as caught:
    config_lib.check(_changed(**values))
  assert "\n" not in str(caught.value)


def test_not_a_number_is_no_gain():
  with pytest.raises(ValueError, match="train.min_gain is nan"):
    config_lib.check(_changed(train__min_gain=float("nan")))


# What a file could hold that would run if it were more than JSON. {} is where
# the canary would appear.
CODE = (
  "open({!r}, 'w')",
  "from pathlib import Path\nPath({!r}).touch()\ndef get_config(): pass",
  "!!python/object/apply:builtins.open [{!r}, w]",
  '{{"train": {{"steps": !!python/object/apply:os.system ["touch {}"]}}}}',
  '{{"data": {{"!!python/object/apply:os.system": "touch {}"}}}}',
  '{{"py/object": "os.system", "py/reduce": ["touch {}"]}}',
  '{{"train": {{"steps": "__import__(\'os\').system(\'touch {}\')"}}}}',
  '{{"data": {{"size": "__import__(\'os\').system(\'touch {}\')"}}}}',
  '{{"train": {{"__class__": "touch {}"}}}}',
  '{{"__reduce__": ["os.system", "touch {}"]}}',
  "[" * 100_000 + "{!r}",
)


@pytest.mark.parametrize("text", CODE, ids=range(len(CODE)))
def test_the_config_of_a_workdir_never_runs(tmp_path, capsys, text):
  canary = tmp_path / "canary"
  run = tmp_path / "run"
  run.mkdir()
  path = run / "config.json"
  path.write_text(text.format(str(canary)))
  for arguments in (
    ["evaluate", f"--weights={run}"],
    ["calibrate", f"--weights={run}"],
    ["replay", f"--workdir={run}", "--step=1"],
    ["--config=configs/pt18.py", f"--workdir={run}"],
  ):
    assert main.main(arguments) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert f"{path}: not a config of this version" in error
  assert not canary.exists()
  assert sorted(p.name for p in tmp_path.iterdir()) == ["run"]
  assert [p.name for p in run.iterdir()] == ["config.json"]


def test_a_canary_would_be_seen(tmp_path):
  """The text above does run where it is taken for Python."""
  canary = tmp_path / "canary"
  path = tmp_path / "theirs.py"
  path.write_text(CODE[1].format(str(canary)))
  runpy.run_path(str(path))
  assert canary.exists()


def test_a_value_on_the_command_line_never_runs(tmp_path, capsys):
  canary = tmp_path / "canary"
  code = f"__import__('os').system('touch {canary}')"
  for key in ("data.size", "train.steps", "data.mixture", "train.min_gain"):
    assert (
      main.main(["--config=configs/pt18.py", f"--config.{key}={code}"]) == 2
    )
    assert capsys.readouterr().err.count("\n") == 1
  assert not canary.exists()
