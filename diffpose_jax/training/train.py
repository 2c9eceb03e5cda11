"""Training: batches to weights, then the evaluation of the result."""

import pathlib
from collections.abc import Callable
from typing import Any

import jax
import ml_collections

from diffpose_jax import config as config_lib
from diffpose_jax.data import pipeline, prepare
from diffpose_jax.evaluation import evaluate
from diffpose_jax.inference import workdir as run_folder
from diffpose_jax.model import hosts, sharding
from diffpose_jax.training import (
  checks,
  distillation,
  lock,
  milestones,
  monitor,
  optim,
  patience,
  profiling,
  run_data,
  stopping,
  table,
  trial,
)
from diffpose_jax.training import start as start_lib
from diffpose_jax.training import step as step_lib
from diffpose_jax.weights import checkpoint


def train(
  *,
  config: ml_collections.ConfigDict,
  workdir: str,
  dry_run: bool = False,
  profile_steps: str = "",
  skip_evaluation: bool = False,
) -> dict[str, Any]:
  """Trains, resumes or finishes the run of `workdir` and evaluates it.

  Returns what `evaluation.json` holds, nothing with `skip_evaluation`. With
  `dry_run` it says what it would do instead, see `trial.run`, and returns
  nothing. `profile_steps` is "A:B", the first and last step to profile.

  Raises ValueError for a config that cannot work, a workdir of another config,
  or missing data.
  """
  folder = pathlib.Path(workdir)
  view = monitor.Monitor(folder, profiling.parse(profile_steps))
  config_lib.check(config)
  checks.check_workdir(config, folder)
  checks.check_start(config, folder)
  sharding.use_cpu_devices(config.train.cpu_devices)
  mesh = sharding.mesh(**config.train.mesh)
  checks.check_batches(config, mesh)
  if dry_run:
    trial.run(config, view, mesh, compiled_step)
    return {}
  checks.check_folder(folder)
  with lock.held(folder) as still_held, view:
    data = _train(config, view, mesh, still_held)
    if skip_evaluation:
      return {}
    with view.account.phase("evaluation"):
      return evaluate.finish(config, folder, data, mesh)


def _train(config, view, mesh, still_held) -> pathlib.Path:
  """What `train` does once the workdir is this run's alone; where its data is."""
  folder = view.folder
  with hosts.first_ahead("data"):
    data = prepare.ensure(config, folder)
  splits, validation = run_data.opened(config, data)
  skeleton = splits[0].skeleton
  steps = run_data.steps(config, splits[0])

  about = checks.fingerprints(config, splits)
  checkpoints = checkpoint.Checkpoints(folder, about=about, guard=still_held)
  try:
    checks.check_source(config, folder, splits, checkpoints.latest() or 0)
    state, start = start_lib.state(config, skeleton, checkpoints, mesh, steps)
    view.trace.check(start, steps)
    hosts.barrier("checked")
    # From here on it is this run's.
    if hosts.is_first():
      checks.write_data(folder, splits)
      run_folder.save(folder, config, skeleton)
      table.write(folder, config, skeleton, vars(state), mesh)
    hosts.barrier("written")
    if start >= steps:
      print(f"{folder}: all {steps} steps are done", flush=True)
    elif not patience.reached(folder, config.train, start):
      checks.check_space(folder, state)
      view.account.open(folder, start)
      _loop(
        config,
        view,
        mesh,
        checkpoints,
        (splits, validation),
        state,
        (start, steps),
      )
  finally:
    with view.account.phase("checkpoint"):
      checkpoints.close()
  return data


def _loop(config, view, mesh, checkpoints, data, state, span) -> None:
  """Steps from span[0] to span[1], with validation and checkpoints."""
  start, steps = span
  splits, validation = data
  account = view.account
  step_fn = compiled_step(config, splits[0].skeleton, mesh, steps, state)
  rows = sharding.rows(config.train.batch, mesh)
  batches = pipeline.train_batches(
    splits,
    config,
    seed=config.seed,
    start_step=start,
    batch=config.train.batch,
    rows=rows,
    cache_bytes=config.data.cache_bytes,
  )
  taken = monitor.Steps(
    view, config, mesh, splits, state, latest=checkpoints.latest, span=span
  )
  pause = milestones.Milestones(
    config, view, mesh, checkpoints, validation, steps
  )
  account.turn("step")
  try:
    with stopping.held(config.train.grace) as stop_if_asked:
      try:
        with jax.transfer_guard("disallow"):
          for done in range(start + 1, steps + 1):
            taken.begin(done)
            with account.phase("data"):
              given = next(batches)
            batch = sharding.to_global(given, mesh)
            first = done == start + 1
            if first:
              pause.begin(taken, given, done, rows)
            with account.phase("compile" if first else "step"):
              if first:
                step_fn = hosts.compiled("step", step_fn, state, batch)
              state, values = step_fn(state, batch)
            taken.add(done, values)
            stop_if_asked()
            if pause.reached(taken, state, done, stop_if_asked):
              break
      except KeyboardInterrupt:
        pause.interrupted(taken, state)
        raise
  finally:
    batches.close()
    taken.close()
    account.turn("other")


def compiled_step(config, skeleton, mesh, steps, state) -> Callable:
  """The train step, which takes the state's memory for the new state."""
  places = sharding.places(state, mesh)
  optimiser = optim.optimiser(config.train, steps)
  teacher = distillation.teacher(config, skeleton)
  return jax.jit(
    step_lib.make_step(config, skeleton, optimiser, mesh, teacher),
    donate_argnums=0,
    in_shardings=(places, sharding.split(mesh)),
    out_shardings=(places, sharding.replicated(mesh)),
  )
