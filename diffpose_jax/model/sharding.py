"""Placement of parameters, state and batches on a mesh of all devices.

The mesh has three axes. Over `data` and `fsdp` a batch is split. Each device of
`fsdp` also keeps only a part of the large kernels, of their averages and of the
optimiser's moments; a kernel is gathered where it is used. The devices of
`tensor` see the same clips and split attention heads and hidden layers.
"""

import contextlib
import dataclasses
import math
import os
import re
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

AXES = ("data", "fsdp", "tensor")
SMALLEST = 1 << 14  # elements of a kernel that `fsdp` splits; others are whole
_BATCH = ("data", "fsdp")  # what a batch is split over
_FORCED = "xla_force_host_platform_device_count"


@dataclasses.dataclass(frozen=True)
class Rule:
  """How leaves are split whose path ends as `pattern` says.

  Attributes:
    pattern: regular expression, from the start of a name to the path's end.
    tensor: the axis that `tensor` splits, None for none.
    fsdp: whether `fsdp` splits the longest other axis that it divides.
  """

  pattern: str
  tensor: int | None = None
  fsdp: bool = False


# By the names of the parameters, which their averages and moments have too.
# Exactly one is for each leaf that is no scalar. `qkv`, `hidden` and `out` are
# the layers of a Transformer block: columns, columns and rows are split.
RULES = (
  Rule("(qkv|hidden)/kernel", tensor=-1, fsdp=True),
  Rule("out/kernel", tensor=-2, fsdp=True),
  Rule(r"(?!(qkv|hidden|out)/)\w+/kernel", fsdp=True),
  Rule("hidden/bias", tensor=-1),
  Rule(r"(?!hidden/)\w+/bias"),
  Rule("scale"),
  Rule("position|position_space|position_frame|aggregate"),
)


def use_cpu_devices(count: int) -> None:
  """Lets the CPU appear as `count` devices; 0 changes nothing.

  It has no effect on other platforms, where XLA_FLAGS already says how many,
  or once JAX has started.
  """
  if not count or _FORCED in os.environ.get("XLA_FLAGS", ""):
    return
  with contextlib.suppress(RuntimeError):
    jax.config.update("jax_num_cpu_devices", count)


def mesh(data: int = -1, fsdp: int = 1, tensor: int = 1) -> Mesh:
  """All devices of all hosts along `AXES`; -1 takes what the others leave.

  Raises ValueError where that is not exactly all devices.
  """
  sizes = _sizes((data, fsdp, tensor), jax.device_count())
  return jax.make_mesh(sizes, AXES, (AxisType.Auto,) * len(AXES))


