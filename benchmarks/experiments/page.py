"""Writes docs/results.md and its plots from benchmarks/results/experiments.

  python -m benchmarks.experiments.page

The same files always give the same page; a test holds that the page in the
repository is that of the files in it.
"""

import pathlib
from collections.abc import Iterable
from typing import Any

from benchmarks.experiments import plan, plots, said, tables, training
from diffpose_jax.benchmark import machine
from diffpose_jax.data import strict_json

PAGE = training.REPO / "docs" / "results.md"
PLOTS = training.REPO / "docs" / "results"
_MASKS = "masks.json"
_CUTS = ("all", "hard", "easy", "occluded", "blurred", "fast", "wrist", "ankle")


def page(folder: pathlib.Path) -> str:
  """The page's text, from the results in a folder, in the plan's order."""
  found = results(folder)
  parts = [said.HEAD.strip(), _setting(found)]
  parts += [_section(content) for content in found]
  if (folder / _MASKS).exists():
    parts.append(_masks(strict_json.load(folder / _MASKS)))
  return "\n\n".join(parts) + "\n"


def results(folder: pathlib.Path) -> list[dict[str, Any]]:
  """Those of the plan that are there."""
  paths = [folder / f"{name}.json" for name in plan.EXPERIMENTS]
  return [strict_json.load(path) for path in paths if path.exists()]


def main() -> None:
  """Writes the page and the plots."""
  PAGE.write_text(page(tables.FOLDER))
  PLOTS.mkdir(exist_ok=True)
  for content in results(tables.FOLDER):
    plots.write(content, PLOTS / f"{content['name']}.svg")
  print(f"written: {PAGE}")


def _setting(found: list[dict[str, Any]]) -> str:
  """How all were trained and read."""
  lines = ["## How they were made", said.SETTING.strip()]
  machines = dict.fromkeys(machine.line(one["machine"]) for one in found)
  lines += [f"- {line}" for line in machines]
  return "\n\n".join(lines)


def _section(content: dict[str, Any]) -> str:
  name = content["name"]
  lines = [f"## {content['question']}", f"`{_command(content)}`"]
  keys = ", ".join(f"`{k}={v}`" for k, v in content["common"].items())
  lines.append(f"configs/{plan.CONFIG[content['data']]}.py, with {keys}.")
  if name in said.EACH:
    lines.append(said.EACH[name].strip())
  lines.append(f"![{content['question']}](results/{name}.svg)")
  if "sampling" in content:
    lines += [_grid(content), _merging(content), _spread(content)]
    lines.append(_adaptive(content))
  else:
    lines += [_rows(content), _gains(content)]
  return "\n\n".join(lines)


def _command(content: dict[str, Any]) -> str:
  jhmdb = " --jhmdb=PATH" if content["data"] == plan.JHMDB else ""
  return f"python -m benchmarks.experiments {content['name']}{jhmdb}"


def _rows(content: dict[str, Any]) -> str:
  """AP by cut, with its interval where that is all joints or the hard ones."""
  cuts = [cut for cut in _CUTS if cut in content["joints"]]
  rows = []
  for row in content["rows"]:
    cells = [_interval(row["ap"][c], c in ("all", "hard")) for c in cuts]
    runs = row["runs"]
    minutes = sum(run["seconds"] for run in runs) / len(runs) / 60
    loss = sum(run["loss"] for run in runs) / len(runs)
    rows.append(
      [row["name"], str(len(runs)), *cells, f"{loss:.2f}", f"{minutes:.0f}"]
    )
  counts = ", ".join(f"{cut} {content['joints'][cut]}" for cut in cuts)
  return (
    _table(["AP", "runs", *cuts, "loss", "minutes"], rows)
    + f"\n\n{content['people']} people; joints: {counts}. In brackets 95 % "
    "intervals; loss x 1000, over the last hundred steps; minutes of one training "
    "on one core."
  )


def _gains(content: dict[str, Any]) -> str:
  cuts = [cut for cut in _CUTS if cut in content["joints"]]
  rows = [
    [row["name"], *(_interval(row["gain"][c], True, "+.1f") for c in cuts)]
    for row in content["rows"]
    if row["gain"]
  ]
  return _table([f"gain over {content['reference']}", *cuts], rows)


