"""What it costs in accuracy to share crops along tracks, or to see no future.

  python benchmarks/sharing.py --weights=runs/jhmdb --root=JHMDB
  python -m diffpose_jax.main prepare --dataset=synthetic --config=FILE --out=PEOPLE
  python benchmarks/sharing.py --weights=runs/synthetic --prepared=PEOPLE

Ground-truth boxes and tracks of the validation split, through `evaluate`'s own
estimates and metrics. Only what people are cut out by differs: their own boxes,
or those that `shared_boxes` gives, by frames of a window and by how far a box
may stray; or the frames that stand in for those still to come. Looks are the
frames that the ViT has to look at for a person of a frame, 2δ + 1 without
sharing. Jitter is the acceleration error, in head sizes per frame².
"""

import argparse
import collections
import dataclasses
import pathlib
from collections.abc import Callable

import numpy as np

from diffpose_jax.data import instances, prepared
from diffpose_jax.evaluation import evaluate, measure
from diffpose_jax.inference import estimator as estimator_lib
from diffpose_jax.inference import shared_boxes

RULES = [(1, 0.05), (1, 0.1), (4, 0.1), (8, 0.1), (16, 0.05), (16, 0.1)]
RULES += [(16, 0.2), (32, 0.1)]
Rows = np.ndarray


def shared(
  split: prepared.Split,
  people: instances.Instances,
  options: shared_boxes.Options,
) -> tuple[np.ndarray, np.ndarray]:
  """Boxes (n, 4) of the people along their tracks, and the numbers of these."""
  boxes, numbers = people.box.copy(), np.zeros(len(people), int)
  videos = split.frames.video[people.row]
  for video in np.unique(videos):
    here = np.flatnonzero(videos == video)
    share = shared_boxes.SharedBoxes(options)
    frames = [
      here[people.row[here] == row] for row in np.unique(people.row[here])
    ]
    views = []
    for rows in frames:
      views += share.push(people.track_id[rows], people.box[rows])
    views += share.finish()
    for rows, found in zip(frames, views, strict=True):
      for row, view in zip(rows, found, strict=True):
        boxes[row], numbers[row] = view.box, view.number
  return boxes, numbers


def looks(
  split: prepared.Split, people: instances.Instances, numbers: Rows, span: int
) -> float:
  """Frames to look at for each person of a frame."""
  rows = instances.clip_rows(split, people.row, span)
  videos = split.frames.video[people.row]
  wanted = collections.Counter(
    (int(video), int(number), int(frame))
    for video, number, clip in zip(videos, numbers, rows, strict=True)
    for frame in clip
  )
  return len(wanted) / len(people)


def mirrored(rows: Rows, span: int) -> Rows:
  """Those that were, in reverse, for those that are still to come."""
  return np.concatenate([rows[:, : span + 1], rows[:, :span][:, ::-1]], axis=1)


def repeated(rows: Rows, span: int) -> Rows:
  """The key frame, for those that are still to come."""
  key = rows[:, span : span + 1]
  return np.concatenate([rows[:, :span], np.repeat(key, span + 1, 1)], axis=1)


def main() -> None:
  """Prints a line for each way to cut people out."""
  parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
  parser.add_argument("--weights", type=pathlib.Path, required=True)
  parser.add_argument("--root", type=pathlib.Path)
  parser.add_argument("--prepared", type=pathlib.Path)
  parser.add_argument("--steps", type=int)
  parser.add_argument("--samples", type=int)
  arguments = parser.parse_args()
  estimator = estimator_lib.Estimator.load(
    arguments.weights, steps=arguments.steps, samples=arguments.samples
  )
  if arguments.prepared:
    split = prepared.open_split(
      arguments.prepared, "val", skeleton=estimator.skeleton
    )
  else:
    source = evaluate.Source(root=arguments.root)
    split, _ = evaluate.open_source(estimator, arguments.weights, source)
  people = instances.gt_instances(split, need_joints=False)
  truth, span = prepared.to_videos(split), estimator.config.data.span
  print(f"{len(people)} people of {len(split.videos)} videos; δ = {span}")
  print("| | looks | AP | PCK@0.05 | @0.1 | wrists, ankles @0.1 | jitter |")
  print("|---|---|---|---|---|---|---|", flush=True)

  def line(name: str, boxes: np.ndarray, count: float) -> None:
    others = dataclasses.replace(people, box=boxes)
    estimates = measure.estimate(estimator, split, others, progress=False)
    result = measure.measure(
      split, people, estimates, truth, metrics=("ap", "jitter")
    )
    every, ends = result["pck_box"]["all"], result["pck_box"]["wrists_ankles"]
    error = result["jitter"]["acceleration_error"]["heads"]["total"]
    print(
      f"| {name} | {count:.2f} | {result['ap_groups']['total']:.2f} | "
      f"{every['0.05']:.4f} | {every['0.1']:.4f} | {ends['0.1']:.4f} | "
      f"{error:.4f} |",
      flush=True,
    )

  own = np.arange(len(people))
  line("own boxes", people.box, looks(split, people, own, span))
  for most, stray in RULES:
    options = shared_boxes.Options(most, stray)
    boxes, numbers = shared(split, people, options)
    count = looks(split, people, numbers, span)
    line(f"shared, {most} frames, within {stray:g}", boxes, count)
  future = instances.clip_rows
  stand_ins: dict[str, Callable[[Rows, int], Rows]] = {
    "no future: the past mirrored": mirrored,
    "no future: the key frame repeated": repeated,
  }
  for name, instead in stand_ins.items():
    instances.clip_rows = lambda split, rows, span, instead=instead: instead(
      future(split, rows, span), span
    )
    line(name, people.box, float(2 * span + 1))


if __name__ == "__main__":
  main()
