"""Faults of numbers: what is not finite, and what should be equal.

As in `files`, each function gives the injections for one column.
"""

import functools
import pathlib
from collections.abc import Callable
from typing import Any
from unittest import mock

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np

from diffpose_jax import config as config_lib
from diffpose_jax.benchmark import subject, training
from diffpose_jax.inference import estimator
from diffpose_jax.inference import sampling as sampling_lib
from diffpose_jax.pose import heatmap
from diffpose_jax.training import optim
from diffpose_jax.training import step as step_lib
from fault_cases import judging, toy
from fault_cases.columns import Column
from fault_cases.files import Cases
from fault_cases.judging import Injection

TINY = {
  "data.name": "synthetic",
  "data.size": (32, 24),
  "data.span": 1,
  "data.threads": 1,
  "data.synthetic.train_videos": 2,
  "data.synthetic.val_videos": 1,
  "data.synthetic.frames": 4,
  "data.synthetic.size": (71, 97),
  "data.synthetic.workers": 1,
  "model.size": "cpu",
  "model.patch": 8,
  "model.stem": "conv",
  "model.strl_depth": 1,
  "model.decoder_width": 8,
  "model.heatmap_width": 4,
  "model.scales": 1,
  "model.drop_path": 0.1,
  "train.batch": 4,
  "train.warmup": 2,
  "train.log_every": 1,
  "evaluate.batch": 4,
  "evaluate.steps": 1,
  "evaluate.samples": 3,
}
Act = Callable[[str, pathlib.Path], Injection]


def tiny_config() -> ml_collections.ConfigDict:
  """Of a network that is trained in milliseconds."""
  config = config_lib.default()
  config.update_from_flattened_dict(TINY)
  return config


@functools.cache
def our_step() -> tuple[Callable[..., Any], Callable[[], step_lib.State]]:
  """The compiled train step, and what makes the state before the first one."""
  config = tiny_config()
  optimiser = optim.optimiser(config.train, 100)
  skeleton = subject.SKELETON
  init = functools.partial(step_lib.init_state, config, skeleton, optimiser)
  return jax.jit(step_lib.make_step(config, skeleton, optimiser)), jax.jit(init)


def make_batch() -> dict[str, np.ndarray]:
  """Four made-up clips, each joint labelled."""
  batch = training.make_batch(tiny_config(), 4)
  return batch | {"labelled": np.ones_like(batch["labelled"])}


def _finite(tree: Any) -> bool:
  return all(
    np.isfinite(np.asarray(leaf, np.float64)).all()
    for leaf in jax.tree.leaves(tree)
  )


def nan_batch(column: Column, base: pathlib.Path, count: int) -> Cases:
  """F18: a number that is not one in the batch of the third step."""
  del base, count
  if column.name == "plain":

    def poison_all(batch):
      return batch * np.float32("nan")

    return {"a batch of NaN": functools.partial(_plain_nan, column, poison_all)}

  def poison(joints, batch):
    changed = batch["joints"].copy()
    changed[joints] = np.nan
    return batch | {"joints": changed}

  places = {"one joint is NaN": (0, 0), "all joints are NaN": ...}
  return {
    label: functools.partial(
      _our_nan, column, label, functools.partial(poison, place)
    )
    for label, place in places.items()
  }


def _our_nan(column, label, poison, folder: pathlib.Path) -> Injection:
  """The train step, and a save after each step but the first."""
  step, init = our_step()
  good, bad = make_batch(), poison(make_batch())
  state = init()
  place = folder.with_name("nan")
  place.mkdir()
  kept = []
  with column.opened(place) as opened:
    for number, batch in enumerate((good, good, bad, good), start=1):
      state, _ = step(state, jax.device_put(batch))
      kept.append(toy.digest(state.params))
      if number > 1:
        column.save_one(opened, vars(state), number)
    found = opened.restore_newest(toy.abstract(vars(state)))
  if not _finite(found[0]):
    return Injection(label, judging.SILENT, "NaN is saved as the newest step")
  if kept[1] != kept[2]:
    return Injection(label, judging.SILENT, "the update was made")
  return Injection(label, judging.RECOVERED, "the update is left out")


