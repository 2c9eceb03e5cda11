"""What a run's folder says of the network in it: its config and its joints."""

import pathlib

import ml_collections

from diffpose_jax import config as config_lib
from diffpose_jax.data import skeleton_file
from diffpose_jax.inference import pack_file
from diffpose_jax.pose import skeleton as skeletons

CONFIG = "config.json"
SKELETON = "skeleton.json"


def save(
  folder: pathlib.Path,
  config: ml_collections.ConfigDict,
  skeleton: skeletons.Skeleton,
) -> None:
  """Writes both; the config last, since it makes the folder a run's."""
  folder.mkdir(parents=True, exist_ok=True)
  skeleton_file.write(folder / SKELETON, skeleton)
  config_lib.save(config, folder / CONFIG)


def load(
  folder: pathlib.Path,
) -> tuple[ml_collections.ConfigDict, skeletons.Skeleton]:
  """The config and the skeleton of a run.

  Raises ValueError where the folder is no run's, or one of them is damaged.
  """
  path = folder / CONFIG
  if not path.exists():
    raise ValueError(
      f"{folder}: no weights here (looked for {path}); give the workdir of a "
      "training run, or a file that `pack` wrote"
    )
  return config_lib.load(path), load_skeleton(folder)


def load_skeleton(folder: pathlib.Path) -> skeletons.Skeleton:
  """The joints that a run learned, in the order of its heatmaps."""
  path = folder / SKELETON
  if not path.is_file():
    raise ValueError(
      f"{path}: no such file, so an older version trained this; which joints "
      "its heatmaps mean is not known: train again, or copy the skeleton.json "
      "of the data that it was trained on"
    )
  return skeleton_file.read(path)


def place(weights: pathlib.Path) -> pathlib.Path:
  """The folder for what is made with weights: the run's own, or a file's.

  Beside a packed file it might be among a package's; so it is runs/<its name>,
  and so is that of a bundle, which is not written into.
  """
  if weights.is_file() or (weights / pack_file.BUNDLE).is_file():
    return pathlib.Path("runs") / weights.resolve().stem
  return weights
