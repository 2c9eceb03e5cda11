"""What watches a run: its numbers, where its time goes, and a profile."""

import pathlib
from collections.abc import Callable, Mapping, Sequence

import jax
import ml_collections

from diffpose_jax.data import prepared, roster
from diffpose_jax.training import (
  checks,
  goodput,
  ledger,
  log,
  profiling,
  watch,
)
from diffpose_jax.training import step as step_lib


class Monitor:
  """The workdir, account and trace of one start, from the beginning on.

  As a context it ends the account, whatever ends the run.
  """

  def __init__(self, folder: pathlib.Path, profiled: tuple[int, int] | None):
    """`profiled` are the first and last step to profile, if any."""
    self.folder = folder
    self.account = goodput.Account()
    self.profiled = profiled
    self.trace = profiling.Trace(profiled, folder, self.account)

  def __enter__(self) -> "Monitor":
    return self

  def __exit__(self, *_) -> None:
    self.account.close()


class Steps:
  """The numbers of a start's steps: logged, watched over, kept to the bit."""

  def __init__(
    self,
    view: Monitor,
    config: ml_collections.ConfigDict,
    mesh: jax.sharding.Mesh,
    splits: Sequence[prepared.Split],
    state: step_lib.State,
    *,
    latest: Callable[[], int | None],
    span: tuple[int, int],
  ):
    """Before the first step.

    Args:
      view: of the start.
      config: of the run.
      mesh: on which it is.
      splits: what it is trained on.
      state: to go on with.
      latest: step of the newest checkpoint.
      span: steps done before, and in the whole run.
    """
    start, steps = span
    self._trace = view.trace
    self.records = log.Log(view.folder, steps=steps, start=start)
    self.seen = watch.Watch(
      config.train,
      view.folder,
      roster.Roster(splits, config).clips,
      latest=latest,
      span=span,
      skipped=watch.skipped_before(state),
    )
    self.metrics = log.StepMetrics(
      self.records, config.train, steps, view.account, self.seen
    )
    data = checks.fingerprints(config, splits)["data"]
    self._exact = ledger.Ledger(
      view.folder, ledger.session(config, mesh, data, span)
    )

  def begin(self, step: int) -> None:
    """Before `step` and its data."""
    self._trace.begin(step)

  def add(self, step: int, values: Mapping[str, jax.Array]) -> None:
    """Takes the metrics of a step under way; those before it are read.

    Raises ValueError where too many updates in a row were skipped.
    """
    self.metrics.add(step, dict(values))
    self._exact.add(step, values)
    self._trace.end(step, values)

  def flush(self) -> None:
    """Waits for the newest step and writes all that is known."""
    self.metrics.flush()
    self._exact.flush()

  def close(self) -> None:
    """Closes the files; what was lost on the devices is left out."""
    self._trace.close()
    self._exact.close()
    self.records.close()
    self.seen.close()