def _grid(content: dict[str, Any]) -> str:
  """AP by steps and samples, of the mean heatmap."""
  cuts = [cut for cut in ("all", "hard") if cut in content["joints"]]
  found = {
    (one["steps"], one["samples"]): one
    for one in content["sampling"]
    if one["merged"] in ("one", "mean")
  }
  counts = sorted({samples for _, samples in found})
  rows = []
  for steps in sorted({steps for steps, _ in found}):
    for cut in cuts:
      cells = []
      for samples in counts:
        one = found[steps, samples]
        cell = f"{one['ap'][cut]:.1f}"
        if one["gain"]:
          cell += f" ({_interval(one['gain'][cut], True, '+.1f')})"
        cells.append(cell)
      rows.append([str(steps), cut, *cells])
  names = [f"{n} sample{'s' * (n > 1)}" for n in counts]
  return "AP, and the gain over one sample with its interval:\n\n" + _table(
    ["steps", "joints", *names], rows
  )


def _merging(content: dict[str, Any]) -> str:
  most = max(one["samples"] for one in content["sampling"])
  kinds = {
    "mean": "mean heatmap",
    "joints": "mean joint",
    "medoid": "medoid",
  }
  rows = []
  for kind, name in kinds.items():
    cells = [
      f"{one['ap'][cut]:.1f}"
      for one in content["sampling"]
      if one["merged"] == kind and one["samples"] == most
      for cut in ("all", "hard")
      if cut in one["ap"]
    ]
    rows.append([name, *cells])
  heads = [
    f"{steps} step{'s' * (steps > 1)}, {cut}"
    for steps in sorted({one["steps"] for one in content["sampling"]})
    for cut in ("all", "hard")
    if cut in content["joints"]
  ]
  return f"Merging {most} samples:\n\n" + _table(["AP", *heads], rows)


def _spread(content: dict[str, Any]) -> str:
  ones = [one for one in content["sampling"] if "spread" in one]
  names = list(ones[0]["spread"])
  rows = [
    [str(one["steps"]), *(f"{one['spread'][name]:.3f}" for name in names)]
    for one in ones
  ]
  return (
    "Spread of the samples of a joint in head sizes, and how well it ranks a "
    "joint that is off by more than half a head above one that is not:\n\n"
    + _table(["steps", *names], rows)
  )


def _adaptive(content: dict[str, Any]) -> str:
  cuts = [cut for cut in ("all", "hard") if cut in content["joints"]]
  rows = [
    [
      str(one["steps"]),
      f"{100 * one['share']:.0f} %",
      f"{one['threshold']:.4f}",
      f"{one['work']:.2f}",
      *(f"{one['ap'][cut]:.2f}" for cut in cuts),
    ]
    for one in content["adaptive"]
  ]
  heads = ["steps", "go on", "threshold", "work", *(f"AP, {c}" for c in cuts)]
  return "`--adaptive`, by the share who go on:\n\n" + _table(heads, rows)


def _masks(content: dict[str, Any]) -> str:
  """What the decoder makes of what it is shown, and a picture of its masks."""
  shown = ["noise"]
  for start in ("truth", "own"):
    shown += [f"{start} at {time}" for time in content["times"]]
  lines = [said.MASKS.strip(), "![masks](results/masks.png)"]
  for part, form in (("error", ".2f"), ("contrast", "+.3f")):
    rows = [
      [name, *(format(network[part][one], form) for one in shown)]
      for name, network in content["networks"].items()
      if part == "error" or name.startswith("full")  # whose masks are learned
    ]
    lines.append(_table([said.MASK_TABLES[part], *shown], rows))
  lines.append(f"{content['people']} people of the validation videos.")
  return "\n\n".join(lines)


def _interval(numbers: list[float], whole: bool, form: str = ".1f") -> str:
  mean, low, high = (format(number, form) for number in numbers)
  return f"{mean} [{low}, {high}]" if whole else mean


def _table(heads: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
  lines = [list(heads), *(list(row) for row in rows)]
  rule = ["---", *("--:" for _ in lines[0][1:])]
  return "\n".join(
    f"| {' | '.join(line)} |" for line in [lines[0], rule, *lines[1:]]
  )


if __name__ == "__main__":
  main()
