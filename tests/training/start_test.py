"""Where training starts: what is filled from where, and what is refused."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffpose_jax import config as config_lib
from diffpose_jax.inference import network, pack_file, shipped
from diffpose_jax.inference import workdir as run_folder
from diffpose_jax.model import sharding
from diffpose_jax.pose.skeleton import POSETRACK
from diffpose_jax.training import checks, optim
from diffpose_jax.training import start as start_lib
from diffpose_jax.training import step as step_lib
from diffpose_jax.weights import account, checkpoint, public


def _config(**changes):
  config = config_lib.default()
  config.data.size = (32, 24)
  config.data.span = 1
  config.model.size = "cpu"
  config.model.patch = 8
  config.model.strl_depth = 1
  config.model.decoder_width = 16
  config.model.heatmap_width = 8
  config.update_from_flattened_dict(
    {key.replace("__", "."): value for key, value in changes.items()}
  )
  return config


def _start(config, folder):
  checkpoints = checkpoint.Checkpoints(folder)
  try:
    return start_lib.state(config, POSETRACK, checkpoints, sharding.mesh(), 6)
  finally:
    checkpoints.close()


def _leaves(tree):
  flat = jax.tree_util.tree_flatten_with_path(tree)[0]
  name = jax.tree_util.keystr
  return {
    name(path, simple=True, separator="/"): np.asarray(leaf)
    for path, leaf in flat
  }


@pytest.fixture(scope="module")
def fresh(tmp_path_factory):
  """Parameters of a run that starts from nothing."""
  state, _ = _start(_config(), tmp_path_factory.mktemp("fresh"))
  return _leaves(state.params)


@pytest.fixture
def loader(monkeypatch):
  """Stands for the reader of public weights; the calls, and what it gives."""
  calls, given = [], {}

  def load(source, like, *, heads):
    calls.append((source, heads))
    rng = np.random.default_rng(7)
    vit = jax.tree.map(lambda s: rng.standard_normal(s.shape, np.float32), like)
    given.update(vit)
    told = account.Account(
      format="ViTPose",
      source="vit.pth",
      sha256="ab" * 32,
      size="B",
      used=3,
      unused=("head.weight", "head.bias"),
      resized=((14, 14), (16, 12)),
      notes=("heads were assumed",),
    )
    return vit, told

  monkeypatch.setattr(public, "load_backbone", load)
  return calls, given


@pytest.mark.parametrize("freeze", [False, True])
def test_public_weights_fill_the_vit_and_nothing_else(
  fresh, loader, tmp_path, capsys, freeze
):
  calls, given = loader
  config = _config(
    model__init_from="some/vit.pth",
    model__heads=8,
    train__freeze_backbone=freeze,
  )
  state, start = _start(config, tmp_path)
  assert start == 0 and int(state.step) == 0
  ((source, heads),) = calls
  assert source.as_posix() == "some/vit.pth" and heads == 8
  for tree in (state.params, state.ema):
    found = _leaves(tree)
    assert found.keys() == fresh.keys()
    expected = {f"vit/{name}": leaf for name, leaf in _leaves(given).items()}
    expected |= {n: v for n, v in fresh.items() if not n.startswith("vit/")}
    for name, leaf in found.items():
      np.testing.assert_array_equal(leaf, expected[name], err_msg=name)
  kept = [name for name in _leaves(state.optimiser) if "/vit/" in name]
  assert bool(kept) != freeze
  *_, state_line, line = capsys.readouterr().out.splitlines()
  assert state_line.startswith("state: ")
  assert line == (
    "starting with the backbone of vit.pth (ViTPose; 2 of its arrays not "
    "used; position embedding resized from 14x14 to 16x12 patches; heads were "
    "assumed), the rest is new"
  )


def test_the_state_can_be_trained_on(loader, tmp_path):
  """It has the structure, places and memory that a step is given."""
  del loader
  config = _config(model__init_from="x", train__freeze_backbone=True)
  state, _ = _start(config, tmp_path)
  optimiser = optim.optimiser(config.train, 6)
  expected = jax.eval_shape(
    lambda: vars(step_lib.init_state(config, POSETRACK, optimiser))
  )
  place = sharding.replicated(sharding.mesh())

  def same(leaf, like):
    assert (leaf.shape, leaf.dtype) == (like.shape, like.dtype)
    assert leaf.sharding == place and leaf.committed

  jax.tree.map(same, vars(state), expected)
  pointers = [
    leaf.addressable_shards[0].data.unsafe_buffer_pointer()
    for leaf in jax.tree.leaves((state.params, state.ema))
  ]
  assert len(set(pointers)) == len(pointers)


def test_a_checkpoint_of_its_own_comes_first(loader, fresh, tmp_path, capsys):
  calls, _ = loader
  state, _ = _start(_config(), tmp_path / "one")
  checkpoints = checkpoint.Checkpoints(tmp_path)
  checkpoints.save(vars(state), 3, float("nan"))
  checkpoints.close()
  found, start = _start(_config(model__init_from="vit.pth"), tmp_path)
  assert start == 3 and not calls
  assert "resuming from step 3" in capsys.readouterr().out
  for name, leaf in _leaves(found.params).items():
    np.testing.assert_array_equal(leaf, fresh[name])


def test_a_run_with_a_frozen_vit_is_resumed(loader, tmp_path):
  calls, _ = loader
  config = _config(model__init_from="x", train__freeze_backbone=True)
  state, _ = _start(config, tmp_path / "one")
  moved = jax.tree.map(lambda v: v + 1, state)
  checkpoints = checkpoint.Checkpoints(tmp_path)
  checkpoints.save(vars(moved), 1, float("nan"))
  checkpoints.close()
  found, start = _start(config, tmp_path)
  assert start == 1 and len(calls) == 1
  assert jax.tree.structure(found) == jax.tree.structure(state)
  expected = _leaves(vars(moved))
  assert len(expected) > 100
  for name, leaf in _leaves(vars(found)).items():
    np.testing.assert_array_equal(leaf, expected[name], err_msg=name)


def test_weights_trained_with_other_heads_are_no_start(tmp_path):
  """Their shapes fit, but they would mean another function."""
  run = tmp_path / "run"
  state, _ = _start(_config(), run)
  checkpoints = checkpoint.Checkpoints(run)
  checkpoints.save(vars(state), 3, float("nan"))
  checkpoints.close()
  run_folder.save(run, _config(), POSETRACK)
  with pytest.raises(ValueError) as caught:
    _start(_config(train__init_from=str(run), model__heads=8), tmp_path / "new")
  assert str(caught.value) == (
    f"{run}: trained with 4 attention heads, but this network has 8; give "
    "--config.model.heads=4"
  )
  found, _ = _start(_config(train__init_from=str(run)), tmp_path / "same")
  for name, leaf in _leaves(found.params).items():
    np.testing.assert_array_equal(leaf, _leaves(state.ema)[name])


def _saved(folder, step, **changes):
  """A run with a checkpoint, and its averaged weights."""
  config = _config(**changes)
  state, _ = _start(config, folder)
  average = jax.tree.map(lambda v: v + 1, state.ema)
  state = dataclasses.replace(state, ema=average)
  checkpoints = checkpoint.Checkpoints(folder)
  checkpoints.save(vars(state), step, float("nan"))
  checkpoints.close()
  run_folder.save(folder, config, POSETRACK)
  return _leaves(jax.device_get(average))


def test_another_runs_vit_fits_other_frames_and_decoders(
  fresh, tmp_path, capsys
):
  run = tmp_path / "run"
  theirs = _saved(run, 5, data__span=2, model__decoder_width=24)
  found, start = _start(_config(model__init_from=str(run)), tmp_path / "new")
  assert start == 0
  assert capsys.readouterr().out.splitlines()[-1] == (
    f"starting with the ViT of {run}, step 5, the rest is new"
  )
  for name, leaf in _leaves(found.params).items():
    source = theirs if name.startswith("vit/") else fresh
    np.testing.assert_array_equal(leaf, source[name], err_msg=name)


def test_weights_of_other_frames_begin_a_run(tmp_path, capsys):
  """All of them, with the frames that both have where they were."""
  run = tmp_path / "run"
  theirs = _saved(run, 5, data__span=2)
  config = _config(train__init_from=str(run))
  found, start = _start(config, tmp_path / "new")
  assert start == 0 and config.data.span == 1
  assert capsys.readouterr().out.splitlines()[-2:] == [
    f"starting from the weights of {run}, step 5",
    "they are of δ = 2, here it is 1",
  ]
  leaves = _leaves(found.params)
  assert leaves.keys() == theirs.keys()
  for name, leaf in leaves.items():
    if name == "strl/position_frame":
      np.testing.assert_array_equal(leaf, theirs[name][:, 1:4])
    elif name == "strl/aggregate":
      share = theirs[name]
      np.testing.assert_array_equal(
        leaf, [share[0] + share[1], share[2], share[3] + share[4]]
      )
    else:
      np.testing.assert_array_equal(leaf, theirs[name], err_msg=name)


def test_packed_and_shipped_weights_begin_a_run_too(tmp_path, capsys):
  """Also by name; shipped ones are of another resolution, so the ViT alone."""
  run, file = tmp_path / "run", tmp_path / "packed.safetensors"
  theirs = _saved(run, 5)
  leaves = {name: leaf.astype(np.float16) for name, leaf in theirs.items()}
  pack_file.write(
    pack_file.Network(
      path=file,
      leaves=leaves,
      config=_config(),
      skeleton=POSETRACK,
      step=5,
      dtype="float16",
      packed_from="0" * 64,
      calibration=None,
    )
  )
  found, start = _start(_config(train__init_from=str(file)), tmp_path / "a")
  assert start == 0
  assert capsys.readouterr().out.splitlines()[-1] == (
    f"starting from the weights of {file}, step 5"
  )
  for name, leaf in _leaves(found.params).items():
    np.testing.assert_array_equal(leaf, leaves[name].astype(np.float32))
  with pytest.raises(ValueError, match="its ViT is of another make"):
    _start(_config(model__init_from=shipped.DEFAULT), tmp_path / "b")


def test_what_would_fit_them_is_said_of_weights_of_another_network(tmp_path):
  """Of shipped ones and of a run; what changes no shape is not in the way."""
  with pytest.raises(ValueError) as caught:
    _start(_config(train__init_from=shipped.DEFAULT), tmp_path / "new")
  assert str(caught.value) == (
    f"{shipped.find()}: weights of another network; give "
    "--config.data.size='(128, 96)' --config.model.decoder_width=48 "
    "--config.model.heatmap_width=32 --config.model.patch=16 "
    "--config.model.stem=conv --config.model.strl_depth=2"
  )
  run = tmp_path / "run"
  _saved(run, 5, model__strl_depth=2, model__drop_path=0.1)
  with pytest.raises(ValueError, match="; give --config.model.strl_depth=2$"):
    _start(_config(train__init_from=str(run)), tmp_path / "new")
  config = _config(train__init_from=str(run), model__strl_depth=2)
  assert _start(config, tmp_path / "new")[1] == 0


def test_another_runs_vit_of_another_make_is_refused(tmp_path):
  run = tmp_path / "run"
  _saved(run, 5, model__stem="conv")
  with pytest.raises(ValueError, match="its ViT is of another make, .*stem"):
    _start(_config(model__init_from=str(run)), tmp_path / "new")


@pytest.mark.parametrize(
  ("changes", "message"),
  [
    (
      dict(model__heads=3),
      "model.size, model.heads: 3 attention heads do not divide the width 128 "
      "of model size 'cpu'",
    ),
    (dict(model__size="XXL"), "model.size, model.heads: model size 'XXL'; kno"),
    (
      dict(model__init_from="/nowhere/vit.pth"),
      "model.init_from /nowhere/vit.pth: no such file or folder; give public",
    ),
    (
      dict(train__init_from="/nowhere/run"),
      "train.init_from /nowhere/run: no such file or folder; give a run's "
      "workdir, packed weights, or shipped ones: diffpose-small",
    ),
  ],
)
def test_what_cannot_be_or_begin_is_refused_at_once(tmp_path, changes, message):
  with pytest.raises(ValueError) as caught:
    checks.check_start(_config(**changes), tmp_path)
  assert str(caught.value).startswith(message)
  assert "\n" not in str(caught.value)


def test_a_run_that_has_begun_needs_no_weights_to_begin_from(tmp_path):
  config = _config(model__init_from="/nowhere/vit.pth")
  run_folder.save(tmp_path, config, POSETRACK)
  checks.check_start(config, tmp_path)
  gone = config_lib.copy(config)
  gone.model.init_from = ""
  checks.check_workdir(gone, tmp_path)


def test_heads_change_what_the_network_computes_but_no_shape():
  rng = np.random.default_rng(0)
  frames = jnp.asarray(rng.integers(0, 256, (1, 3, 32, 24, 3), np.uint8))
  shapes = jax.eval_shape(
    lambda: network.init_params(_config(), POSETRACK, jax.random.key(0))
  )
  params = jax.tree.map(
    lambda s: 0.3 * rng.standard_normal(s.shape, np.float32), shapes
  )

  def feature(heads):
    model = network.build_model(_config(model__heads=heads), POSETRACK)
    run = jax.jit(lambda p: model.apply({"params": p}, frames, method="encode"))
    return np.asarray(run(params).maps[0])

  same, own, other = feature(0), feature(4), feature(8)
  np.testing.assert_array_equal(same, own)  # 4 are the size's
  assert np.abs(other - own).max() > 1e-3
