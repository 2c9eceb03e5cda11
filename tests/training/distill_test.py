"""A student that learns one step from a teacher's many, on a tiny network."""

import json
import pathlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny

from diffpose_jax import config as config_lib
from diffpose_jax import main
from diffpose_jax.diffusion import sampler
from diffpose_jax.inference import network, pack_file
from diffpose_jax.inference import workdir as run_folder
from diffpose_jax.pose.skeleton import POSETRACK
from diffpose_jax.training import distill, distillation, optim
from diffpose_jax.training import step as step_lib
from diffpose_jax.weights import checkpoint

K = len(POSETRACK.joints)


def _config(**changes):
  config = tiny.config(model__scales=1)
  config.train.batch = 4
  config.train.warmup = 0
  config.train.weight_decay = 0.0
  config.evaluate.batch = 4
  config.update_from_flattened_dict(tiny.keys(changes))
  return config


@pytest.fixture(scope="module")
def params():
  """Its heatmaps depend on noise, as no zero hides it."""
  return tiny.params(_config(), POSETRACK, spread=20)


@pytest.fixture
def run(params, tmp_path):
  """A workdir with these weights."""
  folder = tmp_path / "teacher"
  config = _config()
  optimiser = optim.optimiser(config.train, 1)
  state = step_lib.State(jnp.int32(3), params, params, optimiser.init(params))
  checkpoints = checkpoint.Checkpoints(folder)
  checkpoints.save(vars(state), 3, float("nan"))
  checkpoints.close()
  run_folder.save(folder, config, POSETRACK)
  return folder


def _batch(count=4):
  rng = np.random.default_rng(1)
  batch = {
    "frames": rng.integers(0, 256, (count, 3, 32, 24, 3), np.uint8),
    "joints": rng.uniform(0, 24, (count, K, 2)).astype(np.float32),
    "labelled": np.ones((count, K), bool),
    "valid": np.ones(count, bool),
    "index": np.arange(count),
  }
  return jax.tree.map(jnp.asarray, batch)


def _student(run, **changes):
  return _config(
    train__init_from=str(run),
    train__teacher__steps=2,
    train__teacher__samples=3,
    train__learning_rate=3e-3,
    augment__colour=0.0,
    **changes,
  )


def test_the_loss_is_the_distance_to_the_teacher_s_merged_walk(run, params):
  """From pure noise, by hand; and nothing but the decoder has a gradient."""
  config = _student(run)
  taught = distillation.teacher(config, POSETRACK)
  for found, given in zip(
    jax.tree.leaves(taught), jax.tree.leaves(params["decoder"]), strict=True
  ):
    np.testing.assert_array_equal(found, given)
  batch = _batch() | {"key": jax.random.split(jax.random.key(4), 4)}
  batch["labelled"] = batch["labelled"].at[1, 3:].set(False)
  model: Any = network.build_model(config, POSETRACK)
  apply = lambda params, *given, method: model.apply(  # noqa: E731
    {"params": params}, *given, method=method
  )
  other = params | {"decoder": jax.tree.map(lambda v: 0.9 * v, taught)}

  def loss(params):
    return distillation.loss_sum(
      config, POSETRACK, params, taught, batch["frames"], batch
    )

  found, grads = jax.jit(jax.value_and_grad(loss))(other)
  for name in ("vit", "strl"):
    assert not any(np.any(v) for v in jax.tree.leaves(grads[name])), name
  features = ("raise", "fuse_plain")
  learned = grads["decoder"]
  assert sum(name.startswith(features) for name in learned) == 2
  for name, tree in learned.items():
    still = not any(np.any(v) for v in jax.tree.leaves(tree))
    assert still == name.startswith(features), name

  features = apply(other, batch["frames"], method="encode")
  walk = jnp.asarray(sampler.time_grid(2, 2))
  fold = lambda n: jax.vmap(  # noqa: E731
    lambda k: jax.random.fold_in(k, n)
  )(batch["key"])
  maps = sampler.ensemble(
    lambda xt, t: apply(params, xt, t, features, method="denoise"),
    fold(1 << 17),
    (16, 12, K),
    walk,
    2,
    network.build_process(config),
    samples=3,
  )
  target = jnp.clip(maps.mean(axis=0), 0, 1)
  first = jax.vmap(jax.random.bernoulli)(fold((1 << 17) + 1))
  assert 0 < first.sum() < 4  # both kinds of clips are among these
  noise = jax.vmap(lambda k: jax.random.normal(k, (16, 12, K)))(
    fold((1 << 17) + 3)
  )
  one = apply(other, noise, jnp.ones(4), features, method="denoise")
  error = np.square(one - target).mean(axis=(1, 2))
  by_hand = np.where(batch["labelled"], error, 0)
  rows = np.flatnonzero(first)
  alone = dict(batch)
  alone["valid"] = jnp.asarray(np.isin(np.arange(4), rows))
  only = distillation.loss_sum(
    config, POSETRACK, other, taught, batch["frames"], alone
  )
  np.testing.assert_allclose(only, by_hand[rows].sum(), rtol=1e-4)
  assert float(found) > float(only)


