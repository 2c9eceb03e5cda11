"""Public weights for a network's parameters, every leaf filled exactly once."""

import pathlib
from typing import Any

import numpy as np
from flax import traverse_util

from diffpose_jax.weights import account, converted, position, source

_Grids = tuple[tuple[int, int], tuple[int, int]] | None


def load_backbone(
  path: pathlib.Path, like: dict[str, Any], *, heads: int
) -> tuple[dict[str, Any], account.Account]:
  """Parameters of a backbone, float32, and the account of where they are from.

  A position embedding of another grid is resized.

  Args:
    path: file of public weights, or a folder that `convert` wrote.
    like: tree of arrays or ShapeDtypeStructs, of the network's `vit`.
    heads: of the network's attention; most files do not tell theirs, their
      formats do.

  Raises:
    ValueError: the file is damaged, of no known format, or of a network of
      another size, patch or number of heads. Says the difference.
  """
  tree, told = _load(path, {"vit": like}, heads)
  return tree["vit"], told


def load_vitpose(
  path: pathlib.Path, like: dict[str, Any], *, heads: int
) -> tuple[dict[str, Any], account.Account]:
  """As `load_backbone`, for all parameters of `vitpose.ViTPose`.

  Raises ValueError also for another head or number of joints.
  """
  return _load(path, like, heads)


def _load(
  path: pathlib.Path, like: dict[str, Any], heads: int
) -> tuple[dict[str, Any], account.Account]:
  path = pathlib.Path(path)
  weights = converted.read(path) if path.is_dir() else source.read(path)
  flat: dict[str, Any] = dict(traverse_util.flatten_dict(like, sep="/"))
  wanted = {name: tuple(leaf.shape) for name, leaf in flat.items()}
  _check_backbone(path, weights, wanted, heads)
  if "keypoint_head/final/kernel" in wanted:
    _check_head(path, weights, wanted)
  leaves = {name: weights.leaves.get(name) for name in wanted}
  resized = _resize(leaves, weights, wanted["vit/position"][1:3])
  wrong = [
    f"{name} is {None if leaf is None else leaf.shape}, the network's "
    f"{wanted[name]}"
    for name, leaf in leaves.items()
    if leaf is None or leaf.shape != wanted[name]
  ]
  wrong += [
    f"{name} is of {leaf.dtype}"
    for name, leaf in leaves.items()
    if leaf is not None and leaf.dtype != np.float32
  ]
  surplus = [
    name
    for name in weights.leaves.keys() - wanted.keys()
    if name.split("/")[0] in like
  ]
  wrong += [f"{name} has no place in the network" for name in sorted(surplus)]
  if wrong:
    raise ValueError(f"{path}: not weights of this network: {_some(wrong)}")
  told = _account(path, weights, wanted, resized)
  return traverse_util.unflatten_dict(leaves, sep="/"), told


def _some(texts: list[str]) -> str:
  more = f" and {len(texts) - 3} more" if len(texts) > 3 else ""
  return "; ".join(texts[:3]) + more


def _check_backbone(
  path: pathlib.Path,
  weights: source.Source,
  wanted: dict[str, tuple[int, ...]],
  heads: int,
) -> None:
  """Raises ValueError for a backbone of another make, with the remedy."""
  kernel = wanted.get("vit/stem/embed/kernel")
  if kernel is None or "vit/position" not in wanted:
    raise ValueError(
      f"{path}: public weights embed patches by one convolution, the network "
      "by a small convolutional one: --config.model.stem=patch"
    )
  blocks = {name.split("/")[1] for name in wanted if "/block_" in name}
  width, depth, patch = kernel[3], len(blocks), kernel[0]
  told = f"{path}: {weights.format} weights"
  if (weights.width, weights.depth) != (width, depth):
    known = weights.size if " " not in weights.size else ""
    remedy = f": --config.model.size={known}" if known else ""
    raise ValueError(
      f"{told} of width {weights.width}, depth {weights.depth}; the network's "
      f"are {width}, {depth} ({source.size_name(width, depth)}){remedy}"
    )
  if weights.patch != patch:
    raise ValueError(
      f"{told} of patches of {weights.patch} pixels; the network's are of "
      f"{patch}: take weights of {patch}, or --config.model.patch="
      f"{weights.patch} where that divides the crop"
    )
  if weights.heads not in (None, heads):
    raise ValueError(
      f"{told} with {weights.heads} attention heads; the network has {heads}, "
      f"and would mix them up: --config.model.heads={weights.heads}"
    )


def _check_head(
  path: pathlib.Path,
  weights: source.Source,
  wanted: dict[str, tuple[int, ...]],
) -> None:
  """Raises ValueError for a head of another make or for other joints."""
  head = "classic" if "keypoint_head/up_0/kernel" in wanted else "simple"
  joints = wanted["keypoint_head/final/kernel"][3]
  if weights.head != head:
    raise ValueError(
      f"{path}: {weights.format} weights with "
      f"{f'a {weights.head}' if weights.head else 'no'} head; the network's "
      f"is {head}"
    )
  if weights.joints != joints:
    raise ValueError(
      f"{path}: heatmaps of {weights.joints} joints; the network's are {joints}"
    )


def _resize(
  leaves: dict[str, np.ndarray | None],
  weights: source.Source,
  grid: tuple[int, ...],
) -> _Grids:
  """Brings the position embedding to the network's grid; from which to which."""
  there = leaves["vit/position"]
  rows, columns = grid
  if there is None or there.ndim != 4 or weights.grid == (rows, columns):
    return None
  leaves["vit/position"] = position.resize(there, (rows, columns))
  return weights.grid, (rows, columns)


def _account(
  path: pathlib.Path,
  weights: source.Source,
  wanted: dict[str, tuple[int, ...]],
  resized: _Grids,
) -> account.Account:
  """The account; keys that only other leaves are made of count as unused."""
  left = {
    key
    for leaf, keys in weights.used_by.items()
    if leaf not in wanted
    for key in keys
  }
  return account.Account(
    format=weights.format,
    source=str(path),
    sha256=weights.sha256,
    size=weights.size,
    used=weights.used - len(left),
    unused=tuple(sorted({*weights.unused, *left})),
    resized=resized,
    notes=weights.notes,
  )
