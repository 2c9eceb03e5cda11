"""What papers report on PoseTrack's validation sets, by the boxes they used.

The numbers are facts that their authors published; each row says where it was
read. AP in percent by group of joints, as `table.COLUMNS`.
"""

import dataclasses
import re
from collections.abc import Mapping
from typing import Any

from diffpose_jax.evaluation import table

DETECTED = "detected"
GROUND_TRUTH = "ground truth"
UNSTATED = "unstated"  # no source says; such a row fits no class
CAUTION = (
  "The source of the person boxes decides which rows may be compared: true "
  "boxes instead of detected ones alone took one paper's network from 86.8 to "
  "90.3, and detectors differ from paper to paper."
)
_VIDEOS = {  # of the validation sets; labels 0.2 of PoseTrack18 have 74
  "posetrack17": (50,),
  "posetrack18": (74, 170),
  "posetrack21": (170,),
}

_DIFFUSION = "tables 1-3 of DiffusionPose (AAAI 2026)"
_DCPOSE = "the repository of DCPose"
_POSEIDON = "the README of Poseidon"
_TAR = "the tables of TAR-ViTPose (arXiv 2603.05929)"
_MAMBA = "notes on GLSMamba (arXiv 2510.11017)"
_PRUNING = "the abstract of arXiv 2503.05365"


@dataclasses.dataclass(frozen=True)
class Row:
  """A method's AP on a data set; None for what was not read."""

  method: str
  values: Mapping[str, float | None]  # `head` ... `ankle`, `total`
  source: str  # where the numbers were read
  boxes: str = DETECTED


@dataclasses.dataclass(frozen=True)
class Comparison:
  """The rows that a result may stand beside, and a line on what they are."""

  rows: tuple[Row, ...]
  note: str


def rows(dataset: str, boxes: str) -> list[Row]:
  """Of a data set and class of boxes, the highest mean first.

  Args:
    dataset: `posetrack17`, `posetrack18` or `posetrack21`; others have none.
    boxes: `DETECTED` or `GROUND_TRUTH`.
  """
  fitting = [row for row in _ROWS.get(dataset, ()) if row.boxes == boxes]
  return sorted(fitting, key=lambda row: -(row.values["total"] or 0.0))


def compare(protocol: Mapping[str, Any]) -> Comparison:
  """The rows of the same data set and class of boxes as a result's protocol.

  None, and why, where the data are others, the split is not the whole
  validation set, or the boxes are not said. Reads `data`, `split`, `videos`
  and `boxes`; a split that is not named is taken for its number of videos.
  """
  data = str(protocol.get("data", ""))
  dataset = re.sub(r"[^a-z0-9]", "", data.lower()).replace("track20", "track")
  if dataset not in _ROWS:
    return _none(f"the data are {data or 'not named'}, not PoseTrack's")
  split = str(protocol.get("split", "val"))
  if split not in ("val", "validation"):
    return _none(f"the papers' are of the validation set, not of {split!r}")
  videos, whole = protocol.get("videos"), _VIDEOS[dataset]
  if videos not in whole:
    known = " or ".join(map(str, whole))
    found = "an unknown number of" if videos is None else videos
    return _none(f"{found} videos are not the whole validation set ({known})")
  boxes = _boxes(str(protocol.get("boxes", "")))
  if boxes == UNSTATED:
    return _none("the protocol does not say whose boxes these are")
  found = tuple(rows(dataset, boxes))
  sources = "; ".join(dict.fromkeys(row.source for row in found))
  return Comparison(
    found,
    f"Published rows are the papers' numbers for {boxes} boxes on this "
    f"validation set, not measured here; read in {sources}.",
  )


def _none(why: str) -> Comparison:
  return Comparison((), f"No published rows are shown: {why}.")


def _boxes(said: str) -> str:
  """The class of boxes that a protocol's entry names."""
  if said in ("ground truth", "gt"):
    return GROUND_TRUTH
  return DETECTED if said.startswith("detect") else UNSTATED


