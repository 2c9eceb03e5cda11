"""The toy run as a process that may be killed: ours, and plain.

What it does is said as it happens: ("resumed", step, state, batch), ("done",
step), ("saving", step) once `save` has returned, ("stopped", step), ("end",
step, state).
"""

import dataclasses
import os
import pathlib
import signal
import sys
import time
from collections.abc import Callable
from typing import Any

import jax
import orbax.checkpoint as ocp

from diffpose_jax.training import stopping
from fault_cases import toy
from fault_cases.columns import Ours, options, restore_both, save_both

Say = Callable[..., None]


@dataclasses.dataclass(frozen=True)
class Plan:
  """How to train."""

  until: int
  every: int = 1  # steps from save to save
  pause: float = 0.0  # seconds in each step
  seed: int = 0
  kill_after: int = -1  # ends itself by SIGKILL once this step is saved
  kill_at_removal: int = 0  # or at this removal of a file or folder
  port: int = 0  # of jax.distributed, by which Orbax knows of SIGTERM


class _Removals:
  """Counts removals of files below a folder; ends the process at one."""

  def __init__(self, folder: pathlib.Path, last: int):
    self.count = 0
    self._folder, self._last = str(folder), last
    sys.addaudithook(self._hook)

  def _hook(self, event: str, arguments: tuple[Any, ...]) -> None:
    if event not in ("os.remove", "os.rmdir"):
      return
    # Relative to an open folder, as rmtree does it, or below ours.
    if arguments[-1] == -1 and self._folder not in os.fspath(arguments[0]):
      return
    self.count += 1
    if self.count == self._last:
      os.kill(os.getpid(), signal.SIGKILL)


def run(say: Say, name: str, folder: pathlib.Path, plan: Plan) -> None:
  """Trains; the target of a process."""
  removals = _Removals(folder, plan.kill_at_removal)
  {"ours": ours, "plain": plain}[name](say, folder, plan)
  say("removals", removals.count)


def _step(say: Say, state: Any, batches: Any, plan: Plan, done: int) -> Any:
  """The state after one more step, of which some time is spent in it."""
  state = toy.step(state, next(batches))
  time.sleep(plan.pause)
  jax.block_until_ready(state)
  say("done", done)
  return state


def _kill_if(plan: Plan, step: int, wait: Callable[[], object]) -> None:
  if plan.kill_after == step:
    wait()
    os.kill(os.getpid(), signal.SIGKILL)


def _resumed(say: Say, state: Any, step: int, plan: Plan, batch: Any) -> None:
  del plan
  say("resumed", step, toy.digest(state), toy.batch_digest(batch))


def ours(say: Say, folder: pathlib.Path, plan: Plan) -> None:
  """As the train command goes: lock, checkpoints, signals between steps."""
  state, start = toy.first(plan.seed), 0
  with Ours().opened(folder) as checkpoints:
    found = checkpoints.restore_newest(toy.abstract(state))
    if found:
      state, start = found
    data = toy.dataset(plan.seed)[start:]
    _resumed(say, state, start, plan, data[0])
    batches = toy.iterator(data)
    _kill_if(plan, start, lambda: None)
    with stopping.held(30.0) as stop_if_asked:
      try:
        for done in range(start + 1, plan.until + 1):
          state = _step(say, state, batches, plan, done)
          stop_if_asked()
          last = done == plan.until
          if last or done % plan.every == 0 or checkpoints.failed():
            wait = last or done == plan.kill_after
            checkpoints.save(state, done, toy.quality(done), wait=wait)
            say("saving", done)
          _kill_if(plan, done, lambda: None)
      except KeyboardInterrupt as asked:
        done = int(state["step"])
        if done > (checkpoints.latest() or 0):
          checkpoints.save(state, done, float("nan"), wait=True)
        say("stopped", done)
        checkpoints.close()
        sys.exit(128 + asked.args[0])
  say("end", int(state["step"]), toy.digest(state))


def plain(say: Say, folder: pathlib.Path, plan: Plan) -> None:
  """As the documentation of Orbax goes, with what it says of preemption."""
  if plan.port:
    jax.distributed.initialize(f"localhost:{plan.port}", 1, 0)
  state, start = toy.first(plan.seed), 0
  batches = toy.iterator(toy.dataset(plan.seed))
  with ocp.CheckpointManager(folder, options=options()) as manager:
    latest = manager.latest_step()
    if latest is not None:
      state = restore_both(manager, toy.abstract(state), batches, latest)
      start = latest
    _resumed(say, state, start, plan, toy.dataset(plan.seed)[start])
    _kill_if(plan, start, lambda: None)
    for done in range(start + 1, plan.until + 1):
      state = _step(say, state, batches, plan, done)
      asked = manager.reached_preemption(done)
      if asked or done % plan.every == 0 or done == plan.until:
        save_both(manager, state, batches, done)
        say("saving", done)
      if asked:
        manager.wait_until_finished()
        say("stopped", done)
        return
      _kill_if(plan, done, manager.wait_until_finished)
    manager.wait_until_finished()
  say("end", int(state["step"]), toy.digest(state))
