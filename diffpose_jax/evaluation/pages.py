"""What the report of an evaluation shows, of files or of weights."""

import json
import math
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import ml_collections
import numpy as np

from diffpose_jax.data import images, prepared, warping
from diffpose_jax.data import instances as instances_lib
from diffpose_jax.evaluation import (
  breakdown,
  errors,
  gallery,
  matching,
  measure,
  metric,
  plots,
  registry,
  report,
)
from diffpose_jax.inference import calibration
from diffpose_jax.pose import geometry, uncertainty

_CASES = 8  # of each kind in the gallery


def of_files(
  result: Mapping[str, Any], case: matching.Case, metrics: Sequence[str]
) -> report.Content:
  """The page of prediction files."""
  rows = {"predictions": result["ap_groups"]} if "ap_groups" in result else {}
  return report.Content(
    title="Evaluation of prediction files",
    table_rows=rows,
    protocol=result["protocol"],
    warnings=result["warnings"],
    **_judged(result, case, metrics),
  )


def of_run(
  run: measure.Run,
  config: ml_collections.ConfigDict,
  *,
  floor: Mapping[str, Any] | None = None,
  workdir: pathlib.Path | None = None,
  video: pathlib.Path | None = None,
) -> report.Content:
  """The page of the weights of a run.

  Args:
    run: the evaluation.
    config: of the run.
    floor: result of the mean pose, shown above the run's.
    workdir: whose curves of training are shown, if any.
    video: annotated, if any.
  """
  rows = {"mean pose": floor} if floor else {}
  rows |= {run.row: run.result}
  truth = prepared.to_videos(run.split)
  videos = measure.to_videos(run.split, run.people, run.estimates, truth)
  case = matching.Case.of(truth, videos, skeleton=run.split.skeleton)
  return report.Content(
    title=f"DiffPose on {run.result['protocol']['data']}",
    table_rows={name: row["ap_groups"] for name, row in rows.items()},
    protocol=run.result["protocol"],
    warnings=run.result.get("warnings", ()),
    curves=_records(workdir / "metrics.jsonl") if workdir else (),
    gallery=_gallery(run, config),
    pck=pck_rows(rows),
    video=video,
    **_judged(run.result, case, run.metrics),
  )


def _judged(
  result: Mapping[str, Any], case: matching.Case, metrics: Sequence[str]
) -> dict[str, Any]:
  """Tables, plots and breakdowns of what was measured."""
  shown: dict[str, Any] = {"tables": _tables(result, metrics)}
  figures = []
  if result.get("ap", {}).get("total") is not None:
    mota = _mota(case) if "mota" in metrics else None
    shown["joints"] = breakdown.per_joint(case)
    shown["videos"] = breakdown.per_video(case, mota)
    figures.append(plots.precision_recall(breakdown.precision_recall(case)))
  for unit, words in (("head", "head sizes"), ("box", "box sides")):
    found = (result.get("pck_curves") or {}).get(unit)
    if found:
      curve = {key: found[key] for key in ("thresholds", "all")}
      figures.append(plots.pck(curve, unit=words))
  found = result.get("uncertainty")
  if found:
    state = "calibrated" if "calibrated" in found else "raw"
    reliability = {
      f"{name}, {state}": scores["reliability"]
      for name, scores in found[state].items()
    }
    figures.append(plots.reliability(reliability))
    best = found["calibration"] or list(found[state])[-1]
    spread = found[state][best]["spread"]
    figures.append(plots.spread_error(spread, unit="box sides"))
  return shown | {"plots": figures}


def _tables(
  result: Mapping[str, Any], metrics: Sequence[str]
) -> list[metric.Table]:
  """Of all metrics but AP, which the page shows beside the papers' rows."""
  found = [
    one
    for name in metrics
    if name != "ap"
    for one in registry.load(name).tables(result)
  ]
  if "uncertainty" in result:
    groups = result["uncertainty"]["breakdown"]
    rows = {
      f"{name} ({group['count']} joints)": {"share": group["right"]}
      for name, group in groups.items()
    }
    title = f"Joints within {result['uncertainty']['within']}"
    found += [
      errors.summary(result["uncertainty"]),
      metric.Table(title, rows, digits=3),
    ]
  return found


