"""Checkpoints of a run, written in the background by Orbax."""

import functools
import hashlib
import pathlib
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from orbax.checkpoint.checkpoint_managers import preservation_policy as policy

_FOLDER = "checkpoints"


class Checkpoints:
  """The checkpoints of a workdir: the latest and the best are kept."""

  def __init__(self, workdir: pathlib.Path):
    # max_to_keep with best_fn would delete the newest where it is not among
    # the best, and a resume would lose work; hence the explicit policy.
    keep = policy.AnyPreservationPolicy(
      [
        policy.LatestN(1),
        policy.BestN(get_metric_fn=lambda metrics: metrics["ap"], n=1),
      ]
    )
    self._manager = ocp.CheckpointManager(
      (workdir / _FOLDER).absolute(),
      options=ocp.CheckpointManagerOptions(preservation_policy=keep),
    )

  def latest(self) -> int | None:
    """The newest complete step, None where there is none."""
    return self._manager.latest_step()

  def save(self, state: Any, step: int, ap: float) -> None:
    """Starts writing `state`; `ap` is what "best" is measured by."""
    self._manager.save(
      step,
      args=ocp.args.Composite(
        state=ocp.args.StandardSave(state),
        position=ocp.args.JsonSave({"step": step}),
      ),
      metrics={"ap": ap if np.isfinite(ap) else -1.0},
    )

  def restore(self, like: Any, step: int) -> Any:
    """The state saved at `step`, placed as the abstract tree `like` says.

    Raises ValueError where the saved tree has another shape.
    """
    restored = self._manager.restore(
      step,
      args=ocp.args.Composite(
        state=ocp.args.StandardRestore(like), position=ocp.args.JsonRestore()
      ),
    )
    if restored.position["step"] != step:
      raise ValueError(
        f"checkpoint {step} holds the data position of step "
        f"{restored.position['step']}; delete it and resume from an older one"
      )
    return restored.state

  def close(self) -> None:
    """Waits for writes under way."""
    self._manager.wait_until_finished()
    self._manager.close()


def load_averaged(workdir: pathlib.Path, like: Any) -> tuple[Any, int]:
  """Averaged (EMA) weights of the newest checkpoint and its step.

  Args:
    workdir: of a training run.
    like: tree of ShapeDtypeStructs with shardings, the model's parameters.

  Raises ValueError where there is no checkpoint or it is of another model.
  """
  folder = workdir / _FOLDER
  steps = (
    ocp.utils.checkpoint_steps(folder.absolute()) if folder.is_dir() else []
  )
  if not steps:
    raise ValueError(
      f"{workdir}: no checkpoint here (looked in {folder}); give the workdir "
      "of a training run"
    )
  step = max(steps)
  place = folder / str(step)
  target = {"ema": like}
  restore_args = jax.tree.map(
    lambda leaf: ocp.ArrayRestoreArgs(sharding=leaf.sharding, dtype=leaf.dtype),
    target,
  )
  path = (place / "state").absolute()
  handler = ocp.PyTreeCheckpointHandler()
  # A partial restore is silent about leaves that only one side has.
  _check_same(handler.metadata(path).tree["ema"], like, place)
  with ocp.Checkpointer(handler) as reader:
    tree = reader.restore(
      path,
      args=ocp.args.PyTreeRestore(
        item=target, restore_args=restore_args, partial_restore=True
      ),
    )
  return tree["ema"], step


def _check_same(saved: Any, like: Any, place: pathlib.Path) -> None:
  """Raises ValueError naming leaves that differ in name or shape."""
  there, wanted = _shapes(saved), _shapes(like)
  differing = [
    f"{name} is {there.get(name, 'absent')}, "
    f"the model's is {wanted.get(name, 'absent')}"
    for name in sorted(there.keys() | wanted.keys())
    if there.get(name) != wanted.get(name)
  ]
  if differing:
    more = f" and {len(differing) - 3} more" if len(differing) > 3 else ""
    raise ValueError(
      f"{place}: not weights of this model: {'; '.join(differing[:3])}{more}; "
      "take the config that they were trained with"
    )


def _shapes(tree: Any) -> dict[str, tuple[int, ...]]:
  """Shapes of the leaves by their paths, as vit/stem/kernel."""
  flat = jax.tree_util.tree_flatten_with_path(tree)[0]
  name = functools.partial(jax.tree_util.keystr, simple=True, separator="/")
  return {name(path): tuple(leaf.shape) for path, leaf in flat}


def weights_hash(params: Any) -> str:
  """SHA-256 over sorted leaf names, dtypes, shapes and bytes."""
  digest = hashlib.sha256()
  flat = jax.tree_util.tree_flatten_with_path(params)[0]
  for name, leaf in sorted((jax.tree_util.keystr(p), v) for p, v in flat):
    array = np.ascontiguousarray(jax.device_get(leaf))
    digest.update(f"{name} {array.dtype} {array.shape}".encode())
    digest.update(array.tobytes())
  return digest.hexdigest()