def _sizes(wanted: tuple[int, ...], devices: int) -> tuple[int, ...]:
  """The sizes of the axes, with a number in the place of -1."""
  text = " x ".join(f"{n} {s}" for n, s in zip(AXES, wanted, strict=True))
  if wanted.count(-1) > 1 or any(size < 1 and size != -1 for size in wanted):
    raise ValueError(
      f"mesh of {text}: give each axis a size from 1 on, or one of them -1 for "
      "the devices that the others leave"
    )
  known = math.prod(size for size in wanted if size != -1)
  sizes = tuple(devices // known if size == -1 else size for size in wanted)
  if math.prod(sizes) != devices:
    most = "is for" if -1 not in wanted else "is for a multiple of"
    raise ValueError(
      f"mesh of {text} {most} {known} devices, but there are {devices}; make "
      f"the product {devices}, -1 takes the rest"
    )
  return sizes


def describe(mesh: Mesh) -> str:
  """The mesh in words, as in "data 4 x fsdp 2"; without axes of size 1."""
  parts = [f"{name} {size}" for name, size in mesh.shape.items() if size > 1]
  return " x ".join(parts) or "1 device"


def replicated(mesh: Mesh) -> NamedSharding:
  """Every device holds the whole array."""
  return NamedSharding(mesh, PartitionSpec())


def split(mesh: Mesh, axis: int = 0) -> NamedSharding:
  """One axis, that of the clips, is split over the devices."""
  return NamedSharding(mesh, PartitionSpec(*[None] * axis, _BATCH))


def shares(mesh: Mesh) -> int:
  """Into how many parts a batch is split."""
  return math.prod(mesh.shape[name] for name in _BATCH)


def check_batch(batch: int, mesh: Mesh) -> None:
  """Raises ValueError unless the devices can share `batch` clips equally."""
  parts = shares(mesh)
  if batch % parts:
    below, above = batch // parts * parts, -(-batch // parts) * parts
    fitting = f"{below} or {above}" if below else f"{above}"
    tensor = mesh.shape["tensor"]
    groups = "devices" if tensor == 1 else f"groups of {tensor} devices"
    raise ValueError(
      f"batch of {batch} clips is not divisible by {parts} {groups}; "
      f"{fitting} would be"
    )


def places(tree: Any, mesh: Mesh) -> Any:
  """Where each leaf of a state or of parameters lives, a tree like it.

  The paths decide, so that parameters, their averages and the optimiser's
  moments are split alike. What `RULES` would split is whole where the size does
  not allow it, see `whole`.

  Raises ValueError where a leaf has not exactly one rule.
  """
  return jax.tree_util.tree_map_with_path(
    lambda path, leaf: NamedSharding(
      mesh, _spec(_name(path), leaf.shape, mesh)[0]
    ),
    tree,
  )


def placed(shapes: Any, places: Any) -> Any:
  """ShapeDtypeStructs with the shardings of another tree, as to restore to."""
  return jax.tree.map(
    lambda s, place: jax.ShapeDtypeStruct(s.shape, s.dtype, sharding=place),
    shapes,
    places,
  )


def places_in_use(params: Any, mesh: Mesh) -> Any:
  """Where parameters are while the network runs: gathered over `fsdp`."""

  def gathered(place: NamedSharding) -> NamedSharding:
    axes = [None if axis == "fsdp" else axis for axis in place.spec]
    while axes and axes[-1] is None:
      axes.pop()
    return NamedSharding(mesh, PartitionSpec(*axes))

  return jax.tree.map(gathered, places(params, mesh))


def gathered(params: Any, mesh: Mesh | None) -> Any:
  """Parameters as the network uses them; traceable.

  Left to itself, XLA would rather gather activations over `fsdp`.
  """
  if mesh is None or mesh.shape["fsdp"] == 1:
    return params
  return jax.lax.with_sharding_constraint(params, places_in_use(params, mesh))


def scattered(gradients: Any, mesh: Mesh | None) -> Any:
  """Gradients where their parameters live; traceable."""
  if mesh is None or mesh.shape["fsdp"] == 1:
    return gradients
  return jax.lax.with_sharding_constraint(gradients, places(gradients, mesh))


def traced_for(mesh: Mesh | None) -> contextlib.AbstractContextManager:
  """A context for code that is traced, in which layers split over `tensor`."""
  if mesh is None or mesh.shape["tensor"] == 1:
    return contextlib.nullcontext()
  return jax.sharding.use_abstract_mesh(mesh.abstract_mesh)


def apart(
  function: Callable[..., Any],
  mesh: Mesh,
  *,
  clips_in: tuple[int | None, ...],
  clips_out: tuple[int, ...],
) -> Callable[..., Any]:
  """The function, run by each device on its own clips; to be jitted.

  XLA would gather the clips of all devices where a function is mapped over
  another axis than theirs, as convolutions merge the two.

  Args:
    function: what it gives of a clip depends on no other clip.
    mesh: over which clips are split.
    clips_in: for each argument, its axis of clips; None where it has none.
    clips_out: the same for each result.
  """
  if mesh.size == 1:
    return function

  def spec(axis: int | None) -> PartitionSpec:
    if axis is None:
      return PartitionSpec()
    return PartitionSpec(*[None] * axis, _BATCH)

  return jax.shard_map(
    function,
    mesh=mesh,
    in_specs=tuple(map(spec, clips_in)),
    out_specs=tuple(map(spec, clips_out)),
    axis_names=set(_BATCH),
    check_vma=False,
  )


def over_tensor(x: Any, axis: int) -> Any:
  """The array with an axis split over `tensor`, in a context of `traced_for`.

  It is left as it is where the axis does not divide, or outside of one.
  """
  size = jax.sharding.get_abstract_mesh().shape.get("tensor", 1)
  if size == 1 or x.shape[axis] % size:
    return x
  axes: list[Any] = [PartitionSpec.UNCONSTRAINED] * x.ndim
  axes[axis] = "tensor"
  return jax.lax.with_sharding_constraint(x, PartitionSpec(*axes))


def whole(tree: Any, mesh: Mesh) -> list[str]:
  """Names of the leaves that `RULES` would split, but no size divides."""
  return [
    _name(path)
    for path, leaf in jax.tree_util.tree_flatten_with_path(tree)[0]
    if not _spec(_name(path), leaf.shape, mesh)[1]
  ]


def summary(tree: Any, places: Any) -> str:
  """What a state takes on a device, and which kernels are whole on each."""
  mesh = jax.tree.leaves(places)[0].mesh
  size = sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))
  text = (
    f"state: {size / 1e6:,.1f} MB, {device_bytes(tree, places) / 1e6:,.1f} MB "
    f"on each of {mesh.size} devices ({describe(mesh)})"
  )
  names = whole(tree, mesh)
  if names:
    more = ", ..." if len(names) > 3 else ""
    text += (
      f"; {len(names)} leaves are whole on each, as no side divides: "
      f"{', '.join(names[:3])}{more}"
    )
  return text


