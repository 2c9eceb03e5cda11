"""Public formats: what each key becomes, and what is refused.

That the leaves mean the same in another implementation is shown in
`vitpose_reference_test.py` for Hugging Face's names, and by Flax's own layers
in `flax_names_test.py` for big_vision's.
"""

import json
import re
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import traverse_util

from diffpose_jax.model import diffpose, vit, vitpose
from diffpose_jax.weights import formats, public, source

WIDTH, DEPTH, HEADS, PATCH = 24, 2, 3, 8  # as in conftest.py


def flat(tree) -> dict[str, Any]:
  return dict(traverse_util.flatten_dict(tree, sep="/"))


def plain_block(weights, prefix):
  """The leaves of a block, one by one, from an original file's names."""
  w = {k.removeprefix(prefix): v for k, v in weights.items()}
  return {
    "norm_1/scale": w["norm1.weight"],
    "norm_1/bias": w["norm1.bias"],
    "attention/qkv/kernel": w["attn.qkv.weight"].T,
    "attention/qkv/bias": w["attn.qkv.bias"],
    "attention/out/kernel": w["attn.proj.weight"].T,
    "attention/out/bias": w["attn.proj.bias"],
    "norm_2/scale": w["norm2.weight"],
    "norm_2/bias": w["norm2.bias"],
    "mlp/hidden/kernel": w["mlp.fc1.weight"].T,
    "mlp/hidden/bias": w["mlp.fc1.bias"],
    "mlp/out/kernel": w["mlp.fc2.weight"].T,
    "mlp/out/bias": w["mlp.fc2.bias"],
  }


def test_every_leaf_of_an_original_file(weights, make, tmp_path, load):
  tree, account = load(tmp_path / "a.safetensors", weights)
  leaves = flat(tree)
  prefix = "backbone."
  expected = {
    "stem/embed/bias": weights[f"{prefix}patch_embed.proj.bias"],
    "norm/scale": weights[f"{prefix}last_norm.weight"],
    "norm/bias": weights[f"{prefix}last_norm.bias"],
  }
  for i in range(DEPTH):
    block = plain_block(weights, f"{prefix}blocks.{i}.")
    expected |= {f"block_{i:02}/{name}": v for name, v in block.items()}
  kernel = weights[f"{prefix}patch_embed.proj.weight"]
  expected["stem/embed/kernel"] = np.stack(
    [[[kernel[:, c, y, x] for c in range(3)] for x in range(PATCH)]
     for y in range(PATCH)]
  )  # fmt: skip
  position = weights[f"{prefix}pos_embed"][0]
  expected["position"] = np.stack(
    [[position[1 + 3 * y + x] + position[0] for x in range(3)]
     for y in range(4)]
  )[None]  # fmt: skip
  assert (
    leaves.keys() == expected.keys() == flat(make["backbone"]((4, 3))).keys()
  )
  for name, array in expected.items():
    np.testing.assert_array_equal(leaves[name], array, err_msg=name)
    assert leaves[name].dtype == np.float32
  head = {name for name in weights if name.startswith("keypoint_head")}
  assert set(account.unused) == head
  assert account.used == len(weights) - len(head)
  assert account.format == "ViTPose"
  assert account.resized is None
  assert "heads" in account.notes[0]  # No published network is 24 wide.


def test_known_keys_without_a_use(weights, tmp_path, load):
  extra = {
    "backbone.cls_token": np.zeros((1, 1, WIDTH), np.float32),
    "associate_keypoint_heads.0.final_layer.bias": np.zeros(5, np.float32),
  }
  _, account = load(tmp_path / "a.safetensors", weights | extra)
  assert extra.keys() <= set(account.unused)
  text = account.table()
  assert "backbone.cls_token" in text
  assert "keypoint_head.deconv_layers.*.running_var (2)" in text
  assert account.sha256 in text


def test_the_whole_network(weights, tmp_path, save):
  path = save(tmp_path / "a.safetensors", weights)
  model = vitpose.ViTPose(7, diffpose.Size(WIDTH, DEPTH, HEADS), PATCH)
  images = jax.ShapeDtypeStruct((1, 4 * PATCH, 3 * PATCH, 3), np.float32)
  like = jax.eval_shape(model.init, jax.random.key(0), images)["params"]
  tree, account = public.load_vitpose(path, like, heads=HEADS)
  assert len(account.unused) == 2  # num_batches_tracked
  # A deconvolution, then a batch norm, written out for one output.
  w = {k.removeprefix("keypoint_head.deconv_layers."): v
       for k, v in weights.items()}  # fmt: skip
  up = tree["keypoint_head"]["up_0"]
  scale = w["1.weight"][5] / np.sqrt(w["1.running_var"][5] + 1e-5)
  np.testing.assert_allclose(
    up["kernel"][2, 3, 5], w["0.weight"][:, 5, 2, 3] * scale, rtol=1e-6
  )
  np.testing.assert_allclose(
    up["bias"][5], w["1.bias"][5] - w["1.running_mean"][5] * scale, rtol=1e-5
  )


# --- MAE and timm: the names of an original file without its prefix.


