"""What holds for every test: CPU with 8 fake devices, and no silent broadcast.

XLA compiles with its lowest optimisation: of what tests do, compilation takes
the most, and it is half as long then (init and train step of a tiny network 37
s, not 78 s). The older of its two ways to write fused loops halves it again
(that step 10 s of CPU, not 18 s); the newest JAX does not have it any more.

The environment is set before JAX is first imported; that is why the imports
below it come late.
"""

import functools
import getpass
import importlib.metadata
import os
import pathlib
import signal
import tempfile

os.environ.setdefault("JAX_PLATFORMS", "cpu")
_FLAGS: dict[str, int | str] = {
  "--xla_force_host_platform_device_count": 8,
  "--xla_backend_optimization_level": 0,
}
if importlib.metadata.version("jaxlib").startswith("0.10."):
  _FLAGS["--xla_cpu_use_fusion_emitters"] = "false"
for _flag, _value in _FLAGS.items():
  if _flag not in os.environ.get("XLA_FLAGS", ""):
    os.environ["XLA_FLAGS"] = (
      os.environ.get("XLA_FLAGS", "") + f" {_flag}={_value}"
    ).strip()

import chromium
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny
from absl import flags

from diffpose_jax.inference import network
from diffpose_jax.inference import workdir as run_folder
from diffpose_jax.pose import skeleton
from diffpose_jax.weights import checkpoint

REPO = pathlib.Path(__file__).resolve().parent.parent

# The jaxtyping plugin may have imported JAX already, so say it once more.
jax.config.update("jax_platforms", os.environ["JAX_PLATFORMS"])
jax.config.update("jax_numpy_rank_promotion", "raise")

# Compiled programs outlive the run: a second run of the suite is much faster.
jax.config.update(
  "jax_compilation_cache_dir",
  os.path.join(tempfile.gettempdir(), f"diffpose_jax-xla-{getpass.getuser()}"),
)
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.25)

# A shell makes what it starts in the background deaf to Ctrl-C, and that is
# inherited: what the tests start must hear it.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
  signal.signal(signal.SIGINT, signal.default_int_handler)

# Grain's worker processes refuse to start while absl's flags are unparsed.
flags.FLAGS.mark_as_parsed()


@pytest.fixture
def key():
  """A PRNG key, the same for every test."""
  return jax.random.key(0)


@pytest.fixture(scope="session")
def shared_data():
  """The folder of the small real data sets; skips the test where it is absent.

  It is `DIFFPOSE_SHARED_DATA`, or `shared/data` beside the checkout.
  """
  default = REPO.parent / "shared" / "data"
  root = pathlib.Path(os.environ.get("DIFFPOSE_SHARED_DATA", default))
  if not root.is_dir():
    pytest.skip(
      f"no real data at {root}; set DIFFPOSE_SHARED_DATA to the folder"
    )
  return root


@pytest.fixture(scope="session")
def browser(tmp_path_factory):
  """A headless Chromium; skips the test where there is none."""
  if chromium.PATH is None:
    pytest.skip("no Chromium on PATH")
  found = chromium.Browser(tmp_path_factory.mktemp("chromium"))
  yield found
  found.close()


@pytest.fixture(scope="session")
def tiny_run(tmp_path_factory):
  """Workdir of a run of random weights, step 7; joints spread over the crop."""
  folder = tmp_path_factory.mktemp("tiny") / "run"
  config = tiny.config(data__name="synthetic", data__root="/some/where")
  config.evaluate.batch = 8
  config.evaluate.steps = 2
  config.evaluate.samples = 3
  init = functools.partial(
    network.init_params, config, skeleton.POSETRACK, jax.random.key(0)
  )
  rng = np.random.default_rng(0)

  def random(path, leaf):
    kind = jax.tree_util.keystr(path[-1:], simple=True)
    wide = max(1, np.prod(leaf.shape[:-1])) if kind == "kernel" else 100
    values = rng.standard_normal(leaf.shape) / np.sqrt(wide)
    return jnp.asarray(values + (kind == "scale"), jnp.float32)

  # To compile the initialisation takes long.
  params = jax.tree_util.tree_map_with_path(random, jax.eval_shape(init))
  head = params["decoder"]["head"]
  head["kernel"], head["bias"] = head["kernel"] / 5, head["bias"] / 10 + 0.3
  checkpoints = checkpoint.Checkpoints(folder)
  checkpoints.save({"ema": params}, 7, 0.0)
  checkpoints.close()
  run_folder.save(folder, config, skeleton.POSETRACK)
  return folder
