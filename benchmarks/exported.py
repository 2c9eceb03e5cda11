"""ONNX files of `export --onnx` beside the network that they are of.

  python -m diffpose_jax.main export --weights=W --out=small.onnx --onnx
  python benchmarks/exported.py --weights=W --onnx=small.onnx --root=JHMDB

People are those of the validation split in `--root`, with true boxes; without
it, rendered ones. Prints how far joints are apart, in pixels of the crops, and
the time of both, each on one core, taking turns.
"""

import argparse
import pathlib
import time

import jax
import numpy as np

from diffpose_jax.data import instances, pipeline
from diffpose_jax.evaluation import evaluate, pack
from diffpose_jax.inference import estimator as estimator_lib
from diffpose_jax.inference import run_onnx


def crops(estimator, weights, root, most: int) -> np.ndarray:
  """At most so many clips [n t h w 3]."""
  if root is None:
    people = pack.rendered(estimator.config)
    return np.stack([one.clip for one in people])[:most]
  source = evaluate.Source(root=root)
  split, config = evaluate.open_source(estimator, weights, source)
  people = instances.gt_instances(split, need_joints=False)
  people = people.take(np.linspace(0, len(people) - 1, most).astype(int))
  batches = pipeline.eval_batches(
    split, people, config, batch=len(estimator.rows), rows=estimator.rows
  )
  return np.concatenate([one["frames"][one["valid"]] for one in batches])


def seconds(function, *arguments) -> float:
  """Time of one call."""
  began = time.perf_counter()
  function(*arguments)
  return time.perf_counter() - began


def main() -> None:
  """Prints drift and times."""
  parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
  parser.add_argument("--weights", type=pathlib.Path, required=True)
  parser.add_argument("--onnx", type=pathlib.Path, required=True)
  parser.add_argument("--root", type=pathlib.Path)
  parser.add_argument("--people", type=int, default=256)
  parser.add_argument("--pairs", type=int, default=7)
  parser.add_argument("--batches", default="1,8")
  given = parser.parse_args()
  # Begun before the config of the weights can ask for several CPU devices.
  device = jax.devices()[0].device_kind
  runner = run_onnx.Runner(given.onnx, threads=1)
  sampling = runner.about["sampling"]
  live = estimator_lib.Estimator.load(given.weights, flip=False, **sampling)
  clips = crops(live, given.weights, given.root, given.people)
  size, away = len(live.rows), []
  for i in range(0, len(clips), size):
    some = clips[i : i + size]
    wanted = live(some, np.zeros(len(some), np.uint32))
    away.append(np.linalg.norm(runner(some)[0] - wanted.joints, axis=-1))
  away = np.concatenate(away)
  print(
    f"{device}, jax {jax.__version__}, {sampling}: "
    f"{len(clips)} people, joints apart by at most {away.max():.2g} pixels, "
    f"{away.mean():.2g} in the mean"
  )
  for batch in map(int, given.batches.split(",")):
    some, noise = clips[:batch], np.zeros(batch, np.uint32)
    ours = lambda: live.start(some, noise, size=batch).poses()  # noqa: B023, E731
    theirs = lambda: runner(some)  # noqa: B023, E731
    ours()
    pairs = [(seconds(ours), seconds(theirs)) for _ in range(given.pairs + 1)]
    times = np.array(pairs[1:])
    ratios = times[:, 1] / times[:, 0]
    a, b = 1000 * np.median(times, axis=0)
    print(
      f"batch {batch}: ours {a:.1f} ms, ONNX Runtime {b:.1f} ms, ratio "
      f"{np.median(ratios):.2f} ({ratios.min():.2f}-{ratios.max():.2f})"
    )


if __name__ == "__main__":
  main()
