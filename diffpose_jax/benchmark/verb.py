"""The verb `benchmark`: what this machine does with the network, side by side.

A row is a ratio of two things measured in turn in this process, on one device.
Nothing fails on a time: a row that misses its bar says so.
"""

import pathlib
import shlex
import sys
from collections.abc import Callable, Iterator

import jax
import ml_collections

from diffpose_jax import config as config_lib
from diffpose_jax.benchmark import (
  clip,
  footprint,
  machine,
  measure,
  result,
  steady,
  throughput,
  training,
)
from diffpose_jax.benchmark import subject as subject_lib

BATCHES = {"cpu": (4,)}  # of throughput, by platform
_BATCHES = (1, 8, 32, 64, 128)
CALLS = 100
ROWS = ("P3", "P4", "P5", "P6", "P7", "P14", "P15")


def main(
  *,
  config: ml_collections.ConfigDict | None = None,
  out: pathlib.Path | None = None,
  rows: str = ",".join(ROWS),
  pairs: int = measure.PAIRS,
  batches: str = "",
  calls: int = CALLS,
) -> result.Result:
  """Measures, prints a table, and returns what it wrote.

  Args:
    config: of the network; by default the demo's on CPU, the paper's in
      bfloat16 elsewhere. `train.batch` is that of the train step,
      `evaluate.batch` the largest of the predictions.
    out: JSON file to write.
    rows: which to measure, comma-separated.
    pairs: rounds in which contenders take turns.
    batches: clips a call for the throughput, comma-separated.
    calls: among which recompilations are counted.

  Raises:
    ValueError: an unknown row or batch; or outputs that should be equal are
      not, once the other rows are measured and written.
  """
  wanted = _chosen(rows)
  sizes = _batches(batches)
  config = default() if config is None else config
  config_lib.check(config)
  subject = subject_lib.make(config)
  about = machine.describe()
  told = subject_lib.sizes(subject)
  print(machine.line(about))
  print(", ".join(f"{key} {value}" for key, value in told.items()))
  whole = clip.Clip(subject)
  groups: dict[str, Callable[[], Iterator[result.Row]]] = {
    "P3": lambda: clip.parts(whole, pairs),
    "P4": lambda: clip.ensembles(whole, pairs),
    "P5": lambda: clip.sampling(whole, pairs),
    "P6": lambda: training.train_step(subject, pairs),
    "P7": lambda: throughput.utilisation(subject, pairs, sizes),
    "P14": lambda: steady.repeats(subject, calls),
    "P15": lambda: footprint.memory(whole),
  }
  found = []
  for name in wanted:
    for row in measured(name, groups[name]()):
      print(result.lines(row), flush=True)
      found.append(row)
  written = result.Result(command(), about, told, tuple(found))
  if out is not None:
    result.write(out, written)
  finish(written, out)
  return written


def default() -> ml_collections.ConfigDict:
  """The demo's network and small batches on CPU, else the paper's network."""
  config = config_lib.default()
  if jax.default_backend() != "cpu":
    return config
  config.data.size = (128, 96)
  config.data.span = 1
  config.model.size = "cpu"
  config.model.stem = "conv"
  config.model.strl_depth = 2
  config.model.decoder_width = 48
  config.model.heatmap_width = 32
  config.train.batch = 8
  config.evaluate.batch = 8
  return config


def measured(name: str, rows: Iterator[result.Row]) -> Iterator[result.Row]:
  """The rows; where outputs differ, one that says so ends them."""
  try:
    yield from rows
  except measure.DifferentOutputsError as error:
    yield result.Row(name, "outputs compared first", refused=str(error))


def finish(written: result.Result, out: pathlib.Path | None) -> None:
  """Says what came of it. Raises ValueError where a row was refused."""
  missed = [row for row in written.rows if row.verdict and not row.refused]
  print(f"{len(written.rows)} rows, {len(missed)} of them miss their bar")
  if out is not None:
    print(f"written: {out}")
  refused = result.refused(written.rows)
  if refused:
    raise ValueError(
      f"outputs that should be equal differ: {'; '.join(refused)}"
    )


def command() -> str:
  """The command of this process, as one would type it again."""
  first, *rest = sys.orig_argv[1:] or [""]
  name = pathlib.Path(first)
  words = [name.name if name.is_absolute() else first, *rest]
  return shlex.join(["python", *words])


def _chosen(rows: str) -> list[str]:
  names = [name.strip() for name in rows.split(",")]
  unknown = [name for name in names if name not in ROWS]
  if unknown:
    raise ValueError(
      f"--rows: no row {unknown[0]!r}; there are {', '.join(ROWS)}"
    )
  return [name for name in ROWS if name in names]


def _batches(text: str) -> tuple[int, ...]:
  if not text:
    return BATCHES.get(jax.default_backend(), _BATCHES)
  sizes = text.split(",")
  if not all(size.strip().isdecimal() and int(size) for size in sizes):
    raise ValueError(
      f"--batches={text}: must be whole numbers above 0, as 1,8,32"
    )
  return tuple(int(size) for size in sizes)