def test_one_step_comes_to_what_the_teacher_s_walk_gives(run, params):
  config = _student(run)
  optimiser = optim.optimiser(config.train, 60)
  taught = distillation.teacher(config, POSETRACK)
  step = jax.jit(
    step_lib.make_step(config, POSETRACK, optimiser, teacher=taught)
  )
  spoiled = jax.tree.map(lambda v: 0.8 * v, params["decoder"])
  start = params | {"decoder": spoiled}
  state = step_lib.State(
    jnp.int32(0),
    start,
    start,
    optimiser.init(optim.trained(config.train, start)),
  )
  losses = []
  for _ in range(60):
    state, metrics = step(state, _batch())
    losses.append(float(metrics["loss"]))
  assert np.mean(losses[-5:]) < 0.1 * losses[0]
  for name in ("vit", "strl"):
    for new, old in zip(
      jax.tree.leaves(state.params[name]),
      jax.tree.leaves(start[name]),
      strict=True,
    ):
      np.testing.assert_array_equal(new, old)
  for name, tree in state.params["decoder"].items():
    if name.startswith(("raise", "fuse_plain")):
      for new, old in zip(
        jax.tree.leaves(tree), jax.tree.leaves(spoiled[name]), strict=True
      ):
        np.testing.assert_array_equal(new, old, err_msg=name)


def test_a_teacher_of_other_joints_is_refused(run):
  data = pathlib.Path(run) / "skeleton.json"
  skeleton = json.loads(data.read_text())
  text = data.read_text().replace('"nose"', '"snout"')
  assert skeleton["joints"] != json.loads(text)["joints"]
  data.write_text(text)
  with pytest.raises(ValueError, match="learned other joints than the data"):
    distillation.teacher(_student(run), POSETRACK)


def test_without_a_teacher_there_is_none():
  assert distillation.teacher(_config(), POSETRACK) is None
  config = _config(train__teacher__steps=2)
  with pytest.raises(ValueError, match="the teacher is the diffusion network"):
    config_lib.check(config)


def test_the_student_s_config_is_the_teacher_s_but_for_what_it_must(run):
  (run / "data").mkdir()
  found = distill.config_of(run, steps=3, samples=5, iterations=40)
  config_lib.check(found)
  old, new = (config_lib._flatten(c.to_dict()) for c in (_config(), found))
  changed = {key: new[key] for key in new if new[key] != old[key]}
  assert changed == {
    "data.prepared": str(run / "data"),
    "train.init_from": str(run),
    "train.teacher.steps": 3,
    "train.teacher.samples": 5,
    "train.steps": 40,
    "train.warmup": 4,
    "train.schedule": "cosine",
    "train.learning_rate": 3e-4,
    "train.ema": 0.99,
    "evaluate.steps": 1,
    "evaluate.samples": 1,
  }
  root = pathlib.Path("/elsewhere")
  moved = distill.config_of(run, steps=3, samples=5, iterations=40, root=root)
  assert (moved.data.root, moved.data.prepared) == ("/elsewhere", "")


def test_packed_weights_say_nothing_of_their_teacher(run):
  found = distill.config_of(run, steps=3, samples=5, iterations=40)
  packed = pack_file.portable(found)
  assert packed.train.teacher.steps == 0 and packed.train.init_from == ""
  config_lib.check(packed)


def test_the_command_needs_weights(tmp_path, capsys):
  given = ["distill", f"--weights={tmp_path / 'none'}", "--workdir=x"]
  assert main.main(given) == 2
  assert f"{tmp_path / 'none'}: no weights here" in capsys.readouterr().err
