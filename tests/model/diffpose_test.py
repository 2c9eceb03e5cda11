"""The network is the paper's: shapes, parts, costs and what depends on what."""

# pyright: reportArgumentType=false, reportAttributeAccessIssue=false
# pyright: reportCallIssue=false, reportIndexIssue=false
# pyright: reportOperatorIssue=false
# (Linen's `init` and `apply` have no types that a checker can use.)

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffpose_jax.model import diffpose, pose_decoder, strl, vit

TINY = dict(
  joints=5,
  size="cpu",
  patch=8,
  stem="conv",
  strl_depth=2,
  decoder_width=16,
  heatmap_width=8,
)


def _inputs(batch, frames, size, patch, joints):
  y, x = size[0] * 4 // patch, size[1] * 4 // patch
  shape = jax.ShapeDtypeStruct
  return (
    shape((batch, frames, *size, 3), jnp.uint8),
    shape((batch, y, x, joints), jnp.float32),
    shape((batch,), jnp.float32),
  )


def _count(params):
  return sum(leaf.size for leaf in jax.tree.leaves(params))


@pytest.fixture(scope="module")
def tiny():
  """A small model, its random parameters, and a batch."""
  model = diffpose.DiffPose(**TINY)
  key = jax.random.key(0)
  frames = jax.random.randint(key, (2, 3, 24, 40, 3), 0, 256).astype(jnp.uint8)
  noisy = jax.random.normal(key, (2, 12, 20, 5))
  time = jnp.array([0.3, 0.8])
  params = jax.jit(model.init)(key, frames, noisy, time)
  # No leaf may stay at a zero that hides what it does.
  params = jax.tree.map(
    lambda v: v + 0.05 * jax.random.normal(jax.random.key(v.size), v.shape),
    params,
  )
  return model, params, (frames, noisy, time)


