"""Checkpoints of a run, written in the background by Orbax.

Each is sealed (see `seal`) before it gets its step's name; the newest and the
best are kept.
"""

import hashlib
import pathlib
import time
from collections.abc import Callable, Mapping
from concurrent import futures
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from absl import logging

from diffpose_jax.model import hosts
from diffpose_jax.weights import restore, seal, steps

_PAUSES = (1.0, 5.0, 25.0)  # seconds before another try to save


class Checkpoints:
  """The checkpoints of a workdir, of which one may be on its way to disk.

  Every process of a run calls the same methods; process 0 seals and tidies.
  """

  def __init__(
    self,
    workdir: pathlib.Path,
    *,
    about: Mapping[str, Any] | None = None,
    guard: Callable[[], None] = lambda: None,
    read_only: bool = False,
  ):
    """Makes the folder, and clears away what a killed run left in it.

    Args:
      workdir: of the run.
      about: what manifests say of it, values of JSON.
      guard: is called before each save; what it raises stops it.
      read_only: restore, do not save, and leave all on the disk as it is.
    """
    self._folder = (workdir / steps.FOLDER).absolute()
    self._about = dict(about or {})
    self._guard = guard
    # Made in the background, a folder that cannot be made would leave threads
    # that wait for it and keep the process from ending for 20 minutes.
    here = ocp.options.AsyncOptions(create_directories_asynchronously=False)
    self._writer = ocp.AsyncCheckpointer(restore.handler(), async_options=here)
    self._pool = futures.ThreadPoolExecutor(1, "checkpoint")
    # The step on its way, and what ends when it is there.
    self._saving: tuple[int, futures.Future] | None = None
    self._tidies = hosts.is_first() and not read_only
    if self._tidies:
      self._folder.mkdir(parents=True, exist_ok=True)
      steps.tidy(self._folder)
    hosts.said("tidied", "")  # Before, what others write would be cleared away.

  def latest(self) -> int | None:
    """The newest step, also one on its way; None where there is none."""
    there = steps.usable(self._folder)
    if self._saving and not self.failed():
      there.append(self._saving[0])
    return max(there, default=None)

  def save(
    self, state: Any, step: int, ap: float, *, wait: bool = False
  ) -> None:
    """Starts writing `state`; `ap` is what "best" is measured by.

    Where the save before failed, or this cannot start, it waits and tries
    again with pauses, as it does with `wait`.

    Raises ValueError where no try succeeds; older checkpoints stay.
    """
    failure = self._settled()
    if failure:
      logging.warning(
        "%s: a checkpoint could not be written (%s); step %d is saved instead",
        self._folder,
        restore.one_line(failure),
        step,
      )
    wait = wait or failure is not None
    for pause in (*_PAUSES, None):
      failure = self._start(state, step, ap)
      if wait and not failure:
        failure = self._settled()
      if not failure:
        return
      # The other hosts would not know that they should try again.
      if pause is None or hosts.count() > 1:
        raise self._given_up(step, failure) from failure
      logging.warning(
        "%s: checkpoint %d could not be written (%s); next try in %g s",
        self._folder,
        step,
        restore.one_line(failure),
        pause,
      )
      time.sleep(pause)
      wait = True

  def failed(self) -> bool:
    """True once the newest save failed; it does not wait for it.

    Several hosts, which would not know of it at the same step, all find out at
    the next save.
    """
    if hosts.count() > 1 or self._saving is None or not self._saving[1].done():
      return False
    return self._saving[1].exception() is not None

  def restore(self, like: Any, step: int) -> Any:
    """The state saved at `step`, placed as the abstract tree `like` says.

    Raises ValueError where it is damaged or of another shape.
    """
    return restore.whole(self._folder / str(step), like)[0]

  def restore_newest(
    self, like: Any, *, start_over: bool = False
  ) -> tuple[Any, int] | None:
    """The newest state that is as it was saved, and its step.

    What is damaged goes to quarantine, and the step before it is tried.

    Args:
      like: tree of ShapeDtypeStructs with shardings.
      start_over: return None, too, where all are damaged.

    Returns None where there are none. Raises ValueError where all are damaged,
    or they are of another network or version.
    """
    remedy = (
      "bring one back from a copy, or train from the start by "
      "--config.train.start_over=true"
    )
    try:
      found = restore.newest(
        self._folder,
        lambda place: restore.whole(place, like),
        put_away=self._put_away if self._tidies else None,
      )
    except seal.Damaged as error:
      if start_over:
        return None
      raise ValueError(f"{error}; {remedy}") from error
    if found:
      (state, about), step = found
      for name in sorted(about.keys() & self._about.keys()):
        if about[name] != self._about[name]:
          logging.warning("checkpoint %d was made with other %s", step, name)
      return state, step
    lost = {
      f"in {steps.QUARANTINE}": steps.quarantined(self._folder),
      "incomplete": steps.incomplete(self._folder),
    }
    told = [f"{', '.join(names)} {how}" for how, names in lost.items() if names]
    if told and not start_over:
      raise ValueError(
        f"{self._folder}: no good checkpoint, but {' and '.join(told)}; "
        f"{remedy}"
      )
    return None

  def close(self) -> None:
    """Waits for writes under way.

    Raises ValueError where the last one failed.
    """
    failure = self._settled()
    self._writer.close()
    self._pool.shutdown()
    if failure:
      raise self._given_up(None, failure) from failure

  def _start(self, state: Any, step: int, ap: float) -> Exception | None:
    """Begins to write; what went wrong, if it did."""
    self._guard()
    place = steps.being_written(self._folder, step)
    try:
      place.mkdir(exist_ok=True)
      seen = seal.views(state)
      self._writer.save(place / restore.STATE, args=ocp.args.PyTreeSave(state))
    except Exception as error:
      self._discard(step)
      return error
    quality = float(ap) if np.isfinite(ap) else None
    finish = self._pool.submit(self._finish, step, quality, seen)
    self._saving = step, finish
    return None

  def _finish(
    self, step: int, quality: float | None, seen: Mapping[str, seal.Seen]
  ) -> None:
    """Waits for Orbax, seals the step and gives it its name.

    Where that fails on one host, it fails on all.
    """
    failures: list[Exception] = []

    def tried(name: str, work: Callable[[], None]) -> None:
      try:
        work()
      except Exception as error:
        failures.append(error)
      mine = restore.one_line(failures[0]) if failures else ""
      told = [word for word in hosts.said(f"checkpoint {name}", mine) if word]
      if told and not failures:
        failures.append(OSError(f"on another host: {told[0]}"))

    leaves: dict[str, dict] = {}

    def write() -> None:
      if hosts.is_first():
        leaves.update(seal.leaf_sums(seen))
      self._writer.wait_until_finished()

    def name() -> None:
      if not hosts.is_first() or failures:
        return
      place = steps.being_written(self._folder, step)
      seal.write(
        place, step=step, quality=quality, about=self._about, leaves=leaves
      )
      place.rename(self._folder / str(step))
      steps.drop_unneeded(self._folder)

    tried("written", write)
    tried("sealed", name)
    if failures:
      self._discard(step)
      raise failures[0]

  def _settled(self) -> BaseException | None:
    """Waits for the save under way; what went wrong, if it did."""
    if self._saving is None:
      return None
    failure = self._saving[1].exception()
    self._saving = None
    return failure

  def _discard(self, step: int) -> None:
    if hosts.is_first():
      steps.discard(self._folder, step)

  def _put_away(self, step: int) -> pathlib.Path:
    return steps.quarantine(self._folder, step)

  def _given_up(self, step: int | None, failure: BaseException) -> ValueError:
    """The error with which training stops."""
    which = "the last checkpoint" if step is None else f"checkpoint {step}"
    newest = max(steps.usable(self._folder), default=None)
    return ValueError(
      f"{self._folder}: {which} could not be written "
      f"({restore.one_line(failure)}); the newest good one is of step {newest}: "
      "make room or correct the rights, and the same command goes on from there"
    )


