"""A file of public weights, turned into our leaves with every key accounted for."""

import dataclasses
import difflib
import hashlib
import pathlib
import re
from typing import Any

import numpy as np

from diffpose_jax.model import diffpose
from diffpose_jax.weights import formats, position, rules, sidecar, tensors


@dataclasses.dataclass(frozen=True)
class Source:
  """Public weights by our names, and what is known of them."""

  leaves: dict[str, np.ndarray]  # float32; vit/… and keypoint_head/…
  used_by: dict[str, tuple[str, ...]]  # leaf: keys of the file it is made of
  format: str
  file: str
  sha256: str
  width: int
  depth: int
  patch: int
  grid: tuple[int, int]
  heads: int | None  # None where the file does not say
  head: str  # "classic", "simple" or "" (none)
  joints: int
  used: int  # keys of the file
  unused: tuple[str, ...]
  notes: tuple[str, ...]

  @property
  def size(self) -> str:
    """Name of the size, or width and depth."""
    return size_name(self.width, self.depth)


def size_name(width: int, depth: int) -> str:
  """Name in `diffpose.SIZES`, or width and depth."""
  for name, size in diffpose.SIZES.items():
    if (size.width, size.depth) == (width, depth):
      return name
  return f"width {width}, depth {depth}"


def read(path: pathlib.Path) -> Source:
  """The weights of a file in a public format.

  Raises ValueError where the file is of no known format, has a key too many or
  too few, or a tensor of another shape or type than its format has.
  """
  wrapper, arrays = tensors.read_wrapped(path)
  config = sidecar.read(path)
  try:
    return _convert(path, wrapper, arrays, config)
  except ValueError as error:
    raise ValueError(f"{path}: {error}") from error


def _convert(
  path: pathlib.Path,
  wrapper: str,
  arrays: dict[str, np.ndarray],
  config: dict[str, Any],
) -> Source:
  form, named = formats.recognise(wrapper, arrays)
  dims = dims_of(form, named)
  dims, grid, notes = _configured(form, dims, config)
  plan = form.rules(form, dims)
  unused = _account(form, named, plan)
  leaves: dict[str, np.ndarray] = {}
  used_by: dict[str, tuple[str, ...]] = {}
  for rule in plan:
    made = rule.make(*(_weights(named[key], key) for key in rule.sources))
    leaves |= made
    used_by |= dict.fromkeys(made, tuple(rule.sources))
  leaves["vit/position"] = _position(form, dims, leaves["vit/position"], grid)
  pixels, told = sidecar.pixels(form, config)
  _fold(leaves, *pixels)
  return Source(
    leaves={k: np.ascontiguousarray(v, np.float32) for k, v in leaves.items()},
    used_by=used_by,
    format=form.name,
    file=path.name,
    sha256=sha256(path),
    width=dims.width,
    depth=dims.depth,
    patch=dims.patch,
    grid=grid,
    heads=dims.heads,
    head=dims.head,
    joints=dims.joints,
    used=len(arrays) - len(unused),
    unused=tuple(unused),
    notes=(*notes, *told),
  )


def dims_of(form: formats.Format, named: dict[str, np.ndarray]) -> formats.Dims:
  """What the shapes of the file say of its network."""
  patch, place = _shape(named, form.patch, 4), _shape(named, form.position, 3)
  flax = form.flax
  width, side = (patch[3], patch[0]) if flax else (patch[0], patch[2])
  blocks = {m[1] for key in named if (m := re.match(form.block, key))}
  head, head_width, joints = "", 0, 0
  final = f"{form.final}.weight"
  if form.deconv in named:
    head, head_width = "classic", _shape(named, form.deconv, 4)[1]
  elif final in named:
    head = "simple"
  if head:
    joints = _shape(named, final, 4)[0]
  heads = form.heads.get(width)
  if flax:
    first = "Transformer/encoderblock_0/MultiHeadDotProductAttention_0"
    heads = _shape(named, f"{first}/query/kernel", 3)[1]
  if not width or not blocks or (heads and width % heads):
    raise ValueError(
      f"{form.name} of width {width}, {len(blocks)} blocks and {heads} heads"
    )
  return formats.Dims(
    width, len(blocks), side, place[1], heads, head, head_width, joints
  )


def _shape(
  named: dict[str, np.ndarray], key: str, rank: int
) -> tuple[int, ...]:
  """The shape of one tensor; raises ValueError where it cannot be its kind."""
  if key not in named:
    raise ValueError(f"{key} is missing; known names: {_first(named)}")
  if named[key].ndim != rank:
    raise ValueError(f"{key} has shape {named[key].shape}, not {rank} axes")
  return named[key].shape


def _first(named: dict[str, np.ndarray]) -> str:
  return ", ".join(ascii(key[:60]) for key in sorted(named)[:3])


