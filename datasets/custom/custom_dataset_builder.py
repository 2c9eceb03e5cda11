"""TFDS builder for data of one's own: COCO-style JSON and a skeleton file."""

import pathlib

from etils import epath

from diffpose_jax.data import annotations, custom, records
from diffpose_jax.pose import skeleton as skeletons


class Builder(records.FramesBuilder):
  """Any joints, as ROOT/skeleton.json names them.

  Made with the skeleton, `Builder(joints=…)`: the shape of a record is its.
  """

  # Said, because the module is loaded by file and TFDS cannot find it by name.
  pkg_dir_path = epath.Path(__file__).parent
  HOMEPAGE = "https://cocodataset.org/#format-data"
  MANUAL_DOWNLOAD_INSTRUCTIONS = (
    "Give the folder that holds skeleton.json, annotations/ and the pictures "
    "that these name: see README.md."
  )

  def __init__(self, *, joints: skeletons.Skeleton, **kwargs) -> None:
    self._skeleton = joints
    super().__init__(**kwargs)

  @property
  def skeleton(self) -> skeletons.Skeleton:
    """The joints of ROOT/skeleton.json."""
    return self._skeleton

  def splits(self, root: pathlib.Path) -> list[str]:
    """Files or folders in annotations/."""
    return custom.splits(root)

  def read_split(
    self, root: pathlib.Path, split: str
  ) -> list[annotations.Video]:
    """The videos of a split; all joint names must be the skeleton's."""
    return custom.read_split(root, split, skeleton=self.skeleton)