def _row(method: str, numbers: str, source: str, boxes: str = DETECTED) -> Row:
  """Eight numbers or `-`, or the mean alone."""
  keys = [key for key, _ in table.COLUMNS]
  found = [None if n == "-" else float(n) for n in numbers.split()]
  padded = [None] * (len(keys) - len(found)) + found
  return Row(method, dict(zip(keys, padded, strict=True)), source, boxes)


_ROWS: dict[str, tuple[Row, ...]] = {
  "posetrack17": (
    _row("PoseTracker", "67.5 70.2 62.0 51.7 60.7 58.7 49.8 60.6", _DIFFUSION),
    _row("PoseFlow", "66.7 73.3 68.3 61.1 67.5 67.0 61.3 66.5", _DIFFUSION),
    _row("JointFlow", "69.3", _DCPOSE),
    _row("FastPose", "80.0 80.3 69.5 59.1 71.4 67.5 59.4 70.3", _DCPOSE),
    _row("SimpleBaseline", "81.7 83.4 80.0 72.4 75.3 74.8 67.1 76.7", _DCPOSE),
    _row("STEmbedding", "83.8 81.6 77.1 70.0 77.4 74.5 70.8 77.0", _DCPOSE),
    _row("HRNet-W48", "82.1 83.6 80.4 73.3 75.5 75.3 68.5 77.3", _DIFFUSION),
    _row("MDPN", "85.2 88.8 83.9 77.5 79.0 77.0 71.4 80.7", _DCPOSE),
    _row("PoseWarper", "81.4 88.3 83.9 78.0 82.4 80.5 73.6 81.2", _DIFFUSION),
    _row("DCPose", "88.0 88.7 84.1 78.4 83.0 81.4 74.2 82.8", _DIFFUSION),
    _row("SLT-Pose", "88.9 89.7 85.6 79.5 84.2 83.1 75.8 84.2", _DIFFUSION),
    _row("HANet", "90.0 90.0 85.0 78.8 83.1 82.1 77.1 84.2", _DIFFUSION),
    _row("KPM", "89.5 90.0 87.6 81.8 81.1 82.6 76.1 84.6", _DIFFUSION),
    _row("FAMI-Pose", "89.6 90.1 86.3 80.0 84.6 83.4 77.0 84.8", _DIFFUSION),
    _row("DSTA", "89.3 90.6 87.3 82.6 84.5 85.1 77.8 85.6", _DIFFUSION),
    _row("TDMI", "85.7", _MAMBA),
    _row("TDMI-ST", "90.6 91.0 87.2 81.5 85.2 84.5 78.7 85.9", _DIFFUSION),
    _row("JM-Pose", "90.7 91.6 87.8 82.1 85.9 85.3 79.2 86.4", _DIFFUSION),
    _row("TPSD-ViT", "90.7 91.1 87.9 83.6 85.3 86.3 80.0 86.7", _DIFFUSION),
    _row("DiffPose", "89.0 91.2 87.4 83.5 85.5 87.2 80.2 86.4", _DIFFUSION),
    _row(
      "DiffusionPose", "90.8 91.8 88.7 84.9 88.1 88.6 81.8 87.8", _DIFFUSION
    ),
    _row("ViTPose-S", "80.1", _TAR),
    _row("ViTPose-B", "81.7", _TAR),
    _row("ViTPose-L", "83.4", _TAR),
    _row("ViTPose-H", "84.7", _TAR),
    _row("TAR-ViTPose-S", "81.9", _TAR),
    _row("TAR-ViTPose-B", "84.0", _TAR),
    _row("TAR-ViTPose-L", "85.3", _TAR),
    _row("TAR-ViTPose-H", "- - - 83.8 - - 80.2 86.8", _TAR),
    _row("GLSMamba-B", "86.9", _MAMBA, UNSTATED),
    _row("Multi-Grained Feature Pruning", "87.4", _PRUNING, UNSTATED),
    _row("GLSMamba-H", "88.0", _TAR, GROUND_TRUTH),
    _row("Poseidon", "88.9", _TAR, GROUND_TRUTH),
    _row("TAR-ViTPose-H", "90.3", _TAR, GROUND_TRUTH),
  ),
  "posetrack18": (
    _row("AlphaPose", "63.9 78.7 77.4 71.0 73.7 73.0 69.7 71.9", _DIFFUSION),
    _row("PoseWarper", "79.9 86.3 82.4 77.5 79.8 78.8 73.2 79.7", _DIFFUSION),
    _row("DCPose", "84.0 86.6 82.7 78.0 80.4 79.3 73.8 80.9", _DIFFUSION),
    _row("DetTrack", "84.9 87.4 84.8 79.2 77.6 79.7 75.3 81.5", _POSEIDON),
    _row("FAMI-Pose", "85.5 87.7 84.2 79.2 81.4 81.1 74.9 82.2", _DIFFUSION),
    _row("HANet", "86.1 88.5 84.1 78.7 79.0 80.3 77.4 82.3", _DIFFUSION),
    _row("DiffPose", "85.0 87.7 84.3 81.5 81.4 82.9 77.6 83.0", _DIFFUSION),
    _row("DSTA", "85.9 88.8 85.0 81.1 81.5 83.0 77.4 83.4", _DIFFUSION),
    _row("TDMI-ST", "86.7 88.9 85.4 80.6 82.4 82.1 77.6 83.6", _DIFFUSION),
    _row("JM-Pose", "86.6 88.7 86.0 81.6 83.3 83.2 78.2 84.1", _DIFFUSION),
    _row("TPSD-ViT", "86.9 89.0 86.0 81.6 83.3 83.3 78.0 84.2", _DIFFUSION),
    _row(
      "DiffusionPose", "87.1 90.2 86.8 83.7 83.8 84.7 80.5 85.4", _DIFFUSION
    ),
    _row("ViTPose-H", "82.4", _TAR),
    _row("TAR-ViTPose-H", "84.2", _TAR),
    _row("GLSMamba-B", "84.2", _MAMBA, UNSTATED),
    _row("GLSMamba-H", "84.9", _MAMBA, UNSTATED),
    _row(
      "Poseidon-H",
      "88.8 91.4 88.6 86.3 83.3 88.8 87.2 87.8",
      _POSEIDON,
      GROUND_TRUTH,
    ),
  ),
  "posetrack21": (
    _row("Tracktor++ with poses", "71.4", _POSEIDON),
    _row("CorrTrack", "72.3", _POSEIDON),
    _row("CorrTrack with ReID", "72.7", _POSEIDON),
    _row("Tracktor++ with correspondences", "73.6", _POSEIDON),
    _row("DCPose", "83.2 84.7 82.3 78.1 80.3 79.2 73.5 80.5", _DIFFUSION),
    _row("FAMI-Pose", "83.3 85.4 82.9 78.6 81.3 80.5 75.3 81.2", _DIFFUSION),
    _row("DiffPose", "84.7 85.6 83.6 80.8 81.4 83.5 80.0 82.9", _DIFFUSION),
    _row("DSTA", "87.5 87.0 84.2 81.4 82.3 82.5 77.7 83.5", _DIFFUSION),
    _row("TDMI-ST", "86.8 87.4 85.1 81.4 83.8 82.7 78.0 83.8", _DIFFUSION),
    _row("JM-Pose", "85.8 88.1 85.7 82.5 84.1 83.1 78.5 84.0", _DIFFUSION),
    _row("TPSD-ViT", "87.7 88.0 85.0 81.7 83.4 82.8 78.3 84.1", _DIFFUSION),
    _row(
      "DiffusionPose", "88.1 89.2 86.1 83.7 84.9 84.8 81.2 85.1", _DIFFUSION
    ),
    _row("ViTPose-H", "82.0", _TAR),
    _row("TAR-ViTPose-H", "84.1", _TAR),
    _row("GLSMamba-B", "84.1", _MAMBA, UNSTATED),
    _row("GLSMamba-H", "84.7", _MAMBA, UNSTATED),
    _row(
      "Poseidon-H",
      "92.2 90.8 88.3 85.8 85.5 87.7 85.7 88.3",
      _POSEIDON,
      GROUND_TRUTH,
    ),
  ),
}
