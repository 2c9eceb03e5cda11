"""Computes logged steps of a run once more, and compares them bit for bit.

From the nearest good checkpoint before them, with the data, augmentation, noise
and dropout of then, on the same mesh. Nothing in the workdir is changed.
"""

import dataclasses
import functools
import itertools
import pathlib
from collections.abc import Callable
from typing import Any

import jax
import ml_collections
import numpy as np
from absl import logging

from diffpose_jax import config as config_lib
from diffpose_jax.data import pipeline, prepared
from diffpose_jax.inference import workdir as run_folder
from diffpose_jax.model import hosts, sharding
from diffpose_jax.pose import skeleton as skeletons
from diffpose_jax.training import checks, ledger, log, optim, train
from diffpose_jax.training import start as start_lib
from diffpose_jax.training import step as step_lib
from diffpose_jax.weights import checkpoint, restore, seal
from diffpose_jax.weights import steps as steps_lib

# Of a state: checksums of its leaves, None where a host has only a part.
Sums = dict[str, int | None]


@dataclasses.dataclass(frozen=True)
class Outcome:
  """What steps gave: their quantities, and the states that have a checkpoint."""

  bits: dict[int, ledger.Bits]
  states: dict[int, Sums]


@dataclasses.dataclass(frozen=True)
class Run:
  """What a workdir says of the steps that are to be computed again."""

  folder: pathlib.Path
  config: ml_collections.ConfigDict
  skeleton: skeletons.Skeleton
  sessions: list[ledger.Session]
  written: dict[int, ledger.Bits]

  def session(self, step: int) -> ledger.Session:
    """The start of the run in which the step was computed."""
    return [s for s in self.sessions if s.start < step][-1]

  def config_of(self, session: ledger.Session) -> ml_collections.ConfigDict:
    """The config as it was then."""
    config = config_lib.copy(self.config)
    config.update_from_flattened_dict(dict(session.keys))
    return config

  def logged(self, span: tuple[int, int]) -> Outcome:
    """What ledger and checkpoints say of the steps after the first of two."""
    folder = self.folder / steps_lib.FOLDER
    states = {}
    for step in steps_lib.usable(folder):
      if span[0] < step <= span[1]:
        leaves = seal.read(folder / str(step))["leaves"]
        states[step] = {name: leaf["crc32"] for name, leaf in leaves.items()}
    bits = {s: b for s, b in self.written.items() if span[0] < s <= span[1]}
    return Outcome(bits, states)

  def metrics(self, span: tuple[int, int]) -> Outcome:
    """The same of `metrics.jsonl`, which has some of the steps."""
    records = log.read(self.folder / "metrics.jsonl")
    return Outcome(
      {
        record["step"]: ledger.bits([record[q] for q in ledger.QUANTITIES])
        for record in records
        if span[0] < record["step"] <= span[1]
        and all(record.get(q) is not None for q in ledger.QUANTITIES)
      },
      {},
    )


def main(*, workdir: str, step: int, since: int | None = None) -> int:
  """The exit code: 0 where all is as it was logged, 1 where it is not.

  Args:
    workdir: of a training run.
    step: the last to compute.
    since: the first that must be among them; `step` if None.

  Raises:
    ValueError: no such run or step, or it cannot be computed again here.
  """
  run = _open(pathlib.Path(workdir), step)
  first = step if since is None else since
  least = run.sessions[0].start + 1
  if not least <= first <= step:
    raise ValueError(f"--since={first} is not from {least} to --step={step}")
  _use_devices_of(run, first)
  state_of = functools.partial(_begin, run, first)
  state, start = state_of()
  span = start, step
  compiled: dict[int, Any] = {}
  found = _replay(run, state, span, compiled)
  logged = run.logged(span)
  line = difference(logged, found, "logged") or difference(
    run.metrics(span), found, "in metrics.jsonl"
  )
  if line is None:
    print(_same(run.folder, logged, span), flush=True)
    return 0
  print(f"{run.folder}: {line}", flush=True)
  again = _replay(run, state_of()[0], span, compiled)
  print(_verdict(run.session(step), found, again), flush=True)
  return 1


def _open(folder: pathlib.Path, step: int) -> Run:
  config, skeleton = run_folder.load(folder)
  sessions, logged = ledger.read(folder)
  if not sessions or step not in logged:
    known = f"{min(logged)} to {max(logged)}" if logged else "none"
    raise ValueError(
      f"{folder / ledger.NAME}: step {step} is not logged; there are {known}"
    )
  return Run(folder, config, skeleton, sessions, logged)


