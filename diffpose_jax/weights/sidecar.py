"""The config.json that weights of Hugging Face and timm come with."""

import json
import pathlib
from typing import Any

from diffpose_jax.weights import formats

MAX_BYTES = 1 << 20

# What Hugging Face's ViTPose is where its config.json does not say.
_PLAIN = {
  "num_experts": 1,
  "hidden_act": "gelu",
  "qkv_bias": True,
  "mlp_ratio": 4,
  "num_attention_heads": 12,
  "image_size": [256, 192],
}


def hugging_face(config: dict[str, Any]) -> dict[str, Any]:
  """The backbone's settings; those that are not there have that program's value.

  Raises ValueError for a network that is not this one.
  """
  inner = config.get("backbone_config")
  backbone = _PLAIN | (inner if isinstance(inner, dict) else {})
  if backbone["num_experts"] != 1:
    raise ValueError(
      "config.json beside it says a mixture of experts, as ViTPose+ has, which "
      "this network has not; take weights of a plain ViTPose"
    )
  for key, value in {**_PLAIN, "scale_factor": 4}.items():
    stated = backbone.get(key, config.get(key, value))
    if key not in ("num_attention_heads", "image_size") and stated != value:
      raise ValueError(
        f"config.json beside it says {key} {stated!r}; only {value!r} is known"
      )
  size, heads = backbone["image_size"], backbone["num_attention_heads"]
  size = [size, size] if isinstance(size, int) else size
  whole = isinstance(size, list) and [type(side) for side in size] == [int, int]
  if not whole or type(heads) is not int or heads < 1:
    raise ValueError(
      f"config.json beside it says image_size {size!r}, "
      f"num_attention_heads {heads!r}"
    )
  return backbone | {"image_size": size}


def read(path: pathlib.Path) -> dict[str, Any]:
  """The config.json that Hugging Face's and timm's weights come with, or {}."""
  beside = path.with_name("config.json")
  if path.suffix == ".npz" or not beside.is_file():
    return {}
  if beside.stat().st_size > MAX_BYTES:
    raise ValueError(f"{beside}: larger than {MAX_BYTES} bytes")
  try:
    config = json.loads(beside.read_text())
  except (ValueError, RecursionError) as error:
    raise ValueError(
      f"{beside}: not JSON: {error}; it describes {path.name}, so get it again"
    ) from error
  return config if isinstance(config, dict) else {}


def pixels(
  form: formats.Format, config: dict[str, Any]
) -> tuple[tuple[Any, Any], list[str]]:
  """Mean and deviation of the pixels that the weights expect, and a note."""
  if form.name != "timm":
    return form.pixels, []
  stated = config.get("pretrained_cfg")
  if not isinstance(stated, dict) or not {"mean", "std"} <= stated.keys():
    note = "no config.json says how pixels are normalised; as ImageNet's"
    return form.pixels, [note]
  given = stated["mean"], stated["std"]
  for values in given:
    good = isinstance(values, list) and len(values) == 3
    if not good or not all(isinstance(v, float | int) for v in values):
      raise ValueError(f"config.json beside it says mean and std {given!r}")
  if min(given[1]) <= 0:
    raise ValueError(f"config.json beside it says std {given[1]!r}")
  return given, []
