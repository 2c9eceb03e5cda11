"""Files that are not quite in a format: refused, with the difference."""

import ml_dtypes
import numpy as np
import pytest

WIDTH, DEPTH, PATCH = 24, 2, 8  # as in conftest.py


def test_a_key_is_missing(weights, tmp_path, load):
  del weights["backbone.blocks.1.mlp.fc1.bias"]
  says = "a.safetensors: not the keys of ViTPose: 1 keys are missing: "
  says += "backbone.blocks.1.mlp.fc1.bias$"
  with pytest.raises(ValueError, match=says):
    load(tmp_path / "a.safetensors", weights)


def test_a_block_is_missing(weights, tmp_path, load):
  file = {
    name.replace("blocks.1.", "blocks.2."): v for name, v in weights.items()
  }
  with pytest.raises(
    ValueError, match="12 keys are missing.* 12 are not known"
  ):
    load(tmp_path / "a.safetensors", file)


def test_a_key_too_many(weights, tmp_path, load):
  weights["backbone.neck.weight"] = np.zeros(3, np.float32)
  says = "1 are not known: backbone.neck.weight$"
  with pytest.raises(ValueError, match=says):
    load(tmp_path / "a.safetensors", weights)


def test_a_renamed_key(weights, tmp_path, load):
  old, new = "backbone.blocks.0.norm1.weight", "backbone.blocks.0.norm_1.weight"
  weights[new] = weights.pop(old)
  with pytest.raises(ValueError, match=f"is {new} a renamed {old}?"):
    load(tmp_path / "a.safetensors", weights)


@pytest.mark.parametrize(
  ("key", "says"),
  [
    ("backbone.blocks.0.mlp.experts.0.weight", "a mixture of experts"),
    ("backbone.blocks.0.ls1.gamma", "layer scale"),
    ("backbone.blocks.0.gamma_1", "layer scale"),
    ("backbone.blocks.1.attn.q_norm.weight", "norms of query and key"),
    ("backbone.reg_token", "register tokens"),
    ("backbone.blocks.0.attn.relative_position_bias_table", "relative pos"),
  ],
)
def test_another_network(weights, tmp_path, key, says, load):
  weights[key] = np.zeros(3, np.float32)
  with pytest.raises(ValueError, match=f"ViTPose with {says}.*{key}"):
    load(tmp_path / "a.safetensors", weights)


@pytest.mark.parametrize(
  ("key", "array", "says"),
  [
    ("backbone.last_norm.bias", np.zeros(WIDTH, np.int64), "is of int64"),
    ("backbone.last_norm.bias", np.zeros(WIDTH, np.bool_), "is of bool"),
    (
      "backbone.last_norm.bias",
      np.full(WIDTH, np.nan, np.float32),
      "not finite",
    ),
    ("backbone.last_norm.bias", np.full(WIDTH, 1e300), "not finite"),
    (
      "backbone.blocks.1.attn.proj.weight",
      np.zeros((WIDTH, 5), np.float32),
      r"backbone.blocks.1.attn.proj.weight is \(24, 5\) where \(24, 24\)",
    ),
    (
      "backbone.patch_embed.proj.weight",
      np.zeros((WIDTH, 4, PATCH, PATCH), np.float32),
      r"\(24, 4, 8, 8\) where \(24, 3, 8, 8\)",
    ),
    (
      "backbone.patch_embed.proj.weight",
      np.zeros((WIDTH, 3), np.float32),
      "not 4 axes",
    ),
    ("backbone.pos_embed", np.zeros((1, 12, WIDTH), np.float32), "12 rows"),
    ("backbone.pos_embed", np.zeros((2, 13, WIDTH), np.float32), "belongs"),
    (
      "keypoint_head.deconv_layers.1.running_var",
      np.full(256, -1, np.float32),
      "negative variance",
    ),
  ],
)
def test_a_tensor_of_another_kind(weights, tmp_path, key, array, says, load):
  with pytest.raises(ValueError, match=says) as caught:
    load(tmp_path / "a.safetensors", weights | {key: array})
  assert str(tmp_path / "a.safetensors") in str(caught.value)


@pytest.mark.parametrize("dtype", [np.float64, np.float16, ml_dtypes.bfloat16])
def test_other_floats(weights, tmp_path, dtype, load):
  file = {
    name: v.astype(dtype) if v.dtype == np.float32 else v
    for name, v in weights.items()
  }
  tree, _ = load(tmp_path / "a.safetensors", file)
  np.testing.assert_array_equal(
    tree["norm"]["bias"],
    weights["backbone.last_norm.bias"].astype(dtype).astype(np.float32),
  )


def test_an_unknown_format(tmp_path, load):
  path = tmp_path / "a.safetensors"
  with pytest.raises(ValueError, match="1 tensors .'conv1.weight'.*ViTPose"):
    load(path, {"conv1.weight": np.zeros(3, np.float32)})
