"""Evaluation from two folders of annotation files, without any model."""

import os
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np

from diffpose_jax.data import results, strict_json
from diffpose_jax.evaluation import matching, metric, registry, table
from diffpose_jax.evaluation import protocol as protocol_lib
from diffpose_jax.pose import skeleton as skeleton_lib


def evaluate_files(
  gt: str | os.PathLike,
  pred: str | os.PathLike,
  out: str | os.PathLike,
  *,
  metrics: Sequence[str] = ("ap",),
  skeleton: skeleton_lib.Skeleton = skeleton_lib.POSETRACK,
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
  result["protocol"] = _protocol(truth, found, case, chosen) | {
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
  return result


def _protocol(
  truth: results.Poses,
  found: results.Poses,
  case: matching.Case,
  chosen: Sequence[metric.Metric],
) -> dict[str, Any]:
  """What the result must say; what the predictions say of themselves, too."""
  said = found.protocol or {}
  return {
    **{key: value for key, value in said.items() if key != "code_version"},
    "measure": [one.ABOUT for one in chosen],
    "videos": len(truth.videos),
    "frames": sum(frame.counts for frame in case.frames),
    "ground_truth_sha256": truth.sha256,
    "ground_truth_form": truth.form,
    "predictions_sha256": found.sha256,
    "predictions_form": found.form,
    "code_version": protocol_lib.code_version(),
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
