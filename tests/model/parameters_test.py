"""Every size's parameters, counted by hand; nothing is made but shapes."""

import functools

import jax
import jax.numpy as jnp
import pytest

from diffpose_jax import config as config_lib
from diffpose_jax.inference import network
from diffpose_jax.model import diffpose
from diffpose_jax.pose.skeleton import POSETRACK

# Of 256x192 pictures in patches of 16, five frames, 17 joints. Each figure is
# what `_vit`, `_strl` and `_decoder` count; it stands here so that a change of
# the network and of the count alike is seen. ViT, STRL, Pose-Decoder:
FIGURES = {
  "cpu": (718_080, 1_363_333, 3_213_073),
  "Ti": (5_523_264, 3_040_325, 3_483_409),
  "S": (21_663_360, 12_052_613, 4_294_417),
  "B": (85_794_048, 47_993_093, 5_916_433),
  "L": (303_295_488, 85_224_453, 6_997_777),
  "H": (630_910_720, 133_072_645, 8_079_121),
}
# Of the public backbones without their classifiers, in millions.
PUBLIC = {"Ti": 5.5, "S": 21.7, "B": 85.8, "L": 303.3}
TOKENS, FRAMES, JOINTS = 16 * 12, 5, 17
E, C = 128, 64  # channels of the decoder, of the embedded heatmap


def _dense(inputs, outputs):
  return inputs * outputs + outputs


def _block(d):
  """A Transformer layer: two norms, qkv, output, MLP of four widths."""
  attention = _dense(d, 3 * d) + _dense(d, d)
  return 2 * 2 * d + attention + _dense(d, 4 * d) + _dense(4 * d, d)


def _conv(inputs, outputs):
  return 9 * inputs * outputs + outputs


def _up(inputs, outputs):
  return 16 * inputs * outputs + outputs


def _vit(size):
  d = size.width
  stem = 16 * 16 * 3 * d + d
  return stem + TOKENS * d + size.depth * _block(d) + 2 * d


def _strl(size, depth=6):
  d = size.width
  positions = TOKENS * d + FRAMES * d
  mlp = _dense(d, 4 * d) + _dense(4 * d, d)
  return _dense(d, d) + positions + depth * _block(d) + 2 * d + FRAMES + mlp


def _decoder(size):
  norm = 2 * E
  raised = (
    (_dense(size.width, E) + norm)
    + (_up(size.width, E) + norm)
    + (_up(size.width, E) + norm + _up(E, E) + norm)
  )
  plain = _dense(E, E) + 2 * _conv(E, E)
  local = plain - 3 * E  # The bias of a sum of two convolutions is one.
  embedded = _conv(JOINTS, C)
  time = _dense(C, 4 * C) + _dense(4 * C, 4 * C) + _dense(4 * C, 2 * C)
  down = 2 * (4 * C * C + C)
  refined = _dense(C, C) + _block(C) + 2 * _conv(C, C)
  low = 2 * _block(E) + norm + _up(E, E) + norm + _up(E, E)
  middle = norm + _conv(E, E) + norm + _up(E, E)
  high = norm + _conv(E, E) + norm
  head = _conv(E, JOINTS)
  return sum(
    (
      raised,
      plain,
      local,
      embedded,
      time,
      down,
      refined,
      low,
      middle,
      high,
      head,
    )
  )


def _shapes(**changes):
  config = config_lib.default()
  config.model.update(changes)
  init = functools.partial(network.init_params, config, POSETRACK)
  return jax.eval_shape(init, jax.random.key(0))


def _count(tree):
  return sum(leaf.size for leaf in jax.tree.leaves(tree))


def test_no_size_is_untested():
  assert set(FIGURES) == set(diffpose.SIZES)


@pytest.mark.parametrize("name", list(diffpose.SIZES))
def test_each_part_has_the_parameters_counted_by_hand(name):
  shapes = _shapes(size=name)
  assert set(shapes) == {"vit", "strl", "decoder"}
  size = diffpose.SIZES[name]
  by_hand = (_vit(size), _strl(size), _decoder(size))
  found = tuple(_count(shapes[part]) for part in ("vit", "strl", "decoder"))
  assert found == by_hand == FIGURES[name]
  assert {leaf.dtype for leaf in jax.tree.leaves(shapes)} == {
    jnp.dtype("float32")
  }


@pytest.mark.parametrize("name", list(PUBLIC))
def test_backbones_are_as_large_as_the_public_ones(name):
  assert round(FIGURES[name][0] / 1e6, 1) == PUBLIC[name]


@pytest.mark.parametrize("name", list(diffpose.SIZES))
def test_heads_divide_the_width_and_cost_no_parameter(name):
  size = diffpose.SIZES[name]
  assert size.width % size.heads == 0
  assert _count(_shapes(size=name, heads=1)) == sum(FIGURES[name])


def test_each_layer_of_the_vit_costs_a_block():
  size = diffpose.SIZES["S"]
  two, five = (_count(_shapes(size="S", depth=n)["vit"]) for n in (2, 5))
  assert five - two == (_vit(size) - two) * 3 // (size.depth - 2) > 0
  assert _count(_shapes(size="S", depth=size.depth)["vit"]) == _vit(size)


def test_each_layer_of_strl_costs_a_block():
  shapes = _shapes(size="S", strl_depth=2)
  assert _count(shapes["strl"]) == _strl(diffpose.SIZES["S"], depth=2)
