"""The encoder runs once: XLA's count of operations against a count by hand.

What XLA counts beyond the matrix products and convolutions, element by element,
is below the tolerance. Nothing is compiled or run.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import pytest

from diffpose_jax import config as config_lib
from diffpose_jax.inference import network
from diffpose_jax.inference import sampling as sampling_lib
from diffpose_jax.model import flops, pose_decoder
from diffpose_jax.pose.skeleton import POSETRACK

TOLERANCE = 0.03


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
def hand(config):
  """The hand count."""
  model = network.build_model(config, POSETRACK)
  return flops.count(model, frames=5, picture=(256, 192))


@pytest.fixture(scope="module")
def params(config):
  init = functools.partial(network.init_params, config, POSETRACK)
  return jax.eval_shape(init, jax.random.key(0))


@pytest.fixture(scope="module")
def parts(config, params):
  return _parts(config, params)


def _parts(config, params):
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


def test_encoder_and_decoder_cost_what_the_architecture_says(parts, hand):
  assert parts[0] == pytest.approx(hand.encoder, rel=TOLERANCE)
  assert parts[1] == pytest.approx(hand.decoder, rel=TOLERANCE)


@pytest.mark.parametrize(
  "changes",
  [
    {"lookup": False},
    {"scales": 1},
    {"self_condition": True},
    # Its stem costs more element by element than a patch's, so a wide one.
    {"stem": "conv", "size": "L", "decoder_width": 192, "strl_depth": 2},
  ],
)
def test_other_architectures_are_counted_too(config, changes):
  config = config_lib.copy(config)
  config.model.update(changes)
  config.data.size, config.data.span = (128, 192), 1
  init = functools.partial(network.init_params, config, POSETRACK)
  found = _parts(config, jax.eval_shape(init, jax.random.key(0)))
  model = network.build_model(config, POSETRACK)
  hand = flops.count(model, frames=3, picture=(128, 192))
  assert found[0] == pytest.approx(hand.encoder, rel=TOLERANCE)
  assert found[1] == pytest.approx(hand.decoder, rel=TOLERANCE)


def test_parts_add_up_to_a_clip(hand):
  # ViT-B's 17.1 G multiply-adds a frame, to which its papers round.
  assert hand.vit / 5 == pytest.approx(2 * 17.1e9, rel=0.01)
  assert hand.encoder == hand.vit + hand.strl + hand.prepare
  assert hand.clip(4, 10) == hand.encoder + 40 * hand.decoder


def test_steps_and_samples_cost_the_decoder_alone(config, params, parts, hand):
  encoder, decoder = parts
  frames, _, _ = network.inputs(config, POSETRACK, 1)
  noise_id = jax.ShapeDtypeStruct((1,), jnp.uint32)
  times = jax.ShapeDtypeStruct((config.evaluate.max_steps + 1,), jnp.float32)

  def count(steps, samples):
    options = sampling_lib.Options(steps, samples, flip=False, seed=0, eta=0.0)

    def run(params, frames, noise_id, times):
      return sampling_lib.heatmaps(
        config, POSETRACK, params, frames, noise_id, (times, steps), options
      )

    return _flops(run, params, frames, noise_id, times)

  one, many = count(1, 1), count(4, 10)
  assert many - one == pytest.approx(39 * hand.decoder, rel=TOLERANCE)
  assert many - one == pytest.approx(39 * decoder, rel=TOLERANCE)
  assert one - decoder == pytest.approx(encoder, rel=TOLERANCE)
  # Less than the decoder's share of rounding is left for a second encoder.
  assert many - 40 * decoder == pytest.approx(encoder, rel=TOLERANCE)
