"""Reading checkpoints back: nothing is taken that is not what was saved."""

import pathlib
import re
from collections.abc import Callable
from typing import Any, TypeVar, cast

import jax
import orbax.checkpoint as ocp
from absl import logging

from diffpose_jax.model import hosts
from diffpose_jax.weights import seal, steps

Found = TypeVar("Found")
# Of a leaf: its shape and dtype.
_Kind = tuple[tuple[int, ...], str]
STATE = "state"  # what Orbax writes of a checkpoint


def newest(
  folder: pathlib.Path,
  read: Callable[[pathlib.Path], Found],
  *,
  put_away: Callable[[int], pathlib.Path] | None = None,
  first: int | None = None,
) -> tuple[Found, int] | None:
  """What `read` gives of the newest good step, and the step.

  Args:
    folder: of checkpoints.
    read: gets a step's folder; raises Damaged where it is not as written.
    put_away: is told of a step that is damaged, says where it is now.
    first: a step that is tried before the newest.

  Returns None where there is no step. Raises Damaged where all are, ValueError
  where one is of another network or version.
  """
  damages = []
  there = hosts.said("steps", " ".join(map(str, steps.usable(folder))))[0]
  known = map(int, there.split())
  for step in sorted(known, key=lambda s: (s != first, -s)):
    try:
      found = read(folder / str(step))
    except seal.Damaged as damage:
      moved = f" It is now {put_away(step)}." if put_away else ""
      logging.warning("checkpoint %d is damaged: %s.%s", step, damage, moved)
      damages.append(str(damage))
    else:
      if damages:
        logging.warning("%s: going back to checkpoint %d", folder, step)
      return found, step
  if damages:
    more = f" (and {len(damages) - 1} older)" if len(damages) > 1 else ""
    raise seal.Damaged(
      f"{damages[0]}{more}; no good checkpoint is left in {folder}: bring one "
      "back from a copy"
    )
  return None


def whole(place: pathlib.Path, like: Any) -> tuple[Any, dict[str, Any]]:
  """The state of a step, placed as `like` says; and about what run it is.

  Args:
    place: the step's folder.
    like: tree of ShapeDtypeStructs with shardings.

  Raises:
    seal.Damaged: it is not as it was written.
    ValueError: it is of another network, or of a version that is not known.
  """
  manifest = _together(lambda: seal.read(place))
  _check_same(_saved(manifest), like, place)
  return _checked(place, manifest, like), manifest["about"]


def part(place: pathlib.Path, name: str, like: Any) -> Any:
  """One part of a step's state, such as its `ema`, placed as `like` says.

  Raises like `whole`.
  """
  manifest = _together(lambda: seal.read(place))
  # A partial restore is silent about leaves that only one side has.
  saved = {
    leaf.removeprefix(f"{name}/"): kind
    for leaf, kind in _saved(manifest).items()
    if leaf.startswith(f"{name}/")
  }
  _check_same(saved, like, place)
  return _checked(place, manifest, {name: like})[name]


def _checked(place: pathlib.Path, manifest: seal.Manifest, like: Any) -> Any:
  """The leaves of `like`, if all files are as they were written.

  They are looked at before Orbax sees them: where one of its reads fails, it
  leaves the others behind, and each prints an error of its own later on. Of
  several hosts, each looks at a share of the files.
  """
  share = jax.process_index(), hosts.count()
  _together(lambda: seal.check_files(place, manifest, share=share))
  return _together(lambda: _read(place, manifest, like))


def _together(check: Callable[[], Found]) -> Found:
  """What `check` gives; what is damaged for one host is so for all.

  Else one would go back to another step than the others.
  """
  result, damage = None, None
  try:
    result = check()
  except seal.Damaged as error:
    damage = error
  told = [word for word in hosts.said("damage", str(damage or "")) if word]
  if damage:
    raise damage
  if told:
    raise seal.Damaged(f"{told[0]} (found by another host)")
  return cast(Found, result)


def located(source: pathlib.Path) -> tuple[pathlib.Path, int | None]:
  """The workdir and, where `source` names one, the step to go on from.

  `source` is a workdir, its folder of checkpoints, or that of a step. Raises
  ValueError where it is none of these.
  """
  if (source / steps.FOLDER).is_dir():
    return source, None
  if source.name == steps.FOLDER and source.is_dir():
    return source.parent, None
  if source.parent.name == steps.FOLDER and source.name.isdecimal():
    return source.parent.parent, int(source.name)
  raise ValueError(
    f"{source}: no checkpoint here; give the workdir of a training run or one "
    f"of its {steps.FOLDER}/STEP"
  )


