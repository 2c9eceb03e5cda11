"""TFDS builder for PoseTrack17, 18 and 21, and for video in their layouts."""

import pathlib
from collections.abc import Mapping
from typing import ClassVar

import tensorflow_datasets as tfds
from etils import epath

from diffpose_jax.data import annotations, layout, posetrack17, records

_CONFIGS = {
  "2018": "PoseTrack18",
  "2017": "PoseTrack17",
  "2021": "PoseTrack21",
  "layout": "Other video in PoseTrack18's layout and JSON",
}

# Where each release has its labels. Both have as many videos of the same names,
# so nothing else tells them apart.
_FOLDERS = {"2018": "annotations", "2021": "posetrack_data"}

# The release of 2018 with 74 labelled validation videos is its version 0.2, the
# one with 170 its version 0.45; results on them cannot be compared.
PUBLISHED: dict[str, dict[str, dict[int, str]]] = {
  "2017": {
    "train": {250: "PoseTrack17"},
    "val": {50: "PoseTrack17"},
  },
  "2018": {
    "train": {593: "PoseTrack18"},
    "val": {74: "PoseTrack18 v0.2", 170: "PoseTrack18 v0.45"},
    "test": {375: "PoseTrack18"},
  },
  "2021": {
    "train": {593: "PoseTrack21"},
    "val": {170: "PoseTrack21"},
  },
}


class Builder(records.FramesBuilder):
  """Video, people and tracks of PoseTrack, in its 17 slots of joints."""

  # Said, because the module is loaded by file and TFDS cannot find it by name.
  pkg_dir_path = epath.Path(__file__).parent
  HOMEPAGE = "https://posetrack.net"
  BUILDER_CONFIGS: ClassVar[list[tfds.core.BuilderConfig]] = [
    tfds.core.BuilderConfig(name=name, description=description)
    for name, description in _CONFIGS.items()
  ]
  MANUAL_DOWNLOAD_INSTRUCTIONS = (
    "Give the folder that holds the annotations and the pictures that these "
    "name. PoseTrack is on application: see README.md."
  )

  @property
  def published(self) -> Mapping[str, Mapping[int, str]]:
    """Counts of the releases; none for other video."""
    return PUBLISHED.get(self.builder_config.name, {})

  def splits(self, root: pathlib.Path) -> list[str]:
    """PoseTrack17's own layouts for 2017, else annotations/<split>/*.json."""
    if self.builder_config.name == "2017":
      return posetrack17.splits(root)
    found = layout.splits(root)
    if self.builder_config.name not in _FOLDERS:
      return found
    folder = root / _FOLDERS[self.builder_config.name]
    own = [split for split in found if any((folder / split).glob("*.json"))]
    if not own:
      other = "2021" if self.builder_config.name == "2018" else "2018"
      raise ValueError(
        f"{root}: has no labels of {_CONFIGS[self.builder_config.name]}, which "
        f"are {folder.name}/<split>/*.json, but those of {_CONFIGS[other]} in "
        f"{_FOLDERS[other]}/; prepare it as --dataset=posetrack{other[2:]}"
      )
    return own

  def read_split(
    self, root: pathlib.Path, split: str
  ) -> list[annotations.Video]:
    """The videos of a split, joints in PoseTrack's slots."""
    if self.builder_config.name == "2017":
      return posetrack17.read_split(root, split, skeleton=self.skeleton)
    if self.builder_config.name in _FOLDERS:
      folder = root / _FOLDERS[self.builder_config.name] / split
      return annotations.read_folder(folder, skeleton=self.skeleton)
    return annotations.read_split(root, split, skeleton=self.skeleton)
