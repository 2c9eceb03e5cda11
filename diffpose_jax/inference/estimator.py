"""Poses of crops: the compiled encode, sample and decode."""

import copy
import dataclasses
import functools
import pathlib
from typing import Any

import jax
import ml_collections
import numpy as np
from absl import logging
from jaxtyping import Bool, UInt8, UInt32

from diffpose_jax import config as config_lib
from diffpose_jax.diffusion import sampler
from diffpose_jax.inference import averaged, bundle, network, program
from diffpose_jax.inference import poses as poses_lib
from diffpose_jax.inference import sampling as sampling_lib
from diffpose_jax.model import hosts, sharding
from diffpose_jax.pose import skeleton as skeletons
from diffpose_jax.weights import checkpoint

_FEW = 8  # clips: a short video's people do not wait for a whole batch's work


@dataclasses.dataclass(frozen=True)
class Pending:
  """Poses of a batch that the devices are at work on."""

  out: tuple[jax.Array, ...]
  count: int  # of clips, before padding

  def poses(self) -> poses_lib.Poses:
    """Waits for them; raises what a call of `Estimator` does."""
    joints, score, samples, shape, heat, broken = (
      sharding.to_local(array, axis)
      for array, axis in zip(self.out, sampling_lib.CLIPS_OUT, strict=True)
    )
    _check_finite(broken[:, : self.count])
    return poses_lib.Poses(
      joints[: self.count],
      score[: self.count],
      samples[:, : self.count],
      shape[: self.count],
      heat[: self.count],
    )


class Estimator:
  """Poses of crops, compiled once for full batches and once for small ones."""

  def __init__(  # noqa: PLR0913 - `load` is for users
    self,
    config: ml_collections.ConfigDict,
    skeleton: skeletons.Skeleton,
    params: Any,
    options: sampling_lib.Options,
    *,
    step: int = 0,
    shelf: program.Shelf | None = None,
    mesh: jax.sharding.Mesh | None = None,
    halves: network.Halves | None = None,
  ):
    """`params` are the averaged weights of training step `step`.

    `halves` are the network's own, or programs of a bundle.

    On a `mesh` of several hosts each of them gives its `rows` of a batch and
    gets their poses; without one, all devices share a batch.
    """
    self.config = config
    self.skeleton = skeleton
    self.options = options
    self.step = step
    self._origin: dict[str, Any] = {}  # what the protocol says of a file
    self.exported = halves is not None and halves.exported
    self._mesh = mesh = mesh or sharding.mesh()
    self._walk = _walk(config, options.steps, mesh)
    self._params = _in_use(params, mesh)
    sharding.check_batch(config.evaluate.batch, mesh)
    # Several hosts must run the same program, so they have one size.
    self._sizes = (config.evaluate.batch,)
    if hosts.count() == 1:
      self._sizes = _sizes(config.evaluate.batch, sharding.shares(mesh))
    self._jit = jax.jit(
      sharding.apart(
        functools.partial(_estimate, config, skeleton, options, halves=halves),
        mesh,
        clips_in=(None, 0, None),
        clips_out=sampling_lib.CLIPS_OUT,
      )
    )
    self._shelf = shelf or program.Shelf(None, "")
    self._programs: dict[int, Any] = {}  # by size of the batch

  @classmethod
  def load(
    cls,
    weights: pathlib.Path,
    *,
    mesh: jax.sharding.Mesh | None = None,
    **sampling: Any,
  ) -> "Estimator":
    """The estimator of a packed file, a bundle, or a workdir: `averaged`.

    Args:
      weights: whose.
      mesh: as in `__init__`.
      **sampling: fields of `Options`; the config's where None or not given.

    Raises ValueError where the workdir holds no weights, or the file is not as
    it was written.
    """
    weights = pathlib.Path(weights)
    origin = averaged.find(weights)
    config, skeleton = origin.config, origin.skeleton
    sharding.use_cpu_devices(config.train.cpu_devices)
    options = sampling_lib.options_of(config, **sampling)
    mesh = mesh or sharding.mesh()
    shelf = program.shelf(
      config.to_json_best_effort(sort_keys=True),
      repr(skeleton),
      repr(dataclasses.replace(options, steps=0)),  # which are an argument
      sharding.describe(mesh),
    )
    halves = bundle.halves(weights) if bundle.is_one(weights) else None
    if hosts.count() > 1 or halves:
      # All must run the same program, and what one of them finds on its disk
      # may not be what another has just traced.
      shelf = program.Shelf(None, "")
    init = functools.partial(network.init_params, config, skeleton)
    like = shelf.shapes(lambda: jax.eval_shape(init, jax.random.key(0)))
    like = sharding.placed(like, sharding.places_in_use(like, mesh))
    params, step = origin.params(like)
    found = cls(
      config,
      skeleton,
      params,
      options,
      step=step,
      shelf=shelf,
      mesh=mesh,
      halves=halves,
    )
    found._origin = origin.file.protocol if origin.file else {}
    if halves:
      found._origin["weights"] = weights.resolve().name
    return found

  def with_params(self, params: Any) -> "Estimator":
    """The same estimator, already compiled, with other weights."""
    other = copy.copy(self)
    other._params = _in_use(params, self._mesh)
    other._origin = {}
    other.__dict__.pop("weights_hash", None)
    return other

  def with_steps(self, steps: int) -> "Estimator":
    """The same estimator, already compiled, with another number of steps.

    Raises ValueError where it is out of range.
    """
    other = copy.copy(self)
    other.options = dataclasses.replace(self.options, steps=steps)
    other._walk = _walk(self.config, steps, self._mesh)
    return other

  def protocol(self) -> dict:
    """What a result must say of how it was made."""
    return {
      **dataclasses.asdict(self.options),
      "decode": self.config.evaluate.decode,
      "dtype": str(network.compute_dtype(self.config)),
      "training_step": self.step,
      "weights_sha256": self.weights_hash,
      **self._origin,
    }

  @functools.cached_property
  def weights_hash(self) -> str:
    """SHA-256 of the weights in use."""
    return checkpoint.weights_hash(self.params)

  @property
  def params(self) -> Any:
    """The weights in use, whole and on the host."""
    return sharding.to_host(self._params)

  @property
  def rows(self) -> list[int]:
    """Which clips of a batch of `config.evaluate.batch` this host gives."""
    return sharding.rows(self._sizes[-1], self._mesh)

  @property
  def parts(self) -> tuple[Any, sampling_lib.Walk, jax.sharding.Mesh]:
    """Weights where they are in use, the walk, and over which devices."""
    return self._params, self._walk, self._mesh

  @property
  def sizes(self) -> tuple[int, ...]:
    """Sizes of batches, ascending; the last is `config.evaluate.batch`."""
    return self._sizes

  @property
  def ladder(self) -> tuple[int, ...]:
    """The same with smaller ones, for clips that cannot wait for others."""
    return _ladder(self._sizes, sharding.shares(self._mesh))

  def __call__(
    self,
    frames: UInt8[np.ndarray, "b t h w 3"],
    noise_id: UInt32[np.ndarray, "b"],
  ) -> poses_lib.Poses:
    """Poses of at most `config.evaluate.batch` clips, padded to that many.

    With several hosts, each calls it as often, with at most its `rows`.

    A joint's heatmap that is not finite in one member is left out of the mean,
    and this is logged; where it is so in all, the joint scores 0.

    Raises ValueError for more clips, or where no heatmap of a clip is finite.
    """
    return self.start(frames, noise_id).poses()

  def start(
    self,
    frames: UInt8[np.ndarray, "b t h w 3"],
    noise_id: UInt32[np.ndarray, "b"],
    *,
    size: int | None = None,
  ) -> "Pending":
    """As a call, but the devices' work is only begun.

    In batches of one size a clip's poses are the same to the last bit, whatever
    is beside it; of several sizes, `size` says which.
    """
    count = frames.shape[0]
    if count > len(self.rows):
      raise ValueError(
        f"{count} clips in a call; evaluate.batch is {self._sizes[-1]}, of "
        f"which this host gives {len(self.rows)}"
      )
    size = self._size(count) if size is None else size
    pad = len(sharding.rows(size, self._mesh)) - count
    given = {
      "frames": np.pad(frames, ((0, pad),) + ((0, 0),) * 4),
      "noise_id": np.pad(noise_id, (0, pad)),
    }
    given = sharding.to_global(given, self._mesh)
    arguments = (self._params, given, self._walk)
    if size not in self._programs:
      found = self._shelf.program(str(size), self._jit, arguments)
      self._programs[size] = hosts.compiled("estimate", found, *arguments)
    return Pending(self._programs[size](*arguments), count)

  def warm_up(self) -> None:
    """Compiles all sizes of `ladder`, so that none waits for it later."""
    config: Any = self.config
    frames = config_lib.frames(config)
    blank = np.zeros((1, frames, *config.data.size, 3), np.uint8)
    for size in self.ladder:
      self.start(blank, np.zeros(1, np.uint32), size=size).poses()

  def _size(self, count: int) -> int:
    """The batch to compute so many clips in.

    One that is compiled already rather than a smaller one that is not.
    """
    fitting = [size for size in self._sizes if size >= count]
    return next((s for s in fitting if s in self._programs), fitting[0])


