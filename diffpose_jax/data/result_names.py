"""What the files of one video's poses are called, and which say the same."""

import pathlib
from collections.abc import Iterable

POSETRACK = ".json"  # each after the name of the video
OWN = ".poses.json"
COCO = ".coco.json"


def video(path: pathlib.Path) -> str:
  """The video that a file of this program's own JSON is of."""
  name = path.name
  return name.removesuffix(OWN) if name.endswith(OWN) else path.stem


def once(paths: Iterable[pathlib.Path]) -> list[pathlib.Path]:
  """The files without those that say again what one beside them says.

  Of the JSON that `predict` writes of a video, PoseTrack18's is kept; else this
  program's own; else COCO's.
  """
  found = list(paths)
  names = {path.name for path in found}
  return [path for path in found if not _again(path.name, names)]


def _again(name: str, names: set[str]) -> bool:
  for suffix, better in ((OWN, (POSETRACK,)), (COCO, (POSETRACK, OWN))):
    if name.endswith(suffix):
      stem = name.removesuffix(suffix)
      return any(stem + other in names for other in better)
  return False
