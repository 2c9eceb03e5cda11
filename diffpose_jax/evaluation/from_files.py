"""Evaluation from two folders of annotation files, without any model."""

import os
from typing import Any

import numpy as np

from diffpose_jax.data import annotations, results, strict_json
from diffpose_jax.evaluation import average_precision, table
from diffpose_jax.pose import skeleton as skeleton_lib


def evaluate_files(
  gt: str | os.PathLike,
  pred: str | os.PathLike,
  out: str | os.PathLike,
  *,
  skeleton: skeleton_lib.Skeleton = skeleton_lib.POSETRACK,
) -> dict[str, Any]:
  """PoseTrack AP, precision and recall; written to `out` and printed.

  Both sides are read as poseval reads them: in double precision, and a joint
  is absent only where its x, y and visibility are all 0.

  Args:
    gt: folder of PoseTrack18 JSON, one file for each video.
    pred: folder of as many files of the same names.
    out: JSON file with `ap`, `ap_groups`, `precision`, `recall`, percent by
      joint, null where a joint is nowhere labelled; and `protocol`.
    skeleton: names, order and groups of the joints.

  Raises:
    ValueError: anything that cannot be read or does not fit together; `out`
      is then not written.
  """
  truth = annotations.read_folder(
    gt, skeleton=skeleton, dtype=np.float64, style="results"
  )
  predictions = results.read_predictions(
    pred, skeleton=skeleton, dtype=np.float64
  )
  measured = average_precision.average_precision(
    truth, predictions, skeleton=skeleton
  )
  report = measured.to_json() | {
    "protocol": {
      "measure": "PoseTrack AP at PCKh 0.5, percent",
      "ground_truth": str(gt),
      "predictions": str(pred),
      "videos": len(truth),
      "frames": sum(
        average_precision.counts(f) for video in truth for f in video.frames
      ),
    }
  }
  strict_json.dump(out, report)
  print(table.table({"AP": measured.ap_groups}))
  print(f"written: {out}")
  return report
