"""The encoder beside PyTorch, OpenVINO and ONNX Runtime, with equal weights.

  python benchmarks/encoder.py --cores=all --out=benchmarks/results/encoder.json
  python benchmarks/encoder.py --cores=1 --out=benchmarks/results/encoder_1.json

A ViT over the frames of one clip. The weights are those of transformers'
VitPose backbone; each library gets the pictures in its own layout, and its
output is compared before anything is timed. All are called in turn in one
process, with the same cores and number of threads. One core is measured in CPU
time. It needs, beside this package:

  pip install transformers openvino onnxruntime onnx onnxscript
  pip install torch --index-url https://download.pytorch.org/whl/cpu
"""

# pyright: reportMissingImports=false

import argparse
import importlib.util
import io
import logging
import os
import pathlib
import sys
import warnings
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from diffpose_jax.benchmark import machine, measure, result, verb
from diffpose_jax.benchmark.result import Bar, Row
from diffpose_jax.model import diffpose, vit

PACKAGES = ("torch", "transformers", "openvino")
REST = 0.05  # seconds before each call, for threads that wait in a loop
_FIXED = "DIFFPOSE_BENCHMARK_THREADS"  # set in the process that measures
Run = Callable[[], np.ndarray]


def fix_threads(cores: str) -> int:
  """Number of threads; starts this process anew with so many and no more.

  Libraries read their number of threads when they are loaded, so that it must
  be there before.
  """
  if _FIXED in os.environ:
    return int(os.environ[_FIXED])
  allowed = sorted(os.sched_getaffinity(0))
  count = len(allowed) if cores == "all" else int(cores)
  if not 1 <= count <= len(allowed):
    raise SystemExit(f"--cores={cores}: this process has {len(allowed)} cores")
  os.sched_setaffinity(0, set(allowed[:count]))
  names = ("OMP", "MKL", "OPENBLAS")
  threads = {f"{name}_NUM_THREADS": str(count) for name in names}
  # XLA's pool; the two names that PJRT looks for.
  threads |= {"PJRT_NPROC": str(count), "NPROC": str(count)}
  environment = os.environ | threads | {_FIXED: str(count)}
  os.execve(sys.executable, sys.orig_argv, environment)
  return count


def missing() -> list[str]:
  """Packages that are needed and not installed."""
  return [n for n in PACKAGES if importlib.util.find_spec(n) is None]


class Contenders:
  """The encoder in each library, by name, for one clip of pictures."""

  def __init__(self, size: str, shape: tuple[int, int, int], threads: int):
    """`shape` is (frames, height, width)."""
    import torch
    import torch_backbone

    torch.set_num_threads(threads)
    self._torch = torch
    self._threads = threads
    self._module = torch_backbone.Backbone(size, shape[1:])
    rng = np.random.default_rng(0)
    self._pictures = rng.standard_normal((*shape, 3), np.float32)
    self._first = np.ascontiguousarray(self._pictures.transpose(0, 3, 1, 2))
    s = diffpose.SIZES[size]
    model = vit.ViT(s.width, s.depth, s.heads, torch_backbone.PATCH)
    like = jax.eval_shape(model.init, jax.random.key(0), self._pictures)
    weights = torch_backbone.as_ours(self._module, like["params"])
    self._params = jax.device_put(weights)
    self._apply = jax.jit(lambda p, x: model.apply({"params": p}, x))

  def ours(self) -> Run:
    """This package's, compiled by XLA."""
    pictures = jax.device_put(self._pictures)

    def run():
      out = jax.block_until_ready(self._apply(self._params, pictures))
      return np.asarray(out).reshape(out.shape[0], -1, out.shape[-1])

    return run

  def torch_eager(self) -> Run:
    """PyTorch, one operation at a time."""
    return self._torch_run(self._module)

  def torch_compiled(self) -> Run:
    """PyTorch, `torch.compile`."""
    return self._torch_run(self._torch.compile(self._module))

  def _torch_run(self, module: Any) -> Run:
    pictures = self._torch.from_numpy(self._first)

    def run():
      with self._torch.inference_mode():
        return module(pictures).numpy()

    return run

  def openvino(self, precision: str) -> Run:
    """OpenVINO on its CPU device, in "f32" or "bf16"."""
    import openvino

    example = self._torch.from_numpy(self._first)
    model = openvino.convert_model(
      self._module, example_input=example, input=list(self._first.shape)
    )
    compiled = openvino.Core().compile_model(
      model,
      "CPU",
      {
        "INFERENCE_NUM_THREADS": self._threads,
        "INFERENCE_PRECISION_HINT": precision,
        "PERFORMANCE_HINT": "LATENCY",
      },
    )
    return lambda: compiled(self._first)[0]

  def onnxruntime(self) -> Run:
    """ONNX Runtime, by PyTorch's export."""
    import onnxruntime

    file = io.BytesIO()
    example = self._torch.from_numpy(self._first)
    program = self._torch.onnx.export(
      self._module, (example,), dynamo=True, verbose=False
    )
    program.save(file)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = self._threads
    options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(
      file.getvalue(), options, providers=["CPUExecutionProvider"]
    )
    name = session.get_inputs()[0].name
    return lambda: session.run(None, {name: self._first})[0]