def _plain_nan(column, poison, folder: pathlib.Path) -> Injection:
  label = "a batch of NaN"
  place = folder.with_name("nan")
  place.mkdir()
  state = toy.first()
  with column.opened(place) as opened:
    for number in range(1, 5):
      batch = np.ones(toy.BATCH, np.float32)
      state = toy.step(state, poison(batch) if number == 3 else batch)
      if number > 1:
        column.save_one(opened, state, number)
  found, _, _ = column.restored(place, toy.abstract(state))
  if _finite(found):
    return Injection(label, judging.RECOVERED)
  return Injection(label, judging.SILENT, "NaN is saved as the newest step")


def _known_maps(broken: tuple[Any, ...]) -> tuple[np.ndarray, np.ndarray]:
  """Equal heatmaps of 3 samples and 4 clips, some NaN; the joints they show."""
  rng = np.random.default_rng(20)
  skeleton, size = subject.SKELETON, config_lib.heatmap_size(tiny_config())
  count = len(skeleton.joints)
  joints = rng.uniform(6, 17, (4, count, 2)).astype(np.float32)
  stride = tiny_config().model.patch / 4
  maps = heatmap.encode(
    jnp.asarray(joints), size=size, stride=stride, spread=6.0
  )
  samples = np.repeat(np.asarray(maps)[None], 3, axis=0)
  samples[broken] = np.nan
  return samples, joints


_BROKEN = {
  "one sample of one joint": (1, slice(None), 5, 3, 2),
  "one sample whole": (1,),
  "all samples of one joint": (slice(None), slice(None), 5, 3, 2),
}


def nan_sample(column: Column, base: pathlib.Path, count: int) -> Cases:
  """F20: heatmaps of an ensemble that are not finite."""
  del base, count
  estimate = _our_joints if column.name == "ours" else _plain_joints
  return {
    label: functools.partial(_estimated, label, broken, estimate)
    for label, broken in _BROKEN.items()
  }


def _our_joints(maps: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """By our estimator, whose network gives these maps."""
  config = tiny_config()
  options = sampling_lib.Options(
    steps=1, samples=3, flip=False, seed=0, eta=0.0
  )
  with mock.patch.object(estimator, "heatmaps", return_value=jnp.asarray(maps)):
    mesh = jax.make_mesh(
      (1, 1, 1),
      ("data", "fsdp", "tensor"),
      axis_types=(jax.sharding.AxisType.Auto,) * 3,
      devices=jax.devices()[:1],
    )
    made = estimator.Estimator(config, subject.SKELETON, {}, options, mesh=mesh)
    batch = make_batch()
    poses = made(batch["frames"], batch["noise_id"])
  return poses.joints, poses.score


def _plain_joints(maps: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """The mean over the samples, and where it is largest."""
  mean = np.asarray(jnp.mean(maps, axis=0))
  clips, rows, columns, count = mean.shape
  flat = mean.reshape(clips, rows * columns, count)
  y, x = np.divmod(np.asarray(jnp.argmax(flat, axis=1)), columns)
  stride = tiny_config().model.patch / 4
  joints = np.stack([x, y], axis=-1) * stride + (stride - 1) / 2
  return joints, flat.max(axis=1)


def _estimated(label, broken, estimate, folder: pathlib.Path) -> Injection:
  del folder
  maps, truth = _known_maps(broken)
  joints, score = estimate(maps)
  lost = ~np.isfinite(maps).all(axis=(2, 3)).any(axis=0)  # in all samples
  off = np.abs(joints - truth).max(axis=-1)
  if not np.isfinite(score).all() or (off[~lost] > 2.0).any():
    told = f"joints up to {off.max():.0f} pixels off"
    told += "" if np.isfinite(score).all() else ", scores are NaN"
    return Injection(label, judging.SILENT, told)
  if (score[lost] != 0).any():
    return Injection(label, judging.SILENT, "scored though nothing shows it")
  told = "without them" if not lost.any() else "the joint scores 0"
  return Injection(label, judging.RECOVERED, told)