def _mota(case: matching.Case) -> dict[str, float | None]:
  """Of each video by itself; None where too few frames of it count."""
  metric_ = registry.load("mota")
  least = 2 if case.poseval_compatible else 1
  return {
    video: metric_.measure(case.only(video))["tracking"]["mota"]["total"]
    if sum(frame.counts for frame in frames) >= least
    else None
    for video, frames in case.videos.items()
  }


def pck_rows(
  rows: Mapping[str, Mapping[str, Any]],
) -> dict[str, dict[str, float | None]]:
  """Rows of PCK by box and head, for all joints and for wrists and ankles."""
  found = {}
  for name, row in rows.items():
    for unit in ("box", "head"):
      for joints, values in row.get(f"pck_{unit}", {}).items():
        label = f"{name}, {joints.replace('_', ' and ')}, by {unit}"
        found[label] = {f"@{key}": value for key, value in values.items()}
  return found


def _records(path: pathlib.Path) -> list[dict[str, Any]]:
  if not path.exists():
    return []
  return [json.loads(line) for line in path.read_text().splitlines()]


def _gallery(
  run: measure.Run, config: ml_collections.ConfigDict
) -> dict[str, list[gallery.GalleryItem]]:
  """Best, median, worst and most uncertain people, with what was around them.

  By mean distance over the box's longer side, and by mean spread over it.
  """
  people, estimates = run.people, run.estimates
  if (people.person < 0).any():
    return {}
  longer = (people.box[:, 2:] - people.box[:, :2]).max(axis=1)
  distance = np.linalg.norm(estimates.joints - people.joints, axis=-1)
  count = people.labelled.sum(axis=1)
  spread = _spread(estimates)
  with np.errstate(invalid="ignore"):
    error, doubt = (
      np.where(people.labelled, values, 0).sum(axis=1) / count / longer
      for values in (distance, spread)
    )
  affines = instances_lib.crop_affines(people, config)

  def crop(i: int, row: int) -> np.ndarray | None:
    """What is where person i is in their key frame, in another frame."""
    frames = run.split.frames
    if not 0 <= row < len(frames):
      return None
    if frames.video[row] != frames.video[people.row[i]]:
      return None
    frame = images.decode(run.split.jpeg(row), place=run.split.place(row))
    return warping.warp([frame], affines[i], tuple(config.data.size))[0]

  def load(i: int) -> gallery.Case:
    affine, row = affines[i], int(people.row[i])
    picture = crop(i, row)
    assert picture is not None
    return gallery.Case(
      image=picture,
      joints=geometry.apply(affine, estimates.joints[i]).astype(np.float32),
      score=estimates.score[i],
      truth=geometry.apply(affine, people.joints[i]).astype(np.float32),
      labelled=people.labelled[i],
      caption=(
        f"{run.split.frames.file_name[row]}, track {people.track_id[i]}: "
        f"error {_percent(error[i])}, spread {_percent(doubt[i])} of the box"
      ),
      before=crop(i, row - 1),
      after=crop(i, row + 1),
    )

  picks = gallery.pick(
    error.astype(np.float32), _CASES, uncertainty=doubt.astype(np.float32)
  )
  return gallery.items(picks, load, skeleton=run.split.skeleton)


def _percent(value: float) -> str:
  return f"{100 * value:.1f} %" if math.isfinite(value) else "unknown"


def _spread(estimates: measure.Estimates) -> np.ndarray:
  """Geometric mean of the axes of each joint's raw spread, picture pixels."""
  raw = calibration.RAW["both"]
  total = raw.heatmap * estimates.shape.astype(np.float64)
  if len(estimates.samples) > 1:
    total = total + raw.samples * uncertainty.sample_covariance(
      estimates.samples
    )
  return np.maximum(np.linalg.det(total), 0) ** 0.25