def _sizes(batch: int, shares: int) -> tuple[int, ...]:
  """Sizes of batches, ascending: one for a handful of people, and the full."""
  small = -(-_FEW // shares) * shares
  return (small, batch) if small < batch else (batch,)


def _ladder(sizes: tuple[int, ...], shares: int) -> tuple[int, ...]:
  """The sizes with smaller ones, each twice the one before."""
  size, smaller = shares, []
  while size < sizes[0]:
    smaller.append(size)
    size *= 2
  return (*smaller, *sizes)


def _in_use(params: Any, mesh: jax.sharding.Mesh) -> Any:
  """Weights gathered once for many calls, where training splits them."""
  if params is None or mesh.shape["fsdp"] == 1:
    return params
  return jax.device_put(params, sharding.places_in_use(params, mesh))


def _walk(
  config: ml_collections.ConfigDict, steps: int, mesh: jax.sharding.Mesh
) -> sampling_lib.Walk:
  """What to walk for so many steps, as traced arguments."""
  times = sampler.time_grid(steps, config.evaluate.max_steps)
  # On all devices at once, so that no call moves them.
  return jax.device_put((times, np.int32(steps)), sharding.replicated(mesh))


def _check_finite(broken: Bool[np.ndarray, "m b k"]) -> None:
  if broken.all(axis=(0, 2)).any():
    raise ValueError(
      "the network gives no finite heatmap; the weights are broken, take an "
      "earlier checkpoint"
    )
  if broken.any():
    logging.warning(
      "%d of %d heatmaps are not finite; they are left out",
      broken.sum(),
      broken.size,
    )


def _estimate(config, skeleton, options, params, given, walk, halves=None):
  maps = sampling_lib.heatmaps(
    *(config, skeleton, params, given["frames"], given["noise_id"]),
    *(walk, options, halves),
  )
  return sampling_lib.read(config, maps)
