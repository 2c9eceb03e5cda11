"""Training: batches to weights, then the evaluation of the result."""

import pathlib
from collections.abc import Callable
from typing import Any

import jax
import ml_collections

from diffpose_jax import config as config_lib
from diffpose_jax.data import instances, pipeline, prepare, prepared, roster
from diffpose_jax.evaluation import evaluate, measure
from diffpose_jax.inference import workdir as run_folder
from diffpose_jax.model import hosts, sharding
from diffpose_jax.pose import skeleton as skeletons
from diffpose_jax.training import (
  checks,
  ledger,
  lock,
  log,
  optim,
  patience,
  stopping,
  watch,
)
from diffpose_jax.training import start as start_lib
from diffpose_jax.training import step as step_lib
from diffpose_jax.weights import checkpoint


def train(*, config: ml_collections.ConfigDict, workdir: str) -> dict[str, Any]:
  """Trains, resumes or finishes the run of `workdir` and evaluates it.

  Returns what `evaluation.json` holds. Raises ValueError for a config that
  cannot work, a workdir of another config, or missing data.
  """
  config_lib.check(config)
  folder = pathlib.Path(workdir)
  checks.check_workdir(config, folder)
  checks.check_start(config, folder)
  sharding.use_cpu_devices(config.train.cpu_devices)
  mesh = sharding.mesh(**config.train.mesh)
  checks.check_batches(config, mesh)
  checks.check_folder(folder)
  with lock.held(folder) as still_held:
    return _train(config, folder, mesh, still_held)


def _train(config, folder, mesh, still_held) -> dict[str, Any]:
  """What `train` does once the workdir is this run's alone."""
  with hosts.first_ahead("data"):
    data = prepare.ensure(config, folder)
  # None: the joints that the data have, whatever they are.
  wanted = skeletons.NAMED.get(config.data.skeleton)
  split = prepared.open_split(data, config.data.train_split, skeleton=wanted)
  validation = prepared.open_split(data, config.data.val_split, skeleton=wanted)
  mixed = [
    prepared.open_split(other, config.data.train_split, skeleton=split.skeleton)
    for other in config.data.mixture
  ]
  people = instances.gt_instances(split, need_joints=True)
  steps = config_lib.train_steps(config, len(people))

  about = checks.fingerprints(config, [split, *mixed])
  checkpoints = checkpoint.Checkpoints(folder, about=about, guard=still_held)
  try:
    checks.check_source(
      config, folder, [split, *mixed], checkpoints.latest() or 0
    )
    state, start = start_lib.state(
      config, split.skeleton, checkpoints, mesh, steps
    )
    hosts.barrier("checked")
    # From here on it is this run's.
    if hosts.is_first():
      checks.write_data(folder, [split, *mixed])
      run_folder.save(folder, config, split.skeleton)
    hosts.barrier("written")
    if start >= steps:
      print(f"{folder}: all {steps} steps are done; evaluating", flush=True)
    elif not patience.reached(folder, config.train, start):
      checks.check_space(folder, state)
      _loop(
        config,
        folder,
        mesh,
        checkpoints,
        ([split, *mixed], validation),
        state,
        (start, steps),
      )
  finally:
    checkpoints.close()
  return evaluate.finish(config, folder, data, mesh)


def _loop(config, folder, mesh, checkpoints, splits, state, span) -> None:
  """Steps from span[0] to span[1], with validation and checkpoints."""
  start, steps = span
  train_splits, validation = splits
  step_fn = compiled_step(config, train_splits[0].skeleton, mesh, steps, state)
  batches = pipeline.train_batches(
    train_splits,
    config,
    seed=config.seed,
    start_step=start,
    batch=config.train.batch,
    rows=sharding.rows(config.train.batch, mesh),
    cache_bytes=config.data.cache_bytes,
  )
  validate = measure.Validation(config, validation, mesh)
  every = config.train.evaluate_every or max(1, steps // 10)
  records = log.Log(folder, steps=steps, start=start)
  seen = watch.Watch(
    config.train,
    folder,
    roster.Roster(train_splits, config).clips,
    latest=checkpoints.latest,
    span=span,
    skipped=watch.skipped_before(state),
  )
  metrics = log.StepMetrics(records, config.train, steps, seen)
  data = checks.fingerprints(config, train_splits)["data"]
  begun = ledger.session(config, mesh, data, span)
  last = False
  try:
    with stopping.held(config.train.grace) as stop_if_asked:
      try:
        with (
          jax.transfer_guard("disallow"),
          ledger.held(folder, begun) as exact,
        ):
          for done in range(start + 1, steps + 1):
            batch = sharding.to_global(next(batches), mesh)
            if done == start + 1:
              step_fn = hosts.compiled("step", step_fn, state, batch)
            state, values = step_fn(state, batch)
            metrics.add(done, values)
            exact.add(done, values)
            stop_if_asked()
            measured = done == steps or _due(done, every)
            due = measured or _due(done, config.train.checkpoint_every)
            if due or seen.owed or checkpoints.failed():
              with metrics.pause(), jax.transfer_guard("allow"):
                # Of these weights alone: an older AP is not theirs.
                found = {}
                if measured:
                  found = validate(state.ema, stop_if_asked)
                  records.write(done, found)
                exact.flush()
                last = done == steps or patience.reached(
                  folder, config.train, done
                )
                if seen.may_save(state, done):
                  ap = patience.quality(found)
                  checkpoints.save(vars(state), done, ap, wait=last)
            if last:
              break
      except KeyboardInterrupt:
        metrics.flush()
        if seen.row:
          print(f"\n{seen.row} updates skipped: nothing is saved", flush=True)
        else:
          _save_interrupted(state, checkpoints)
        raise
  finally:
    batches.close()
    records.close()
    seen.close()


def compiled_step(config, skeleton, mesh, steps, state) -> Callable:
  """The train step, which takes the state's memory for the new state."""
  places = sharding.places(state, mesh)
  optimiser = optim.optimiser(config.train, steps)
  return jax.jit(
    step_lib.make_step(config, skeleton, optimiser, mesh),
    donate_argnums=0,
    in_shardings=(places, sharding.split(mesh)),
    out_shardings=(places, sharding.replicated(mesh)),
  )


def _save_interrupted(state, checkpoints) -> None:
  """Saves the last whole step, unless it is saved or was lost in its step."""
  latest = checkpoints.latest() or 0
  if state.step.is_deleted():
    print(f"\nstopped within a step; the same command goes on from {latest}")
    return
  finished = int(jax.device_get(state.step))
  if finished > latest:
    checkpoints.save(vars(state), finished, float("nan"), wait=True)
  print(f"\nstopped after step {finished}; the same command goes on")


def _due(step: int, every: int) -> bool:
  return every > 0 and step % every == 0
