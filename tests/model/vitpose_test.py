"""ViTPose: shapes, the heads and what is refused.

That its outputs are those of another implementation is shown in
`weights/vitpose_reference_test.py`.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffpose_jax.model import diffpose, vit, vitpose

SIZE = diffpose.Size(24, 1, 3)


def shapes(model, images=(2, 40, 56, 3)):
  images = jax.ShapeDtypeStruct(images, np.float32)
  params = jax.eval_shape(model.init, jax.random.key(0), images)["params"]
  apply = lambda p, x: model.apply({"params": p}, x)  # noqa: E731
  return params, jax.eval_shape(apply, params, images)


@pytest.mark.parametrize("head", ["classic", "simple"])
def test_heatmaps_of_a_quarter_of_the_picture(head):
  params, maps = shapes(vitpose.ViTPose(7, SIZE, 8, head=head))
  assert maps.shape == (2, 20, 28, 7)
  assert maps.dtype == np.float32
  assert params.keys() == {"vit", "keypoint_head"}


@pytest.mark.parametrize("head", ["classic", "simple"])
def test_half_precision_gives_float32_heatmaps(head):
  model = vitpose.ViTPose(7, SIZE, 8, head=head, dtype=jnp.bfloat16)
  params, maps = shapes(model)
  assert maps.dtype == np.float32
  assert {leaf.dtype for leaf in jax.tree.leaves(params)} == {np.dtype("f4")}


def count(tree):
  return sum(leaf.size for leaf in jax.tree.leaves(tree))


@pytest.mark.parametrize("name", diffpose.SIZES)
def test_the_number_of_parameters(name):
  """Counted by hand, with the 256 channels of the classic head's layers."""
  size = diffpose.SIZES[name]
  d = size.width
  stem = 16 * 16 * 3 * d + d + 16 * 12 * d
  block = 4 * d + (4 * d * d + 4 * d) + (8 * d * d + 5 * d)
  up = 16 * d * 256 + 256 + 16 * 256 * 256 + 256
  final = 256 * 17 + 17
  params, _ = shapes(vitpose.ViTPose(17, name), (1, 256, 192, 3))
  assert count(params) == stem + size.depth * block + 2 * d + up + final


def test_the_classic_head_by_hand():
  """One token, one weight in each layer: every number can be followed."""
  head = vitpose.ClassicHead(joints=1, width=1)
  params = {
    "up_0": {"kernel": np.zeros((4, 4, 1, 1)), "bias": np.full(1, 0.5)},
    "up_1": {"kernel": np.zeros((4, 4, 1, 1)), "bias": np.full(1, -1.0)},
    "final": {"kernel": np.full((1, 1, 1, 1), 3.0), "bias": np.full(1, 0.25)},
  }
  params["up_0"]["kernel"][2, 1] = 2.0  # the token's lower left cell, of 2x2
  params["up_1"]["kernel"][1, 2] = 1.0  # each cell's upper right one
  params = jax.tree.map(jnp.float32, params)
  maps: Any = head.apply({"params": params}, jnp.full((1, 1, 1, 1), 7.0))
  # 7 * 2 + 0.5 = 14.5 there, 0.5 elsewhere; then 14.5 - 1 = 13.5, and below 0.
  expected = np.full((4, 4), 0.25)
  expected[2, 1] = 3 * 13.5 + 0.25
  np.testing.assert_allclose(maps[0, :, :, 0], expected)


def test_the_simple_head_by_hand():
  """Two tokens in a row, upsampled; the convolution looks one cell left."""
  head = vitpose.SimpleHead(joints=1)
  kernel = np.zeros((3, 3, 1, 1), np.float32)
  kernel[1, 0] = 2.0
  params = {"final": {"kernel": kernel, "bias": np.full(1, 0.5, np.float32)}}
  tokens = jnp.asarray([[[[8.0], [-8.0]]]])  # one below 0 counts as 0
  maps: Any = head.apply({"params": params}, tokens)
  row = np.array([8, 8, 7, 5, 3, 1, 0, 0])  # cell centres 1/8, 3/8, …
  expected = 2 * np.concatenate([[0], row[:-1]]) + 0.5
  assert maps.shape == (1, 4, 8, 1)
  np.testing.assert_allclose(maps[0, :, :, 0], np.tile(expected, (4, 1)))


def test_features_are_the_tokens(key):
  model = vitpose.ViTPose(7, SIZE, 8)
  images = jax.random.normal(key, (1, 16, 24, 3))
  variables = jax.jit(model.init)(key, images)
  features = functools.partial(model.apply, method="features")
  tokens = jax.jit(features)(variables, images)
  alone = vit.ViT(24, 1, 3, 8)
  alone = jax.jit(alone.apply)({"params": variables["params"]["vit"]}, images)
  assert tokens.shape == (1, 2, 3, 24)
  np.testing.assert_array_equal(tokens, alone)


def test_heads_of_ones_own(key):
  """Another number of heads: the same parameters, other features."""
  images = jax.random.normal(key, (1, 16, 24, 3))
  model = vitpose.ViTPose(7, SIZE, 8)
  variables = jax.jit(model.init)(key, images)
  variables = jax.tree.map(lambda v: v * 5, variables)
  same = vitpose.ViTPose(7, SIZE, 8, heads=3).apply(variables, images)
  other: Any = vitpose.ViTPose(7, SIZE, 8, heads=4).apply(variables, images)
  first: Any = model.apply(variables, images)
  np.testing.assert_array_equal(first, same)
  assert jnp.abs(first - other).max() > 1e-3


@pytest.mark.parametrize(
  ("fields", "says"),
  [
    (dict(size="XL"), "model size 'XL'; known"),
    (dict(head="other"), "head 'other'; known are"),
    (dict(patch=9), "not divisible by patch 9"),
  ],
)
def test_what_is_refused(fields, says):
  fields = {"size": SIZE, "patch": 8} | fields
  with pytest.raises(ValueError, match=says):
    shapes(vitpose.ViTPose(7, **fields))
