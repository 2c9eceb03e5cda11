"""What the runs of an experiment say together, as JSON."""

import json
import pathlib
from typing import Any

import numpy as np

from benchmarks.experiments import plan, readings, scores, training
from diffpose_jax.benchmark import machine
from diffpose_jax.data import strict_json
from diffpose_jax.inference import adaptive

FOLDER = training.REPO / "benchmarks" / "results" / "experiments"
_SHARES = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0)  # of people who go on
_WRONG = 0.5  # head sizes: what spread should warn of


def made(
  experiment: plan.Experiment, out: pathlib.Path, seeds: int
) -> dict[str, Any]:
  """The experiment's result; reads poses that are not read yet."""
  loaded = {
    row: [_reading(experiment, run, out) for run in experiment.runs(row, seeds)]
    for row in experiment.rows
  }
  first = next(iter(loaded.values()))[0]
  several = len(experiment.steps) > 1
  content: dict[str, Any] = {
    "name": experiment.name,
    "question": experiment.question,
    "data": experiment.data,
    "people": len(first.video),
    "joints": {name: int(cut.sum()) for name, cut in first.cuts.items()},
    "reference": experiment.reference,
    "eta": experiment.eta,
    "solver": experiment.solver,
    "common": plan.COMMON[experiment.data],
    "machine": machine.describe(),
    "rows": [
      _row(experiment, name, loaded, out, seeds) for name in experiment.rows
    ],
  }
  if several:
    content["sampling"] = _sampling(experiment, first)
    content["adaptive"] = _adaptive(experiment, first)
  return content


def save(content: dict[str, Any]) -> pathlib.Path:
  """Writes a result where the page looks for it."""
  FOLDER.mkdir(parents=True, exist_ok=True)
  path = FOLDER / f"{content['name']}.json"
  path.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n")
  strict_json.load(path)
  return path


def _reading(
  experiment: plan.Experiment, run: plan.Run, out: pathlib.Path
) -> readings.Reading:
  folder = out / run.name
  steps, samples = experiment.steps, experiment.samples
  if dict(run.changes).get("model.diffusion") is False:
    steps, samples = (1,), 1  # what it sees as noise is nothing
  name = (
    f"steps={'+'.join(map(str, steps))}-samples={samples}"
    f"-eta={experiment.eta}-people={experiment.people}"
  )
  if experiment.solver != "ddim":
    name += f"-solver={experiment.solver}"
  path = folder / "readings" / f"{name}.npz"
  if not path.exists():
    print(f"{run.name}: reading", flush=True)
    readings.save(
      readings.read(
        folder,
        steps=steps,
        samples=samples,
        most=experiment.people,
        eta=experiment.eta,
        solver=experiment.solver,
      ),
      path,
    )
  return readings.load(path)


def _row(experiment, name, loaded, out, seeds) -> dict[str, Any]:
  """AP of each run in each cut, their mean, and the gain over the reference."""
  runs = experiment.runs(name, seeds)
  mine = [_last(one) for one in loaded[name]]
  theirs = [_last(one) for one in loaded[experiment.reference]]
  cuts = loaded[name][0].cuts
  row: dict[str, Any] = {
    "name": name,
    "changes": experiment.rows[name],
    "runs": [
      {
        "name": run.name,
        "seconds": round(training.seconds(out / run.name)),
        "loss": round(1e3 * training.loss(out / run.name), 3),
        "ap": {cut: _ap(judged, chosen) for cut, chosen in cuts.items()},
      }
      for run, judged in zip(runs, mine, strict=True)
    ],
    "ap": {},
    "gain": {},
  }
  for cut, chosen in cuts.items():
    ap = [run["ap"][cut] for run in row["runs"]]
    low, high = scores.interval(mine, chosen)
    row["ap"][cut] = _numbers(float(np.mean(ap)), low, high)
    if name != experiment.reference:
      other = [_ap(judged, chosen) for judged in theirs]
      gained = float(np.mean(ap)) - float(np.mean(other))
      row["gain"][cut] = _numbers(
        gained, *scores.interval(mine, chosen, theirs)
      )
  return row


