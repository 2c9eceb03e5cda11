"""Features and heatmaps against arrays of Hugging Face's ViTPose.

`make_vitpose_reference.py` made them; `vitpose_parity_test.py` compares with
the library itself, at the published sizes.
"""

import json
import pathlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy

from diffpose_jax.model import diffpose, vitpose
from diffpose_jax.weights import convert, public, source

REFERENCE = pathlib.Path(__file__).with_name("vitpose_reference.npz")
# name: (height, width, patch, width of the network, heads, joints)
CASES = {
  "classic": (128, 96, 16, 48, 3, 5),
  "simple": (77, 55, 11, 40, 5, 7),
}


@pytest.fixture(scope="module")
def reference():
  with np.load(REFERENCE, allow_pickle=False) as file:
    return {name: file[name] for name in file.files}


def relative(ours, theirs):
  """Largest difference over the largest value."""
  assert ours.shape == theirs.shape
  return np.abs(ours - theirs).max() / np.abs(theirs).max()


def save(folder, reference, case, make):
  """The file that the library would write, and its config.json."""
  shapes = json.loads(str(reference[f"{case}_shapes"]))
  weights = make["random_weights"](shapes, seed=len(case))
  path = folder / "model.safetensors"
  safetensors.numpy.save_file(weights, path)
  (folder / "config.json").write_text(str(reference[f"{case}_config"]))
  return path


def network(case):
  h, w, patch, width, heads, joints = CASES[case]
  model = vitpose.ViTPose(
    joints, diffpose.Size(width, 2, heads), patch, head=case
  )
  like = jax.eval_shape(
    model.init,
    jax.random.key(0),
    jax.ShapeDtypeStruct((2, h, w, 3), np.float32),
  )
  return model, like["params"], heads


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("converted", [False, True])
def test_features_and_heatmaps(reference, case, converted, make, tmp_path):
  path = save(tmp_path, reference, case, make)
  if converted:
    convert.convert(path, tmp_path / "out")
    path = tmp_path / "out"
  model, like, heads = network(case)
  params, account = public.load_vitpose(path, like, heads=heads)
  images = jnp.asarray(make["random_images"](*CASES[case][:2]))
  features: Any = model.apply({"params": params}, images, method="features")
  heatmaps: Any = model.apply({"params": params}, images)
  assert relative(features, reference[f"{case}_features"]) < 1e-5
  assert relative(heatmaps, reference[f"{case}_heatmaps"]) < 1e-5
  assert heatmaps.dtype == np.float32
  unused = 2 if case == "classic" else 0  # num_batches_tracked
  assert len(account.unused) == unused
  shapes = json.loads(str(reference[f"{case}_shapes"]))
  assert account.used == len(shapes) - unused
  assert account.resized is None
  assert account.format == "ViTPose of Hugging Face"


def test_the_backbone_alone(reference, make, tmp_path):
  path = save(tmp_path, reference, "classic", make)
  _, like, heads = network("classic")
  whole, _ = public.load_vitpose(path, like, heads=heads)
  params, account = public.load_backbone(path, like["vit"], heads=heads)
  jax.tree.map(np.testing.assert_array_equal, params, whole["vit"])
  # 12 of the head: two kernels, two times five of batch norms, the last two.
  head = {name for name in account.unused if name.startswith("head.")}
  assert set(account.unused) == head
  assert len(head) == 14
  assert account.used == len(json.loads(str(reference["classic_shapes"]))) - 14


@pytest.mark.parametrize(
  ("change", "says"),
  [
    ({"num_experts": 6}, "a mixture of experts, as ViTPose"),
    ({"hidden_act": "gelu_new"}, "hidden_act 'gelu_new'"),
    ({"num_attention_heads": 4}, "4 attention heads; the network has 3"),
    ({"num_attention_heads": 5}, "5 heads do not divide width 48"),
    ({"num_attention_heads": "3"}, "num_attention_heads '3'"),
    ({"image_size": [256, 192]}, "no grid of patches 16x12"),
    ({"image_size": "all"}, "image_size 'all'"),
  ],
)
def test_a_config_of_another_network(reference, make, tmp_path, change, says):
  path = save(tmp_path, reference, "classic", make)
  config = json.loads(str(reference["classic_config"]))
  config["backbone_config"] |= change
  (tmp_path / "config.json").write_text(json.dumps(config))
  _, like, heads = network("classic")
  with pytest.raises(ValueError, match=says) as caught:
    public.load_vitpose(path, like, heads=heads)
  assert str(path) in str(caught.value)


def test_a_config_with_another_factor(reference, make, tmp_path):
  path = save(tmp_path, reference, "simple", make)
  config = json.loads(str(reference["simple_config"]))
  (tmp_path / "config.json").write_text(
    json.dumps(config | {"scale_factor": 2})
  )
  with pytest.raises(ValueError, match="scale_factor 2"):
    source.read(path)


def test_a_config_that_is_not_json(reference, make, tmp_path):
  path = save(tmp_path, reference, "simple", make)
  (tmp_path / "config.json").write_text("{")
  with pytest.raises(ValueError, match="config.json: not JSON"):
    source.read(path)


def test_a_config_of_something_else_says_nothing(reference, make, tmp_path):
  path = save(tmp_path, reference, "classic", make)
  (tmp_path / "config.json").write_text('{"model": {"size": "B"}}')
  assert source.read(path).heads is None  # No published size is 48 wide.


def test_an_image_size_of_one_number(reference, make, tmp_path):
  path = save(tmp_path, reference, "classic", make)
  config = json.loads(str(reference["classic_config"]))
  config["backbone_config"]["image_size"] = 112  # 7x7 patches, not 8x6
  (tmp_path / "config.json").write_text(json.dumps(config))
  with pytest.raises(ValueError, match="no grid of patches 7x7"):
    source.read(path)
