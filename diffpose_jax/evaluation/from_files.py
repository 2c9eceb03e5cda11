"""Evaluation from two folders of annotation files, without any model."""

import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from diffpose_jax.data import annotations, results, strict_json
from diffpose_jax.evaluation import matching, registry, table
from diffpose_jax.pose import skeleton as skeleton_lib


def evaluate_files(
  gt: str | os.PathLike,
  pred: str | os.PathLike,
  out: str | os.PathLike,
  *,
  metrics: Sequence[str] = ("ap",),
  skeleton: skeleton_lib.Skeleton = skeleton_lib.POSETRACK,
) -> dict[str, Any]:
  """The metrics of prediction files; written to `out` and printed.

  Both sides are read as poseval reads them: in double precision, and a joint
  is absent only where its x, y and visibility are all 0.

  Args:
    gt: folder of PoseTrack18 JSON, one file for each video.
    pred: folder of as many files of the same names.
    out: JSON file with the keys of each metric, null where one is unknown; and
      `protocol`.
    metrics: names, see `registry.names`.
    skeleton: names, order and groups of the joints.

  Raises:
    ValueError: anything that cannot be read or does not fit together; `out`
      is then not written.
  """
  chosen = [registry.load(name) for name in metrics]
  truth = annotations.read_folder(
    gt, skeleton=skeleton, dtype=np.float64, style="results"
  )
  predictions = results.read_predictions(
    pred, skeleton=skeleton, dtype=np.float64
  )
  case = matching.Case.of(truth, predictions, skeleton=skeleton)
  report: dict[str, Any] = {}
  for one in chosen:
    report |= one.measure(case)
  report["protocol"] = {
    "measure": [one.ABOUT for one in chosen],
    "ground_truth": str(gt),
    "predictions": str(pred),
    "videos": len(truth),
    "frames": sum(frame.counts for frame in case.frames),
  }
  strict_json.dump(out, report)
  for one in chosen:
    for found in one.tables(report):
      print(table.text(found))
  print(f"written: {out}")
  return report
