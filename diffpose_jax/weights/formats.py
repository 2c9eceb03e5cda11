"""The public formats of ViT weights: how each is recognised and what it holds.

A format is a fixed set of names. Everything a file holds is either taken by a
rule or on the format's list of what has no use here; anything else means that
the file is of another network, and `public` refuses it.
"""

import dataclasses
import re
from collections.abc import Callable

import numpy as np

from diffpose_jax.weights import flax_names, rules

HEAD = "keypoint_head"  # our head's leaves; see model/vitpose.py
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
SIGNED = ((0.5,) * 3, (0.5,) * 3)  # pictures in [-1, 1]


@dataclasses.dataclass(frozen=True)
class Dims:
  """What the shapes in a file say of its network."""

  width: int
  depth: int
  patch: int
  tokens: int  # rows of the position embedding
  heads: int | None  # None where the file does not say
  head: str  # "classic", "simple" or "" (none)
  head_width: int
  joints: int


@dataclasses.dataclass(frozen=True)
class Format:
  """A public format; names are those in its files."""

  name: str
  mark: str  # a key that only this format has
  patch: str  # key of the patch embedding's kernel
  block: str  # pattern of a block's keys; its group is the number
  position: str  # key of the position embedding
  class_token: str  # "added", "left out": its row of the position embedding
  heads: dict[int, int]  # of each width published
  unused: tuple[str, ...]  # patterns of keys that have no use here
  rules: Callable[["Format", Dims], list[rules.Rule]]
  pixels: tuple[tuple[float, ...], tuple[float, ...]] = IMAGENET
  flax: bool = False  # axes in Flax's order; heads are an axis
  deconv: str = ""  # key of the first kernel of a classic head
  final: str = ""  # name of the last layer of a head


# Source of the heads: Touvron et al. 2021 (S of 6) and the public configs of
# ViTPose (S of 12).
_VIT_HEADS = {192: 3, 384: 6, 768: 12, 1024: 16, 1280: 16}
_POSE_HEADS = {384: 12, 768: 12, 1024: 16, 1280: 16}

_CLASSIFIER = (r"cls_token", r"head(_dist)?\.(weight|bias)")
_COUNTS = r"num_batches_tracked"


def _timm_blocks(prefix: str, dims: Dims) -> list[rules.Rule]:
  result = []
  d = dims.width
  for i in range(dims.depth):
    leaf, source = f"vit/block_{i:02}", f"{prefix}blocks.{i}"
    result += [
      rules.norm(f"{leaf}/norm_1", f"{source}.norm1", d),
      rules.linear(f"{leaf}/attention/qkv", [f"{source}.attn.qkv"], 3 * d, d),
      rules.linear(f"{leaf}/attention/out", [f"{source}.attn.proj"], d, d),
      rules.norm(f"{leaf}/norm_2", f"{source}.norm2", d),
      rules.linear(f"{leaf}/mlp/hidden", [f"{source}.mlp.fc1"], 4 * d, d),
      rules.linear(f"{leaf}/mlp/out", [f"{source}.mlp.fc2"], d, 4 * d),
    ]
  return result


def _position(form: Format, dims: Dims) -> rules.Rule:
  shape = (1, dims.tokens, dims.width)
  return rules.plain("vit/position", form.position, shape)


def _head(
  dims: Dims, up: list[tuple[str, str]], final: str
) -> list[rules.Rule]:
  """Rules of a head: pairs of deconvolution and batch norm, the last layer."""
  result = []
  narrow, wide = dims.width, dims.head_width
  if dims.head == "classic":
    for i, (kernel, norm) in enumerate(up):
      leaf = f"{HEAD}/up_{i}"
      result += [rules.deconvolution(leaf, kernel, norm, wide, narrow)]
      narrow = wide
  side = {"classic": 1, "simple": 3}.get(dims.head)
  if side:
    leaf = f"{HEAD}/final"
    result += [rules.convolution(leaf, final, dims.joints, narrow, side)]
  return result


