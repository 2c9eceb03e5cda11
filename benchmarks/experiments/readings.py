"""Poses of a validation split by one network, for steps and samples at once.

Clips are sampled once for each number of steps, with the largest number of
samples: fewer samples are the first of these, as their noise depends on their
place alone.
"""

import dataclasses
import functools
import pathlib
from collections.abc import Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import tqdm
from jaxtyping import Bool, Float, Int

from benchmarks.experiments import scores
from diffpose_jax.data import instances as instances_lib
from diffpose_jax.data import pipeline, prepared
from diffpose_jax.diffusion import sampler
from diffpose_jax.evaluation import measure
from diffpose_jax.inference import adaptive, network
from diffpose_jax.inference import estimator as estimator_lib
from diffpose_jax.inference import sampling as sampling_lib
from diffpose_jax.pose import geometry, heatmap

MERGED = (1, 2, 4, 8, 16)  # samples
_BLURRED, _FAST = 0.35, 0.08  # head sizes; head sizes a frame

Found = dict[tuple[int, str], tuple[np.ndarray, np.ndarray]]


@dataclasses.dataclass(frozen=True)
class Reading:
  """How far poses of n people are from the truth, by how they were made."""

  # (error in head sizes, score), each [n k], by (steps, how): "mean8" for the
  # mean of the heatmaps of 8 samples; "joints8", "medoid8" for the mean and the
  # medoid of their joints; "sample3" for the third alone.
  found: Found
  spread: dict[int, Float[np.ndarray, "n k"]]  # of all samples, head sizes
  # Of the first two, over joints, as `--adaptive` has it: share of the crop.
  first: dict[int, Float[np.ndarray, "n"]]
  video: Int[np.ndarray, "n"]
  cuts: dict[str, Bool[np.ndarray, "n k"]]  # which labelled joints are in each

  def judged(self, steps: int, how: str) -> scores.Judged:
    """The poses of one way beside the truth."""
    error, score = self.found[steps, how]
    return scores.Judged(error, score, self.video)


def read(
  weights: pathlib.Path,
  *,
  steps: Sequence[int],
  samples: int,
  most: int,
  eta: float = 0.0,
  solver: str = "ddim",
) -> Reading:
  """The poses of at most about `most` people of a run's validation split.

  Args:
    weights: workdir.
    steps: numbers of denoising steps.
    samples: the largest number.
    most: people, of evenly spaced frames.
    eta: noise of the steps.
    solver: of the steps.
  """
  estimator = estimator_lib.Estimator.load(
    weights, steps=1, samples=samples, flip=False, eta=eta, solver=solver
  )
  config: Any = estimator.config
  split = prepared.open_split(
    pathlib.Path(config.data.prepared or weights / "data"),
    config.data.val_split,
    skeleton=estimator.skeleton,
  )
  people = instances_lib.gt_instances(split, need_joints=True)
  _, people = measure.evenly(split, people, most)
  joints: Found = {}
  for number, rows, found in _poses(estimator, split, people, steps):
    for how, (where, score) in found.items():
      both = joints.setdefault((number, how), _empty(people))
      both[0][rows], both[1][rows] = where, score
  head = measure.heads(split, people)[:, None]
  crop = _crop_heights(people, config)
  spread, first = {}, {}
  for number in steps:
    members = np.stack(
      [joints[number, f"sample{i}"][0] for i in range(samples)]
    )
    spread[number] = np.sqrt(_variance(members)) / head
    two = _variance(members[: adaptive.FIRST]).mean(axis=-1)
    first[number] = np.sqrt(two) / crop
    _merge_joints(joints, number, samples)
  distance = functools.partial(np.linalg.norm, axis=-1)
  return Reading(
    found={
      key: (distance(where - people.joints) / head, score)
      for key, (where, score) in joints.items()
    },
    spread=spread,
    first=first,
    video=split.frames.video[people.row],
    cuts=_cuts(split, people, head),
  )


def save(reading: Reading, path: pathlib.Path) -> None:
  """Writes it, whole or not at all."""
  arrays: dict[str, Any] = {"video": reading.video}
  for (number, how), (error, score) in reading.found.items():
    arrays[f"found/{number}/{how}"] = np.stack([error, score]).astype("f4")
  for number, spread in reading.spread.items():
    arrays[f"spread/{number}"] = spread.astype("f4")
  for number, first in reading.first.items():
    arrays[f"first/{number}"] = first.astype("f4")
  for name, cut in reading.cuts.items():
    arrays[f"cut/{name}"] = cut
  path.parent.mkdir(parents=True, exist_ok=True)
  part = path.with_suffix(".part.npz")
  np.savez_compressed(part, **arrays)
  part.replace(path)


def load(path: pathlib.Path) -> Reading:
  """What `save` wrote."""
  with np.load(path) as file:
    arrays = {name: file[name] for name in file.files}
  part = lambda kind: [n for n in arrays if n.startswith(f"{kind}/")]  # noqa: E731
  found = {}
  for name in part("found"):
    _, number, how = name.split("/")
    found[int(number), how] = tuple(arrays[name])
  return Reading(
    found,
    {int(n.split("/")[1]): arrays[n] for n in part("spread")},
    {int(n.split("/")[1]): arrays[n] for n in part("first")},
    arrays["video"],
    {n.split("/")[1]: arrays[n] for n in part("cut")},
  )