def elsewhere(source: pathlib.Path, like: Any) -> tuple[Any, int]:
  """The state to go on from and its step, of another run's workdir.

  Args:
    source: see `located`.
    like: tree of ShapeDtypeStructs with shardings.

  Raises ValueError where there is no good checkpoint, or it is of another
  network. Nothing in `source` is changed.
  """
  workdir, step = located(source)
  folder = workdir / steps.FOLDER
  if step is not None:
    if not (folder / str(step)).is_dir():
      raise ValueError(
        f"{source}: no such checkpoint; there are {steps.usable(folder)}"
      )
    return whole(folder / str(step), like)[0], step
  found = newest(folder, lambda place: whole(place, like)[0])
  if found is None:
    raise ValueError(f"{source}: no checkpoint here (looked in {folder})")
  return found


def handler() -> ocp.PyTreeCheckpointHandler:
  """Orbax's way to write and read a state."""
  # Replicas do not share the work of one host: that would compile a program
  # for each shape and device, and copy the leaves once more.
  arrays = ocp.type_handlers.ArrayHandler(
    use_replica_parallel=jax.process_count() > 1
  )
  registry = ocp.type_handlers.create_type_handler_registry((jax.Array, arrays))
  return ocp.PyTreeCheckpointHandler(type_handler_registry=registry)


def _read(place: pathlib.Path, manifest: seal.Manifest, like: Any) -> Any:
  """The leaves of `like` out of a step's state, as they were saved."""
  restore_args = jax.tree.map(
    lambda leaf: ocp.ArrayRestoreArgs(sharding=leaf.sharding, dtype=leaf.dtype),
    like,
  )
  with _Reading(place, manifest), ocp.Checkpointer(handler()) as reader:
    tree = reader.restore(
      (place / STATE).absolute(),
      args=ocp.args.PyTreeRestore(
        item=like, restore_args=restore_args, partial_restore=True
      ),
    )
  seal.check_leaves(place, manifest, tree)
  return tree


class _Reading:
  """A context that tells what it means if Orbax cannot read a step."""

  def __init__(self, place: pathlib.Path, manifest: seal.Manifest):
    self._place, self._manifest = place, manifest

  def __enter__(self):
    pass

  def __exit__(self, kind, error, trace):
    del kind, trace
    if not isinstance(error, Exception) or isinstance(error, PermissionError):
      return
    reason = one_line(error)
    seal.check_files(self._place, self._manifest)
    raise ValueError(
      f"{self._place}: its files are as they were written, but cannot be read "
      f"here ({reason}); use the version that wrote it, "
      f"{self._manifest['code']}, or more memory"
    ) from error


def one_line(error: BaseException) -> str:
  """An error's kind and its message, without its middle where it is long."""
  # TensorStore adds its own in brackets, and says the reason last.
  text = re.sub(r"\s*\[[^\]]*\]", "", " ".join(str(error).split()))
  if len(text) > 200:
    text = f"{text[:60]} … {text[-130:]}"
  return f"{type(error).__name__}: {text}"


def _saved(manifest: seal.Manifest) -> dict[str, _Kind]:
  """Shapes and dtypes of the leaves of a saved state, by their paths."""
  return {
    name: (tuple(leaf["shape"]), leaf["dtype"])
    for name, leaf in manifest["leaves"].items()
  }


def _kinds(tree: Any) -> dict[str, _Kind]:
  return {
    name: (tuple(leaf.shape), str(leaf.dtype))
    for name, leaf in seal.named(tree).items()
  }


def _check_same(
  there: dict[str, _Kind], like: Any, place: pathlib.Path
) -> None:
  """Raises ValueError naming leaves that differ in name, shape or dtype."""
  wanted = _kinds(like)
  differing = []
  for name in sorted(there.keys() | wanted.keys()):
    a, b = there.get(name), wanted.get(name)
    if a != b:
      # The dtype where it is what differs, else the shape.
      which = int(bool(a and b and a[0] == b[0]))
      has, wants = (kind[which] if kind else "absent" for kind in (a, b))
      differing.append(f"{name} is {has}, the model's is {wants}")
  if differing:
    more = f" and {len(differing) - 3} more" if len(differing) > 3 else ""
    raise ValueError(
      f"{place}: not weights of this model: {'; '.join(differing[:3])}{more}; "
      "take the config that they were trained with"
    )
