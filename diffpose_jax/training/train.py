"""Training: batches to weights, then the evaluation of the result."""

import functools
import pathlib
import time
from typing import Any

import jax
import ml_collections

from diffpose_jax import config as config_lib
from diffpose_jax.data import instances, pipeline, prepare, prepared
from diffpose_jax.evaluation import evaluate, measure
from diffpose_jax.model import sharding
from diffpose_jax.pose import skeleton
from diffpose_jax.training import log, optim
from diffpose_jax.training import step as step_lib
from diffpose_jax.weights import checkpoint

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
  sharding.use_cpu_devices(config.train.cpu_devices)
  mesh = sharding.mesh()
  sharding.check_batch(config.train.batch // config.train.accumulate, mesh)
  own_workdir(config, folder)
  data = prepare.ensure(config, folder)
  joints = skeleton.POSETRACK
  split = prepared.open_split(data, config.data.train_split, skeleton=joints)
  validation = prepared.open_split(data, config.data.val_split, skeleton=joints)
  people = instances.gt_instances(split, need_joints=True)
  steps = config_lib.train_steps(config, len(people))

  checkpoints = checkpoint.Checkpoints(folder)
  try:
    state, start = _start(config, checkpoints, mesh, steps)
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


def own_workdir(
  config: ml_collections.ConfigDict, folder: pathlib.Path
) -> None:
  """Writes the effective config into a new workdir, or checks an old one's.

  Raises ValueError naming the keys in which the workdir's config differs.
  """
  path = folder / "config.json"
  if path.exists():
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
  folder.mkdir(parents=True, exist_ok=True)
  config_lib.save(config, path)


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
  init = functools.partial(step_lib.init_state, config, optimiser)
  latest = checkpoints.latest()
  if latest is not None:
    like = jax.tree.map(
      lambda s: jax.ShapeDtypeStruct(s.shape, s.dtype, sharding=place),
      jax.eval_shape(init),
    )
    print(f"resuming from step {latest}", flush=True)
    return checkpoints.restore(like, latest), latest
  state = jax.jit(init, out_shardings=place)()
  if config.train.init_from:
    like = jax.tree.map(
      lambda v: jax.ShapeDtypeStruct(v.shape, v.dtype, sharding=place),
      state.params,
    )
    source = pathlib.Path(config.train.init_from)
    params, step = checkpoint.load_averaged(source, like)
    print(f"starting from the weights of {source}, step {step}", flush=True)
    # Two copies: parameters and average are donated apart from each other.
    copy = functools.partial(jax.tree.map, lambda v: v.copy())
    state = state.replace(params=params, ema=copy(params))
  return state, 0


def _loop(config, folder, mesh, checkpoints, splits, state, span) -> None:
  """Steps from span[0] to span[1], with validation and checkpoints."""
  start, steps = span
  optimiser = optim.optimiser(config.train, steps)
  place = sharding.replicated(mesh)
  step_fn = jax.jit(
    step_lib.make_step(config, optimiser),
    donate_argnums=0,
    in_shardings=(place, sharding.split(mesh)),
    out_shardings=(place, place),
  )
  rate = optim.schedule(config.train, steps)
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
  records = log.Log(folder, steps=steps, start=start)
  every = config.train.evaluate_every or max(1, steps // 10)
  meter = _Meter(config.train.batch)
  done, previous, ap = start, None, float("nan")
  try:
    with jax.transfer_guard("disallow"):
      for done in range(start + 1, steps + 1):
        batch = sharding.to_global(next(batches), mesh)
        state, metrics = step_fn(state, batch)
        # The step before is read while this one runs, so that the host never
        # keeps the device waiting.
        if previous and (done % config.train.log_every == 0 or done == steps):
          values = jax.device_get(previous) | meter.read(done)
          with jax.transfer_guard("allow"):
            values["learning_rate"] = rate(done - 1)
          records.write(done - 1, values)
        previous = metrics
        records.advance()
        if done % every == 0 or done == steps:
          with meter.pause(), jax.transfer_guard("allow"):
            values = validate(state.ema)
            records.write(done, values)
            ap = values["val/ap"]
            checkpoints.save(state, done, ap)
        elif _due(done, config.train.checkpoint_every):
          with meter.pause(), jax.transfer_guard("allow"):
            checkpoints.save(state, done, ap)
  except KeyboardInterrupt:
    # `state` is that of the last step that was dispatched.
    finished = int(jax.device_get(state.step))
    if finished > (checkpoints.latest() or 0):
      checkpoints.save(state, finished, ap)
    print(f"\nstopped after step {finished}; the same command goes on")
    raise
  finally:
    records.close()


def _due(step: int, every: int) -> bool:
  return every > 0 and step % every == 0


class _Meter:
  """Clips a second, without the time that is spent on other things."""

  def __init__(self, batch: int):
    self._batch = batch
    self._since = time.monotonic()
    self._step: int | None = None

  def read(self, step: int) -> dict[str, float]:
    """The rate since the last reading; nothing the first time."""
    now = time.monotonic()
    elapsed, self._since = now - self._since, now
    last, self._step = self._step, step
    if last is None:
      return {}
    return {"clips_per_second": (step - last) * self._batch / elapsed}

  def pause(self) -> "_Pause":
    """A context whose time does not count."""
    return _Pause(self)

  def skip(self, seconds: float) -> None:
    """Leaves `seconds` out of the next reading."""
    self._since += seconds


class _Pause:
  def __init__(self, meter: _Meter):
    self._meter = meter

  def __enter__(self) -> None:
    self._began = time.monotonic()

  def __exit__(self, *_: object) -> None:
    self._meter.skip(time.monotonic() - self._began)
