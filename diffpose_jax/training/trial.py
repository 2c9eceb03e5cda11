"""What `train --dry_run` does: everything but steps, checkpoints and files."""

import dataclasses
import os
import pathlib
import shutil
import time
from collections.abc import Callable, Sequence
from typing import Any

import jax
import ml_collections
import numpy as np

from diffpose_jax import config as config_lib
from diffpose_jax.data import manifest, pipeline, prepare, prepared
from diffpose_jax.inference import network
from diffpose_jax.inference import workdir as run_folder
from diffpose_jax.model import hosts, sharding
from diffpose_jax.training import checks, lock, monitor, optim, run_data
from diffpose_jax.training import start as start_lib
from diffpose_jax.training import step as step_lib
from diffpose_jax.weights import checkpoint


@dataclasses.dataclass(frozen=True)
class _Run:
  """What a run would go on with."""

  config: ml_collections.ConfigDict
  folder: pathlib.Path
  mesh: jax.sharding.Mesh
  sets: Sequence[prepared.Split]  # to train on
  validation: prepared.Split
  state: step_lib.State
  start: int
  steps: int


def run(
  config: ml_collections.ConfigDict,
  view: monitor.Monitor,
  mesh: jax.sharding.Mesh,
  make_step: Callable[..., Any],
) -> None:
  """Builds a run, compiles its step, reads a batch; prints what it would do.

  The workdir stays as it is, but for data that are not prepared yet: a run
  that has not begun prepares them, as training would.

  Args:
    config: of the run.
    view: its workdir, and the steps to profile.
    mesh: of all devices.
    make_step: gives the jitted step; takes config, skeleton, mesh, number of
      steps and state.

  Raises:
    ValueError: what training would refuse.
  """
  existing = _existing(view.folder)
  lock.check(view.folder)
  made = _build(config, view.folder, mesh)
  print("\n".join(_plan(made)), flush=True)
  view.trace.check(made.start, made.steps)
  if made.start < made.steps:
    checks.check_space(existing, vars(made.state))
    print(_checkpoints(made, existing), flush=True)
    skeleton = made.sets[0].skeleton
    batch = _batch(made)
    print(_describe(batch, config, skeleton), flush=True)
    step = make_step(config, skeleton, mesh, made.steps, made.state)
    given = sharding.to_global(batch, mesh)
    began = time.monotonic()
    compiled = step.lower(made.state, given).compile()
    print(_memory(compiled, time.monotonic() - began), flush=True)
    hosts.barrier("compiled")
  print("dry run: no step was done and no checkpoint written", flush=True)


def _existing(folder: pathlib.Path) -> pathlib.Path:
  """The folder, or the nearest one above it that is there.

  Raises ValueError where a run could not write to it.
  """
  place = folder.absolute()
  while not place.exists():
    place = place.parent
  if not place.is_dir() or not os.access(place, os.W_OK | os.X_OK):
    raise ValueError(
      f"{place}: no folder that can be written to; choose another --workdir, or "
      "correct its rights"
    )
  return place


def _build(config, folder, mesh) -> _Run:
  """Data and state, as training would go on with them."""
  sets, validation = run_data.opened(config, _data(config, folder))
  skeleton, number = sets[0].skeleton, run_data.steps(config, sets[0])
  about = checks.fingerprints(config, sets)
  found = checkpoint.Checkpoints(folder, about=about, read_only=True)
  try:
    checks.check_source(config, folder, sets, found.latest() or 0)
    state, start = start_lib.state(config, skeleton, found, mesh, number)
  finally:
    found.close()
  return _Run(config, folder, mesh, sets, validation, state, start, number)


def _data(config, folder) -> pathlib.Path:
  """The prepared folder; made first only where no run has begun."""
  if not (folder / run_folder.CONFIG).exists():
    with hosts.first_ahead("data"):
      return prepare.ensure(config, folder)
  data = pathlib.Path(config.data.prepared or folder / "data")
  if manifest.read(data) is None:
    raise ValueError(
      f"{data}: no prepared data, and a dry run makes none in the workdir of a "
      "run; train, or give --config.data.prepared"
    )
  return data