def _variance(joints: Float[np.ndarray, "m n k 2"]) -> np.ndarray:
  """Mean squared distance of members from their mean, [n k]."""
  away = joints - joints.mean(axis=0)
  return (away**2).sum(axis=-1).mean(axis=0)


def _crop_heights(
  people: instances_lib.Instances, config: Any
) -> Float[np.ndarray, "n"]:
  """Height of each person's crop, in pixels of the picture."""
  inverse = geometry.invert(instances_lib.crop_affines(people, config))
  return np.linalg.norm(inverse[:, :2, 1], axis=-1) * config.data.size[0]


def _empty(people: instances_lib.Instances) -> tuple[np.ndarray, np.ndarray]:
  shape = people.labelled.shape
  return np.zeros((*shape, 2), np.float32), np.zeros(shape, np.float32)


def _cuts(
  split: prepared.Split,
  people: instances_lib.Instances,
  head: Float[np.ndarray, "n 1"],
) -> dict[str, np.ndarray]:
  """Which labelled joints are hard, and why, and each group of joints."""
  at = people.person
  labelled = people.labelled & (head > 0)
  occluded = labelled & split.people.occluded[at]
  blurred = labelled & (split.people.blur[at][:, None] > _BLURRED * head)
  fast = labelled & (split.people.speed[at][:, None] > _FAST * head)
  hard = occluded | blurred
  cuts = {
    "all": labelled,
    "hard": hard,
    "easy": labelled & ~hard,
    "occluded": occluded,
    "blurred": blurred,
    "fast": fast,
  }
  for name, joints in split.skeleton.groups:
    chosen = np.isin(np.arange(labelled.shape[1]), joints)
    cuts[name.lower()] = labelled & chosen
  enough = lambda cut: (cut.sum(axis=0) >= scores.LEAST).any()  # noqa: E731
  return {name: cut for name, cut in cuts.items() if enough(cut)}


def _poses(
  estimator: estimator_lib.Estimator,
  split: prepared.Split,
  people: instances_lib.Instances,
  steps: Sequence[int],
) -> Iterator[tuple[int, np.ndarray, dict[str, tuple]]]:
  """(steps, rows of people, joints in the picture and scores by how) in turn."""
  config: Any = estimator.config
  encode, sample = _programs(estimator)
  inverse = geometry.invert(instances_lib.crop_affines(people, config))
  size = config.evaluate.batch
  batches = pipeline.eval_batches(
    split, people, config, batch=size, rows=list(range(size))
  )
  count = -(-len(people) // size)
  for batch in tqdm.tqdm(batches, total=count, unit="batch", desc="reading"):
    valid = batch["valid"]
    rows = batch["index"][valid]
    features = encode(batch["frames"])
    for number in steps:
      grid = sampler.time_grid(number, config.evaluate.max_steps)
      walk = jnp.asarray(grid), jnp.int32(number)
      found = jax.device_get(sample(features, batch["noise_id"], walk))
      yield (
        number,
        rows,
        {
          how: (geometry.apply(inverse[rows], where[valid]), score[valid])
          for how, (where, score) in found.items()
        },
      )


def _programs(estimator: estimator_lib.Estimator) -> tuple[Any, Any]:
  """The two halves, so that a clip is encoded once for all steps."""
  config, skeleton = estimator.config, estimator.skeleton
  halves = network.halves(config, skeleton)
  # On one device: two devices of a CPU share its cores, see train.cpu_devices.
  params = jax.device_put(estimator.params, jax.devices()[0])

  def sample(features, noise_id, walk):
    maps = sampling_lib.sampled(
      *(config, skeleton, params, [features], noise_id, walk),
      estimator.options,
    )
    return _decoded(maps, config)

  return jax.jit(functools.partial(halves.encode, params)), jax.jit(sample)


def _decoded(maps: jax.Array, config: Any) -> dict[str, tuple]:
  """Joints and scores of each sample, and of the mean heatmaps of the first."""
  decode = functools.partial(
    heatmap.decode, stride=config.model.patch / 4, method=config.evaluate.decode
  )
  found = {f"sample{i}": decode(one) for i, one in enumerate(maps)}
  for count in MERGED:
    if count <= len(maps):
      found[f"mean{count}"] = decode(maps[:count].mean(axis=0))
  return found


def _merge_joints(joints: Found, steps: int, samples: int) -> None:
  """Adds the mean and the medoid of the samples' joints, and their scores."""
  members = [joints[steps, f"sample{i}"] for i in range(samples)]
  where, score = (np.stack(part) for part in zip(*members, strict=True))
  for count in MERGED[1:]:
    if count > samples:
      break
    some = where[:count]
    away = np.linalg.norm(some[:, None] - some[None], axis=-1).sum(axis=1)
    middle = away.argmin(axis=0)[None, ..., None]
    medoid = np.take_along_axis(some, middle, axis=0)[0]
    mean = score[:count].mean(axis=0)
    joints[steps, f"joints{count}"] = some.mean(axis=0), mean
    joints[steps, f"medoid{count}"] = medoid, mean
