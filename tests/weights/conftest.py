"""Weights under the names of other programs, and small states to be saved."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy

from diffpose_jax.model import sharding, vit
from diffpose_jax.weights import checkpoint, public


def random_weights(shapes: dict, seed: int) -> dict[str, np.ndarray]:
  """Weights that leave no layer without effect, by the names of PyTorch's.

  `RandomState` gives the same numbers in every version of NumPy, so that
  reference arrays need no weights beside them.
  """
  random = np.random.RandomState(seed)
  result = {}
  for name, shape in shapes.items():
    values = random.standard_normal(shape)
    if name.endswith("num_batches_tracked"):
      values = np.array(5, np.int64)
    elif name.endswith("running_var"):
      values = 0.5 + np.abs(values)
    elif len(shape) == 1:
      values = 0.1 * values + name.endswith("weight")
    elif "pos" not in name:
      values = values / math.sqrt(math.prod(shape[1:]))
    dtype = np.int64 if values.dtype == np.int64 else np.float32
    result[name] = values.astype(dtype)
  return result


def random_images(height: int, width: int, seed: int = 3) -> np.ndarray:
  """Two normalised pictures, f32[2 h w 3]."""
  random = np.random.RandomState(seed)
  return random.standard_normal((2, height, width, 3)).astype(np.float32)


def vitpose_shapes(width, depth, patch, tokens, joints, head="classic"):
  """Names and shapes of an original ViTPose file."""
  d = width
  shapes = {
    "backbone.pos_embed": (1, tokens, d),
    "backbone.patch_embed.proj.weight": (d, 3, patch, patch),
    "backbone.patch_embed.proj.bias": (d,),
  }
  for i in range(depth):
    layers = {
      "norm1": (d,),
      "attn.qkv": (3 * d, d),
      "attn.proj": (d, d),
      "norm2": (d,),
      "mlp.fc1": (4 * d, d),
      "mlp.fc2": (d, 4 * d),
    }
    for name, shape in layers.items():
      shapes[f"backbone.blocks.{i}.{name}.weight"] = shape
      shapes[f"backbone.blocks.{i}.{name}.bias"] = shape[:1]
  shapes["backbone.last_norm.weight"] = (d,)
  shapes["backbone.last_norm.bias"] = (d,)
  layers = "keypoint_head.deconv_layers"
  inputs = d
  for i in (0, 3) if head == "classic" else ():
    shapes[f"{layers}.{i}.weight"] = (inputs, 256, 4, 4)
    for name in ("weight", "bias", "running_mean", "running_var"):
      shapes[f"{layers}.{i + 1}.{name}"] = (256,)
    shapes[f"{layers}.{i + 1}.num_batches_tracked"] = ()
    inputs = 256
  if head:
    side = 1 if head == "classic" else 3
    shapes["keypoint_head.final_layer.weight"] = (joints, inputs, side, side)
    shapes["keypoint_head.final_layer.bias"] = (joints,)
  return shapes


def as_timm(weights: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
  """The backbone of an original ViTPose file by timm's names."""
  return {
    name.removeprefix("backbone.").replace("last_norm", "norm"): array
    for name, array in weights.items()
    if name.startswith("backbone.")
  }


WIDTH, DEPTH, HEADS, PATCH = 24, 2, 3, 8  # of the small network of the tests


@pytest.fixture
def weights():
  """An original ViTPose file of 4x3 patches and 7 joints."""
  return random_weights(vitpose_shapes(WIDTH, DEPTH, PATCH, 13, 7), 1)


def backbone(grid, width=WIDTH, depth=DEPTH, heads=HEADS, patch=PATCH):
  """The shapes of a backbone's parameters."""
  model = vit.ViT(width, depth, heads, patch)
  images = jax.ShapeDtypeStruct(
    (1, grid[0] * patch, grid[1] * patch, 3), np.float32
  )
  return jax.eval_shape(model.init, jax.random.key(0), images)["params"]


@pytest.fixture(scope="session")
def save():
  """Writes arrays as the path's suffix says, and returns the path."""

  def write(path, arrays):
    if path.suffix == ".npz":
      np.savez(path, **arrays)
    else:
      contiguous = {k: np.ascontiguousarray(v) for k, v in arrays.items()}
      safetensors.numpy.save_file(contiguous, path)
    return path

  return write


@pytest.fixture(scope="session")
def load(save):
  """`public.load_backbone` of arrays saved as a file, for a small network."""

  def read(path, arrays, grid=(4, 3), heads=HEADS, **size):
    like = backbone(grid, **size)
    return public.load_backbone(save(path, arrays), like, heads=heads)

  return read


@pytest.fixture(scope="session")
def make():
  """The functions above; test files cannot import this one."""
  return {
    function.__name__: function
    for function in (
      random_weights,
      random_images,
      vitpose_shapes,
      as_timm,
      backbone,
    )
  }


class States:
  """Makes, saves and compares small states."""

  @staticmethod
  def state(value: float, rows: int = 3):
    """A state in which every number depends on `value`."""
    kernel = value + jnp.arange(rows * 5.0).reshape(rows, 5)
    params = {"vit": {"kernel": kernel}, "bias": jnp.full(7, value)}
    return {
      "step": jnp.asarray(int(value), jnp.int32),
      "params": params,
      "ema": jax.tree.map(lambda v: v + 0.25, params),
      "optimiser": (jnp.full(2, value), {"mu": jnp.full(11, -value)}),
    }

  @staticmethod
  def like(tree):
    """The same, abstract, on all devices."""
    place = sharding.replicated(sharding.mesh())
    return jax.tree.map(
      lambda v: jax.ShapeDtypeStruct(v.shape, v.dtype, sharding=place), tree
    )

  def save(self, workdir, aps):
    """Checkpoints of steps 1, 2, …, each with the AP given."""
    checkpoints = checkpoint.Checkpoints(workdir)
    for step, ap in enumerate(aps, start=1):
      checkpoints.save(self.state(float(step)), step, ap)
    checkpoints.close()

  def save_more(self, workdir, step, ap):
    """One more checkpoint."""
    checkpoints = checkpoint.Checkpoints(workdir)
    checkpoints.save(self.state(float(step)), step, ap)
    checkpoints.close()

  @staticmethod
  def save_one(workdir, state):
    """A checkpoint of step 1."""
    checkpoints = checkpoint.Checkpoints(workdir)
    checkpoints.save(state, 1, 0.0)
    checkpoints.close()

  @staticmethod
  def equal(a, b):
    """Fails unless both trees hold the same bits."""
    jax.tree.map(np.testing.assert_array_equal, a, b)

  @staticmethod
  def flip(path, place: int, bit: int = 0) -> None:
    """Flips one bit of a file."""
    content = bytearray(path.read_bytes())
    content[place] ^= 1 << bit
    path.write_bytes(bytes(content))


@pytest.fixture(scope="session")
def states():
  """What makes, saves and compares small states."""
  return States()
