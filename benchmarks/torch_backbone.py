"""transformers' VitPose backbone in PyTorch, and its weights as ours."""

# pyright: reportMissingImports=false

from typing import Any

import jax
import numpy as np
import torch
from transformers import VitPoseBackbone, VitPoseBackboneConfig

from diffpose_jax.model import diffpose

PATCH = 16


class Backbone(torch.nn.Module):
  """Pictures (b, 3, h, w) → tokens (b, n, d), random weights."""

  def __init__(self, size: str, picture: tuple[int, int]):
    super().__init__()
    s = diffpose.SIZES[size]
    torch.manual_seed(0)
    config = VitPoseBackboneConfig(
      image_size=picture,
      patch_size=(PATCH, PATCH),
      hidden_size=s.width,
      num_hidden_layers=s.depth,
      num_attention_heads=s.heads,
      layer_norm_eps=1e-6,
    )
    self.backbone = VitPoseBackbone(config).eval()
    with torch.no_grad():
      for name, value in self.named_parameters():
        if "norm" in name or "bias" in name:  # Ones and zeros would hide them.
          value.add_(0.1 * torch.randn_like(value))

  def forward(self, pictures: torch.Tensor) -> torch.Tensor:
    """The normed tokens of the last layer."""
    return self.backbone(pictures).feature_maps[-1]


def as_ours(module: Backbone, like: Any) -> dict[str, Any]:
  """The same weights as the parameters of `vit.ViT`.

  Args:
    module: whose weights to take; each is used once.
    like: tree of shapes of the parameters.

  Raises ValueError where a weight is left over, or the trees differ.
  """
  weights = {
    name.removeprefix("backbone."): value.detach().numpy()
    for name, value in module.named_parameters()
  }
  position = weights.pop("embeddings.position_embeddings")
  stem = "embeddings.patch_embeddings.projection"
  _, y, x, d = like["position"].shape
  params: dict[str, Any] = {
    # The first of its embeddings is a class token's, added to all.
    "position": (position[:, 1:] + position[:, :1]).reshape(1, y, x, d),
    "stem": {
      "embed": {
        "kernel": weights.pop(f"{stem}.weight").transpose(2, 3, 1, 0),
        "bias": weights.pop(f"{stem}.bias"),
      }
    },
    "norm": _norm(weights, "layernorm"),
  }
  for i in range(module.backbone.config.num_hidden_layers):
    params[f"block_{i:02}"] = _block(weights, f"encoder.layer.{i}")
  if weights:
    raise ValueError(f"weights left over: {', '.join(weights)}")
  shapes = [jax.tree.map(np.shape, tree) for tree in (params, like)]
  if shapes[0] != shapes[1]:
    raise ValueError(f"parameters differ: {shapes[0]} and {shapes[1]}")
  return params


def _block(weights: dict[str, np.ndarray], name: str) -> dict[str, Any]:
  attention = f"{name}.attention"
  qkv = [
    _dense(weights, f"{attention}.attention.{part}")
    for part in ("query", "key", "value")
  ]
  return {
    "norm_1": _norm(weights, f"{name}.layernorm_before"),
    "norm_2": _norm(weights, f"{name}.layernorm_after"),
    "attention": {
      "qkv": {
        "kernel": np.concatenate([part["kernel"] for part in qkv], axis=1),
        "bias": np.concatenate([part["bias"] for part in qkv]),
      },
      "out": _dense(weights, f"{attention}.output.dense"),
    },
    "mlp": {
      "hidden": _dense(weights, f"{name}.mlp.fc1"),
      "out": _dense(weights, f"{name}.mlp.fc2"),
    },
  }


def _dense(weights: dict[str, np.ndarray], name: str) -> dict[str, Any]:
  return {
    "kernel": weights.pop(f"{name}.weight").T,
    "bias": weights.pop(f"{name}.bias"),
  }


def _norm(weights: dict[str, np.ndarray], name: str) -> dict[str, Any]:
  return {
    "scale": weights.pop(f"{name}.weight"),
    "bias": weights.pop(f"{name}.bias"),
  }
