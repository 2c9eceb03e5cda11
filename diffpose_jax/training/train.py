"""Training: batches to weights, then the evaluation of the result."""

import contextlib
import pathlib
import signal
import threading
from collections.abc import Callable, Iterator
from typing import Any

import jax
import ml_collections
import numpy as np

from diffpose_jax import config as config_lib
from diffpose_jax.data import instances, pipeline, prepare, prepared
from diffpose_jax.evaluation import evaluate, measure
from diffpose_jax.model import sharding
from diffpose_jax.pose import skeleton
from diffpose_jax.training import log, optim
from diffpose_jax.training import step as step_lib
from diffpose_jax.weights import checkpoint

_CONFIG = "config.json"

# What may change between the runs of one workdir: how much, how often, how
# fast; not what is learned.
_FREE = (
  "evaluate.",
  "train.steps",
  "train.epochs",
  "train.log_every",
  "train.evaluate_every",
  "train.checkpoint_every",
  "train.validation_instances",
  "train.init_from",
  "data.root",
  "data.prepared",
  "data.threads",
  "data.cache_bytes",
  "data.synthetic.workers",
)


def train(*, config: ml_collections.ConfigDict, workdir: str) -> dict[str, Any]:
  """Trains, resumes or finishes the run of `workdir` and evaluates it.

  Returns what `evaluation.json` holds. Raises ValueError for a config that
  cannot work, a workdir of another config, or missing data.
  """
  config_lib.check(config)
  folder = pathlib.Path(workdir)
  check_workdir(config, folder)
  sharding.use_cpu_devices(config.train.cpu_devices)
  mesh = sharding.mesh()
  _check_batches(config, mesh)
  data = prepare.ensure(config, folder)
  joints = skeleton.POSETRACK
  split = prepared.open_split(data, config.data.train_split, skeleton=joints)
  validation = prepared.open_split(data, config.data.val_split, skeleton=joints)
  people = instances.gt_instances(split, need_joints=True)
  steps = config_lib.train_steps(config, len(people))

  checkpoints = checkpoint.Checkpoints(folder)
  try:
    state, start = _start(config, checkpoints, mesh, steps)
    config_lib.save(config, folder / _CONFIG)  # from here on it is this run's
    if start >= steps:
      print(f"{folder}: all {steps} steps are done; evaluating", flush=True)
    else:
      _loop(
        config,
        folder,
        mesh,
        checkpoints,
        (split, validation),
        state,
        (start, steps),
      )
  finally:
    checkpoints.close()
  return evaluate.finish(config, folder, data)


def check_workdir(
  config: ml_collections.ConfigDict, folder: pathlib.Path
) -> None:
  """Raises ValueError if the workdir belongs to a run of another config.

  The message names the keys that differ and may not.
  """
  path = folder / _CONFIG
  if not path.exists():
    return
  old, new = (_flat(c) for c in (config_lib.load(path), config))
  differing = [
    f"{key} was {old.get(key)!r}, now {new.get(key)!r}"
    for key in sorted(old.keys() | new.keys())
    if old.get(key) != new.get(key) and not key.startswith(_FREE)
  ]
  if differing:
    raise ValueError(
      f"{folder} belongs to another config ({'; '.join(differing)}); "
      "use a new --workdir or the same config"
    )