def _use_devices_of(run: Run, first: int) -> None:
  """Lets the CPU appear as the devices of then; JAX has not started yet."""
  session = run.session(first)
  if session.made_by["platform"] == "cpu":
    count = int(np.prod(list(session.mesh.values())))
    sharding.use_cpu_devices(count)


def _check_devices(session: ledger.Session) -> None:
  """Raises ValueError where the mesh of then cannot be made here."""
  count = int(np.prod(list(session.mesh.values())))
  if count != jax.device_count():
    raise ValueError(
      f"steps from {session.start + 1} on were computed on "
      f"{session.made_by['devices']}, here are {jax.device_count()}; replay on "
      f"{count} devices"
    )


class _NoCheckpoints(checkpoint.Checkpoints):
  """Stands for the checkpoints of a run that has none yet, and writes none."""

  def __init__(self):
    """Makes no folder."""

  def restore_newest(self, like: Any, *, start_over: bool = False) -> None:
    """Nothing."""
    del like, start_over


def _begin(run: Run, first: int) -> tuple[step_lib.State, int]:
  """The state of the nearest good step before `first`, and the step.

  That of the first start of the run where no checkpoint is left.
  """
  folder = run.folder / steps_lib.FOLDER
  before = [step for step in steps_lib.usable(folder) if step < first]
  for step in reversed(before):
    session = run.session(step + 1)
    _check_devices(session)
    try:
      state, _ = restore.whole(folder / str(step), _like(run, session))
    except seal.Damaged as damage:
      logging.warning("checkpoint %d is damaged: %s", step, damage)
    else:
      return step_lib.State(**state), step
  return _begin_anew(run)


def _begin_anew(run: Run) -> tuple[step_lib.State, int]:
  session = run.sessions[0]
  _check_devices(session)
  try:
    state, start = start_lib.state(
      run.config_of(session),
      run.skeleton,
      _NoCheckpoints(),
      sharding.mesh(**session.mesh),
      session.keys["train.steps"],
    )
  except (ValueError, OSError) as error:
    raise ValueError(
      f"{run.folder}: no checkpoint before that step, and what the run began "
      f"with cannot be had again ({restore.one_line(error)})"
    ) from error
  if start != session.start:
    raise ValueError(
      f"{run.folder}: no checkpoint before that step; the run began at step "
      f"{session.start}, and train.resume now gives step {start}"
    )
  return state, start


def _like(run: Run, session: ledger.Session) -> Any:
  """Shapes and places of the state, as of `restore.whole`."""
  config = run.config_of(session)
  optimiser = optim.optimiser(config.train, config.train.steps)
  shapes = jax.eval_shape(
    lambda: vars(step_lib.init_state(config, run.skeleton, optimiser))
  )
  mesh = sharding.mesh(**session.mesh)
  return sharding.placed(shapes, sharding.places(shapes, mesh))


def _replay(
  run: Run,
  state: step_lib.State,
  span: tuple[int, int],
  compiled: dict[int, Any],
) -> Outcome:
  """The steps after span[0], up to span[1], from that state.

  `compiled` keeps the step functions of the sessions.
  """
  found = Outcome({}, {})
  saved = run.logged(span).states
  begins = [s.start for s in run.sessions if span[0] < s.start < span[1]]
  bounds = [span[0], *begins, span[1]]
  for start, end in itertools.pairwise(bounds):
    session = run.session(start + 1)
    _check_devices(session)
    mesh = sharding.mesh(**session.mesh)
    state = jax.device_put(state, sharding.places(state, mesh))
    batches = _batches(run, session, mesh, start)
    try:
      for step in range(start + 1, end + 1):
        batch = sharding.to_global(next(batches), mesh)
        if session.start not in compiled:
          compiled[session.start] = _step_fn(run, session, mesh, state, batch)
        state, values = compiled[session.start](state, batch)
        quantities = [values[name] for name in ledger.QUANTITIES]
        found.bits[step] = ledger.bits(jax.device_get(quantities))
        if step in saved:
          sums = seal.leaf_sums(seal.views(vars(state)))
          found.states[step] = {n: leaf["crc32"] for n, leaf in sums.items()}
    finally:
      batches.close()
  return found