def _plan(made: _Run) -> list[str]:
  """How long, how fast, what is measured and kept, and how often."""
  train, last = made.config.train, made.steps
  own = config_lib.places(made.config)[0]
  people = run_data.people(made.sets[0])
  every = train.evaluate_every or max(1, last // 10)
  extra = [set(range(every, last + 1, every)) | {last}]
  if train.checkpoint_every:
    extra += [
      set(range(train.checkpoint_every, last + 1, train.checkpoint_every))
    ]
  validations = len([n for n in extra[0] if n > made.start])
  saves = len([n for n in set().union(*extra) if n > made.start])
  lines = [
    f"plan: steps {made.start + 1:,} to {last:,}, {own * last / people:.1f} "
    f"epochs of {people:,} people in all",
    f"batch: {train.batch} clips, {train.batch // sharding.shares(made.mesh)} a "
    f"device, in {train.accumulate} parts",
    _rates(train, last),
    f"validation: every {every:,} steps, {validations} times, on about "
    f"{min(train.validation_instances, len(made.validation.people)):,} of "
    f"{len(made.validation.people):,} people; checkpoints: {saves}",
  ]
  if made.start >= last:
    lines[0] = f"plan: all {last:,} steps are done; the command would evaluate"
    return lines[:1]
  if made.start:
    lines[0] += f"; it goes on after step {made.start:,}"
  return lines


def _rates(train: ml_collections.ConfigDict, last: int) -> str:
  """The learning rate in words, and where it drops."""
  rates = np.asarray(jax.vmap(optim.schedule(train, last))(np.arange(last)))
  text = f"learning rate: {train.learning_rate:g}"
  if train.warmup and last > 1:
    text += f" after {min(train.warmup, last - 1):,} steps of warm-up"
  if train.schedule == "cosine":
    return f"{text}, then along a cosine to {rates[-1]:.2g} at the last step"
  # Update n + 1 is the first at a tenth.
  drops = np.flatnonzero(rates[1:] < 0.5 * rates[:-1]) + 2
  return text + "".join(
    f", {rates[drop - 1]:.2g} from step {drop:,} on" for drop in drops
  )


def _checkpoints(made: _Run, existing: pathlib.Path) -> str:
  size = sum(leaf.nbytes for leaf in jax.tree.leaves(vars(made.state)))
  free = shutil.disk_usage(existing).free
  return (
    f"checkpoint: {size / 1e9:.3f} GB each, at most three at a time, where "
    f"{free / 1e9:.1f} GB are free"
  )


def _batch(made: _Run) -> dict[str, np.ndarray]:
  """This host's part of the next batch."""
  config = made.config
  batches = pipeline.train_batches(
    made.sets,
    config,
    seed=config.seed,
    start_step=made.start,
    batch=config.train.batch,
    rows=sharding.rows(config.train.batch, made.mesh),
    cache_bytes=config.data.cache_bytes,
  )
  try:
    return next(batches)
  finally:
    batches.close()


def _describe(batch, config, skeleton) -> str:
  """What is in a batch.

  Raises ValueError where it is not what the network takes, or holds nothing.
  """
  frames, labelled = batch["frames"], batch["labelled"]
  wanted = network.inputs(config, skeleton, len(frames))[0]
  if (frames.shape, frames.dtype) != (wanted.shape, wanted.dtype):
    raise ValueError(
      f"the first batch has frames {frames.dtype}{frames.shape}, the network "
      f"takes {wanted.dtype}{wanted.shape}; prepare the data again"
    )
  if not labelled.any() or not np.isfinite(batch["joints"]).all():
    raise ValueError(
      "the first batch has no labelled joint, or one at no finite place; look "
      "at the data"
    )
  blank = np.ptp(frames, axis=(1, 2, 3, 4)) == 0
  if blank.any():
    raise ValueError(
      f"{blank.sum()} of {len(frames)} clips of the first batch are of one "
      "colour; look at the pictures"
    )
  return (
    f"first batch: {len(frames)} clips of {frames.shape[1]} frames of "
    f"{frames.shape[2]}x{frames.shape[3]}, mean colour {frames.mean():.0f}; "
    f"{labelled.sum() / len(frames):.1f} labelled joints a clip"
  )


def _memory(compiled: Any, seconds: float) -> str:
  """What XLA plans for a device."""
  found = compiled.memory_analysis()
  text = f"train step: compiled in {seconds:.0f} s"
  if found is None:
    return text
  outputs = found.output_size_in_bytes - found.alias_size_in_bytes
  parts = {
    "state and batch": found.argument_size_in_bytes,
    "temporary": found.temp_size_in_bytes,
    "results": max(outputs, 0),
  }
  need = sum(parts.values())
  told = ", ".join(f"{name} {size / 1e9:.3f}" for name, size in parts.items())
  text += f"; needs {need / 1e9:.3f} GB on each device ({told})"
  limit = (jax.local_devices()[0].memory_stats() or {}).get("bytes_limit")
  if limit:
    fits = "of" if need <= limit else "and that is MORE than the"
    text += f", {fits} {limit / 1e9:.3f} GB that it has"
  return text
