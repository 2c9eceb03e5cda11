"""What is done between some steps: validation, pictures and checkpoints."""

from collections.abc import Callable, Sequence

import jax
import ml_collections
import numpy as np

from diffpose_jax.data import prepared
from diffpose_jax.evaluation import measure
from diffpose_jax.training import monitor, patience, pictures
from diffpose_jax.training import step as step_lib
from diffpose_jax.weights import checkpoint


class Milestones:
  """Knows after which steps something is due, and does it.

  All processes ask and call alike.
  """

  def __init__(
    self,
    config: ml_collections.ConfigDict,
    view: monitor.Monitor,
    mesh: jax.sharding.Mesh,
    checkpoints: checkpoint.Checkpoints,
    validation: prepared.Split,
    last: int,
  ):
    """Before the first step.

    Args:
      config: of the run.
      view: its workdir and account.
      mesh: on which it is.
      checkpoints: of the run.
      validation: what it is validated with.
      last: its last step.
    """
    self._config = config
    self._folder, self._account = view.folder, view.account
    self._checkpoints = checkpoints
    self._last = last
    self._every = config.train.evaluate_every or max(1, last // 10)
    self._validate = measure.Validation(config, validation, mesh)
    self._found = pictures.Found(config, validation, mesh)
    self._skeleton = validation.skeleton

  def begin(
    self,
    taken: monitor.Steps,
    batch: dict[str, np.ndarray],
    step: int,
    rows: Sequence[int],
  ) -> None:
    """Shows clips of the first batch of a start, this host's `rows` of it."""
    with self._account.phase("evaluation"):
      sheets = pictures.given(
        self._config, self._skeleton, batch, step=step - 1, rows=rows
      )
      taken.records.pictures(step, sheets)

  def reached(
    self,
    taken: monitor.Steps,
    state: step_lib.State,
    step: int,
    stop_if_asked: Callable[[], None],
  ) -> bool:
    """Does what is due after `step`; whether it was the last one.

    `stop_if_asked` is called between the batches of a validation.
    """
    ended = step == self._last
    measured = ended or _due(step, self._every)
    saved = measured or _due(step, self._config.train.checkpoint_every)
    if not (saved or taken.seen.owed or self._checkpoints.failed()):
      return False
    taken.flush()
    with self._account.phase("other"), jax.transfer_guard("allow"):
      with self._account.phase("checkpoint"):
        good = taken.seen.may_save(state, step)
      # Of these weights alone: an older AP is not theirs.
      found = {}
      if measured:
        with self._account.phase("evaluation"):
          found = self._validate(state.ema, stop_if_asked)
          taken.records.write(step, found)
          taken.records.pictures(step, self._found(state.ema))
      ended |= patience.reached(self._folder, self._config.train, step)
      if good:
        ap = patience.quality(found)
        with self._account.phase("checkpoint"):
          self._checkpoints.save(vars(state), step, ap, wait=ended)
          self._account.saved(step)
    return ended

  def interrupted(self, taken: monitor.Steps, state: step_lib.State) -> None:
    """Saves the last whole step, unless it is saved or was lost in its step."""
    taken.metrics.flush()
    if taken.seen.row:
      print(f"\n{taken.seen.row} updates skipped: nothing is saved", flush=True)
      return
    with self._account.phase("checkpoint"):
      save_interrupted(state, self._checkpoints)


def save_interrupted(
  state: step_lib.State, checkpoints: checkpoint.Checkpoints
) -> None:
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