def device_bytes(tree: Any, places: Any) -> int:
  """Memory that a tree takes on each device."""
  sizes = jax.tree.map(
    lambda leaf, place: (
      math.prod(place.shard_shape(leaf.shape)) * leaf.dtype.itemsize
    ),
    tree,
    places,
  )
  return sum(jax.tree.leaves(sizes))


def rule(name: str) -> Rule:
  """The rule for the leaf of this path, as in vit/stem/embed/kernel.

  Raises ValueError where there is none, or more than one.
  """
  found = [r for r in RULES if re.search(f"(^|/)({r.pattern})$", name)]
  if len(found) != 1:
    raise ValueError(
      f"{name}: {len(found)} rules of RULES in {__name__} say how to split it, "
      "it needs one"
    )
  return found[0]


def _spec(
  name: str, shape: tuple[int, ...], mesh: Mesh
) -> tuple[PartitionSpec, bool]:
  """What splits each axis, and whether all was split that should be."""
  if not shape:
    return PartitionSpec(), True
  wanted, done = rule(name), True
  axes: list[str | None] = [None] * len(shape)
  tensor, fsdp = mesh.shape["tensor"], mesh.shape["fsdp"]
  if wanted.tensor is not None and tensor > 1:
    if shape[wanted.tensor] % tensor:
      done = False
    else:
      axes[wanted.tensor] = "tensor"
  if wanted.fsdp and fsdp > 1 and math.prod(shape) >= SMALLEST:
    free = [
      axis
      for axis, size in enumerate(shape)
      if axes[axis] is None and not size % fsdp
    ]
    if free:
      axes[max(free, key=lambda axis: (shape[axis], axis))] = "fsdp"
    else:
      done = False
  while axes and axes[-1] is None:
    axes.pop()
  return PartitionSpec(*axes), done


def _name(path: Any) -> str:
  return jax.tree_util.keystr(path, simple=True, separator="/")


def rows(batch: int, mesh: Mesh) -> list[int]:
  """Which clips of a batch over all hosts this host gives, ascending.

  Hosts may have the same ones, where `tensor` goes over several.
  """
  size = batch // shares(mesh)
  return [part * size + i for part in _parts(mesh) for i in range(size)]


def _parts(mesh: Mesh) -> list[int]:
  """Which of the `shares` of a batch are on this host's devices, ascending."""
  count = shares(mesh)
  places: Any = split(mesh).addressable_devices_indices_map((count,))
  return sorted({index[0].indices(count)[0] for index in places.values()})


def to_global(batch: dict[str, np.ndarray], mesh: Mesh) -> dict[str, jax.Array]:
  """One array over all devices from each host's `rows` of a batch."""
  place, parts = split(mesh), _parts(mesh)
  turn = {part: i for i, part in enumerate(parts)}

  def placed(value: np.ndarray) -> jax.Array:
    size = len(value) // len(parts)
    count = size * shares(mesh)

    def piece(index: Any) -> np.ndarray:
      start = turn[index[0].indices(count)[0] // size] * size
      return value[start : start + size]

    shape = (count, *value.shape[1:])
    return jax.make_array_from_callback(shape, place, piece)

  with jax.transfer_guard_host_to_device("allow"):  # it is asked for
    return {name: placed(value) for name, value in batch.items()}


def to_local(array: jax.Array, axis: int = 0) -> np.ndarray:
  """This host's `rows` of what `split` placed, along the axis of the clips."""
  if array.is_fully_addressable:
    return jax.device_get(array)
  pieces = {
    shard.index[axis].indices(array.shape[axis])[0]: jax.device_get(shard.data)
    for shard in array.addressable_shards
  }
  return np.concatenate([pieces[start] for start in sorted(pieces)], axis=axis)


def to_host(tree: Any) -> Any:
  """The whole arrays, wherever their parts are; all hosts must ask for them."""

  def whole(leaf: Any) -> np.ndarray:
    if not isinstance(leaf, jax.Array) or leaf.is_fully_replicated:
      return np.asarray(leaf)
    if leaf.is_fully_addressable:
      return np.asarray(leaf)
    return np.asarray(multihost_utils.process_allgather(leaf, tiled=True))

  return jax.tree.map(whole, tree)