def _vitpose(form: Format, dims: Dims) -> list[rules.Rule]:
  stem = "backbone.patch_embed.proj"
  layers = "keypoint_head.deconv_layers"
  up = [(f"{layers}.0", f"{layers}.1"), (f"{layers}.3", f"{layers}.4")]
  return [
    rules.convolution("vit/stem/embed", stem, dims.width, 3, dims.patch),
    _position(form, dims),
    *_timm_blocks("backbone.", dims),
    rules.norm("vit/norm", "backbone.last_norm", dims.width),
    *_head(dims, up, form.final),
  ]


def _timm(form: Format, dims: Dims) -> list[rules.Rule]:
  stem = "patch_embed.proj"
  return [
    rules.convolution("vit/stem/embed", stem, dims.width, 3, dims.patch),
    _position(form, dims),
    *_timm_blocks("", dims),
    rules.norm("vit/norm", "norm", dims.width),
  ]


def _hugging_face(form: Format, dims: Dims) -> list[rules.Rule]:
  d = dims.width
  stem = "backbone.embeddings.patch_embeddings.projection"
  result = [
    rules.convolution("vit/stem/embed", stem, d, 3, dims.patch),
    _position(form, dims),
  ]
  for i in range(dims.depth):
    leaf, source = f"vit/block_{i:02}", f"backbone.encoder.layer.{i}"
    attention = f"{source}.attention.attention"
    qkv = [f"{attention}.{name}" for name in ("query", "key", "value")]
    out = [f"{source}.attention.output.dense"]
    result += [
      rules.norm(f"{leaf}/norm_1", f"{source}.layernorm_before", d),
      rules.linear(f"{leaf}/attention/qkv", qkv, d, d),
      rules.linear(f"{leaf}/attention/out", out, d, d),
      rules.norm(f"{leaf}/norm_2", f"{source}.layernorm_after", d),
      rules.linear(f"{leaf}/mlp/hidden", [f"{source}.mlp.fc1"], 4 * d, d),
      rules.linear(f"{leaf}/mlp/out", [f"{source}.mlp.fc2"], d, 4 * d),
    ]
  up = [(f"head.deconv{i}", f"head.batchnorm{i}") for i in (1, 2)]
  return [
    *result,
    rules.norm("vit/norm", "backbone.layernorm", d),
    *_head(dims, up, form.final),
  ]


def _flax(form: Format, dims: Dims) -> list[rules.Rule]:
  d, p, heads = dims.width, dims.patch, dims.heads or 1
  result = [
    rules.flax_layer("vit/stem/embed", "embedding", (p, p, 3, d)),
    _position(form, dims),
    rules.flax_norm("vit/norm", "Transformer/encoder_norm", d),
  ]
  for i in range(dims.depth):
    leaf, source = f"vit/block_{i:02}", f"Transformer/encoderblock_{i}"
    attention = f"{source}/MultiHeadDotProductAttention_0"
    mlp = f"{source}/MlpBlock_0"
    result += [
      rules.flax_norm(f"{leaf}/norm_1", f"{source}/LayerNorm_0", d),
      *rules.flax_attention(f"{leaf}/attention", attention, d, heads),
      rules.flax_norm(f"{leaf}/norm_2", f"{source}/LayerNorm_1", d),
      rules.flax_layer(f"{leaf}/mlp/hidden", f"{mlp}/Dense_0", (d, 4 * d)),
      rules.flax_layer(f"{leaf}/mlp/out", f"{mlp}/Dense_1", (4 * d, d)),
    ]
  return result