def _step_fn(run: Run, session: ledger.Session, mesh, state, batch) -> Callable:
  """The train step of a session, as training makes it."""
  config = run.config_of(session)
  step_fn = train.compiled_step(
    config, run.skeleton, mesh, config.train.steps, state
  )
  return hosts.compiled(f"replay/{session.start}", step_fn, state, batch)


def _batches(run: Run, session: ledger.Session, mesh, start: int):
  """The batches after a step, of the very data of then."""
  config = run.config_of(session)
  own = pathlib.Path(config.data.prepared or run.folder / "data")
  splits = [
    prepared.open_split(folder, config.data.train_split, skeleton=run.skeleton)
    for folder in (own, *config.data.mixture)
  ]
  if checks.fingerprints(config, splits)["data"] != session.data:
    raise ValueError(
      f"{own} {config.data.train_split}: not the data that the steps from "
      f"{session.start + 1} on were trained on; give those by data.prepared in "
      f"{run.folder / run_folder.CONFIG}"
    )
  return pipeline.train_batches(
    splits,
    config,
    seed=config.seed,
    start_step=start,
    batch=config.train.batch,
    rows=sharding.rows(config.train.batch, mesh),
    cache_bytes=config.data.cache_bytes,
  )


def difference(before: Outcome, now: Outcome, named: str) -> str | None:
  """The first difference of two outcomes in words; None where there is none.

  Of each step come first its quantities, then its state. Steps of one of them
  alone are not compared. `named` says what `before` is.
  """
  for step in sorted(now.bits):
    known = before.bits.get(step, now.bits[step])
    for name, a, b in zip(
      ledger.QUANTITIES, known, now.bits[step], strict=True
    ):
      x, y = (np.uint32(bits).view(np.float32) for bits in (a, b))
      if a != b and not (np.isnan(x) and np.isnan(y)):
        return (
          f"step {step}: {name} is {x!s} {named}, {y!s} now ({a:08x} and "
          f"{b:08x}, {_apart(a, b)} ulps apart)"
        )
    line = _other_leaves(before.states.get(step, {}), now.states.get(step, {}))
    if line:
      return f"step {step}: {line}"
  return None


def _apart(a: int, b: int) -> int:
  """How many float32 numbers two are apart, given by their bits."""

  def place(bits: int) -> int:
    size = bits & 0x7FFFFFFF
    return -size if bits >> 31 else size

  return abs(place(a) - place(b))


def _other_leaves(before: Sums, now: Sums) -> str:
  """Which leaves of a state differ, in words; '' where none does.

  A leaf without a checksum is not compared.
  """
  if not before or not now:
    return ""
  names = [
    name
    for name in sorted(before.keys() | now.keys())
    if None not in (pair := [s.get(name, -1) for s in (before, now)])
    and pair[0] != pair[1]
  ]
  if not names:
    return ""
  more = f" and {len(names) - 3} more" if len(names) > 3 else ""
  return (
    f"{len(names)} of {len(before)} leaves are not those of its checkpoint: "
    f"{', '.join(names[:3])}{more}"
  )


def _same(folder: pathlib.Path, logged: Outcome, span: tuple[int, int]) -> str:
  """What is said where all is the same."""
  text = (
    f"{folder}: {len(logged.bits)} steps after {span[0]}, up to {span[1]}, are "
    "bit for bit as logged"
  )
  for step, leaves in logged.states.items():
    text += f"; so are the {len(leaves)} leaves of checkpoint {step}"
  return text


def _verdict(session: ledger.Session, first: Outcome, second: Outcome) -> str:
  """What the difference may come from, given that of two replays."""
  line = difference(first, second, "in a first replay")
  if line is not None:
    return (
      "two replays differ, too: a silent fault of this machine, or operations "
      f"that are not deterministic ({line})"
    )
  now = ledger.made_by()
  changed = [
    f"{name} was {session.made_by.get(name) or 'none'}, is {now[name] or 'none'}"
    for name in now
    if session.made_by.get(name) != now[name]
  ]
  same = (
    f"diffpose-jax {now['diffpose-jax']}, its source, jax {now['jax']} and "
    f"{now['devices']} are those of then, so look at what else changed; or the "
    "machine was at fault when it was trained"
  )
  return (
    "a second replay agrees with the first: drift of code or libraries "
    f"({'; '.join(changed) or same})"
  )