def _check_batches(config: ml_collections.ConfigDict, mesh) -> None:
  """Raises ValueError naming the batch that the devices cannot share."""
  parts = config.train.accumulate
  for key, clips in (
    (f"train.batch in {parts} train.accumulate", config.train.batch // parts),
    ("evaluate.batch", config.evaluate.batch),
  ):
    try:
      sharding.check_batch(clips, mesh)
    except ValueError as error:
      raise ValueError(f"{key}: {error}") from error


def _flat(config: ml_collections.ConfigDict, prefix: str = "") -> dict:
  flat = {}
  for key, value in config.items():
    if isinstance(value, ml_collections.ConfigDict):
      flat |= _flat(value, f"{prefix}{key}.")
    else:
      flat[prefix + key] = value
  return flat


def _start(config, checkpoints, mesh, steps) -> tuple[step_lib.State, int]:
  """The state to go on from: own checkpoint, `init_from`, or scratch."""
  optimiser = optim.optimiser(config.train, steps)
  place = sharding.replicated(mesh)
  init = lambda: vars(step_lib.init_state(config, optimiser))  # noqa: E731
  like = jax.tree.map(
    lambda s: jax.ShapeDtypeStruct(s.shape, s.dtype, sharding=place),
    jax.eval_shape(init),
  )
  latest = checkpoints.latest()
  if latest is not None:
    print(f"resuming from step {latest}", flush=True)
    return step_lib.State(**checkpoints.restore(like, latest)), latest
  if not config.train.init_from:
    return step_lib.State(**jax.jit(init, out_shardings=place)()), 0
  source = pathlib.Path(config.train.init_from)
  params, step = checkpoint.load_averaged(source, like["params"])
  print(f"starting from the weights of {source}, step {step}", flush=True)
  return step_lib.State(
    step=jax.device_put(np.int32(0), place),
    params=params,
    # Two copies: parameters and average are donated apart from each other.
    ema=jax.tree.map(lambda v: v.copy(), params),
    optimiser=jax.jit(optimiser.init, out_shardings=place)(params),
  ), 0


def _loop(config, folder, mesh, checkpoints, splits, state, span) -> None:
  """Steps from span[0] to span[1], with validation and checkpoints."""
  start, steps = span
  step_fn = _compiled_step(config, mesh, steps)
  batches = pipeline.train_batches(
    splits[0],
    config,
    seed=config.seed,
    start_step=start,
    batch=config.train.batch,
    shard=(jax.process_index(), jax.process_count()),
    cache_bytes=config.data.cache_bytes,
  )
  validate = measure.Validation(config, splits[1])
  every = config.train.evaluate_every or max(1, steps // 10)
  records = log.Log(folder, steps=steps, start=start)
  metrics = log.StepMetrics(records, config.train, steps)
  try:
    with _interrupts_held() as stop_if_asked, jax.transfer_guard("disallow"):
      for done in range(start + 1, steps + 1):
        batch = sharding.to_global(next(batches), mesh)
        state, values = step_fn(state, batch)
        metrics.add(done, values)
        measured = done == steps or _due(done, every)
        if measured or _due(done, config.train.checkpoint_every):
          with metrics.pause(), jax.transfer_guard("allow"):
            # Of these weights alone: an older AP is not theirs.
            ap = float("nan")
            if measured:
              found = validate(state.ema)
              records.write(done, found)
              ap = found["val/ap"]
            checkpoints.save(vars(state), done, ap)
        stop_if_asked()
  except KeyboardInterrupt:
    metrics.flush()
    _save_interrupted(state, checkpoints)
    raise
  finally:
    records.close()


def _compiled_step(config, mesh, steps) -> Callable:
  """The train step, which takes the state's memory for the new state."""
  place = sharding.replicated(mesh)
  return jax.jit(
    step_lib.make_step(config, optim.optimiser(config.train, steps)),
    donate_argnums=0,
    in_shardings=(place, sharding.split(mesh)),
    out_shardings=(place, place),
  )


@contextlib.contextmanager
def _interrupts_held() -> Iterator[Callable[[], None]]:
  """A context that holds Ctrl-C back until the function it gives is called.

  Raised inside of a step, it would lose the state: the old one is already
  donated, the new one not yet assigned. A second Ctrl-C is not held back.
  """
  came = []

  def hold(number, frame):
    del number, frame
    came.append(True)
    signal.signal(signal.SIGINT, before)
    print("\nstopping after this step; again to stop now", flush=True)

  def stop_if_asked() -> None:
    if came:
      raise KeyboardInterrupt

  if threading.current_thread() is not threading.main_thread():
    yield stop_if_asked  # Python gives signals to the main thread alone.
    return
  before = signal.getsignal(signal.SIGINT)
  signal.signal(signal.SIGINT, hold)
  try:
    yield stop_if_asked
  finally:
    signal.signal(signal.SIGINT, before)


def _save_interrupted(state, checkpoints) -> None:
  """Saves the last whole step, unless it is saved or was lost in its step."""
  latest = checkpoints.latest() or 0
  if state.step.is_deleted():
    print(f"\nstopped within a step; the same command goes on from {latest}")
    return
  finished = int(jax.device_get(state.step))
  if finished > latest:
    checkpoints.save(vars(state), finished, float("nan"))
  print(f"\nstopped after step {finished}; the same command goes on")


def _due(step: int, every: int) -> bool:
  return every > 0 and step % every == 0
