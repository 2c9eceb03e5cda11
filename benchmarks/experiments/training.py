"""Trains the runs of a plan, each in a process of its own; goes on with them."""

import concurrent.futures
import json
import os
import pathlib
import runpy
import subprocess
import sys
from collections.abc import Sequence

from benchmarks.experiments import plan
from diffpose_jax.data import prepare
from diffpose_jax.inference import workdir

REPO = pathlib.Path(__file__).resolve().parents[2]
_DONE = "trained.json"  # in a run's folder: it has been trained to its end


def rendered(data: str, out: pathlib.Path) -> list[str]:
  """Flags for the rendered people, who are made first where they must be."""
  path = REPO / "configs" / f"{plan.CONFIG[data]}.py"
  config = runpy.run_path(str(path))["get_config"]()
  config.update_from_flattened_dict(plan.COMMON[data])
  folder = prepare.ensure(config, out / data)
  source = out / data / "source"  # where `ensure` renders to
  return [f"--config.data.prepared={folder}", f"--config.data.root={source}"]


def is_done(folder: pathlib.Path) -> bool:
  """Whether a run has been trained to its end."""
  return (folder / _DONE).is_file()


def train(
  runs: Sequence[plan.Run],
  out: pathlib.Path,
  data: Sequence[str],
  *,
  jobs: int,
) -> None:
  """Trains what is not yet, `jobs` at a time, each on as many cores.

  Args:
    runs: the same ones may be there twice.
    out: where their folders are.
    data: flags that say where their data is.
    jobs: processes beside each other.

  Raises RuntimeError for one that fails.
  """
  teachers = [run.distilled[0] for run in runs if run.distilled]
  if teachers:
    train(teachers, out, data, jobs=jobs)
  left = [run for run in dict.fromkeys(runs) if not is_done(out / run.name)]
  cores = sorted(os.sched_getaffinity(0))
  share = max(len(cores) // jobs, 1)
  places = [cores[i * share : (i + 1) * share] for i in range(jobs)]

  def one(run: plan.Run) -> None:
    place = places.pop()
    try:
      _train(run, out / run.name, data, place)
    finally:
      places.append(place)

  with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
    for done in [pool.submit(one, run) for run in left]:
      done.result()


def _train(
  run: plan.Run,
  folder: pathlib.Path,
  data: Sequence[str],
  cores: Sequence[int],
) -> None:
  command = [
    *(sys.executable, "-m", "diffpose_jax.main"),
    *words(run, folder, data, cores),
  ]
  print(f"{run.name}: training", flush=True)
  tunables = {"GLIBC_TUNABLES": "glibc.malloc.hugetlb=1"}
  folder.mkdir(parents=True, exist_ok=True)
  with open(folder / "log.txt", "a") as log:
    code = subprocess.run(
      ["taskset", "-c", ",".join(map(str, cores)), *command],
      cwd=REPO,
      env=os.environ | tunables,
      stdout=log,
      stderr=subprocess.STDOUT,
      check=False,
    ).returncode
  if code:
    raise RuntimeError(
      f"{folder}/log.txt: training ended with exit code {code}"
    )
  config, _ = workdir.load(folder)
  record = {"steps": config.train.steps, "seconds": _seconds(folder)}
  (folder / _DONE).write_text(json.dumps(record))


def words(
  run: plan.Run,
  folder: pathlib.Path,
  data: Sequence[str],
  cores: Sequence[int],
) -> list[str]:
  """The command that trains a run, after the program's name."""
  if run.distilled:
    teacher, iterations = run.distilled
    return [
      "distill",
      f"--weights={folder.with_name(teacher.name)}",
      f"--workdir={folder}",
      f"--iterations={iterations}",
    ]
  values = run.values | {"train.cpu_devices": len(cores)}
  return [
    f"--config={REPO}/configs/{plan.CONFIG[run.data]}.py",
    f"--workdir={folder}",
    "--skip_evaluation",
    *data,
    *(f"--config.{key}={_text(value)}" for key, value in values.items()),
  ]


def seconds(folder: pathlib.Path) -> float:
  """Of training, over all starts, with compilation, validation and saving."""
  return json.loads((folder / _DONE).read_text())["seconds"]


def loss(folder: pathlib.Path) -> float:
  """Of the last hundred steps, the mean over those that were logged."""
  lines = (folder / "metrics.jsonl").read_text().splitlines()
  records = [json.loads(line) for line in lines]
  last = max(record["step"] for record in records)
  found = [
    record["loss"]
    for record in records
    if record["step"] > last - 100 and record.get("loss") is not None
  ]
  return sum(found) / len(found)


def _seconds(folder: pathlib.Path) -> float:
  account = json.loads((folder / "goodput.json").read_text())
  return sum(account["seconds"].values())


def _text(value: object) -> str:
  return str(value).lower() if isinstance(value, bool) else str(value)