@pytest.fixture
def timm(weights, make):
  """A file of 5x5 patches and a class token, with a classifier."""
  result = make["as_timm"](weights)
  random = np.random.RandomState(4)
  position = random.standard_normal((1, 26, WIDTH)).astype(np.float32)
  return result | {
    "pos_embed": position,
    "cls_token": np.ones((1, 1, WIDTH), np.float32),
    "head.weight": np.ones((11, WIDTH), np.float32),
    "head.bias": np.ones(11, np.float32),
  }


def test_timm(timm, weights, tmp_path, load):
  tree, account = load(tmp_path / "a.safetensors", timm, grid=(5, 5))
  assert account.format == "timm"
  assert account.unused == ("cls_token", "head.bias", "head.weight")
  assert any("ImageNet" in note for note in account.notes)
  np.testing.assert_array_equal(
    tree["position"], timm["pos_embed"][:, 1:].reshape(1, 5, 5, WIDTH)
  )
  expected = plain_block(weights, "backbone.blocks.1.")
  for name, leaf in flat(tree["block_01"]).items():
    np.testing.assert_array_equal(leaf, expected[name])


def test_timm_without_a_class_token(timm, tmp_path, load):
  position = timm["pos_embed"][:, 1:]
  tree, _ = load(
    tmp_path / "a.safetensors", timm | {"pos_embed": position}, grid=(5, 5)
  )
  np.testing.assert_array_equal(
    tree["position"], position.reshape(1, 5, 5, WIDTH)
  )


def test_timm_with_other_pixels(timm, tmp_path, load):
  """The same patches, normalised in two ways, give the same tokens."""
  mean, std = [0.5, 0.4, 0.3], [0.5, 0.6, 0.7]
  config = {"pretrained_cfg": {"mean": mean, "std": std}}
  (tmp_path / "config.json").write_text(json.dumps(config))
  tree, account = load(tmp_path / "a.safetensors", timm, grid=(5, 5))
  assert not any("ImageNet" in note for note in account.notes)
  frames = np.random.RandomState(0).randint(0, 256, (1, 1, PATCH, PATCH, 3))
  frames = frames.astype(np.uint8)
  kernel = timm["patch_embed.proj.weight"]  # (d, 3, y, x)
  theirs = (frames[0, 0] / 255 - mean) / std
  expected = np.einsum("dcyx,yxc->d", kernel, theirs)
  ours = np.array(diffpose.normalise(jnp.asarray(frames)))[0, 0]
  embed = tree["stem"]["embed"]
  token = np.einsum("yxcd,yxc->d", embed["kernel"], ours) + embed["bias"]
  np.testing.assert_allclose(
    token - timm["patch_embed.proj.bias"], expected, atol=1e-5
  )


@pytest.mark.parametrize(
  "config", [{"mean": [0.5], "std": [1, 1, 1]}, {"mean": "a", "std": "b"},
             {"mean": [0, 0, 0], "std": [1, 0, 1]}],
)  # fmt: skip
def test_a_timm_config_that_cannot_be(timm, tmp_path, config, save):
  text = json.dumps({"pretrained_cfg": config})
  (tmp_path / "config.json").write_text(text)
  with pytest.raises(ValueError, match="config.json beside it says"):
    source.read(save(tmp_path / "a.safetensors", timm))


def test_imagenets_pixels_are_those_of_the_network():
  """A picture at ImageNet's mean becomes 0, one deviation above it 1."""
  mean, std = (np.array(v) for v in formats.IMAGENET)
  black, white = (
    np.array(diffpose.normalise(jnp.full((1, 1, 1, 1, 3), v, jnp.uint8)))
    for v in (0, 255)
  )
  np.testing.assert_allclose(black.ravel(), -mean / std, rtol=1e-6)
  np.testing.assert_allclose(white.ravel(), (1 - mean) / std, rtol=1e-6)


def test_mae_with_its_decoder(timm, tmp_path, load):
  file = {k: v for k, v in timm.items() if not k.startswith("head")}
  decoder = {
    "mask_token": np.zeros((1, 1, 5), np.float32),
    "decoder_embed.weight": np.zeros((5, WIDTH), np.float32),
    "decoder_pos_embed": np.zeros((1, 26, 5), np.float32),
    "decoder_blocks.0.norm1.weight": np.zeros(5, np.float32),
  }
  tree, account = load(tmp_path / "a.safetensors", file | decoder, grid=(5, 5))
  assert account.format == "MAE"
  assert set(account.unused) == {"cls_token", *decoder}
  np.testing.assert_array_equal(
    tree["position"], file["pos_embed"][:, 1:].reshape(1, 5, 5, WIDTH)
  )


def small(make, heads_of):
  """A file of width 384 and depth 1 by timm's names, without classifier."""
  shapes = make["vitpose_shapes"](384, 1, PATCH, 13, 7, "")
  result = make["random_weights"](shapes, 1)
  return make["as_timm"](result) if heads_of != "ViTPose" else result


