"""Trains, reads and tells of the experiments behind docs/results.md.

  python -m benchmarks.experiments ladder span --out=runs/experiments
  python -m benchmarks.experiments jhmdb --jhmdb=/path/to/jhmdb
  python -m benchmarks.experiments sampling --seeds=1

Each experiment of `plan` writes benchmarks/results/experiments/NAME.json. What
is done is not done again: a stopped call, given again, goes on. `--seeds` takes
fewer than the plan says. The rendered people of `hidden` take 4 minutes of two cores, once.
"""

import argparse
import pathlib
from collections.abc import Sequence

from benchmarks.experiments import plan, tables, training
from diffpose_jax import compile_cache


def main(arguments: Sequence[str] | None = None) -> None:
  """Does what the command says."""
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument("experiments", nargs="+", choices=plan.EXPERIMENTS)
  parser.add_argument(
    "--out", type=pathlib.Path, default=pathlib.Path("runs/experiments")
  )
  parser.add_argument(
    "--jhmdb", type=pathlib.Path, help="in PoseTrack's layout"
  )
  parser.add_argument("--seeds", type=int, default=9)
  parser.add_argument("--jobs", type=int, default=1, help="trainings at a time")
  given = parser.parse_args(arguments)
  out = given.out.resolve()
  chosen = [plan.EXPERIMENTS[name] for name in given.experiments]
  jhmdb: pathlib.Path | None = given.jhmdb
  compile_cache.use()
  for experiment in chosen:
    if experiment.data == plan.JHMDB:
      if jhmdb is None:
        parser.error("--jhmdb: where JHMDB is")
      data = [f"--config.data.root={jhmdb.resolve()}"]
    else:
      data = training.rendered(experiment.data, out)
    runs = [
      run
      for row in experiment.rows
      for run in experiment.runs(row, given.seeds)
    ]
    # Seed by seed, so that a stopped call has whole comparisons.
    runs.sort(key=lambda run: run.seed)
    training.train(runs, out, data, jobs=given.jobs)
    content = tables.made(experiment, out, given.seeds)
    print(f"written: {tables.save(content)}", flush=True)


if __name__ == "__main__":
  main()
