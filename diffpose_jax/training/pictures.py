"""Sheets of clips to look at while a network trains.

What it is given, with what it is to find: mistakes in data, augmentation and
targets show at once. And what it finds in a few people of the validation split.
"""

import functools
from collections.abc import Sequence
from typing import Any

import cv2
import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
from jaxtyping import UInt8

from diffpose_jax.data import instances, pipeline, prepared
from diffpose_jax.diffusion import sampler
from diffpose_jax.inference import draw
from diffpose_jax.inference import sampling as sampling_lib
from diffpose_jax.model import hosts, sharding
from diffpose_jax.pose import heatmap
from diffpose_jax.pose import skeleton as skeletons
from diffpose_jax.training import step as step_lib

_HEIGHT = 192  # pixels of a crop at least
_SEEN = 0.05  # score of a joint that is drawn: a new network is sure of none
Sheets = dict[str, UInt8[np.ndarray, "h w 3"]]  # RGB, by name


def given(
  config: ml_collections.ConfigDict,
  skeleton: skeletons.Skeleton,
  batch: dict[str, np.ndarray],
  *,
  step: int,
  rows: Sequence[int],
) -> Sheets:
  """A sheet of the first clips of a training batch, `train/clips`.

  A row is a clip: its frames as the network gets them; the key frame with the
  labelled joints, the person's left in orange; and with the target heatmaps.
  Empty where `train.pictures` is 0, and but on the first process.

  Args:
    config: of the run.
    skeleton: names the joints.
    batch: of this host.
    step: number of steps done before the one that the batch is for.
    rows: places of the host's clips in the batch over all hosts.
  """
  count = min(config.train.pictures, len(rows))
  if not count or not hosts.is_first():
    return {}
  few = {name: batch[name][:count] for name in ("frames", "joints", "labelled")}
  see = jax.jit(functools.partial(_as_given, config))
  with jax.transfer_guard("allow"):
    found = see(few, np.int32(step), np.asarray(rows[:count], np.int32))
    frames, maps = jax.device_get(found)
  pictures = []
  for clip, target, joints, labelled in zip(
    frames, maps, few["joints"], few["labelled"], strict=True
  ):
    shown = [_enlarged(np.asarray(frame)) for frame in clip]
    key = shown[len(shown) // 2]
    pictures += shown
    pictures += [_posed(key, joints, labelled, clip.shape[1], skeleton)]
    pictures += [draw.heatmap(key, np.asarray(target))]
  return {"train/clips": draw.tile(pictures, columns=frames.shape[1] + 2)}


def _as_given(config, few, step, rows) -> tuple[jax.Array, jax.Array]:
  """Frames and targets of clips at places `rows` of a step's batch."""
  # A key depends on the place alone.
  places = {"index": jnp.zeros(config.train.batch)}
  keys = step_lib.clip_keys(config, step, places)[rows]
  frames = step_lib.pictures(config, few | {"key": keys})
  return frames, step_lib.targets(config, few)


class Found:
  """What a network finds in a few people of a split, always the same ones."""

  def __init__(
    self,
    config: ml_collections.ConfigDict,
    split: prepared.Split,
    mesh: jax.sharding.Mesh,
  ):
    """`split` has the joints that the network learns; `mesh` is training's."""
    self._config, self._skeleton, self._mesh = config, split.skeleton, mesh
    self._split = split
    self._clips: dict[str, np.ndarray] = {}
    self._arguments: Any = None
    self._program: Any = None

  def __call__(self, params: Any) -> Sheets:
    """A sheet of the people with weights `params`, `val/poses`.

    A row has three people: the crop; with the pose found in colour and the true
    one in white; and with the heatmaps found, in one step, as in validation.
    Empty where `train.pictures` is 0, and but on the first process. All
    processes call it.
    """
    if not self._config.train.pictures:
      return {}
    program = self._program or self._prepare(params)
    found = program(params, *self._arguments)
    joints, score, maps = (sharding.to_local(array) for array in found)
    if not hosts.is_first():
      return {}
    pictures = []
    for i in np.flatnonzero(self._clips["valid"])[
      : self._config.train.pictures
    ]:
      frames = self._clips["frames"][i]
      key = _enlarged(frames[len(frames) // 2])
      size = frames.shape[1]
      pose = draw.pose(
        key,
        _moved(joints[i], key, size),
        score[i],
        skeleton=self._skeleton,
        threshold=_SEEN,
      )
      truth = _moved(self._clips["joints"][i], key, size)
      labelled = self._clips["labelled"][i]
      pose = draw.thin_pose(pose, truth, labelled, skeleton=self._skeleton)
      glow = draw.heatmap(key, np.nan_to_num(maps[i]))
      pictures += [draw.tile([key, pose, glow], columns=3, gap=2)]
    if not pictures:
      return {}
    return {"val/poses": draw.tile(pictures, columns=2, gap=8)}

  def _prepare(self, params: Any) -> Any:
    """Reads the people's crops and compiles, both once; the program."""
    config, mesh = self._config, self._mesh
    people = instances.gt_instances(self._split, need_joints=True)
    parts = sharding.shares(mesh)
    count = -(-config.train.pictures // parts) * parts
    rows = np.linspace(0, len(people) - 1, config.train.pictures)
    batches = pipeline.eval_batches(
      self._split,
      people.take(np.unique(rows.astype(int))),
      config,
      batch=count,
      rows=sharding.rows(count, mesh),
    )
    try:
      self._clips = next(iter(batches))
    finally:
      batches.close()
    options = sampling_lib.options_of(
      config, steps=1, samples=1, flip=False, eta=0.0, adaptive=0.0
    )
    times = sampler.time_grid(1, config.evaluate.max_steps)
    walk = jax.device_put((times, np.int32(1)), sharding.replicated(mesh))
    shown = {name: self._clips[name] for name in ("frames", "noise_id")}
    self._arguments = sharding.to_global(shown, mesh), walk
    program = jax.jit(
      functools.partial(_look, config, self._skeleton, options, mesh),
      out_shardings=sharding.split(mesh),
    )
    self._program = hosts.compiled(
      "pictures", program, params, *self._arguments
    )
    return self._program


def _look(config, skeleton, options, mesh, params, shown, walk):
  """Joints, scores and heatmaps of clips."""
  clips = (shown["frames"], shown["noise_id"])
  with sharding.traced_for(mesh):
    whole = sharding.gathered(params, mesh)
    maps = sampling_lib.merge(
      sampling_lib.heatmaps(config, skeleton, whole, *clips, walk, options)
    )
  joints, score = heatmap.decode(
    maps, stride=config.model.patch / 4, method=config.evaluate.decode
  )
  return joints, score, maps


def _posed(key, joints, labelled, size, skeleton) -> np.ndarray:
  """The key frame with all labelled joints."""
  joints = _moved(joints, key, size)
  return draw.pose(key, joints, labelled.astype(np.float32), skeleton=skeleton)


def _moved(joints: np.ndarray, picture: np.ndarray, size: int) -> np.ndarray:
  """Joints of a crop of `size` rows in its enlarged picture."""
  zoom = picture.shape[0] / size
  return joints * zoom + (zoom - 1) / 2


def _enlarged(image: np.ndarray) -> np.ndarray:
  """A small crop at a height that can be looked at."""
  if image.shape[0] >= _HEIGHT:
    return image
  zoom = -(-_HEIGHT // image.shape[0])
  size = (zoom * image.shape[1], zoom * image.shape[0])
  return cv2.resize(image, size, interpolation=cv2.INTER_CUBIC)
