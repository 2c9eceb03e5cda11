"""Placement of parameters and batches on a mesh of all devices."""

import contextlib
import os

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

_FORCED = "xla_force_host_platform_device_count"


def use_cpu_devices(count: int) -> None:
  """Lets the CPU appear as `count` devices; 0 changes nothing.

  It has no effect on other platforms, where XLA_FLAGS already says how many,
  or once JAX has started.
  """
  if not count or _FORCED in os.environ.get("XLA_FLAGS", ""):
    return
  with contextlib.suppress(RuntimeError):
    jax.config.update("jax_num_cpu_devices", count)


def mesh() -> Mesh:
  """All devices of all hosts along one axis, 'data'."""
  return jax.make_mesh((jax.device_count(),), ("data",), (AxisType.Auto,))


def replicated(mesh: Mesh) -> NamedSharding:
  """Every device holds the whole array."""
  return NamedSharding(mesh, PartitionSpec())


def split(mesh: Mesh) -> NamedSharding:
  """The leading axis is split over the devices."""
  return NamedSharding(mesh, PartitionSpec("data"))


def check_batch(batch: int, mesh: Mesh) -> None:
  """Raises ValueError unless the devices can share `batch` clips equally."""
  devices = mesh.size
  if batch % devices:
    below, above = batch // devices * devices, -(-batch // devices) * devices
    fitting = f"{below} or {above}" if below else f"{above}"
    raise ValueError(
      f"batch of {batch} clips is not divisible by {devices} devices; "
      f"{fitting} would be"
    )


def to_global(batch: dict[str, np.ndarray], mesh: Mesh) -> dict[str, jax.Array]:
  """One array over all devices from each host's share of a batch."""
  place = split(mesh)
  return {
    name: jax.make_array_from_process_local_data(place, value)
    for name, value in batch.items()
  }