def _last(reading: readings.Reading) -> scores.Judged:
  """By the most steps and the mean heatmap of the most samples."""
  steps = max(number for number, _ in reading.found)
  count = max(
    int(how.removeprefix("mean"))
    for number, how in reading.found
    if number == steps and how.startswith("mean")
  )
  return reading.judged(steps, f"mean{count}")


def _sampling(
  experiment: plan.Experiment, reading: readings.Reading
) -> list[dict[str, Any]]:
  """A record for each number of steps and samples and way of merging.

  The AP of one sample is the mean over all of them. The gain is over it, at the
  same number of steps.
  """
  records = []
  for steps in experiment.steps:
    ones = [
      reading.judged(steps, f"sample{i}") for i in range(experiment.samples)
    ]
    for kind in ("mean", "joints", "medoid"):
      for count in readings.MERGED:
        how = f"{kind}{count}"
        if count == 1 or (steps, how) not in reading.found:
          continue
        judged = reading.judged(steps, how)
        records.append(
          {"steps": steps, "samples": count, "merged": kind}
          | _beside(reading, judged, ones)
        )
    records.append(
      {"steps": steps, "samples": 1, "merged": "one"}
      | _beside(reading, None, ones)
      | {"spread": _spread(reading, steps, ones)}
    )
  return records


def _adaptive(
  experiment: plan.Experiment, reading: readings.Reading
) -> list[dict[str, Any]]:
  """What `--adaptive` gives for shares of people who go on after a first look.

  `work` is evaluations of the decoder a person, over those if all had all.
  """
  records = []
  samples, spread = experiment.samples, reading.first[1]
  less = reading.judged(1, f"mean{adaptive.FIRST}")
  for steps in experiment.steps:
    for share in _SHARES:
      threshold = float(np.quantile(spread, 1 - share))
      on = spread > threshold if share < 1 else reading.video >= 0
      more = reading.judged(steps, f"mean{samples}")
      work = adaptive.evaluations(on.mean(), steps, samples)
      mixed = scores.Judged(
        np.where(on[:, None], more.error, less.error),
        np.where(on[:, None], more.score, less.score),
        reading.video,
      )
      records.append(
        {
          "steps": steps,
          "share": share,
          "threshold": round(threshold, 5),
          "work": round(min(work / (steps * samples), 1), 3),
          "ap": {
            cut: _ap(mixed, reading.cuts[cut])
            for cut in ("all", "hard")
            if cut in reading.cuts
          },
        }
      )
  return records


def _beside(reading, judged, ones) -> dict[str, Any]:
  """AP in each cut, and its gain over one sample with its interval."""
  result: dict[str, Any] = {"ap": {}, "gain": {}}
  for cut, chosen in reading.cuts.items():
    one = float(np.mean([_ap(sample, chosen) for sample in ones]))
    if judged is None:
      result["ap"][cut] = round(one, 2)
      continue
    ap = _ap(judged, chosen)
    result["ap"][cut] = ap
    if cut in ("all", "hard"):
      interval = scores.interval([judged], chosen, ones)
      result["gain"][cut] = _numbers(ap - one, *interval)
  return result


def _spread(reading, steps, ones) -> dict[str, float]:
  """How far samples are from each other, and whether that tells of errors."""
  labelled, spread = reading.cuts["all"], reading.spread[steps]
  wrong = ones[0].error[labelled] > _WRONG
  found = {
    f"median, {cut}": float(np.median(spread[chosen]))
    for cut, chosen in reading.cuts.items()
    if cut in ("all", "hard", "easy")
  }
  found["AUROC"] = scores.auroc(spread[labelled], wrong)
  found["AUROC of the score"] = scores.auroc(-ones[0].score[labelled], wrong)
  return {name: round(value, 4) for name, value in found.items()}


def _ap(judged: scores.Judged, chosen: np.ndarray) -> float:
  return round(scores.average_precision(judged, chosen), 2)


def _numbers(*values: float) -> list[float]:
  return [round(float(value), 2) for value in values]
