"""The network's layers are the paper's equations, written out beside it.

STRL in numpy, float64; of the Pose-Decoder each layer from what the layer
before it gave.
"""

# pyright: reportArgumentType=false, reportAttributeAccessIssue=false
# pyright: reportCallIssue=false, reportIndexIssue=false
# (Linen's `init` and `apply` have no types that a checker can use.)

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
from jax import lax

from diffpose_jax.model import diffpose, strl


def _random(shapes, seed=0):
  """Arrays in which no leaf is zero, so that none hides what it does."""
  rng = np.random.default_rng(seed)
  return jax.tree.map(
    lambda s: jnp.asarray(0.2 * rng.standard_normal(s.shape, np.float32)),
    shapes,
  )


@pytest.fixture(scope="module")
def clip():
  """A network, its random parameters, frames, a noisy heatmap and times."""
  model = diffpose.DiffPose(
    joints=5,
    size="cpu",
    patch=8,
    strl_depth=1,
    decoder_width=16,
    heatmap_width=8,
  )
  rng = np.random.default_rng(1)
  frames = jnp.asarray(rng.integers(0, 256, (2, 3, 24, 40, 3), np.uint8))
  noisy = jnp.asarray(rng.standard_normal((2, 12, 20, 5), np.float32))
  time = jnp.array([0.3, 0.8])
  shapes = jax.eval_shape(model.init, jax.random.key(0), frames, noisy, time)
  return model, _random(shapes), (frames, noisy, time)


@pytest.fixture(scope="module")
def seen(clip):
  """What each layer of the Pose-Decoder gives, the features and the result."""
  model, params, (frames, noisy, time) = clip
  features = model.apply(params, frames, method="encode")
  out, inside = model.apply(
    params, noisy, time, features, method="denoise", capture_intermediates=True
  )
  layers = inside["intermediates"]["decoder"]
  del layers["__call__"]
  inside = {name: value["__call__"][0] for name, value in layers.items()}
  return inside, features, out


def _convolved(x, kernel):
  return lax.conv_general_dilated(
    x, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
  )


def test_the_vit_sees_every_frame_by_itself(clip):
  model, params, (frames, _, _) = clip

  @jax.jit
  def tokens(frames):
    _, inside = model.apply(
      params,
      frames,
      method="encode",
      capture_intermediates=lambda module, _: module.name == "vit",
    )
    tokens = inside["intermediates"]["vit"]["__call__"][0]
    return tokens.reshape(2, 3, *tokens.shape[1:])

  before = tokens(frames)
  after = tokens(frames.at[0, 2].set(255 - frames[0, 2]))
  changed = np.abs(after - before).max(axis=(2, 3, 4)) > 1e-6
  np.testing.assert_array_equal(changed, [[0, 0, 1], [0, 0, 0]])


def _norm(p, x):
  x = x - x.mean(axis=-1, keepdims=True)
  x = x / np.sqrt((x**2).mean(axis=-1, keepdims=True) + 1e-6)
  return x * p["scale"] + p["bias"]


def _dense(p, x):
  return x @ p["kernel"] + p["bias"]


def _mlp(p, x):
  x = _dense(p["hidden"], x)
  x = x / 2 * (1 + scipy.special.erf(x / np.sqrt(2)))
  return _dense(p["out"], x)