# Name, row, contender, bar of the ratio, tolerance of the output.
OTHERS: tuple[
  tuple[str, str, Callable[[Contenders], Run], Bar | None, float], ...
] = (
  ("PyTorch eager", "P1", Contenders.torch_eager, Bar("at least", 1.8), 1e-4),
  (
    "PyTorch compiled",
    "P1",
    Contenders.torch_compiled,
    Bar("at least", 1.8),
    1e-4,
  ),
  (
    "OpenVINO f32",
    "P1",
    lambda c: c.openvino("f32"),
    Bar("at least", 0.85),
    1e-4,
  ),
  (
    "ONNX Runtime f32",
    "P1",
    Contenders.onnxruntime,
    Bar("at least", 0.98),
    1e-4,
  ),
  ("OpenVINO bf16", "P2", lambda c: c.openvino("bf16"), None, 5e-2),
)


def compare(
  contenders: Contenders, names: list[str], pairs: int, clock: measure.Clock
) -> list[Row]:
  """A row for each other library, all timed in the same rounds."""
  ours = contenders.ours()
  wanted = ours()
  runs: dict[str, Run] = {"ours": ours}
  rows, errors = {}, {}
  for name, number, make, _, tolerance in OTHERS:
    if name not in names:
      continue
    title = f"encoder beside {name}"
    try:
      run = make(contenders)
      errors[name] = measure.relative_error(run(), wanted)
      measure.check_equal(name, errors[name], tolerance)
    except measure.DifferentOutputsError as error:
      rows[name] = Row(number, title, refused=str(error))
    except (ImportError, RuntimeError) as error:
      why = str(error).strip().partition("\n")[0]
      note = f"not measured: {type(error).__name__}: {why}"
      rows[name] = Row(number, title, note=note)
    else:
      runs[name] = run
      rows[name] = Row(number, title)  # its place among the others
  times = measure.take_turns(runs, pairs=pairs, clock=clock)
  for name, number, _, bar, _ in OTHERS:
    if name in runs:
      rows[name] = _row(name, number, bar, times, errors[name])
  return list(rows.values())


def _row(
  name: str, number: str, bar: Bar | None, times: measure.Times, error: float
) -> Row:
  return Row(
    id=number,
    name=f"encoder beside {name}",
    ratio_of=f"time of {name} / ours",
    ratio=times.ratio({name: 1}, {"ours": 1}),
    bar=bar,
    error=error,
    clock=times.clock,
    figures={
      f"{key} ms": 1e3 * times.spread(key).median for key in (name, "ours")
    },
  )


def arguments() -> argparse.Namespace:
  """The command line."""
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument("--cores", default="all", help="a number, or all")
  parser.add_argument("--size", default="B", choices=list(diffpose.SIZES))
  parser.add_argument("--frames", type=int, default=5)
  parser.add_argument("--picture", default="256x192", help="height x width")
  parser.add_argument("--pairs", type=int, default=measure.PAIRS)
  parser.add_argument("--out", type=pathlib.Path)
  parser.add_argument(
    "--beside",
    default=",".join(name for name, *_ in OTHERS),
    help="whom to compare with, comma-separated",
  )
  return parser.parse_args()


def main() -> None:
  """Measures, prints and writes."""
  given = arguments()
  lacking = missing()
  if lacking:
    raise SystemExit(f"{', '.join(lacking)} not installed; see --help")
  threads = fix_threads(given.cores)
  jax.config.update("jax_platforms", "cpu")
  warnings.filterwarnings("ignore")
  logging.disable(logging.WARNING)
  height, width = (int(v) for v in given.picture.split("x"))
  sizes = {
    "model": given.size,
    "frames": given.frames,
    "picture": [height, width],
    "threads": threads,
    "dtype": "float32",
  }
  clock = measure.CPU if threads == 1 else measure.WALL
  clock = measure.Clock(clock.name, clock.now, REST)
  contenders = Contenders(given.size, (given.frames, height, width), threads)
  rows = compare(contenders, given.beside.split(","), given.pairs, clock)
  about = machine.describe([*PACKAGES, "onnxruntime"])
  written = result.Result(verb.command(), about, sizes, tuple(rows))
  print(machine.line(about))
  for row in rows:
    print(result.lines(row))
  if given.out is not None:
    result.write(given.out, written)
  try:
    verb.finish(written, given.out)
  except ValueError as error:
    raise SystemExit(str(error)) from error


if __name__ == "__main__":
  main()
