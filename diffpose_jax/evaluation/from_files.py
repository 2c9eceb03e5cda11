"""Evaluation from two folders of annotation files, without any model."""

import dataclasses
import os
import pathlib
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np

from diffpose_jax.data import build, results, strict_json
from diffpose_jax.evaluation import matching, pages, registry, table
from diffpose_jax.evaluation import protocol as protocol_lib
from diffpose_jax.evaluation import report as report_lib
from diffpose_jax.pose import skeleton as skeleton_lib


@dataclasses.dataclass(frozen=True)
class DataSet:
  """Of which data set and split the ground truth is said to be."""

  name: str
  split: str = "val"

  def protocol(self, videos: int) -> dict[str, Any]:
    """Its name, split, and what labels of so many videos are called."""
    labels = build.label_version(self.name, self.split, videos)
    return {"data": self.name, "split": self.split, "labels": labels}


def evaluate_files(
  gt: str | os.PathLike,
  pred: str | os.PathLike,
  out: str | os.PathLike,
  *,
  metrics: Sequence[str] = ("ap",),
  skeleton: skeleton_lib.Skeleton = skeleton_lib.POSETRACK,
  of: DataSet | None = None,
  report: str | os.PathLike | None = None,
  **rules: bool,
) -> dict[str, Any]:
  """The metrics of prediction files; written to `out` and printed.

  Both sides are read as poseval reads them: in double precision, and a joint
  is absent only where its x, y and visibility are all 0.

  Args:
    gt: folder of PoseTrack18 JSON or annolist, one file for each video.
    pred: folder of as many files of the same names, in either form.
    out: JSON file with the keys of each metric, null where one is unknown;
      `protocol`; and `warnings`, which are printed too.
    metrics: names, see `registry.names`.
    skeleton: names, order and groups of the joints.
    of: what the ground truth is, for the protocol.
    report: HTML page to write, if any.
    **rules: see `matching.Case`.

  Raises:
    ValueError: anything that cannot be read or does not fit together; `out`
      is then not written.
  """
  chosen = [registry.load(name) for name in metrics]
  truth = results.read_poses(gt, skeleton=skeleton, dtype=np.float64)
  found = results.read_poses(
    pred, skeleton=skeleton, dtype=np.float64, complete=True
  )
  case = matching.Case.of(
    truth.videos, found.videos, skeleton=skeleton, **rules
  )
  result: dict[str, Any] = {}
  for one in chosen:
    result |= one.measure(case)
  result["warnings"] = warnings(case)
  result["protocol"] = {
    **_protocol(truth, found),
    **(of.protocol(len(truth.videos)) if of else {}),
    **protocol_lib.of_case(case, metrics),
    "ground_truth": str(gt),
    "predictions": str(pred),
  }
  strict_json.dump(out, result)
  for warning in result["warnings"]:
    print(f"warning: {warning}", file=sys.stderr)
  for one in chosen:
    for found_table in one.tables(result):
      print(table.text(found_table))
  print(f"written: {out}")
  if report is not None:
    page = pathlib.Path(report)
    report_lib.write(page, pages.of_files(result, case, metrics))
    print(f"written: {page}")
  return result


def _protocol(truth: results.Poses, found: results.Poses) -> dict[str, Any]:
  """What the files are, and what the predictions say of themselves."""
  return {
    **(found.protocol or {}),
    "videos": len(truth.videos),
    "ground_truth_sha256": truth.sha256,
    "ground_truth_form": truth.form,
    "predictions_sha256": found.sha256,
    "predictions_form": found.form,
  }


def warnings(case: matching.Case) -> list[str]:
  """What is allowed in predictions, but may not be what was meant.

  One line for each kind, with the number of cases and the first one's place.
  """
  kinds: dict[str, list[str]] = {}
  for frame in case.frames:
    for kind in _oddities(frame):
      kinds.setdefault(kind, []).append(frame.place)
  return [
    f"{kind}, in {len(places)} frames, first in {places[0]}"
    for kind, places in kinds.items()
  ]


def _oddities(frame: matching.Judged) -> list[str]:
  """The kinds of oddity in a frame's predictions."""
  people, found = frame.other.people, []
  scores = frame.scores[frame.there]
  if np.any(np.isneginf(scores)):
    found.append("people without joint scores: they rank last")
  finite = scores[np.isfinite(scores)]
  if np.any((finite < 0) | (finite > 1)):
    found.append("joint scores outside [0, 1]: their order is what counts")
  tracks = [person.track_id for person in people if person.track_id >= 0]
  if len(set(tracks)) < len(tracks):
    found.append("a track id twice in a frame: tracking cannot be scored")
  if people and frame.truth.image_id != frame.other.image_id:
    found.append("image ids differ from the truth's: paired by file name")
  return found