def _attention(p, x, heads):
  """Multi-head self-attention over the tokens of one clip, head by head."""
  n, d = x.shape
  q, k, v = _dense(p["qkv"], x).reshape(n, 3, heads, d // heads).swapaxes(0, 1)
  parts = []
  for h in range(heads):
    logits = q[:, h] @ k[:, h].T / np.sqrt(d // heads)
    weights = np.exp(logits - logits.max(axis=-1, keepdims=True))
    weights = weights / weights.sum(axis=-1, keepdims=True)
    parts.append(weights @ v[:, h])
  return _dense(p["out"], np.concatenate(parts, axis=-1))


def test_strl_is_the_paper_s_equations():
  """In numpy, float64, one clip at a time."""
  learner = strl.STRL(depth=2, heads=3)
  rng = np.random.default_rng(0)
  x = rng.standard_normal((2, 5, 2, 3, 12), np.float32)
  params = _random(jax.eval_shape(learner.init, jax.random.key(0), x))
  found = learner.apply(params, jnp.asarray(x))
  p = jax.tree.map(lambda v: np.asarray(v, np.float64), params["params"])
  for clip, frames in enumerate(x.astype(np.float64)):
    # F0 = concat(embedded frame + its position)
    position = p["position_space"][0, 0] + p["position_frame"][0]
    tokens = np.concatenate(
      [
        (_dense(p["embed"], frame) + place).reshape(6, 12)
        for frame, place in zip(frames, position, strict=True)
      ]
    )
    for block in (p["block_0"], p["block_1"]):
      tokens = tokens + _attention(
        block["attention"], _norm(block["norm_1"], tokens), heads=3
      )
      tokens = tokens + _mlp(block["mlp"], _norm(block["norm_2"], tokens))
    tokens = _norm(p["norm"], tokens).reshape(5, 6, 12)
    fused = sum(w * t for w, t in zip(p["aggregate"], tokens, strict=True))
    expected = _mlp(p["mlp"], fused).reshape(2, 3, 12)
    np.testing.assert_allclose(found[clip], expected, rtol=1e-3, atol=1e-5)


def test_time_scales_and_shifts_the_embedded_heatmap(clip, seen):
  model, params, (_, noisy, time) = clip
  inside, _, _ = seen
  scale, shift = np.split(np.asarray(inside["modulate"]), 2, axis=-1)
  expected = inside["embed"] * (1 + scale[:, None, None]) + shift[:, None, None]
  levels = model.bind(params).decoder.embed_heatmaps(noisy, time)
  np.testing.assert_allclose(levels[-1], expected, rtol=1e-4, atol=1e-5)
  assert np.abs(scale).max() > 1e-3 and np.abs(shift).max() > 1e-3


def test_time_acts_on_the_heatmap_s_path_only(clip, seen):
  """Where it cannot re-scale the heatmap, nothing depends on it."""
  model, params, (_, noisy, time) = clip
  _, features, out = seen
  decoder = dict(params["params"]["decoder"])
  decoder["modulate"] = jax.tree.map(jnp.zeros_like, decoder["modulate"])
  cut = {"params": params["params"] | {"decoder": decoder}}
  run = jax.jit(
    lambda p, t: model.apply(p, noisy, t, features, method="denoise")
  )
  np.testing.assert_array_equal(run(cut, time), run(cut, 1 - time))
  assert np.abs(run(params, 1 - time) - out).max() > 1e-4


def test_the_pyramid_is_deconvolutions_up_and_convolutions_down(clip, seen):
  _, params, _ = clip
  inside, features, _ = seen
  decoder = params["params"]["decoder"]

  def kernel(name, layer=None):
    tree = decoder[name] if layer is None else decoder[name][layer]
    return tree["kernel"].shape

  d, e, c = 128, 16, 8  # of the ViT, the decoder, the heatmap
  assert set(decoder["raise_1"]) == {"up_0", "norm_0"}
  assert kernel("raise_1", "up_0") == (1, 1, d, e)
  assert set(decoder["raise_2"]) == {"up_0", "norm_0"}
  assert kernel("raise_2", "up_0") == (4, 4, e, d)
  assert set(decoder["raise_3"]) == {"up_0", "norm_0", "up_1", "norm_1"}
  assert kernel("raise_3", "up_0") == (4, 4, e, d)
  assert kernel("raise_3", "up_1") == (4, 4, e, e)
  sizes = [m.shape[1:3] for m in features.maps]
  assert sizes == [(3, 5), (6, 10), (12, 20)]
  assert {name for name in decoder if name.startswith("down")} == {
    "down_1",
    "down_2",
  }
  assert kernel("down_1") == kernel("down_2") == (2, 2, c, c)
  assert [inside[f"down_{j}"].shape[1:3] for j in (1, 2)] == sizes[:2]


def _masks(inside):
  """Of the refined heatmaps, by hand; (b, y, x, 1) each."""
  refined = [np.asarray(inside[f"refine_{j}"], np.float64) for j in (1, 2, 3)]
  return [1 / (1 + np.exp(-x.max(axis=-1, keepdims=True))) for x in refined]


def test_the_mask_is_the_sigmoid_of_the_strongest_channel(clip, seen):
  model, params, (_, noisy, time) = clip
  masks = model.bind(params).decoder.masks(noisy, time)
  for mask, expected in zip(masks, _masks(seen[0]), strict=True):
    np.testing.assert_allclose(mask, expected, atol=1e-6)


def test_the_lookup_is_the_mask_times_the_feature(clip, seen):
  _, params, _ = clip
  inside, features, _ = seen
  decoder = params["params"]["decoder"]
  for j, mask in enumerate(_masks(inside)):
    local = jnp.asarray(mask, jnp.float32) * features.maps[j]
    kernel = decoder[f"fuse_local_{j + 1}"]["kernel"]
    if j == 0:
      expected = local @ kernel[None, None]
    else:
      expected = _convolved(local, kernel)
    found = inside[f"fuse_local_{j + 1}"]
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_a_transformer_below_and_convolutions_above(clip):
  _, params, _ = clip
  decoder = params["params"]["decoder"]

  def kinds(name):
    return {key.partition("_")[0] for key in decoder[name]}

  assert kinds("interact_1") == {"block", "norm", "up"}
  assert kinds("interact_2") == {"conv", "norm", "up"}
  assert kinds("interact_3") == {"conv", "norm"}
  assert "block" in decoder["refine_1"]
  for name in ("refine_2", "refine_3"):
    assert decoder[name]["kernel"].shape == (3, 3, 8, 8)


def test_the_heatmaps_are_one_3x3_convolution_of_the_sum(clip, seen):
  _, params, _ = clip
  inside, _, out = seen
  branches = [inside[f"interact_{j}"] for j in (1, 2, 3)]
  assert [b.shape for b in branches] == 3 * [(2, 12, 20, 16)]
  head = params["params"]["decoder"]["head"]
  assert head["kernel"].shape == (3, 3, 16, 5)
  expected = _convolved(branches[0] + branches[1] + branches[2], head["kernel"])
  expected = expected + head["bias"].reshape(1, 1, 1, 5)
  np.testing.assert_allclose(out, expected, atol=1e-4)
