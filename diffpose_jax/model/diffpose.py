"""DiffPose: encode a clip once, denoise heatmaps as often as wanted.

Source: Feng et al., DiffPose: SpatioTemporal Diffusion Model for Video-Based
Human Pose Estimation, ICCV 2023 (arXiv 2307.16687).
"""

import dataclasses

import einops
import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax.typing import DTypeLike
from jaxtyping import Array, Float, UInt8

from diffpose_jax.model import pose_decoder, strl, transformer, vit

# Mean and deviation of ImageNet's RGB values in [0, 1], as every backbone of
# the family was trained with.
_MEAN = np.array([0.485, 0.456, 0.406], np.float32)
_STD = np.array([0.229, 0.224, 0.225], np.float32)


@dataclasses.dataclass(frozen=True)
class Size:
  """Width, depth and heads of the backbone."""

  width: int
  depth: int
  heads: int


# Ti, S, B, L: Dosovitskiy et al. 2021 and Touvron et al. 2021 (arXiv
# 2012.12877); H and the 12 heads of S as in ViTPose. `cpu` is ours, to train in
# minutes on two cores.
SIZES = {
  "cpu": Size(128, 3, 4),
  "Ti": Size(192, 12, 3),
  "S": Size(384, 12, 12),
  "B": Size(768, 12, 12),
  "L": Size(1024, 24, 16),
  "H": Size(1280, 32, 16),
}


def backbone(size: str, heads: int = 0, depth: int = 0) -> Size:
  """What a size stands for, with other `heads` or `depth` unless they are 0.

  Raises ValueError for a size that is not known, or heads that do not divide
  its width.
  """
  if size not in SIZES:
    raise ValueError(f"model size {size!r}; known are {list(SIZES)}")
  found = SIZES[size]
  found = dataclasses.replace(found, depth=depth or found.depth)
  if not heads:
    return found
  if found.width % heads:
    raise ValueError(
      f"{heads} attention heads do not divide the width {found.width} of model "
      f"size {size!r}"
    )
  return dataclasses.replace(found, heads=heads)


class DiffPose(nn.Module):
  """The network: `encode` once per clip, then `denoise` per step.

  `encode` is `look` at each frame, then `fuse`.

  Ablations: `diffusion` off feeds zeros instead of the noisy heatmap and fixes
  the time at its end; `lookup` off concatenates instead of masking; `scales` 1
  keeps only the heatmap's own resolution. Beyond the paper: with
  `self_condition` the decoder also sees its estimate of the step before. One
  frame per clip is the temporal ablation, with STRL kept.

  A frozen ViT takes no gradient and drops no path.
  """

  joints: int
  size: str = "B"
  patch: int = 16
  stem: str = "patch"
  strl_depth: int = 6
  decoder_width: int = 128
  heatmap_width: int = 64
  drop_path: float = 0.0
  dtype: DTypeLike = jnp.float32
  diffusion: bool = True
  lookup: bool = True
  scales: int = 3
  self_condition: bool = False
  execution: transformer.Execution = transformer.Execution()
  heads: int = 0  # of ViT and STRL; 0: the size's
  depth: int = 0  # layers of the ViT; 0: the size's
  frozen: bool = False

  def setup(self):
    size = self.backbone
    self.vit = vit.ViT(
      size.width,
      size.depth,
      size.heads,
      self.patch,
      self.stem,
      self.drop_path,
      self.dtype,
      self.execution,
    )
    self.strl = strl.STRL(
      self.strl_depth,
      size.heads,
      self.drop_path,
      self.dtype,
      self.execution,
    )
    self.decoder = pose_decoder.PoseDecoder(
      self.joints,
      self.decoder_width,
      self.heatmap_width,
      lookup=self.lookup,
      scales=self.scales,
      self_condition=self.self_condition,
      dtype=self.dtype,
    )

  @property
  def backbone(self) -> Size:
    """Width, depth and heads of its ViT."""
    return backbone(self.size, self.heads, self.depth)

  def encode(
    self, frames: UInt8[Array, "b t h w 3"], train: bool = False
  ) -> pose_decoder.Features:
    """Features of clips; the key frame is t // 2."""
    tokens = self.look(einops.rearrange(frames, "b t ... -> (b t) ..."), train)
    count = frames.shape[1]  # of a clip; that of clips may be symbolic
    clips = einops.rearrange(tokens, "(b t) ... -> b t ...", t=count)
    return self.fuse(clips, train)

  def look(
    self, frames: UInt8[Array, "b h w 3"], train: bool = False
  ) -> Float[Array, "b y x d"]:
    """Tokens of single frames: all of a clip that frames have apart."""
    tokens = self.vit(normalise(frames), train and not self.frozen)
    return jax.lax.stop_gradient(tokens) if self.frozen else tokens

  def fuse(
    self, tokens: Float[Array, "b t y x d"], train: bool = False
  ) -> pose_decoder.Features:
    """Features of clips whose frames were looked at one by one."""
    return self.decoder.prepare(self.strl(tokens, train))

  def denoise(
    self,
    noisy: Float[Array, "b y x k"],
    time: Float[Array, "b"],
    features: pose_decoder.Features,
    previous: Float[Array, "b y x k"] | None = None,
  ) -> Float[Array, "b y x k"]:
    """Clean heatmaps in [0, 1], float32, from a noisy signal at `time`.

    `previous` are those of the step before, for a network that looks at them.
    """
    if not self.diffusion:
      noisy, time = jnp.zeros_like(noisy), jnp.ones_like(time)
      previous = None
    return self.decoder(noisy, time, features, previous)

  def __call__(
    self,
    frames: UInt8[Array, "b t h w 3"],
    noisy: Float[Array, "b y x k"],
    time: Float[Array, "b"],
    train: bool = False,
  ) -> Float[Array, "b y x k"]:
    """`denoise` after `encode`, for training and initialisation."""
    return self.denoise(noisy, time, self.encode(frames, train))


def normalise(
  frames: UInt8[Array, "*n h w 3"],
) -> Float[Array, "*n h w 3"]:
  """Frames with ImageNet's mean taken off, over its deviation."""
  ones = (1,) * (frames.ndim - 1)
  scale = (1 / (255 * _STD)).reshape(*ones, 3)
  shift = (_MEAN / _STD).reshape(*ones, 3)
  return frames.astype(jnp.float32) * scale - shift
