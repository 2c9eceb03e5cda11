"""Weights or prediction files, against a split, to numbers and a page."""

import dataclasses
import functools
import pathlib
from collections.abc import Sequence
from typing import Any

import jax
import ml_collections
import numpy as np
from absl import logging

from diffpose_jax import config as config_lib
from diffpose_jax.data import boxes as boxes_lib
from diffpose_jax.data import (
  images,
  prepare,
  prepared,
  results,
  stored_boxes,
  strict_json,
)
from diffpose_jax.data import instances as instances_lib
from diffpose_jax.data import video as video_lib
from diffpose_jax.evaluation import (
  errors,
  measure,
  pages,
  registry,
  table,
)
from diffpose_jax.evaluation import report as report_lib
from diffpose_jax.inference import adaptive, calibration, draw
from diffpose_jax.inference import estimator as estimator_lib
from diffpose_jax.inference import sampling as sampling_lib
from diffpose_jax.inference import workdir as run_folder
from diffpose_jax.model import hosts

_VIDEOS = 3  # of the annotated video of a finished run
_FPS = 15.0  # of the annotated video
GROUND_TRUTH = "gt"
METRICS = ("ap", "jitter", "oks", "pck", "sides")  # where none are asked for


@dataclasses.dataclass(frozen=True)
class Source:
  """Which people of which data to estimate; None: as the run's config says.

  Args:
    split: name of a prepared split; else the validation split.
    boxes: `gt`, a file of detections, or `prepared`: those stored with the
      data.
    box_threshold: detections below it are dropped.
    root: of the data set, if it is not where training found it.
    dataset: what lies in `root`; else the one trained on, or PoseTrack18's
      layout where that was rendered.
  """

  split: str | None = None
  boxes: str | None = None
  box_threshold: float | None = None
  root: pathlib.Path | None = None
  dataset: str | None = None


def evaluate_weights(
  weights: pathlib.Path,
  source: Source,
  *,
  out: pathlib.Path | None = None,
  dump: pathlib.Path | None = None,
  report: pathlib.Path | None = None,
  metrics: Sequence[str] = METRICS,
  **others: Any,
) -> dict[str, Any]:
  """The weights of a run on a split, printed and written to `out`.

  Args:
    weights: workdir of a training run, or a packed file.
    source: of the people.
    out: JSON file; if None, evaluation-SPLIT.json in the workdir, for a file
      in runs/<its name>.
    dump: folder for the predictions as PoseTrack18 JSON, if any.
    report: HTML page to write, if any.
    metrics: names, see `registry.names`.
    **others: fields of `sampling.Options`, the config's if not given. And
      rules of `matching.Case`.

  Raises:
    ValueError: what is missing, or does not fit together.
  """
  estimator = estimator_lib.Estimator.load(weights, **sampling(others))
  split, config = open_source(estimator, weights, source)
  run = evaluate_split(
    estimator, split, config, metrics=metrics, workdir=weights, **others
  )
  if not hosts.is_first():
    return run.result
  if dump is not None:
    protocol = run.result["protocol"]
    calibrated, _ = calibration.find(weights, protocol)
    videos = measure.to_videos(
      split,
      run.people,
      run.estimates,
      prepared.to_videos(split),
      stated=measure.state(run.people, run.estimates, calibrated),
    )
    results.write_posetrack(
      dump,
      videos,
      skeleton=split.skeleton,
      protocol=protocol | calibration.describe(calibrated),
    )
  folder = run_folder.place(weights)
  out = out or folder / f"evaluation-{split.name}.json"
  strict_json.dump(out, run.result)
  print(table.table({run.row: run.result["ap_groups"]}))
  for name in metrics:
    for found in registry.load(name).tables(run.result) if name != "ap" else ():
      print(table.text(found))
  print_pck({run.row: run.result})
  if "uncertainty" in run.result:
    print(table.text(errors.summary(run.result["uncertainty"])))
  print(f"written: {out}")
  if report is not None:
    report_lib.write(report, pages.of_run(run, config))
    print(f"written: {report}")
  return run.result


