"""TFDS builder for JHMDB, as released or rewritten to PoseTrack18's layout."""

import pathlib
from collections.abc import Mapping
from typing import ClassVar

import tensorflow_datasets as tfds
from etils import epath

from diffpose_jax.data import annotations, jhmdb, layout, records

# Config: before and after `train` and `val` in the names that `jhmdb` gives.
_SPLITS = {
  "split1": ("", ""),
  "split2": ("", "_2"),
  "split3": ("", "_3"),
  "sub_split1": ("sub_", ""),
  "sub_split2": ("sub_", "_2"),
  "sub_split3": ("sub_", "_3"),
}


class Builder(records.FramesBuilder):
  """Single people in short clips, joints in PoseTrack's slots."""

  # Said, because the module is loaded by file and TFDS cannot find it by name.
  pkg_dir_path = epath.Path(__file__).parent
  HOMEPAGE = "http://jhmdb.is.tue.mpg.de"
  BUILDER_CONFIGS: ClassVar[list[tfds.core.BuilderConfig]] = [
    tfds.core.BuilderConfig(name=name, description=f"{name}: train and val")
    for name in _SPLITS
  ]
  MANUAL_DOWNLOAD_INSTRUCTIONS = (
    "Give the folder that holds joint_positions/, puppet_mask/, splits/ and "
    "Rename_Images/, or one in PoseTrack18's layout: see README.md."
  )

  @property
  def published(self) -> Mapping[str, Mapping[int, str]]:
    """Videos of the release's first split."""
    if self.builder_config.name != "split1":
      return {}
    return {"train": {660: "JHMDB split 1"}, "val": {268: "JHMDB split 1"}}

  def splits(self, root: pathlib.Path) -> list[str]:
    """`train` and `val` of the config, as far as they are there."""
    if not _released(root):
      if self.builder_config.name != "split1":
        raise ValueError(
          f"{root}: holds no joint_positions/, so there is one division into "
          "train and val only; prepare it as --dataset=jhmdb"
        )
      return layout.splits(root)
    there = jhmdb.splits(root)
    found = [s for s in ("train", "val") if self._name(s) in there]
    if not found:
      raise ValueError(
        f"{root}: no lists of {self.builder_config.name}; there is "
        f"{', '.join(there)}"
      )
    return found

  def read_split(
    self, root: pathlib.Path, split: str
  ) -> list[annotations.Video]:
    """The videos of a split."""
    if _released(root):
      return jhmdb.read_split(root, self._name(split), skeleton=self.skeleton)
    return annotations.read_split(root, split, skeleton=self.skeleton)

  def _name(self, split: str) -> str:
    before, after = _SPLITS[self.builder_config.name]
    return before + split + after


def _released(root: pathlib.Path) -> bool:
  return (root / "joint_positions").is_dir()