_POSE = Format(
  name="ViTPose",
  mark="backbone.patch_embed.proj.weight",
  patch="backbone.patch_embed.proj.weight",
  block=r"backbone\.blocks\.(\d+)\.",
  position="backbone.pos_embed",
  class_token="added",
  heads=_POSE_HEADS,
  unused=(
    r"backbone\.cls_token",
    r"associate_keypoint_heads\..+",
    rf"keypoint_head\..+\.{_COUNTS}",
  ),
  rules=_vitpose,
  deconv="keypoint_head.deconv_layers.0.weight",
  final="keypoint_head.final_layer",
)
_HUGGING_FACE = Format(
  name="ViTPose of Hugging Face",
  mark="backbone.embeddings.patch_embeddings.projection.weight",
  patch="backbone.embeddings.patch_embeddings.projection.weight",
  block=r"backbone\.encoder\.layer\.(\d+)\.",
  position="backbone.embeddings.position_embeddings",
  class_token="added",
  heads=_POSE_HEADS,
  unused=(rf"head\..+\.{_COUNTS}",),
  rules=_hugging_face,
  deconv="head.deconv1.weight",
  final="head.conv",
)
_TIMM = Format(
  name="timm",
  mark="patch_embed.proj.weight",
  patch="patch_embed.proj.weight",
  block=r"blocks\.(\d+)\.",
  position="pos_embed",
  class_token="left out",
  heads=_VIT_HEADS,
  unused=(*_CLASSIFIER, r"pre_logits\.fc\.(weight|bias)"),
  rules=_timm,
)
_MAE = dataclasses.replace(
  _TIMM,
  name="MAE",
  # The S of ViTPose's own pre-training.
  heads=_POSE_HEADS,
  unused=(r"cls_token", r"mask_token", r"decoder_.+"),
)
_BIG_VISION = Format(
  name="big_vision",
  mark=flax_names.MARK,
  patch="embedding/kernel",
  block=r"Transformer/encoderblock_(\d+)/",
  position="pos_embedding",
  class_token="left out",
  heads={},
  unused=(r"cls", r"(head|pre_logits)/.+", r"MAPHead_0/.+", r"opt/.+"),
  rules=_flax,
  pixels=SIGNED,
  flax=True,
)
NAMES = [f.name for f in (_POSE, _HUGGING_FACE, _MAE, _TIMM, _BIG_VISION)]


def recognise(
  wrapper: str, tensors: dict[str, np.ndarray]
) -> tuple[Format, dict[str, np.ndarray]]:
  """The file's format, and its tensors with that format's names.

  Raises ValueError where it is none of those known.
  """
  if any(flax_names.MARK in name for name in tensors):
    tensors = flax_names.plain(tensors)
  for form in (_POSE, _HUGGING_FACE, _BIG_VISION, _TIMM):
    if form.mark in tensors:
      if form is _TIMM and _is_mae(wrapper, tensors):
        form = _MAE
      return form, tensors
  shown = ", ".join(ascii(name[:60]) for name in sorted(tensors)[:3])
  raise ValueError(
    f"its {len(tensors)} tensors ({shown or 'none'}…) are of no known format: "
    f"{', '.join(NAMES)}"
  )


def _is_mae(wrapper: str, tensors: dict[str, np.ndarray]) -> bool:
  """With its decoder, or as published without: wrapped, and no classifier."""
  decoder = any(n.startswith(("decoder_", "mask_token")) for n in tensors)
  return decoder or (wrapper == "model" and "head.weight" not in tensors)


_FOREIGN = (
  (r"(^|\.)experts\.", "a mixture of experts, as ViTPose+ has"),
  (r"(\.ls[12]\.|\.gamma(_[12])?$|layer_?scale)", "layer scale"),
  (r"\.[qk]_norm\.|(query|key)_norm", "norms of query and key"),
  (r"(reg_token|register)", "register tokens"),
  (r"(rel_pos|relative_position)", "relative positions"),
)


def foreign(name: str) -> str:
  """What of another network this key belongs to, or nothing."""
  for pattern, text in _FOREIGN:
    if re.search(pattern, name):
      return text
  return ""