def open_source(
  estimator: estimator_lib.Estimator, weights: pathlib.Path, source: Source
) -> tuple[prepared.Split, ml_collections.ConfigDict]:
  """The prepared split, and the run's config with what `source` changes."""
  config = config_lib.copy(estimator.config)
  if source.boxes is not None:
    config.evaluate.boxes = source.boxes
  if source.box_threshold is not None:
    config.evaluate.box_threshold = source.box_threshold
  if source.root is None and source.dataset is not None:
    raise ValueError("--dataset says what lies in --root: give that too")
  with hosts.first_ahead("data"):
    place = run_folder.place(weights)
    folder = _data(config, place, source.root, source.dataset)
  name = source.split or config.data.val_split
  return prepared.open_split(folder, name, skeleton=estimator.skeleton), config


def _data(
  config: ml_collections.ConfigDict,
  workdir: pathlib.Path,
  root: pathlib.Path | None,
  dataset: str | None,
) -> pathlib.Path:
  """The prepared data: the run's own, or those of another `root`.

  The latter lie beside the former, and the config takes the root's name: what
  the run was trained on may be of another kind (synthetic people).
  """
  if root is None:
    return prepare.ensure(config, workdir)
  trained_on = config.data.name
  dataset = dataset or (
    "posetrack18" if trained_on == "synthetic" else trained_on
  )
  config.data.name = root.resolve().name
  out = workdir / f"data-{config.data.name}"
  return prepare.prepare(dataset=dataset, source=root, out=out)


def sampling(options: dict[str, Any]) -> dict[str, Any]:
  """The options of sampling, which are taken out; None for those not given."""
  names = [field.name for field in dataclasses.fields(sampling_lib.Options)]
  return {name: options.pop(name, None) for name in names}


def evaluate_split(
  estimator: estimator_lib.Estimator,
  split: prepared.Split,
  config: ml_collections.ConfigDict,
  *,
  metrics: Sequence[str] = METRICS,
  workdir: pathlib.Path | None = None,
  **rules: bool,
) -> measure.Run:
  """The estimator on all people of a split, with its protocol.

  With ground-truth boxes, how far its uncertainty can be believed is judged
  too, by the calibration in `workdir` if there is one for these weights and
  this way of sampling. `metrics` and `rules` are those of `measure.measure`.
  With `adaptive`, `evaluations_per_person` is the mean number of the decoder's.
  """
  truth = prepared.to_videos(split)
  people, source = choose_people(split, truth, config)
  estimates = measure.estimate(estimator, split, people)
  options = estimator.options
  result = measure.measure(
    split, people, estimates, truth, metrics=metrics, **rules
  )
  result["protocol"] |= {
    "data": config.data.name,
    "split": split.name,
    "labels": split.labels,
    "videos": len(split.videos),
    "people": len(people),
    **source,
    **estimator.protocol(),
  }
  label = f"DiffPose {options.steps} steps x {options.samples} samples"
  if options.adaptive:
    share = float(np.mean(adaptive.whole(estimates.samples)))
    mean = adaptive.evaluations(share, options.steps, options.samples)
    result["evaluations_per_person"] = mean
    label += ", adaptive"
    logging.info(
      "%.0f %% of the people went on after a first look: %.1f evaluations of the "
      "decoder a person, not %d",
      *(100 * share, mean, options.steps * options.samples),
    )
  if (people.person >= 0).all():
    result |= _uncertainty(
      split, people, estimates, result["protocol"], workdir
    )
  return measure.Run(
    split,
    people,
    estimates,
    result,
    tuple(metrics),
    label,
  )


def _uncertainty(
  split: prepared.Split,
  people: instances_lib.Instances,
  estimates: measure.Estimates,
  protocol: dict[str, Any],
  workdir: pathlib.Path | None,
) -> dict[str, Any]:
  """`uncertainty` and `warnings`, where there are labelled joints."""
  found = errors.find(split, people, estimates)
  if not len(found.joints):
    return {}
  calibrated, warnings = None, []
  if workdir is not None:
    calibrated, warnings = calibration.find(workdir, protocol)
  if calibrated and all(
    calibrated.fitted_on[key] == protocol[key] for key in ("data", "split")
  ):
    warnings.append("uncertainty is judged on the split that it was fitted on")
  for warning in warnings:
    logging.warning(warning)
  return {
    "uncertainty": errors.judge(found, calibrated),
    "warnings": warnings,
  }


