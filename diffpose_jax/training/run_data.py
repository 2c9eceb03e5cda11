"""The data of a run: what it is trained on and validated with."""

import pathlib

import ml_collections

from diffpose_jax import config as config_lib
from diffpose_jax.data import instances, prepared
from diffpose_jax.pose import skeleton as skeletons


def opened(
  config: ml_collections.ConfigDict, data: pathlib.Path
) -> tuple[list[prepared.Split], prepared.Split]:
  """What to train on, the run's own first, and what to validate with.

  `data` is the prepared folder. All have the same joints.
  """
  # None: the joints that the data have, whatever they are.
  wanted = skeletons.NAMED.get(config.data.skeleton)
  own = prepared.open_split(data, config.data.train_split, skeleton=wanted)
  validation = prepared.open_split(data, config.data.val_split, skeleton=wanted)
  mixed = [
    prepared.open_split(other, config.data.train_split, skeleton=own.skeleton)
    for other in config.data.mixture
  ]
  return [own, *mixed], validation


def people(split: prepared.Split) -> int:
  """How many people a split has to train on."""
  return len(instances.gt_instances(split, need_joints=True))


def steps(config: ml_collections.ConfigDict, split: prepared.Split) -> int:
  """The last step of a run whose own data are `split`."""
  return config_lib.train_steps(config, people(split))