@pytest.mark.parametrize(("of", "heads"), [("ViTPose", 12), ("timm", 6)])
def test_the_heads_of_a_small_network(make, tmp_path, of, heads, load):
  size = dict(width=384, depth=1)
  file = small(make, of)
  path = tmp_path / "a.safetensors"
  _, account = load(path, file, heads=heads, **size)
  assert account.format == of
  assert not any("heads" in note for note in account.notes)
  other = 18 - heads
  says = (
    f"{of} weights with {heads} attention heads; the network has {other}, and "
    f"would mix them up: --config.model.heads={heads}"
  )
  with pytest.raises(ValueError, match=re.escape(says)):
    load(path, file, heads=other, **size)


def test_a_wrapped_file_without_classifier_is_mae(make):
  """As MAE publishes its encoders; the S of these is ViTPose's own."""
  tensors = small(make, "timm")
  assert formats.recognise("model", tensors)[0].name == "MAE"
  assert formats.recognise("model", tensors)[0].heads[384] == 12
  assert formats.recognise("", tensors)[0].name == "timm"
  deit = tensors | {"head.weight": np.zeros((5, 384), np.float32)}
  assert formats.recognise("model", deit)[0].name == "timm"


@pytest.mark.parametrize(
  ("size", "says"),
  [
    (dict(width=48), "width 24, depth 2; the network's are 48, 2"),
    (dict(depth=3), "width 24, depth 2; the network's are 24, 3"),
    (dict(patch=16), "patches of 8 pixels; the network's are of 16"),
  ],
)
def test_another_size(weights, tmp_path, size, says, load):
  with pytest.raises(ValueError, match=says):
    load(tmp_path / "a.safetensors", weights, **size)


def test_another_published_size(make, tmp_path, load):
  shapes = make["vitpose_shapes"](192, 12, 2, 13, 7, "")
  file = make["random_weights"](shapes, 1)
  says = r"the network's are 24, 2 .*: --config.model.size=Ti"
  with pytest.raises(ValueError, match=says):
    load(tmp_path / "a.safetensors", file)


def test_a_network_with_another_stem(weights, tmp_path, save):
  path = save(tmp_path / "a.safetensors", weights)
  model = vit.ViT(WIDTH, DEPTH, HEADS, PATCH, stem="conv")
  images = jax.ShapeDtypeStruct((1, 4 * PATCH, 3 * PATCH, 3), np.float32)
  like = jax.eval_shape(model.init, jax.random.key(0), images)["params"]
  with pytest.raises(ValueError, match="--config.model.stem=patch"):
    public.load_backbone(path, like, heads=HEADS)


@pytest.mark.parametrize(
  ("joints", "head", "says"),
  [
    (13, "classic", "heatmaps of 7 joints; the network's are 13"),
    (7, "simple", "with a classic head; the network's is simple"),
  ],
)
def test_another_head(weights, tmp_path, joints, head, says, save):
  path = save(tmp_path / "a.safetensors", weights)
  model = vitpose.ViTPose(
    joints, diffpose.Size(WIDTH, DEPTH, HEADS), PATCH, head=head
  )
  images = jax.ShapeDtypeStruct((1, 4 * PATCH, 3 * PATCH, 3), np.float32)
  like = jax.eval_shape(model.init, jax.random.key(0), images)["params"]
  with pytest.raises(ValueError, match=says):
    public.load_vitpose(path, like, heads=HEADS)


def test_another_grid_is_resized(weights, tmp_path, load):
  tree, account = load(tmp_path / "a.safetensors", weights, grid=(6, 7))
  assert tree["position"].shape == (1, 6, 7, WIDTH)
  assert account.resized == ((4, 3), (6, 7))
  assert "resized from 4x3 to 6x7 patches" in account.table()


@pytest.mark.parametrize("head", ["classic", "simple"])
@pytest.mark.parametrize("name", diffpose.SIZES)
def test_every_leaf_of_every_size(make, name, head):
  """Arrays that take no memory; each rule's leaves are looked at and let go."""
  size = diffpose.SIZES[name]
  shapes = make["vitpose_shapes"](size.width, size.depth, 16, 193, 17, head)
  one = np.ones((), np.float32)
  tensors = {k: np.broadcast_to(one, shape) for k, shape in shapes.items()}
  form, tensors = formats.recognise("", tensors)
  dims = source.dims_of(form, tensors)
  made, taken = {}, []
  for rule in form.rules(form, dims):
    arrays = [tensors[key] for key in rule.sources]
    for leaf, array in rule.make(*arrays).items():
      assert leaf not in made
      made[leaf] = array.shape
    taken += rule.sources
  assert len(taken) == len(set(taken))
  counts = {key for key in shapes if key.endswith("num_batches_tracked")}
  assert set(taken) == shapes.keys() - counts
  made["vit/position"] = (1, 16, 12, size.width)
  model = vitpose.ViTPose(17, name, head=head)
  images = jax.ShapeDtypeStruct((1, 256, 192, 3), np.float32)
  like = jax.eval_shape(model.init, jax.random.key(0), images)["params"]
  assert made == {leaf: struct.shape for leaf, struct in flat(like).items()}
