"""Flax's ViT files, by either naming, against Flax's own layers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from flax import traverse_util

from diffpose_jax.model import vit
from diffpose_jax.weights import formats

WIDTH, DEPTH, HEADS, PATCH = 24, 2, 3, 8  # as in conftest.py


class FlaxMlp(nn.Module):
  @nn.compact
  def __call__(self, x):
    hidden = nn.gelu(nn.Dense(4 * WIDTH)(x), approximate=False)
    return nn.Dense(WIDTH)(hidden)


class FlaxBlock(nn.Module):
  @nn.compact
  def __call__(self, x):
    y = nn.LayerNorm(name="LayerNorm_0")(x)
    x = x + nn.MultiHeadDotProductAttention(
      HEADS, name="MultiHeadDotProductAttention_0"
    )(y, y)
    return x + FlaxMlp(name="MlpBlock_0")(nn.LayerNorm(name="LayerNorm_1")(x))


class FlaxEncoder(nn.Module):
  @nn.compact
  def __call__(self, x):
    for i in range(DEPTH):
      x = FlaxBlock(name=f"encoderblock_{i}")(x)
    return nn.LayerNorm(name="encoder_norm")(x)


class FlaxViT(nn.Module):
  @nn.compact
  def __call__(self, x):
    step = (PATCH, PATCH)
    x = nn.Conv(WIDTH, step, step, padding="VALID", name="embedding")(x)
    b, y, x_, d = x.shape
    init = nn.initializers.normal(0.5)
    position = self.param("pos_embedding", init, (1, y * x_, d))
    x = x.reshape(b, y * x_, d) + position
    return FlaxEncoder(name="Transformer")(x).reshape(b, y, x_, d)


@pytest.fixture(scope="module")
def flax_file():
  """A network's file, a picture in [0, 1] and the features of the two.

  The frame of two pixels that our patch convolution pads with, the colour that
  is 0 once normalised, is part of the picture here.
  """
  picture = np.random.RandomState(5).rand(2, 5 * PATCH, 5 * PATCH, 3)
  mean, _ = formats.IMAGENET
  framed = np.broadcast_to(mean, (2, 5 * PATCH + 4, 5 * PATCH + 4, 3)).copy()
  framed[:, 2:-2, 2:-2] = picture
  framed = jnp.asarray(framed[:, : 5 * PATCH, : 5 * PATCH] * 2 - 1, jnp.float32)
  variables = jax.jit(FlaxViT().init)(jax.random.key(3), framed)
  random = np.random.RandomState(6)
  params = jax.tree.map(  # Biases and scales that have an effect.
    lambda v: v + np.float32(0.1) * random.randn(*v.shape).astype(v.dtype),
    variables["params"],
  )
  features = jax.jit(FlaxViT().apply)({"params": params}, framed)
  file = {
    k: np.array(v)
    for k, v in traverse_util.flatten_dict(params, sep="/").items()
  }
  return file, picture, np.array(features)


def check_flax(load, path, file, flax_file, unused=()):
  _, picture, features = flax_file
  tree, account = load(path, file, grid=(5, 5))
  assert account.format == "big_vision"
  assert account.unused == tuple(sorted(unused))
  mean, std = (np.array(v) for v in formats.IMAGENET)
  images = jnp.asarray((picture - mean) / std, jnp.float32)
  model = vit.ViT(WIDTH, DEPTH, HEADS, PATCH)
  ours = jax.jit(model.apply)({"params": tree}, images)
  difference = np.abs(ours - features).max() / np.abs(features).max()
  assert difference < 1e-5
  assert account.used + len(account.unused) == len(file)


def test_big_vision(flax_file, tmp_path, load):
  unused = {
    "head/kernel": np.zeros((WIDTH, 5), np.float32),
    "MAPHead_0/probe": np.zeros((1, 1, WIDTH), np.float32),
  }
  file = flax_file[0] | unused
  check_flax(load, tmp_path / "a.npz", file, flax_file, unused)


def test_big_vision_with_a_prefix(flax_file, tmp_path, load):
  file = {f"params/{name}": v for name, v in flax_file[0].items()}
  file["opt/0"] = np.zeros(3, np.float32)
  check_flax(load, tmp_path / "a.npz", file, flax_file, ["opt/0"])


def test_vit_jax(flax_file, tmp_path, load):
  """The older names, and a class token with a row of its own."""
  renamed = {
    "LayerNorm_1": "LayerNorm_2",
    "MultiHeadDotProductAttention_0": "MultiHeadDotProductAttention_1",
    "MlpBlock_0": "MlpBlock_3",
  }
  file = {}
  for name, array in flax_file[0].items():
    parts = [renamed.get(part, part) for part in name.split("/")]
    file["/".join(map(str, parts))] = array
  position = file.pop("pos_embedding")
  first = np.full((1, 1, WIDTH), 9, np.float32)
  file["Transformer/posembed_input/pos_embedding"] = np.concatenate(
    [first, position], axis=1
  )
  file["cls"] = first
  check_flax(load, tmp_path / "a.npz", file, flax_file, ["cls"])


def test_scanned_blocks(flax_file, tmp_path, load):
  file = {k: v for k, v in flax_file[0].items() if "encoderblock" not in k}
  for name in flax_file[0]:
    if "encoderblock_0/" in name:
      stack = [flax_file[0][name.replace("_0/", f"_{i}/", 1)]
               for i in range(DEPTH)]  # fmt: skip
      file[name.replace("encoderblock_0", "encoderblock")] = np.stack(stack)
  path, (_, picture, features) = tmp_path / "a.npz", flax_file
  check_flax(load, path, file, (file, picture, features))


def test_a_scanned_block_and_a_plain_one(flax_file, tmp_path, load):
  file = dict(flax_file[0])
  name = "Transformer/encoderblock_0/LayerNorm_0/bias"
  file[name.replace("_0/", "/", 1)] = file[name][None]
  with pytest.raises(ValueError, match="there under two names"):
    load(tmp_path / "a.npz", file, grid=(5, 5))


def test_flax_states_its_heads(flax_file, tmp_path, load):
  with pytest.raises(ValueError, match="3 attention heads; the network has 4"):
    load(tmp_path / "a.npz", flax_file[0], grid=(5, 5), heads=4)
