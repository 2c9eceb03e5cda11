"""The network as ONNX files, through jax2onnx, with a runner beside them.

A folder with

- `encoder.onnx`: frames u8[b t h w 3] → what a clip's steps need of it, a
  number of maps;
- `step.onnx`: noisy f32[b y x k], times f32[2] and these maps → heatmaps
  f32[b y x k], and `next`, the noisy ones at times[1]: one DDIM step;
- `noise.npy`: of the first members of the ensemble, as this package draws it
  for the seed of the config;
- `onnx.json`: what goes in and comes out, and the SHA-256 of each file;
- `run.py`: the loop over steps and the reading of heatmaps, in NumPy.

The weights are within the files, in float32. The number of clips is open.
"""

import contextlib
import io
import logging
import pathlib
import shutil
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from diffpose_jax import config as config_lib
from diffpose_jax.diffusion import process as process_lib
from diffpose_jax.diffusion import sampler
from diffpose_jax.evaluation import export_folder, pack
from diffpose_jax.inference import crops, network, pack_file, run_onnx
from diffpose_jax.inference import estimator as estimator_lib
from diffpose_jax.inference import poses as poses_lib

FORMAT, VERSION = "diffpose_jax onnx", 1
OPSET = 20  # the first with Gelu; LayerNormalization is older
MEMBERS = 10  # of the ensemble, at least so many, have their noise in the file
# Bytes of parameters up to which a file holds its own; the format ends at 2 GiB.
WITHIN = 1_800_000_000


def write(weights: pathlib.Path, out: pathlib.Path) -> pack.Loss:
  """Writes the folder, and prints how far its poses are from the network's.

  Raises ValueError where the network cannot be exported, or the extra is not
  installed.
  """
  # What the runner does not do is off in what it is held against.
  given = {"flip": False, "eta": 0.0, "solver": "ddim", "adaptive": 0.0}
  live = _in_float32(estimator_lib.Estimator.load(weights, **given))
  with export_folder.whole(out) as folder:
    convert(live, folder)
  export_folder.tell(out, f"ONNX of opset {OPSET}")
  loss = drift(live, run_onnx.Runner(out))
  print(f"drift from the network, in ONNX Runtime: {loss}")
  return loss


def convert(live: estimator_lib.Estimator, folder: pathlib.Path) -> None:
  """Writes the files of a network in float32.

  Raises ValueError, see `write`.
  """
  export_folder.check_steps(live.config)
  jax2onnx, onnx = _converter()
  for name, program in _programs(live).items():
    with _quiet():
      model = jax2onnx.to_onnx(*program[:2], opset=OPSET, **program[2])
    _save(onnx, model, folder / name)
  np.save(folder / "noise.npy", _noise(live))
  shutil.copyfile(run_onnx.__file__, folder / "run.py")
  about = {"format": FORMAT, "version": VERSION, "opset": OPSET}
  export_folder.describe(live, folder / pack_file.ONNX, about)


def drift(live: estimator_lib.Estimator, runner: run_onnx.Runner) -> pack.Loss:
  """How far the runner's poses are from the network's, on rendered people."""
  people = pack.rendered(live.config)
  found = []
  for i in range(0, len(people), len(live.rows)):
    clips = np.stack([one.clip for one in people[i : i + len(live.rows)]])
    joints, scores, samples = runner(clips)
    shape = np.zeros((*joints.shape, 2), np.float32)  # not compared
    found.append(poses_lib.Poses(joints, scores, samples, shape))
  after = crops.people(
    poses_lib.joined(found),
    np.stack([one.to_picture for one in people]),
    np.stack([one.box for one in people]),
    live.skeleton,
  )
  noise = np.zeros(len(people), np.uint32)
  return pack.loss(people, crops.estimate(live, people, noise), after)


