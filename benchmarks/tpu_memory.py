"""Memory a chip of a TPU slice needs for the train step and the sampler.

  pip install libtpu
  python benchmarks/tpu_memory.py --meshes=8,1,1:1,8,1 --batch=64

Compiles ahead of time for a slice that need not be there: `--topology`, one of
JAX's names. `--meshes` are `data,fsdp,tensor`. Prints one line for each program.
"""

import argparse
import collections
import functools
import os
import re
import time
from typing import Any

os.environ.setdefault("TPU_SKIP_MDS_QUERY", "1")  # There is no TPU to ask.

import jax
import numpy as np
from jax.experimental import topologies

from diffpose_jax import config as config_lib
from diffpose_jax.inference import estimator, network
from diffpose_jax.inference import sampling as sampling_lib
from diffpose_jax.model import sharding
from diffpose_jax.pose.skeleton import POSETRACK
from diffpose_jax.training import optim
from diffpose_jax.training import step as step_lib

STEPS = 1000  # of the schedule, which changes nothing here
COLLECTIVES = "all-gather|all-reduce|reduce-scatter|all-to-all"


def batch_of(config: Any, size: int) -> dict[str, jax.ShapeDtypeStruct]:
  """Shapes of what the pipeline gives for `size` clips."""
  frames = (size, 2 * config.data.span + 1, *config.data.size, 3)
  joints = (size, len(POSETRACK.joints))
  kinds = {
    "frames": (frames, np.uint8),
    "joints": ((*joints, 2), np.float32),
    "labelled": (joints, np.bool_),
    "valid": ((size,), np.bool_),
    "index": ((size,), np.int32),
    "noise_id": ((size,), np.uint32),
  }
  return {name: jax.ShapeDtypeStruct(*kind) for name, kind in kinds.items()}


def train_step(config: Any, mesh: jax.sharding.Mesh) -> tuple[Any, int]:
  """The lowered train step, and the bytes of the state on each chip."""
  optimiser = optim.optimiser(config.train, STEPS)
  shapes = jax.eval_shape(
    lambda: step_lib.init_state(config, POSETRACK, optimiser)
  )
  places = sharding.places(shapes, mesh)
  step = jax.jit(
    step_lib.make_step(config, POSETRACK, optimiser, mesh),
    donate_argnums=0,
    in_shardings=(places, sharding.split(mesh)),
    out_shardings=(places, sharding.replicated(mesh)),
  )
  lowered = step.lower(shapes, batch_of(config, config.train.batch))
  return lowered, sharding.device_bytes(shapes, places)


def sampler(config: Any, mesh: jax.sharding.Mesh) -> tuple[Any, int]:
  """The lowered sampling of an ensemble, and the bytes of the weights."""
  options = sampling_lib.options_of(
    config, steps=None, samples=None, flip=None, seed=None, eta=None
  )
  params = jax.eval_shape(
    functools.partial(network.init_params, config, POSETRACK), jax.random.key(0)
  )
  places = sharding.places_in_use(params, mesh)
  everywhere = sharding.replicated(mesh)
  walk = (
    jax.ShapeDtypeStruct((config.evaluate.max_steps + 1,), np.float32),
    jax.ShapeDtypeStruct((), np.int32),
  )
  run = jax.jit(
    sharding.apart(
      functools.partial(estimator._estimate, config, POSETRACK, options),
      mesh,
      clips_in=(None, 0, None),
      clips_out=sampling_lib.CLIPS_OUT,
    ),
    in_shardings=(places, sharding.split(mesh), everywhere),
  )
  batch = batch_of(config, config.evaluate.batch)
  given = {name: batch[name] for name in ("frames", "noise_id")}
  return run.lower(params, given, walk), sharding.device_bytes(params, places)


PROGRAMS = {"training": train_step, "sampling": sampler}


def report(name: str, mesh: jax.sharding.Mesh, lowered: Any, own: int) -> None:
  """Compiles, and prints what a chip needs."""
  began = time.perf_counter()
  compiled = lowered.compile()
  memory = compiled.memory_analysis()
  found = collections.Counter(
    re.findall(rf"= .*? ({COLLECTIVES})(?:-start)?\(", compiled.as_text())
  )
  gigabytes = [
    value / 1e9
    for value in (own, memory.argument_size_in_bytes, memory.temp_size_in_bytes)
  ]
  print(
    f"{name:9} {sharding.describe(mesh):22} state {gigabytes[0]:6.2f} GB, "
    f"arguments {gigabytes[1]:6.2f} GB, temporaries {gigabytes[2]:6.2f} GB a "
    f"chip; {dict(sorted(found.items()))}; compiled in "
    f"{time.perf_counter() - began:.0f} s",
    flush=True,
  )


def main() -> None:
  """Prints a line for each mesh and program."""
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument("--topology", default="v5e:2x4")
  parser.add_argument("--meshes", default="8,1,1:1,8,1")
  parser.add_argument("--programs", default=",".join(PROGRAMS))
  parser.add_argument("--size", default="B")
  parser.add_argument("--batch", type=int, default=64)
  parser.add_argument("--remat", default="none")
  arguments = parser.parse_args()
  topology = topologies.get_topology_desc(
    platform="tpu", topology_name=arguments.topology
  )
  config = config_lib.default()
  config.model.size, config.model.remat = arguments.size, arguments.remat
  config.model.dtype, config.model.scan = "bfloat16", True
  config.train.batch = config.evaluate.batch = arguments.batch
  axes = (jax.sharding.AxisType.Auto,) * len(sharding.AXES)
  for text in arguments.meshes.split(":"):
    sizes = tuple(map(int, text.split(",")))
    mesh = jax.make_mesh(
      sizes, sharding.AXES, axes, devices=list(topology.devices)
    )
    for name in arguments.programs.split(","):
      report(name, mesh, *PROGRAMS[name](config, mesh))


if __name__ == "__main__":
  main()
