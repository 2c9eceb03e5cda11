"""How much poses tremble, by whose sampling noise they see.

  python benchmarks/jitter.py --weights=runs/full --regression=runs/regression
  python benchmarks/jitter.py --weights=runs/full --root=JHMDB

Ground-truth boxes and tracks of the validation split, through `evaluate`'s own
estimates and jitter metric: noise shared along a person's track, as it is by
default, beside noise of its own for each frame; and the regression ablation,
the same network trained with `--config.model.diffusion=false`, which sees none.
Jitter is the acceleration error in head sizes per frame²; that of joints that
are still is their acceleration. The bar: shared at most 1 % above regression.
"""

import argparse
import dataclasses
import pathlib

import numpy as np

from diffpose_jax.data import instances, prepared
from diffpose_jax.evaluation import evaluate, measure
from diffpose_jax.inference import estimator as estimator_lib


def line(
  name: str,
  estimator: estimator_lib.Estimator,
  split: prepared.Split,
  people: instances.Instances,
) -> float | None:
  """Prints a row; its jitter."""
  estimates = measure.estimate(estimator, split, people, progress=False)
  result = measure.measure(
    split,
    people,
    estimates,
    prepared.to_videos(split),
    metrics=("ap", "jitter"),
  )
  found = result["jitter"]
  error = found["acceleration_error"]["heads"]["total"]
  still = found["still"]["acceleration"]["heads"]["total"]
  every = result["pck_box"]["all"]
  cells = [
    "-" if value is None else format(value, ".4f")
    for value in (error, still, every["0.05"], every["0.1"])
  ]
  print(f"| {name} | {' | '.join(cells)} |", flush=True)
  return error


def main() -> None:
  """Prints a row for each network and noise."""
  parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
  parser.add_argument("--weights", type=pathlib.Path, required=True)
  parser.add_argument("--regression", type=pathlib.Path)
  parser.add_argument("--root", type=pathlib.Path)
  parser.add_argument("--sampling", default="1x1,4x4", help="steps x samples")
  arguments = parser.parse_args()
  source = evaluate.Source(root=arguments.root)
  print("| | jitter | of still joints | PCK@0.05 | @0.1 |")
  print("|---|---|---|---|---|")
  floor = None
  if arguments.regression:
    # Without noise, one step and one sample are all there is.
    estimator = estimator_lib.Estimator.load(
      arguments.regression, steps=1, samples=1
    )
    split, _ = evaluate.open_source(estimator, arguments.regression, source)
    people = instances.gt_instances(split, need_joints=False)
    floor = line("regression", estimator, split, people)
  for sampling in arguments.sampling.split(","):
    steps, samples = map(int, sampling.split("x"))
    estimator = estimator_lib.Estimator.load(
      arguments.weights, steps=steps, samples=samples
    )
    split, _ = evaluate.open_source(estimator, arguments.weights, source)
    people = instances.gt_instances(split, need_joints=False)
    found = line(f"{sampling}, shared along tracks", estimator, split, people)
    own = np.arange(1, len(people) + 1, dtype=np.uint32) * 2_654_435_761
    apart = dataclasses.replace(people, noise_id=own.astype(np.uint32))
    line(f"{sampling}, of each frame's own", estimator, split, apart)
    if floor and found:
      print(f"{sampling}: shared is {100 * (found / floor - 1):+.1f} % off")


if __name__ == "__main__":
  main()