@pytest.mark.parametrize("size", [(256, 192), (384, 288)])
@pytest.mark.parametrize("name", list(diffpose.SIZES))
def test_full_sizes_give_heatmaps_four_times_the_token_grid(name, size):
  model = diffpose.DiffPose(joints=17, size=name)
  inputs = _inputs(2, 5, size, 16, 17)
  out, _ = jax.eval_shape(model.init_with_output, jax.random.key(0), *inputs)
  assert out.shape == (2, size[0] // 4, size[1] // 4, 17)
  assert out.dtype == jnp.float32


def test_a_conv_stem_ends_on_the_patch_grid():
  for patch in (8, 16):
    backbone = vit.ViT(32, 1, 2, patch, "conv")
    out, _ = jax.eval_shape(
      backbone.init_with_output,
      jax.random.key(0),
      jax.ShapeDtypeStruct((1, 48, 80, 3), jnp.float32),
    )
    assert out.shape == (1, 48 // patch, 80 // patch, 32)


def test_an_indivisible_picture_is_refused():
  backbone = vit.ViT(32, 1, 2)
  with pytest.raises(ValueError, match="50x80 is not divisible by patch 16"):
    backbone.init(jax.random.key(0), jnp.zeros((1, 50, 80, 3)))
  with pytest.raises(ValueError, match="model size 'XXL'"):
    diffpose.DiffPose(joints=5, size="XXL").init(
      jax.random.key(0), jnp.zeros((1, 1, 16, 16, 3), jnp.uint8)
    )


def test_frames_are_normalised_as_imagenet():
  frames = np.random.default_rng(0).integers(0, 256, (1, 2, 3, 5, 3), np.uint8)
  expected = frames / 255.0
  expected = (expected - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
  np.testing.assert_allclose(
    diffpose.normalise(jnp.asarray(frames)), expected, atol=1e-5
  )


def test_strl_keeps_token_count_and_width_in_every_layer(key):
  x = jax.random.normal(key, (2, 3, 4, 5, 8))
  learner = strl.STRL(depth=3, heads=2)
  params = learner.init(key, x)
  out, seen = learner.apply(params, x, capture_intermediates=True)
  assert out.shape == (2, 4, 5, 8)
  for i in range(3):
    (layer,) = seen["intermediates"][f"block_{i}"]["__call__"]
    assert layer.shape == (2, 3 * 4 * 5, 8)


def test_strl_has_a_position_for_every_frame_and_cell(key):
  x = jnp.zeros((1, 5, 4, 3, 8))
  params = strl.STRL(depth=1, heads=2).init(key, x)["params"]
  assert params["position_space"].shape == (1, 1, 4, 3, 8)
  assert params["position_frame"].shape == (1, 5, 1, 1, 8)
  sums = params["position_space"] + params["position_frame"]
  assert len(np.unique(sums.reshape(60, 8), axis=0)) == 60


@pytest.mark.parametrize("frames", [1, 3, 5])
def test_aggregation_starts_as_the_key_frame(key, frames):
  x = jnp.zeros((1, frames, 2, 2, 8))
  params = strl.STRL(depth=1, heads=2).init(key, x)["params"]
  expected = np.zeros(frames)
  expected[frames // 2] = 1
  np.testing.assert_array_equal(params["aggregate"], expected)


def test_a_clip_is_its_frames_looked_at_apart_and_fused(tiny):
  """And what is looked at depends on that frame alone."""
  model, params, (frames, _, _) = tiny

  @jax.jit
  def run(frames):
    look = functools.partial(model.apply, params, method="look")
    tokens = jnp.stack([look(frames[:, t]) for t in range(3)], axis=1)
    fused = model.apply(params, tokens, method="fuse")
    return tokens, fused, model.apply(params, frames, method="encode")

  tokens, parts, whole = run(frames)
  leaves = zip(jax.tree.leaves(parts), jax.tree.leaves(whole), strict=True)
  for one, other in leaves:
    np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-5)
  other, _, _ = run(frames.at[0, 1].set(255 - frames[0, 1]))
  np.testing.assert_array_equal(other[:, [0, 2]], tokens[:, [0, 2]])
  np.testing.assert_array_equal(other[1, 1], tokens[1, 1])
  assert float(jnp.abs(other[0, 1] - tokens[0, 1]).max()) > 1e-3


def test_every_frame_reaches_the_feature(tiny):
  model, params, (frames, _, _) = tiny

  def feature(frames):
    return model.apply(params, frames, method="encode").maps[0]

  base = feature(frames)
  for t in range(3):
    changed = frames.at[:, t].set(255 - frames[:, t])
    assert float(jnp.abs(feature(changed) - base).max()) > 1e-3


def test_pairs_have_matching_sizes_and_the_highest_is_the_heatmap_s(tiny):
  model, params, (frames, noisy, time) = tiny
  features = model.apply(params, frames, method="encode")
  bound = model.bind(params)
  levels = bound.decoder.embed_heatmaps(noisy, time)
  sizes = [(3, 5), (6, 10), (12, 20)]
  assert [m.shape[1:3] for m in features.maps] == sizes
  assert [level.shape[1:3] for level in levels] == sizes


def test_masks_have_one_channel_between_zero_and_one(tiny):
  model, params, (_, noisy, time) = tiny
  masks = model.bind(params).decoder.masks(noisy, time)
  assert [m.shape for m in masks] == [
    (2, 3, 5, 1),
    (2, 6, 10, 1),
    (2, 12, 20, 1),
  ]
  for mask in masks:
    assert float(mask.min()) > 0 and float(mask.max()) < 1
    assert float(mask.std()) > 0


def test_a_closed_mask_still_leaves_the_plain_feature(tiny):
  """The feature also enters unmasked, so that noise can be ignored."""
  model, params, (frames, noisy, time) = tiny
  encode = functools.partial(model.apply, params, method="encode")
  decode = jax.jit(functools.partial(model.apply, params, method="denoise"))
  features, other = encode(frames), encode(255 - frames)
  zero = lambda f: f.replace(  # noqa: E731
    maps=tuple(jnp.zeros_like(m) for m in f.maps)
  )
  a = decode(noisy, time, zero(features))
  b = decode(noisy, time, zero(other))
  assert float(jnp.abs(a - b).max()) > 1e-3


def test_halved_fusion_is_the_convolution_of_the_concatenation(tiny):
  model, params, (frames, noisy, time) = tiny
  del noisy, time
  decoder = params["params"]["decoder"]
  features = model.apply(params, frames, method="encode")
  plain = features.maps[2]
  local = jax.random.normal(jax.random.key(5), plain.shape)
  kernel = jnp.concatenate(
    [decoder["fuse_local_3"]["kernel"], decoder["fuse_plain_3"]["kernel"]],
    axis=2,
  )
  convolve = functools.partial(
    jax.lax.conv_general_dilated,
    window_strides=(1, 1),
    padding="SAME",
    dimension_numbers=("NHWC", "HWIO", "NHWC"),
  )
  whole = convolve(jnp.concatenate([local, plain], axis=-1), kernel)
  whole = whole + decoder["fuse_plain_3"]["bias"].reshape(1, 1, 1, -1)
  halves = (
    convolve(local, decoder["fuse_local_3"]["kernel"]) + features.halves[2]
  )
  np.testing.assert_allclose(halves, whole, atol=1e-4)


def test_the_head_is_one_3x3_convolution_of_a_sum(tiny):
  _, params, _ = tiny
  assert params["params"]["decoder"]["head"]["kernel"].shape == (3, 3, 16, 5)


def test_time_and_noise_change_the_heatmaps_but_not_the_features(tiny):
  model, params, (frames, noisy, time) = tiny
  features = model.apply(params, frames, method="encode")
  decode = functools.partial(
    model.apply, params, features=features, method="denoise"
  )
  base = decode(noisy, time)
  assert float(jnp.abs(decode(noisy, 1 - time) - base).max()) > 1e-4
  assert float(jnp.abs(decode(-noisy, time) - base).max()) > 1e-4


def test_diffusion_off_ignores_noise_and_time(tiny):
  _, params, (frames, noisy, time) = tiny
  model = diffpose.DiffPose(**TINY, diffusion=False)
  apply = functools.partial(model.apply, params, frames)
  np.testing.assert_array_equal(apply(noisy, time), apply(-noisy, 1 - time))


@pytest.mark.parametrize(
  "switch", [{"diffusion": False}, {"lookup": False}, {"scales": 1}]
)
def test_ablations_run_and_tell_their_parameters(switch):
  inputs = _inputs(1, 3, (24, 40), 8, 5)
  full = jax.eval_shape(
    diffpose.DiffPose(**TINY).init, jax.random.key(0), *inputs
  )
  out, cut = jax.eval_shape(
    diffpose.DiffPose(**(TINY | switch)).init_with_output,
    jax.random.key(0),
    *inputs,
  )
  assert out.shape == (1, 12, 20, 5)
  if "diffusion" in switch:
    assert _count(cut) == _count(full)
  elif "lookup" in switch:
    # The masked feature (16 channels) gives way to the heatmap's (8).
    fewer = 8 * 16 * (1 + 9 + 9)
    assert _count(full) - _count(cut) == fewer
  else:
    names = set(cut["params"]["decoder"])
    assert not {n for n in names if n.endswith(("_1", "_2"))}


def test_bfloat16_keeps_float32_parameters_and_output():
  model = diffpose.DiffPose(**TINY, dtype=jnp.bfloat16)
  inputs = _inputs(1, 3, (24, 40), 8, 5)
  out, params = jax.eval_shape(
    model.init_with_output, jax.random.key(0), *inputs
  )
  assert out.dtype == jnp.float32
  assert {leaf.dtype for leaf in jax.tree.leaves(params)} == {
    jnp.dtype("float32")
  }


def test_drop_path_is_off_unless_training(tiny):
  _, params, (frames, noisy, time) = tiny
  plain = diffpose.DiffPose(**TINY)
  dropping = diffpose.DiffPose(**TINY, drop_path=0.5)
  np.testing.assert_array_equal(
    plain.apply(params, frames, noisy, time),
    dropping.apply(params, frames, noisy, time),
  )
  rngs = {"dropout": jax.random.key(1)}
  trained = dropping.apply(params, frames, noisy, time, train=True, rngs=rngs)
  assert not np.allclose(trained, plain.apply(params, frames, noisy, time))


def test_time_embedding_tells_neighbouring_steps_apart():
  embedded = pose_decoder.time_embedding(jnp.arange(1, 1001) / 1000, 64)
  gaps = np.linalg.norm(np.diff(embedded, axis=0), axis=1)
  assert gaps.min() > 0.5
  assert math.isclose(float(jnp.abs(embedded).max()), 1, rel_tol=1e-3)
