"""Hugging Face's ViTPose itself beside ours, at the published sizes.

Runs where PyTorch and transformers are installed; they are no dependencies.
`pytest -s` prints the differences.
"""

import copy

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy

from diffpose_jax.model import diffpose, vitpose
from diffpose_jax.weights import position, public, source

torch = pytest.importorskip("torch", reason="needs PyTorch")
transformers = pytest.importorskip(
  "transformers", reason="needs Hugging Face's transformers"
)
pytestmark = pytest.mark.filterwarnings("default")

JOINTS = 17
HEIGHT, WIDTH = 256, 192


def theirs(size, heads, head, epsilon):
  """That library's network, with random weights and batch statistics."""
  backbone = transformers.VitPoseBackboneConfig(
    hidden_size=size.width,
    num_hidden_layers=size.depth,
    num_attention_heads=heads,
    layer_norm_eps=epsilon,
    out_indices=[size.depth],
  )
  config = transformers.VitPoseConfig(
    backbone_config=backbone,
    num_labels=JOINTS,
    use_simple_decoder=head == "simple",
  )
  return transformers.VitPoseForPoseEstimation(config).eval()


def randomise(model, make):
  shapes = {k: tuple(v.shape) for k, v in model.state_dict().items()}
  weights = make["random_weights"](shapes, seed=11)
  model.load_state_dict({k: torch.tensor(v) for k, v in weights.items()})


def difference(ours, theirs):
  """Largest difference over the largest value."""
  theirs = theirs.numpy()
  assert ours.shape == theirs.shape
  return float(np.abs(ours - theirs).max() / np.abs(theirs).max())


def compare(model, size, heads, head, folder, make):
  """Relative differences of features and heatmaps, through a saved file."""
  model.save_pretrained(folder)
  ours = vitpose.ViTPose(JOINTS, size, heads=heads, head=head)
  like = jax.eval_shape(
    ours.init,
    jax.random.key(0),
    jax.ShapeDtypeStruct((2, HEIGHT, WIDTH, 3), np.float32),
  )["params"]
  params, account = public.load_vitpose(
    folder / "model.safetensors", like, heads=heads
  )
  assert account.used + len(account.unused) == len(model.state_dict())
  images = jnp.asarray(make["random_images"](HEIGHT, WIDTH))
  features = ours.apply({"params": params}, images, method="features")
  heatmaps = ours.apply({"params": params}, images)
  with torch.no_grad():
    pixels = torch.tensor(np.array(images.transpose(0, 3, 1, 2)))
    tokens = model.backbone(pixels).feature_maps[-1]
    maps = model(pixels).heatmaps
  tokens = tokens.reshape(2, HEIGHT // 16, WIDTH // 16, size.width)
  return difference(features, tokens), difference(
    heatmaps, maps.permute(0, 2, 3, 1)
  )


@pytest.mark.parametrize("head", ["classic", "simple"])
@pytest.mark.parametrize(
  ("name", "depth"), [("S", 2), ("B", 2), ("L", 2), ("H", 2), ("B", 12)]
)
def test_a_published_size(name, depth, head, make, tmp_path):
  heads = diffpose.SIZES[name].heads
  size = diffpose.Size(diffpose.SIZES[name].width, depth, heads)
  model = theirs(size, heads, head, 1e-6)
  randomise(model, make)
  features, heatmaps = compare(model, size, heads, head, tmp_path, make)
  print(f"{name} depth {depth} {head}: {features:.1e} {heatmaps:.1e}")
  assert features < 1e-5
  assert heatmaps < 1e-5


def test_their_own_epsilon_changes_little(make, tmp_path):
  """Their layer norms say 1e-12, ViTPose's own and ours 1e-6."""
  size = diffpose.Size(768, 12, 12)
  model = theirs(size, 12, "classic", 1e-12)
  randomise(model, make)
  features, heatmaps = compare(model, size, 12, "classic", tmp_path, make)
  print(f"epsilon 1e-12: {features:.1e} {heatmaps:.1e}")
  assert features < 1e-4
  assert heatmaps < 1e-4


def test_half_precision_files(make, tmp_path):
  """Their bfloat16 file gives what their network gives with those weights."""
  size = diffpose.Size(384, 2, 12)
  model = theirs(size, 12, "classic", 1e-6)
  randomise(model, make)
  rounded = copy.deepcopy(model).to(torch.bfloat16)
  model.load_state_dict(rounded.state_dict())
  rounded.save_pretrained(tmp_path / "half")
  features, heatmaps = compare(model, size, 12, "classic", tmp_path, make)
  ours = vitpose.ViTPose(JOINTS, size)
  like = jax.eval_shape(
    ours.init,
    jax.random.key(0),
    jax.ShapeDtypeStruct((2, HEIGHT, WIDTH, 3), np.float32),
  )["params"]
  whole, _ = public.load_vitpose(tmp_path / "model.safetensors", like, heads=12)
  half, _ = public.load_vitpose(
    tmp_path / "half" / "model.safetensors", like, heads=12
  )
  jax.tree.map(np.testing.assert_array_equal, whole, half)
  assert max(features, heatmaps) < 1e-5


@pytest.mark.parametrize("new", [True, False])
@pytest.mark.parametrize("wrapper", ["", "state_dict", "model"])
def test_original_files(make, tmp_path, new, wrapper):
  """What PyTorch writes of an original file, in each form: every bit."""
  shapes = make["vitpose_shapes"](40, 2, 8, 13, 7)
  weights = make["random_weights"](shapes, seed=4)
  state = {k: torch.tensor(v) for k, v in weights.items()}
  content = {wrapper: state, "epoch": 3} if wrapper else state
  torch.save(content, tmp_path / "a.pth", _use_new_zipfile_serialization=new)
  safetensors.numpy.save_file(weights, tmp_path / "a.safetensors")
  first = source.read(tmp_path / "a.pth")
  other = source.read(tmp_path / "a.safetensors")
  assert first.format == other.format == "ViTPose"
  assert first.leaves.keys() == other.leaves.keys()
  for name, leaf in first.leaves.items():
    assert leaf.tobytes() == other.leaves[name].tobytes()


@pytest.mark.parametrize("old", [(14, 14), (16, 12), (7, 7)])
@pytest.mark.parametrize("new", [(16, 12), (24, 18), (5, 3)])
def test_resized_positions(old, new):
  values = np.random.RandomState(2).standard_normal((1, *old, 13))
  values = values.astype(np.float32)
  expected = torch.nn.functional.interpolate(
    torch.tensor(values.transpose(0, 3, 1, 2)),
    size=new,
    mode="bicubic",
    align_corners=False,
  )
  np.testing.assert_allclose(
    position.resize(values, new),
    expected.numpy().transpose(0, 2, 3, 1),
    atol=1e-5,
  )
