"""TFDS builder for COCO keypoints: pictures as videos of one frame."""

import pathlib
import re
from collections.abc import Mapping

from etils import epath

from diffpose_jax.data import annotations, coco, records
from diffpose_jax.pose import skeleton as skeletons


class Builder(records.FramesBuilder):
  """People of COCO 2017 with labelled keypoints, in COCO's 17 joints."""

  # Said, because the module is loaded by file and TFDS cannot find it by name.
  pkg_dir_path = epath.Path(__file__).parent
  HOMEPAGE = "https://cocodataset.org"
  MANUAL_DOWNLOAD_INSTRUCTIONS = (
    "Give the folder that holds annotations/person_keypoints_train2017.json "
    "and train2017/, likewise for val2017: see README.md."
  )

  @property
  def skeleton(self) -> skeletons.Skeleton:
    """COCO's joints, which are not PoseTrack's."""
    return skeletons.COCO

  @property
  def published(self) -> Mapping[str, Mapping[int, str]]:
    """Pictures with at least one labelled keypoint."""
    return {"train": {56_599: "COCO 2017"}, "val": {2_346: "COCO 2017"}}

  def label(self, root: pathlib.Path, split: str, videos: int) -> str:
    """The year of another release than 2017, which shares pictures out anew."""
    name = coco.annotation_file(root, split).stem
    year = re.search(r"20[0-9]{2}$", name)
    if year and year[0] != "2017":
      return f"COCO {year[0]}, not 2017: its val has pictures of 2017's train"
    return super().label(root, split, videos)

  def splits(self, root: pathlib.Path) -> list[str]:
    """One split a file of keypoints."""
    return coco.splits(root)

  def read_split(
    self, root: pathlib.Path, split: str
  ) -> list[annotations.Video]:
    """A video of one frame for each picture with people."""
    return coco.read_split(root, split, skeleton=self.skeleton)