def choose_people(
  split: prepared.Split, truth: list, config: ml_collections.ConfigDict
) -> tuple[instances_lib.Instances, dict[str, Any]]:
  """Whom to estimate, and what the protocol says of their boxes."""
  source = config.evaluate.boxes
  if source == GROUND_TRUTH:
    people = instances_lib.gt_instances(split, need_joints=False)
    return people, {"boxes": "ground truth"}
  threshold = config.evaluate.box_threshold
  if source == stored_boxes.PREPARED:
    name, boxes = stored_boxes.read(split, threshold=threshold)
    sha256 = (stored_boxes.about(split.folder) or {}).get("sha256")
  else:
    name = pathlib.Path(source).name
    sha256 = stored_boxes.digest(pathlib.Path(source))
    boxes = boxes_lib.read_boxes(source, truth, threshold=threshold)
  people = instances_lib.box_instances(split, boxes)
  people = people.take(np.flatnonzero(split.frames.labelled[people.row]))
  protocol: dict[str, Any] = {
    "boxes": f"detections of {name}",
    "boxes_sha256": sha256,
    "box_threshold": threshold,
    "boxes_below_threshold": boxes.below_threshold,
    "boxes_of_other_images": boxes.unknown_images,
  }
  if boxes.outside:
    protocol["boxes_outside_pictures"] = boxes.outside
  return people, protocol


def finish(
  config: ml_collections.ConfigDict,
  workdir: pathlib.Path,
  data: pathlib.Path,
  mesh: jax.sharding.Mesh | None = None,
) -> dict[str, Any]:
  """Evaluates a finished run; writes its JSON, report and annotated video.

  The last line of the printed table is the model's, after the mean pose's.
  `mesh` is that of the run; all devices share a batch where it is None.
  """
  estimator = estimator_lib.Estimator.load(workdir, mesh=mesh)
  open_split = functools.partial(
    prepared.open_split, data, skeleton=estimator.skeleton
  )
  split = open_split(config.data.val_split)
  run = evaluate_split(estimator, split, config, workdir=workdir)
  train = instances_lib.gt_instances(
    open_split(config.data.train_split), need_joints=True
  )
  floor = measure.measure(
    split,
    run.people,
    measure.mean_pose(train, run.people),
    prepared.to_videos(split),
  )
  result = run.result | {"mean_pose": floor}
  if not hosts.is_first():
    return result
  strict_json.dump(workdir / "evaluation.json", result)
  video = workdir / "validation.webm"
  annotate(run, video)
  rows = {"mean pose": floor, run.row: run.result}
  content = pages.of_run(run, config, floor=floor, workdir=workdir, video=video)
  report_lib.write(workdir / "report.html", content)
  print_pck(rows)
  for what, path in (
    ("checkpoints", "checkpoints"),
    ("report", "report.html"),
    ("video", "validation.webm"),
    ("numbers", "evaluation.json"),
  ):
    print(f"{what + ':':<12} {workdir / path}")
  print("AP, %, boxes: " + result["protocol"]["boxes"])
  print(table.table({name: row["ap_groups"] for name, row in rows.items()}))
  return result


def print_pck(rows: dict[str, dict]) -> None:
  """Prints a line of PCK for each row and unit of which a number is known."""
  for name, values in pages.pck_rows(rows).items():
    if all(value is None for value in values.values()):
      continue  # by head, of people without head boxes
    cells = "  ".join(
      f"{key} {'-' if value is None else format(value, '.3f')}"
      for key, value in values.items()
    )
    print(f"PCK {name}: {cells}")


def annotate(run: measure.Run, path: pathlib.Path) -> None:
  """Writes the first videos of a split with the estimated poses drawn in."""
  frames = run.split.frames
  rows = np.flatnonzero(frames.video < _VIDEOS)
  size = (int(frames.height[rows].max()), int(frames.width[rows].max()))
  with video_lib.Writer(path, fps=_FPS, size=size) as writer:
    for row in rows:
      picture = images.decode(
        run.split.jpeg(int(row)), place=run.split.place(int(row))
      )
      for i in np.flatnonzero(run.people.row == row):
        picture = draw.pose(
          picture,
          run.estimates.joints[i],
          run.estimates.score[i],
          skeleton=run.split.skeleton,
        )
      canvas = np.zeros((*size, 3), np.uint8)
      canvas[: picture.shape[0], : picture.shape[1]] = picture
      writer.write(canvas)
