"""Each file of configs/ablations takes away what it says, and nothing else."""

import functools
import json
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffpose_jax import config as config_lib
from diffpose_jax import main, verbs
from diffpose_jax.data import instances, pipeline, prepare, prepared
from diffpose_jax.diffusion import sampler
from diffpose_jax.inference import network
from diffpose_jax.inference import sampling as sampling_lib
from diffpose_jax.pose.skeleton import POSETRACK
from diffpose_jax.training import optim
from diffpose_jax.training import step as step_lib

NAMES = ("full", "single_frame", "temporal", "no_lookup", "single_scale")
SIZES = {  # of a network that compiles in seconds
  "data.size": (32, 24),
  "data.threads": 1,
  "model.size": "cpu",
  "model.patch": 8,
  "model.stem": "conv",
  "model.strl_depth": 1,
  "model.decoder_width": 16,
  "model.heatmap_width": 8,
  "train.batch": 8,
  "train.cpu_devices": 0,
  "evaluate.batch": 8,
}


def _arguments(name):
  sizes = [f"--config.{key}={value}" for key, value in SIZES.items()]
  return [f"--config=configs/ablations/{name}", *sizes]


def _config(name):
  arguments = _arguments(f"{name}.py")
  config = main.parse("train", verbs.VERBS["train"], arguments)["config"]
  config_lib.check(config)
  return config_lib.copy(config)


def _params(config):
  """Random, so that no zero hides what a weight does."""
  init = functools.partial(network.init_params, config, POSETRACK)
  rng = np.random.default_rng(0)
  return jax.tree.map(
    lambda s: jnp.asarray(0.2 * rng.standard_normal(s.shape, np.float32)),
    jax.eval_shape(init, jax.random.key(0)),
  )


def _frames(config):
  shape = (2, config_lib.frames(config), 32, 24, 3)
  return jnp.asarray(np.random.default_rng(1).integers(0, 256, shape, np.uint8))


def _heatmaps(name, steps, samples, seed):
  """Of one network, sampled in another way; (m, b, y, x, k)."""
  config = _config(name)
  options = sampling_lib.Options(steps, samples, flip=False, seed=seed, eta=0.0)
  times = jnp.asarray(sampler.time_grid(steps, 4))
  run = jax.jit(
    lambda params, frames, noise_id: sampling_lib.heatmaps(
      config, POSETRACK, params, frames, noise_id, (times, steps), options
    )
  )
  noise_id = jnp.arange(2, dtype=jnp.uint32)
  return np.asarray(run(_params(config), _frames(config), noise_id))


@pytest.mark.parametrize("name", NAMES)
def test_it_can_be_trained(name):
  config = _config(name)
  optimiser = optim.optimiser(config.train, 100)
  init = lambda: vars(step_lib.init_state(config, POSETRACK, optimiser))  # noqa: E731
  step = step_lib.make_step(config, POSETRACK, optimiser)
  shape = jax.ShapeDtypeStruct
  batch = {
    "frames": shape((8, config_lib.frames(config), 32, 24, 3), jnp.uint8),
    "joints": shape((8, 17, 2), jnp.float32),
    "labelled": shape((8, 17), jnp.bool),
    "valid": shape((8,), jnp.bool),
    "index": shape((8,), jnp.int32),
    "noise_id": shape((8,), jnp.uint32),
  }
  before = jax.eval_shape(init)
  after = jax.eval_shape(
    lambda state, batch: vars(step(step_lib.State(**state), batch)[0]),
    before,
    batch,
  )
  assert after == before


def test_without_diffusion_neither_steps_nor_samples_nor_noise_matter():
  one = _heatmaps("temporal", 1, 1, 0)
  many = _heatmaps("temporal", 3, 2, 5)
  for member in many:
    np.testing.assert_allclose(member, one[0], atol=1e-6)
  full = _heatmaps("full", 3, 2, 5)
  assert np.abs(full[0] - full[1]).max() > 1e-3


def _without_looked_up(name):
  """Heatmaps, and those where the features to look up are taken away."""
  config = _config(name)
  model: Any = network.build_model(config, POSETRACK)
  apply = functools.partial(model.apply, {"params": _params(config)})
  features = apply(_frames(config), method="encode")
  noisy = jax.random.normal(jax.random.key(0), (2, 16, 12, 17))
  time = jnp.array([0.2, 0.7])
  none = features.replace(maps=jax.tree.map(jnp.zeros_like, features.maps))
  run = jax.jit(lambda f: apply(noisy, time, f, method="denoise"))
  return run(features), run(none)


def test_without_lookup_nothing_is_looked_up():
  a, b = _without_looked_up("no_lookup")
  np.testing.assert_array_equal(a, b)
  a, b = _without_looked_up("full")
  assert np.abs(a - b).max() > 1e-3


def test_one_scale_is_that_of_the_heatmap():
  config = _config("single_scale")
  model: Any = network.build_model(config, POSETRACK)
  encode = functools.partial(model.apply, method="encode")
  maps = jax.eval_shape(
    lambda: encode({"params": _params(config)}, _frames(config)).maps
  )
  assert [m.shape for m in maps] == [(2, 16, 12, 16)]
  assert set(_params(config)["decoder"]) == {
    *("embed", "time_hidden", "time_out", "modulate"),
    *("raise_3", "fuse_plain_3", "fuse_local_3", "refine_3", "interact_3"),
    "head",
  }


def test_a_single_frame_is_the_key_frame(root, tmp_path):
  config = _config("single_frame")
  config.data.name, config.data.root = "posetrack18", str(root)
  split = prepared.open_split(
    prepare.ensure(config, tmp_path), "val", skeleton=POSETRACK
  )
  people = instances.gt_instances(split, need_joints=True)
  one, three = (
    next(pipeline.eval_batches(split, people, changed, batch=6))
    for changed in (config, _with_span(config, 1))
  )
  assert one["frames"].shape == (6, 1, 32, 24, 3)
  np.testing.assert_array_equal(one["frames"][:, 0], three["frames"][:, 1])
  np.testing.assert_array_equal(one["joints"], three["joints"])


def _with_span(config, span):
  config = config_lib.copy(config)
  config.data.span = span
  return config


@pytest.mark.slow
def test_a_whole_run_with_a_single_frame(root, tmp_path, capsys):
  """Of the config that the argument names."""
  changes = [
    f"--workdir={tmp_path}",
    f"--config.data.root={root}",
    "--config.train.steps=2",
    "--config.evaluate.steps=1",
    "--config.evaluate.samples=1",
    "--config.train.warmup=0",
  ]
  assert main.main([*_arguments("single_frame.py:pt18"), *changes]) == 0
  assert "DiffPose 1 steps x 1 samples" in capsys.readouterr().out
  config = config_lib.load(tmp_path / "config.json")
  assert config.data.name == "posetrack18" and config.data.span == 0
  assert _params(config)["strl"]["position_frame"].shape == (1, 1, 1, 1, 128)
  result = json.loads((tmp_path / "evaluation.json").read_text())
  assert result["protocol"]["people"] == 6