def _converter() -> tuple[Any, Any]:
  try:
    import jax2onnx  # pyright: ignore[reportMissingImports]
    import onnx  # pyright: ignore[reportMissingImports]
  except ImportError as error:
    raise ValueError(
      f"--onnx needs jax2onnx and ONNX Runtime ({error}): pip install "
      "'diffpose-jax[onnx]'; without it, export writes StableHLO"
    ) from None
  return jax2onnx, onnx


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
  """Keeps to itself what the converter says of its own making.

  What it imports at its first use does not keep to our rule for ranks.
  """
  before = logging.root.manager.disable
  logging.disable(logging.WARNING)
  try:
    with (
      contextlib.redirect_stdout(io.StringIO()),
      warnings.catch_warnings(),
      jax.numpy_rank_promotion("allow"),
    ):
      warnings.simplefilter("ignore")
      yield
  finally:
    logging.disable(before)


def _in_float32(live: estimator_lib.Estimator) -> estimator_lib.Estimator:
  """The same estimator with matrix products in float32."""
  config = config_lib.copy(live.config)
  config.model.dtype = "float32"
  config.model.attention = "plain"
  config.model.scan, config.model.remat = False, "none"
  return estimator_lib.Estimator(
    config, live.skeleton, live.params, live.options, step=live.step
  )


def _programs(
  live: estimator_lib.Estimator,
) -> dict[str, tuple[Callable[..., Any], Sequence[Any], dict[str, Any]]]:
  """By the names of files: a function, its arguments, and their names."""
  config, params = live.config, live.params
  halves = network.halves(config, live.skeleton)
  process = network.build_process(config)
  frames, noisy, _ = network.inputs(config, live.skeleton, 1)
  forms = []  # of features, once one was traced

  def encode(frames):
    found, form = jax.tree.flatten(halves.encode(params, frames))
    forms.append(form)
    return tuple(found)

  leaves = jax.eval_shape(encode, frames)
  names = [f"map_{i}" for i in range(len(leaves))]

  def step(noisy, times, *leaves):
    time = jnp.broadcast_to(times[0], noisy.shape[:1])
    features = jax.tree.unflatten(forms[0], leaves)
    clean = halves.denoise(params, noisy, time, features)
    now, then = (
      process_lib.alpha_bar_of_sums(
        times[i], schedule=process.schedule, steps=process.steps
      )
      for i in range(2)
    )
    return clean, sampler.moved(noisy, clean, (now, then), None, process)

  many = lambda one: jax.ShapeDtypeStruct(("b", *one.shape[1:]), one.dtype)  # noqa: E731
  times = jax.ShapeDtypeStruct((2,), jnp.float32)
  inputs = ["noisy", "times", *names]
  return {
    "encoder.onnx": (
      encode,
      [many(frames)],
      {"input_names": ["frames"], "output_names": names},
    ),
    "step.onnx": (
      step,
      [many(noisy), times, *map(many, leaves)],
      {"input_names": inputs, "output_names": ["heatmaps", "next"]},
    ),
  }


def _save(onnx: Any, model: Any, path: pathlib.Path) -> None:
  """Writes a file; large parameters beside it where they are too many."""
  size = sum(len(one.raw_data) for one in model.graph.initializer)
  onnx.save_model(
    model,
    str(path),
    save_as_external_data=size > WITHIN,
    location=f"{path.name}.data",
  )
  onnx.checker.check_model(str(path), full_check=True)


def _noise(live: estimator_lib.Estimator) -> Float[np.ndarray, "m y x k"]:
  """What members of the ensemble begin with, at the first clip's `noise_id`."""
  _, noisy, _ = network.inputs(live.config, live.skeleton, 1)
  key = jax.random.fold_in(jax.random.key(live.options.seed), 0)

  def draw(member):
    own = jax.random.fold_in(jax.random.fold_in(key, member), 0)
    return jax.random.normal(own, noisy.shape[1:])

  members = max(MEMBERS, live.options.samples)
  return np.asarray(jax.vmap(draw)(jnp.arange(members, dtype=jnp.uint32)))
