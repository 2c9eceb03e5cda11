"""The network in a table: parameters, memory and operations of its parts."""

import collections
import math
import pathlib
import re
from collections.abc import Iterable, Sequence
from typing import Any

import jax
import ml_collections

from diffpose_jax import config as config_lib
from diffpose_jax.inference import network
from diffpose_jax.model import flops, sharding
from diffpose_jax.pose import skeleton as skeletons

NAME = "model.txt"
_HEADS = (
  *("part", "parameters", "", "state MB", "forward GFLOP", "step GFLOP"),
)
_WORDS = {"decoder": "decoder, shared"} | {
  f"decoder {scale}": f"decoder, scale {scale}" for scale in (1, 2, 3)
}


def text(
  config: ml_collections.ConfigDict,
  skeleton: skeletons.Skeleton,
  state: Any,
  mesh: jax.sharding.Mesh,
) -> str:
  """The table and what a state takes on a device.

  Memory is that of a device, for parameters, average and moments. Operations
  are those of matrix products and convolutions for one clip, forward and in a
  training step; see `forward` and `step`.

  Args:
    config: of the run.
    skeleton: joints that the network finds.
    state: dict of a `step.State`, of arrays or ShapeDtypeStructs.
    mesh: on which it is.
  """
  places = sharding.places(state, mesh)
  counts = parameters(state["params"])
  sizes = _memory(state, places)
  once, whole = forward(config, skeleton), step(config, skeleton)
  rows = [
    (
      _WORDS.get(name, name),
      f"{count:,}",
      "frozen" if _is_frozen(config, name) else "learning",
      f"{sizes[name] / 1e6:,.1f}",
      f"{once[name] / 1e9:,.2f}",
      f"{whole[name] / 1e9:,.2f}",
    )
    for name, count in counts.items()
  ]
  totals = (
    "all",
    f"{sum(counts.values()):,}",
    "",
    f"{sum(sizes.values()) / 1e6:,.1f}",
    f"{sum(once.values()) / 1e9:,.2f}",
    f"{sum(whole.values()) / 1e9:,.2f}",
  )
  lines = _aligned([_HEADS, *rows, totals])
  return "\n".join([*lines, sharding.summary(state, places)])


def write(folder: pathlib.Path, *given: Any) -> None:
  """Writes `text` of what is given into a workdir."""
  (folder / NAME).write_text(text(*given) + "\n")


def parameters(params: Any) -> dict[str, int]:
  """How many each part has; the parts are those of `flops.parts`."""
  found: dict[str, int] = collections.defaultdict(int)
  for path, leaf in jax.tree_util.tree_flatten_with_path(params)[0]:
    found[_part(path)] += math.prod(leaf.shape)
  order = ["vit", "strl", "decoder 1", "decoder 2", "decoder 3", "decoder"]
  return {name: found[name] for name in order if name in found}


def forward(
  config: ml_collections.ConfigDict, skeleton: skeletons.Skeleton
) -> dict[str, int]:
  """Operations of each part for one clip, encoded and denoised once."""
  model = network.build_model(config, skeleton)
  return flops.parts(model, config_lib.frames(config), tuple(config.data.size))


def step(
  config: ml_collections.ConfigDict, skeleton: skeletons.Skeleton
) -> dict[str, int]:
  """Operations of each part for one clip of a training step, estimated.

  Three times those of `forward` where it learns: the gradients of inputs and of
  weights take as much each. Once more where everything is computed again
  (`model.remat` "full"), and for the decoder's own estimate
  (`train.self_aligned`), which takes as much as the other where it learns
  (`train.start_weight`); once only where it is frozen.
  """
  model, again = network.build_model(config, skeleton), config.model.remat
  count = flops.count(model, config_lib.frames(config), tuple(config.data.size))
  # An estimate of its own does not prepare the features again.
  own = count.decoder / (count.prepare + count.decoder)
  result = {}
  for name, operations in forward(config, skeleton).items():
    times = 1.0 if _is_frozen(config, name) else 3.0
    if name.startswith("decoder"):
      if config.train.start_weight > 0:
        times += own * times  # which learns
      elif config.train.self_aligned > 0:
        times += own
    elif again == "full" and times > 1:
      times += 1
    result[name] = round(times * operations)
  return result


def _is_frozen(config: ml_collections.ConfigDict, part: str) -> bool:
  return part == "vit" and config.train.freeze_backbone


def _part(path: Sequence[Any]) -> str:
  """The part that a leaf of parameters, averages or moments is of.

  Empty for what is of none, as the number of the step.
  """
  names = [str(getattr(key, "key", "")) for key in path]
  for name in ("vit", "strl"):
    if name in names:
      return name
  if "decoder" not in names:
    return ""
  module = names[names.index("decoder") + 1]
  scale = re.search(r"_([123])$", module)
  return f"decoder {scale[1]}" if scale else "decoder"


def _memory(state: Any, places: Any) -> dict[str, int]:
  """Bytes of each part on a device, and of what is of none under ''."""
  found: dict[str, int] = collections.defaultdict(int)
  leaves = jax.tree_util.tree_flatten_with_path(state)[0]
  for (path, leaf), place in zip(leaves, jax.tree.leaves(places), strict=True):
    shape = place.shard_shape(leaf.shape)
    found[_part(path)] += math.prod(shape) * leaf.dtype.itemsize
  return found


def _aligned(rows: Sequence[Iterable[str]]) -> list[str]:
  """Lines of columns: words to the left, numbers to the right."""
  cells = [list(row) for row in rows]
  widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
  left = (0, 2)
  return [
    "  ".join(
      cell.ljust(width) if i in left else cell.rjust(width)
      for i, (cell, width) in enumerate(zip(row, widths, strict=True))
    ).rstrip()
    for row in cells
  ]
