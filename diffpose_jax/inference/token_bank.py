"""Clips whose frames are looked at once, where they share their box.

The tokens of a frame, as a person's shared box shows it, stay on the devices
in a bank of a fixed number of places; a clip is fused out of those of its
frames. A frame that is not there, or no longer, is looked at anew: what is in
the bank changes the time that a pose takes, and nothing else.
"""

import collections
import dataclasses
import functools
from collections.abc import Hashable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Int, UInt8, UInt32

from diffpose_jax import config as config_lib
from diffpose_jax.inference import estimator as estimator_lib
from diffpose_jax.inference import network
from diffpose_jax.inference import sampling as sampling_lib
from diffpose_jax.model import sharding

_BYTES = 256 << 20  # of the bank, if that is enough for two batches
_MOST = 2048  # places


@dataclasses.dataclass(frozen=True)
class Look:
  """A frame as a person's box shows it."""

  key: Hashable  # the same for the same frame and box, and for no others
  crop: UInt8[np.ndarray, "h w 3"]


class Bank:
  """Estimates clips of looks."""

  def __init__(self, estimator: estimator_lib.Estimator):
    """With places for two batches at least."""
    if estimator.exported:
      raise ValueError(
        "--share_crops looks at single frames, for which a bundle has no "
        "program; give the weights that it was made of, or leave the flag"
      )
    self._estimator = estimator
    config: Any = estimator.config
    skeleton = estimator.skeleton
    _, _, mesh = estimator.parts
    self._few = estimator.sizes[0]  # frames that are looked at in one call
    tokens = self._tokens()
    batch = estimator.sizes[-1] * config_lib.frames(config)
    each = tokens.size // self._few * tokens.dtype.itemsize
    places = max(2 * batch, min(_BYTES // each, _MOST))
    self._free = list(range(places))
    self._places: collections.OrderedDict[Hashable, int] = (
      collections.OrderedDict()
    )
    views, _, *shape = tokens.shape
    self._bank = jax.device_put(
      np.zeros((views, places, *shape), tokens.dtype), sharding.replicated(mesh)
    )
    what = (config, skeleton, estimator.options)
    self._look = jax.jit(
      functools.partial(_looked, *what, mesh),
      donate_argnums=1,
      out_shardings=sharding.replicated(mesh),
    )
    self._fuse = jax.jit(
      sharding.apart(
        functools.partial(_fused, *what),
        mesh,
        clips_in=(None, None, 0, None),
        clips_out=sampling_lib.CLIPS_OUT,
      )
    )

  def start(
    self,
    clips: Sequence[Sequence[Look]],
    noise_id: UInt32[np.ndarray, "b"],
    *,
    size: int,
  ) -> estimator_lib.Pending:
    """Begins the devices' work on clips of 2δ + 1 looks; see `Estimator.start`.

    At most `size` clips, which is one of `Estimator.sizes`.
    """
    params, walk, mesh = self._estimator.parts
    places = self._filled([look for clip in clips for look in clip])
    index = places.reshape(len(clips), -1)
    pad = size - len(clips)
    given = {
      "index": np.pad(index, ((0, pad), (0, 0))).astype(np.int32),
      "noise_id": np.pad(noise_id, (0, pad)),
    }
    given = sharding.to_global(given, mesh)
    out = self._fuse(params, self._bank, given, walk)
    return estimator_lib.Pending(out, len(clips))

  def warm_up(self) -> None:
    """Compiles all sizes of `Estimator.ladder`."""
    config: Any = self._estimator.config
    crop = np.zeros((*config.data.size, 3), np.uint8)
    clip = [Look("blank", crop)] * config_lib.frames(config)
    for size in self._estimator.ladder:
      self.start([clip], np.zeros(1, np.uint32), size=size).poses()

  def _filled(self, looks: Sequence[Look]) -> Int[np.ndarray, "n"]:
    """Where in the bank the tokens of looks are, after looking at the new."""
    wanted = {look.key: look for look in looks}
    missing = []
    for key, look in wanted.items():
      if key in self._places:
        self._places.move_to_end(key)
      else:
        missing.append(look)
    for look in missing:
      # Who was not wanted for longest; that is nobody who is wanted now.
      place = self._free.pop() if self._free else self._forget()
      self._places[look.key] = place
    for first in range(0, len(missing), self._few):
      self._look_at(missing[first : first + self._few])
    return np.array([self._places[look.key] for look in looks])

  def _forget(self) -> int:
    _, place = self._places.popitem(last=False)
    return place

  def _look_at(self, looks: Sequence[Look]) -> None:
    """Puts the tokens of a few frames into their places."""
    params, _, mesh = self._estimator.parts
    crops = np.stack([look.crop for look in looks])
    pad = self._few - len(looks)
    crops = np.pad(crops, ((0, pad), (0, 0), (0, 0), (0, 0)))
    places = [self._places[look.key] for look in looks]
    # One beyond the bank is dropped.
    places += [self._bank.shape[1]] * pad
    given = sharding.to_global({"frames": crops}, mesh)
    given["places"] = jax.device_put(
      np.array(places, np.int32), sharding.replicated(mesh)
    )
    self._bank = self._look(params, self._bank, given)

  def _tokens(self) -> jax.ShapeDtypeStruct:
    """Shape and dtype of what is looked at in one call."""
    config = self._estimator.config
    params, _, _ = self._estimator.parts
    size = tuple(config.data.size)
    frames = jax.ShapeDtypeStruct((self._few, *size, 3), jnp.uint8)
    look = functools.partial(
      _look, config, self._estimator.skeleton, self._estimator.options
    )
    (tokens,) = jax.eval_shape(look, params, frames)
    return tokens


def _look(config, skeleton, options, params, frames) -> tuple[jax.Array]:
  """Tokens [v n y x d] of each of the views of frames."""
  model = network.build_model(config, skeleton)
  look: Any = functools.partial(model.apply, {"params": params}, method="look")
  views = [look(view) for view in sampling_lib.views(frames, options)]
  return (jnp.stack(views),)


def _looked(config, skeleton, options, mesh, params, bank, given):
  """The bank with the tokens of frames in some places."""
  look = sharding.apart(
    functools.partial(_look, config, skeleton, options),
    mesh,
    clips_in=(None, 0),
    clips_out=(1,),
  )
  (tokens,) = look(params, given["frames"])
  tokens = jax.lax.with_sharding_constraint(tokens, sharding.replicated(mesh))
  return bank.at[:, given["places"]].set(tokens, mode="drop")


def _fused(config, skeleton, options, params, bank, given, walk):
  """What `Pending` holds of clips."""
  model = network.build_model(config, skeleton)
  fuse: Any = functools.partial(model.apply, {"params": params}, method="fuse")
  features = [fuse(tokens[given["index"]]) for tokens in bank]
  maps = sampling_lib.sampled(
    config, skeleton, params, features, given["noise_id"], walk, options
  )
  return sampling_lib.read(config, maps)