def load_averaged(
  workdir: pathlib.Path, like: Any, *, best: bool = False
) -> tuple[Any, int]:
  """Averaged (EMA) weights of the newest good checkpoint and its step.

  Args:
    workdir: of a training run.
    like: tree of ShapeDtypeStructs with shardings, the model's parameters.
    best: take the best instead, which is the result of a run that is stopped
      when validation no longer gains.

  Raises ValueError where there is no good checkpoint or it is of another model.
  """
  folder = workdir / steps.FOLDER
  found = restore.newest(
    folder,
    lambda place: restore.part(place, "ema", like),
    first=steps.best(folder) if best else None,
  )
  if found is None:
    raise ValueError(
      f"{workdir}: no checkpoint here (looked in {folder}); give the workdir "
      "of a training run"
    )
  return found


def weights_hash(params: Any) -> str:
  """SHA-256 over sorted leaf names, dtypes, shapes and bytes."""
  digest = hashlib.sha256()
  flat = jax.tree_util.tree_flatten_with_path(params)[0]
  for name, leaf in sorted((jax.tree_util.keystr(p), v) for p, v in flat):
    array = np.ascontiguousarray(jax.device_get(leaf))
    digest.update(f"{name} {array.dtype} {array.shape}".encode())
    digest.update(array.tobytes())
  return digest.hexdigest()
