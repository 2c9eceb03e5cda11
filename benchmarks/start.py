"""Seconds from the start of a process to its first result, and of compilation.

  python benchmarks/start.py --out=benchmarks/results/start.json

The first result is that of the command `predict` on one picture with weights
of the demo's size: the whole command is timed, from the start of its process
to its end, with an empty compile cache (cold) and with one that an earlier
call filled (warm), in turn. The gradient is that of the train step's loss: the
time that XLA takes for it, in a process of its own, cold and warm; tracing it
is the same for both and told beside.
"""

import argparse
import functools
import os
import pathlib
import subprocess
import sys
import tempfile
import time
from typing import Any

import cv2
import jax
import numpy as np

from diffpose_jax.benchmark import machine, measure, result, training, verb
from diffpose_jax.benchmark import subject as subject_lib
from diffpose_jax.benchmark.result import Bar, Row
from diffpose_jax.inference import network, workdir
from diffpose_jax.training import step as step_lib
from diffpose_jax.weights import checkpoint

_GRADIENT = "--gradient"  # what this script is called with by itself
# Where JAX keeps compiled programs, and that it keeps all.
_CACHE = "JAX_COMPILATION_CACHE_DIR"
_KEEP = {
  "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
  "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
}


def make_run(folder: pathlib.Path) -> dict[str, Any]:
  """Sizes of the network of a new workdir; a picture lies beside it."""
  subject = subject_lib.make(verb.default())
  checkpoints = checkpoint.Checkpoints(folder / "run")
  checkpoints.save({"params": subject.params, "ema": subject.params}, 1, 0.0)
  checkpoints.close()
  workdir.save(folder / "run", subject.config, subject_lib.SKELETON)
  (folder / "frames").mkdir()
  picture = np.random.default_rng(0).integers(0, 256, (240, 320, 3), np.uint8)
  if not cv2.imwrite(str(folder / "frames" / "000000.jpg"), picture):
    raise OSError(f"{folder}: no picture can be written there")
  return subject_lib.sizes(subject)


def predict_command(folder: pathlib.Path) -> list[str]:
  """Arguments of Python for the prediction of the picture."""
  return [
    *("-m", "diffpose_jax.main", "predict", "--boxes=whole"),
    f"--input={folder / 'frames'}",
    f"--weights={folder / 'run'}",
    f"--out={folder / 'out'}",
  ]


def call(arguments: list[str], cache: pathlib.Path) -> tuple[float, str]:
  """Seconds from start to end of a Python with that cache, and its output.

  Raises RuntimeError with what it said where it fails.
  """
  environment = os.environ | _KEEP | {_CACHE: str(cache)}
  began = time.perf_counter()
  run = subprocess.run(
    [sys.executable, *arguments],
    env=environment,
    capture_output=True,
    text=True,
    check=False,
  )
  taken = time.perf_counter() - began
  if run.returncode:
    raise RuntimeError(f"{arguments} failed: {run.stderr.strip()}")
  return taken, run.stdout


def print_gradient_seconds() -> None:
  """Prints the times to trace and to compile the gradient, the cache as set."""
  config = verb.default()
  skeleton = subject_lib.SKELETON
  key = jax.random.key(0)
  init = functools.partial(network.init_params, config, skeleton)
  params = jax.eval_shape(init, key)
  batch = jax.device_put(training.make_batch(config, config.train.batch))
  batch["key"] = step_lib.clip_keys(config, jax.numpy.int32(0), batch)

  def loss(params, batch):
    return step_lib.loss_sum(config, skeleton, params, key, batch)

  began = time.perf_counter()
  lowered = jax.jit(jax.grad(loss)).lower(params, batch)
  traced = time.perf_counter()
  lowered.compile()
  print(traced - began, time.perf_counter() - traced)


def first_results(folder: pathlib.Path, pairs: int) -> list[Row]:
  """Cold and warm start of `predict`, in turn."""
  arguments = predict_command(folder)
  warm = folder / "warm"
  call(arguments, warm)  # It fills the cache.
  seconds: dict[str, list[float]] = {"cold": [], "warm": []}
  for number in range(pairs):
    taken, _ = call(arguments, folder / f"cold_{number}")
    seconds["cold"].append(taken)
    seconds["warm"].append(call(arguments, warm)[0])
  times = measure.Times(seconds, "wall")
  return [
    Row(
      id="P8",
      name="predict, warm: start of process to its end",
      ratio_of="seconds",
      ratio=times.spread("warm"),
      bar=Bar("at most", 3.0),
      clock=times.clock,
    ),
    _compared("predict, cold beside warm", times, None),
  ]


def gradients(folder: pathlib.Path, pairs: int) -> Row:
  """Cold and warm compilation of the gradient, in turn."""
  arguments = [str(pathlib.Path(__file__)), _GRADIENT]
  warm = folder / "warm_gradient"
  call(arguments, warm)
  seconds: dict[str, list[float]] = {"trace": [], "cold": [], "warm": []}
  for number in range(pairs):
    for name, cache in (("cold", folder / f"cold_{number}g"), ("warm", warm)):
      traced, compiled = map(float, call(arguments, cache)[1].split())
      seconds[name].append(compiled)
    seconds["trace"].append(traced)  # of the warm one
  times = measure.Times(seconds, "wall")
  return _compared("compiling the gradient", times, Bar("at least", 20.0))


def _compared(name: str, times: measure.Times, bar: Bar | None) -> Row:
  return Row(
    id="P8",
    name=name,
    ratio_of="empty compile cache / filled",
    ratio=times.ratio({"cold": 1}, {"warm": 1}),
    bar=bar,
    clock=times.clock,
    figures={f"{n} s": times.spread(n).median for n in times.seconds},
  )


def main() -> None:
  """Measures, prints and writes."""
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument("--pairs", type=int, default=measure.PAIRS)
  parser.add_argument("--out", type=pathlib.Path)
  parser.add_argument(_GRADIENT, action="store_true", help=argparse.SUPPRESS)
  given = parser.parse_args()
  if given.gradient:
    print_gradient_seconds()
    return
  with tempfile.TemporaryDirectory() as name:
    folder = pathlib.Path(name)
    sizes = make_run(folder)
    rows = first_results(folder, given.pairs)
    rows.append(gradients(folder, given.pairs))
  about = machine.describe()
  written = result.Result(verb.command(), about, sizes, tuple(rows))
  print(machine.line(about))
  for row in rows:
    print(result.lines(row))
  if given.out is not None:
    result.write(given.out, written)
  verb.finish(written, given.out)


if __name__ == "__main__":
  main()