def _account(
  form: formats.Format, named: dict[str, np.ndarray], plan: list[rules.Rule]
) -> list[str]:
  """The keys that have no use here.

  Raises ValueError for missing keys, others that are not known, and shapes
  that are not those of the format.
  """
  wanted = {key: shape for rule in plan for key, shape in rule.sources.items()}
  if len(wanted) != sum(len(rule.sources) for rule in plan):
    raise AssertionError(f"two rules of {form.name} take one key")
  missing = [key for key in wanted if key not in named]
  extra, unused = [], []
  for key in named.keys() - wanted.keys():
    known = any(re.fullmatch(pattern, key) for pattern in form.unused)
    (unused if known else extra).append(key)
  for key in sorted(extra):
    if reason := formats.foreign(key):
      raise ValueError(
        f"{form.name} with {reason} ({key[:80]!a}), which this network has "
        "not; take weights of a plain ViT"
      )
  if missing or extra:
    raise ValueError(_difference(form, missing, sorted(extra)))
  wrong = [
    f"{key} is {named[key].shape} where {shape} belongs"
    for key, shape in wanted.items()
    if named[key].shape != shape
  ]
  if wrong:
    raise ValueError(f"not a {form.name} of one size: {_some(wrong, '; ')}")
  return sorted(unused)


def _difference(
  form: formats.Format, missing: list[str], extra: list[str]
) -> str:
  """One line on keys too few and too many."""
  parts = []
  if missing:
    parts.append(f"{len(missing)} keys are missing: {_some(missing)}")
  if extra:
    shown = [
      key[:80] if key.isprintable() else ascii(key[:80]) for key in extra
    ]
    parts.append(f"{len(extra)} are not known: {_some(shown)}")
  for key in extra[:20]:
    close = difflib.get_close_matches(key[:200], missing[:200], 1)
    if close:
      parts.append(f"is {key[:80]} a renamed {close[0]}?")
      break
  return f"not the keys of {form.name}: {'; '.join(parts)}"


def _some(texts: list[str], separator: str = ", ") -> str:
  more = f" and {len(texts) - 3} more" if len(texts) > 3 else ""
  return separator.join(texts[:3]) + more


def _weights(array: np.ndarray, key: str) -> np.ndarray:
  """The array in float32; raises ValueError where it cannot be weights."""
  if array.dtype.name not in ("float64", "float32", "float16", "bfloat16"):
    raise ValueError(f"{key} is of {array.dtype}, weights are of floats")
  with np.errstate(over="ignore"):
    result = array.astype(np.float32, copy=False)
  if not np.isfinite(result).all():
    raise ValueError(f"{key} holds numbers that are not finite")
  return result


def _position(
  form: formats.Format,
  dims: formats.Dims,
  array: np.ndarray,
  grid: tuple[int, int],
) -> np.ndarray:
  """The embedding on its grid; what it says of a class token as it was used."""
  patches = array[:, dims.tokens - grid[0] * grid[1] :]
  if form.class_token == "added":
    patches = patches + array[:, :1]
  return patches.reshape(1, *grid, dims.width)


def _configured(
  form: formats.Format, dims: formats.Dims, config: dict[str, Any]
) -> tuple[formats.Dims, tuple[int, int], list[str]]:
  """The dims with what a config.json beside the file says, grid and notes."""
  notes = []
  tokens = dims.tokens - 1
  grid = position.grid_of(tokens)
  if form.class_token == "left out" and position.grid_of(dims.tokens):
    tokens, grid = dims.tokens, position.grid_of(dims.tokens)
  if config.get("model_type") == "vitpose":
    backbone = sidecar.hugging_face(config)
    dims = dataclasses.replace(dims, heads=backbone["num_attention_heads"])
    grid = tuple(side // dims.patch for side in backbone["image_size"])
  if grid is None or grid[0] * grid[1] != tokens:
    raise ValueError(
      f"{form.position} has {dims.tokens} rows, which are no grid of patches"
      + (f" {grid[0]}x{grid[1]} and a class token" if grid else "")
    )
  if dims.heads is None:
    notes.append("the number of attention heads is not told; the network's")
  elif dims.width % dims.heads:
    raise ValueError(f"{dims.heads} heads do not divide width {dims.width}")
  return dims, grid, notes


def _fold(leaves: dict[str, np.ndarray], mean: Any, std: Any) -> None:
  """Makes the patch embedding take pixels normalised as ours are."""
  own_mean, own_std = (np.array(v) for v in formats.IMAGENET)
  if np.allclose(mean, own_mean) and np.allclose(std, own_std):
    return
  kernel = leaves["vit/stem/embed/kernel"].astype(np.float64)
  scale = own_std / np.array(std)
  shift = (own_mean - np.array(mean)) / np.array(std)
  leaves["vit/stem/embed/bias"] = leaves["vit/stem/embed/bias"] + np.einsum(
    "ijcd,c->d", kernel, shift
  )
  leaves["vit/stem/embed/kernel"] = kernel * scale.reshape(1, 1, 3, 1)


def sha256(path: pathlib.Path) -> str:
  """SHA-256 of a file, in hexadecimal."""
  with open(path, "rb") as file:
    return hashlib.file_digest(file, "sha256").hexdigest()
