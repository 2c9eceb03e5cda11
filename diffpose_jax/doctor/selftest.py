"""A tiny network, a compiled step and a file, tried out."""

import functools
import pathlib
import tempfile
import time
from collections.abc import Callable

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np

from diffpose_jax import config as config_lib
from diffpose_jax.doctor import finding
from diffpose_jax.inference import estimator as estimator_lib
from diffpose_jax.inference import network
from diffpose_jax.inference import sampling as sampling_lib
from diffpose_jax.model import sharding
from diffpose_jax.pose import skeleton
from diffpose_jax.weights import packed

_REMEDY = (
  "install JAX again in the versions of launch/locks, and see if JAX_PLATFORMS="
  "cpu helps; then report it with all lines above"
)


def check() -> list[finding.Finding]:
  """A line for each test, with its time."""
  tests: dict[str, Callable[[], str]] = {
    "compiled step": _step,
    "network": _network,
    "checksum": _checksum,
  }
  found = []
  for name, test in tests.items():
    start = time.monotonic()
    try:
      text = test()
    except Exception as error:
      found.append(finding.broken(name, error, _REMEDY))
    else:
      seconds = time.monotonic() - start
      found.append(finding.Finding(name, f"{text} ({seconds:.1f} s)"))
  return found


def tiny() -> ml_collections.ConfigDict:
  """The smallest network of all kinds of layers."""
  config = config_lib.default()
  config.data.size = (16, 16)
  config.data.span = 0
  config.model.size = "cpu"
  config.model.heads = 1
  config.model.patch = 8
  config.model.strl_depth = 1
  config.model.decoder_width = 8
  config.model.heatmap_width = 8
  config.model.scales = 1
  config.evaluate.max_steps = 2
  config.evaluate.batch = sharding.shares(sharding.mesh())
  return config


def _network() -> str:
  """Poses of made-up clips, twice: encoded, sampled, decoded."""
  config = tiny()
  rng = np.random.default_rng(0)
  init = functools.partial(network.init_params, config, skeleton.POSETRACK)
  # NumPy's numbers, as to compile the initialisation takes 15 s.
  params = jax.tree.map(
    lambda leaf: jnp.asarray(0.1 * rng.standard_normal(leaf.shape), leaf.dtype),
    jax.eval_shape(init, jax.random.key(0)),
  )
  options = sampling_lib.Options(2, 2, False, 0, 0.0)
  estimator = estimator_lib.Estimator(
    config, skeleton.POSETRACK, params, options
  )
  frames = rng.integers(0, 256, (1, 1, *config.data.size, 3), np.uint8)
  first, second = (
    estimator(frames, np.array([7], np.uint32)) for _ in range(2)
  )
  if not np.isfinite(first.joints).all():
    raise ValueError("joints are not finite")
  for name in ("joints", "score", "samples", "shape"):
    a, b = getattr(first, name), getattr(second, name)
    if a.tobytes() != b.tobytes():
      raise ValueError(f"{name} differ between two runs of the same program")
  return "encoded, sampled and decoded twice, with the same bits"


def _step() -> str:
  """A step of least squares, compared with NumPy's."""
  rng = np.random.default_rng(0)
  a = rng.standard_normal((37, 5)).astype(np.float32)
  b = rng.standard_normal(37).astype(np.float32)

  @jax.jit
  def step(x: jax.Array) -> jax.Array:
    with jax.default_matmul_precision("float32"):
      loss = jax.grad(lambda x: jnp.mean(jnp.square(a @ x - b)))
      return x - 0.1 * loss(x)

  found = np.asarray(step(jnp.ones(5)))
  wanted = 1 - 0.1 * 2 * a.T @ (a @ np.ones(5) - b) / 37
  away = float(np.abs(found - wanted).max())
  if not away < 1e-3:
    raise ValueError(f"a gradient step is off by {away:g} from NumPy's")
  return "a gradient step as NumPy computes it"


def _checksum() -> str:
  """Packed weights read back, and refused once a byte of them is another."""
  leaves = {"a": np.arange(1000, dtype=np.float16)}
  with tempfile.TemporaryDirectory() as folder:
    path = pathlib.Path(folder) / "a.safetensors"
    packed.write(path, leaves, {"b": "c"})
    back, _ = packed.read(path)
    if not np.array_equal(back["a"], leaves["a"]):
      raise ValueError("a file came back otherwise")
    content = bytearray(path.read_bytes())
    content[-7] ^= 4
    path.write_bytes(content)
    try:
      packed.read(path)
    except ValueError:
      return "a file is written and read back, a damaged one is refused"
  raise ValueError("a damaged file was not noticed")
