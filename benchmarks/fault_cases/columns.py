"""The two columns: our checkpoints and data, and plain Orbax and Grain.

Both save the same states and read the same batches. Ours does what the train
command does before its first step and at each save. Plain does what the
documentation of Orbax and Grain shows: `CheckpointManager`, in the background,
the newest and the best kept, the state by `StandardSave`, the place in the data
by Grain's own item.
"""

import contextlib
import pathlib
from collections.abc import Iterator, Sequence
from typing import Any

import grain
import orbax.checkpoint as ocp
from orbax.checkpoint.checkpoint_managers import preservation_policy

from diffpose_jax.training import checks, lock
from diffpose_jax.weights import checkpoint, steps
from fault_cases import judging, toy


class Ours:
  """`Checkpoints` in a locked workdir; batches by the step's number."""

  name = "ours"
  leftover = "3.diffpose-writing"  # of a save that was killed

  def place(self, folder: pathlib.Path, step: int) -> pathlib.Path:
    """The folder of a step."""
    return folder / steps.FOLDER / str(step)

  @contextlib.contextmanager
  def opened(self, folder: pathlib.Path) -> Iterator[checkpoint.Checkpoints]:
    """A context with the checkpoints, as in training."""
    checks.check_folder(folder)
    with lock.held(folder) as still_held:
      checkpoints = checkpoint.Checkpoints(folder, guard=still_held)
      try:
        yield checkpoints
      finally:
        checkpoints.close()

  def save_one(
    self, opened: checkpoint.Checkpoints, state: Any, step: int
  ) -> None:
    """Saves, and waits until it is there."""
    opened.save(state, step, toy.quality(step), wait=True)

  def save(self, folder: pathlib.Path, numbers: Sequence[int]) -> None:
    """Saves the toy run's states."""
    with self.opened(folder) as checkpoints:
      for number in numbers:
        self.save_one(checkpoints, toy.state(number), number)

  def restored(self, folder: pathlib.Path, like: Any) -> Any:
    """The newest state, its step and the next batch; None: from scratch."""
    with self.opened(folder) as checkpoints:
      found = checkpoints.restore_newest(like)
    if found is None:
      return None
    state, step = found
    return state, step, next(toy.iterator(toy.dataset()[step:]))

  def go_on(self, folder: pathlib.Path) -> judging.Found | None:
    """What a new start goes on from."""
    return _found(self.restored(folder, toy.abstract(toy.state(0))))


class Plain:
  """Orbax's manager and Grain's iterator."""

  name = "plain"
  leftover = "3.orbax-checkpoint-tmp"

  def place(self, folder: pathlib.Path, step: int) -> pathlib.Path:
    """The folder of a step."""
    return folder / str(step)

  @contextlib.contextmanager
  def opened(self, folder: pathlib.Path) -> Iterator[ocp.CheckpointManager]:
    """A context with the manager."""
    with ocp.CheckpointManager(folder, options=options()) as manager:
      yield manager

  def save_one(
    self, opened: ocp.CheckpointManager, state: Any, step: int
  ) -> None:
    """Saves, and waits until it is there."""
    batches = toy.iterator(toy.dataset())
    for _ in range(step):
      next(batches)
    save_both(opened, state, batches, step)
    opened.wait_until_finished()

  def save(self, folder: pathlib.Path, numbers: Sequence[int]) -> None:
    """Saves the toy run's states."""
    with self.opened(folder) as manager:
      for number in numbers:
        self.save_one(manager, toy.state(number), number)

  def restored(self, folder: pathlib.Path, like: Any) -> Any:
    """The newest state, its step and the next batch; None: from scratch."""
    with self.opened(folder) as manager:
      step = manager.latest_step()
      if step is None:
        return None
      batches = toy.iterator(toy.dataset())
      return restore_both(manager, like, batches, step), step, next(batches)

  def go_on(self, folder: pathlib.Path) -> judging.Found | None:
    """What a new start goes on from."""
    return _found(self.restored(folder, toy.abstract(toy.state(0))))


def options() -> ocp.CheckpointManagerOptions:
  """The newest and the best are kept."""
  return ocp.CheckpointManagerOptions(
    preservation_policy=preservation_policy.AnyPreservationPolicy(
      [
        preservation_policy.LatestN(1),
        preservation_policy.BestN(get_metric_fn=lambda m: m["ap"], n=1),
      ]
    )
  )


def save_both(
  manager: ocp.CheckpointManager, state: Any, batches: Any, step: int
) -> None:
  """Starts to save the state and the place in the data."""
  manager.save(
    step,
    args=ocp.args.Composite(
      state=ocp.args.StandardSave(state),
      data=grain.checkpoint.CheckpointSave(batches),
    ),
    metrics={"ap": toy.quality(step)},
  )


def restore_both(
  manager: ocp.CheckpointManager, like: Any, batches: Any, step: int
) -> Any:
  """The state of a step; `batches` go on where they were."""
  restored = manager.restore(
    step,
    args=ocp.args.Composite(
      state=ocp.args.StandardRestore(like),
      data=grain.checkpoint.CheckpointRestore(batches),
    ),
  )
  return restored["state"]


def _found(restored: Any) -> judging.Found | None:
  if restored is None:
    return None
  state, step, batch = restored
  return judging.Found(step, toy.digest(state), toy.batch_digest(batch))


Column = Ours | Plain
COLUMNS: dict[str, Column] = {"ours": Ours(), "plain": Plain()}
