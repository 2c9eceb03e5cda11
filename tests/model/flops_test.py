"""The encoder runs once: XLA's count of operations against a count by hand.

Counted are matrix products, and convolution taps inside the border, at two
operations a multiply-add. What XLA counts beyond them, element by element, is
below the tolerance. Nothing is compiled or run.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import pytest

from diffpose_jax import config as config_lib
from diffpose_jax.inference import estimator, network
from diffpose_jax.model import pose_decoder
from diffpose_jax.pose.skeleton import POSETRACK

TOLERANCE = 0.03
FRAMES, CELLS = 5, (16, 12)  # of 256x192 in patches of 16
TOKENS = CELLS[0] * CELLS[1]
MIDDLE, HEATMAP = (32, 24), (64, 48)
D, E, C, K = 768, 128, 64, 17  # ViT-B, decoder, heatmap channels; joints


def _dense(count, inputs, outputs):
  return 2 * count * inputs * outputs


def _block(count, width):
  """A Transformer layer: qkv, logits and mixing, output, MLP of 4 widths."""
  attention = 2 * 2 * count * count * width
  return attention + _dense(count, width, (3 + 1 + 4 + 4) * width)


def _conv(size, inputs, outputs):
  """3x3, as large as its input: the outer rows and columns lack three taps."""
  rows, columns = 3 * size[0] - 2, 3 * size[1] - 2
  return 2 * rows * columns * inputs * outputs


def _up(size, inputs, outputs):
  """4x4 deconvolution of stride 2; all 16 taps of a cell, see layers.Up."""
  return _dense(size[0] * size[1], inputs, 16 * outputs)


def _down(size, channels):
  """2x2 convolution of stride 2 down to `size`."""
  return _dense(size[0] * size[1], 4 * channels, channels)


def _encoder():
  # Two pixels of padding before the picture; behind it none is reached.
  patches = 2 * (256 - 2) * (192 - 2) * 3 * D
  vit = FRAMES * (patches + 12 * _block(TOKENS, D))
  strl = (
    _dense(FRAMES * TOKENS, D, D)
    + 6 * _block(FRAMES * TOKENS, D)
    + 2 * FRAMES * TOKENS * D  # frames are summed by weight
    + _dense(TOKENS, D, 8 * D)  # MLP
  )
  raised = (
    _dense(TOKENS, D, E)
    + _up(CELLS, D, E)
    + _up(CELLS, D, E)
    + _up(MIDDLE, E, E)
  )
  halves = _dense(TOKENS, E, E) + _conv(MIDDLE, E, E) + _conv(HEATMAP, E, E)
  return vit + strl + raised + halves


def _decoder():
  time = _dense(1, C, 4 * C) + _dense(1, 4 * C, 4 * C) + _dense(1, 4 * C, 2 * C)
  levels = _conv(HEATMAP, K, C) + _down(MIDDLE, C) + _down(CELLS, C)
  refined = (
    _dense(TOKENS, C, C)
    + _block(TOKENS, C)
    + _conv(MIDDLE, C, C)
    + _conv(HEATMAP, C, C)
  )
  fused = _dense(TOKENS, E, E) + _conv(MIDDLE, E, E) + _conv(HEATMAP, E, E)
  low = 2 * _block(TOKENS, E) + _up(CELLS, E, E) + _up(MIDDLE, E, E)
  middle = _conv(MIDDLE, E, E) + _up(MIDDLE, E, E)
  high = _conv(HEATMAP, E, E)
  head = _conv(HEATMAP, E, K)
  return time + levels + refined + fused + low + middle + high + head


def _flops(function, *shapes):
  cost: Any = jax.jit(function).lower(*shapes).cost_analysis()
  return cost["flops"]


@pytest.fixture(scope="module")
def config():
  """The paper's network."""
  config = config_lib.default()
  assert (config.model.size, config.model.strl_depth) == ("B", 6)
  assert config.data.size == (256, 192) and config.data.span == 2
  return config


@pytest.fixture(scope="module")
def params(config):
  init = functools.partial(network.init_params, config, POSETRACK)
  return jax.eval_shape(init, jax.random.key(0))


@pytest.fixture(scope="module")
def parts(config, params):
  """Operations of the encoder and of one denoising, as XLA counts them."""
  frames, noisy, time = network.inputs(config, POSETRACK, 1)
  model = network.build_model(config, POSETRACK)

  def encode(params, frames):
    features = model.apply({"params": params}, frames, method="encode")
    assert isinstance(features, pose_decoder.Features)
    return features.maps, features.halves

  def denoise(params, noisy, time, features):
    variables = {"params": params}
    features = pose_decoder.Features(*features)
    return model.apply(variables, noisy, time, features, method="denoise")

  features = jax.eval_shape(encode, params, frames)
  return (
    _flops(encode, params, frames),
    _flops(denoise, params, noisy, time, features),
  )


def test_encoder_and_decoder_cost_what_the_architecture_says(parts):
  assert parts[0] == pytest.approx(_encoder(), rel=TOLERANCE)
  assert parts[1] == pytest.approx(_decoder(), rel=TOLERANCE)


def test_steps_and_samples_cost_the_decoder_alone(config, params, parts):
  encoder, decoder = parts
  frames, _, _ = network.inputs(config, POSETRACK, 1)
  noise_id = jax.ShapeDtypeStruct((1,), jnp.uint32)
  times = jax.ShapeDtypeStruct((config.evaluate.max_steps + 1,), jnp.float32)

  def count(steps, samples):
    options = estimator.Options(steps, samples, flip=False, seed=0, eta=0.0)

    def run(params, frames, noise_id, times):
      return estimator.heatmaps(
        config, POSETRACK, params, frames, noise_id, (times, steps), options
      )

    return _flops(run, params, frames, noise_id, times)

  one, many = count(1, 1), count(4, 10)
  assert many - one == pytest.approx(39 * _decoder(), rel=TOLERANCE)
  assert many - one == pytest.approx(39 * decoder, rel=TOLERANCE)
  assert one - decoder == pytest.approx(encoder, rel=TOLERANCE)
  # Less than the decoder's share of rounding is left for a second encoder.
  assert many - 40 * decoder == pytest.approx(encoder, rel=TOLERANCE)
