"""What holds for every test: CPU with 8 fake devices, and no silent broadcast.

The environment is set before JAX is first imported; that is why the imports
below it come late.
"""

import getpass
import os
import pathlib
import signal
import tempfile

os.environ.setdefault("JAX_PLATFORMS", "cpu")
_DEVICES = "--xla_force_host_platform_device_count"
if _DEVICES not in os.environ.get("XLA_FLAGS", ""):
  os.environ["XLA_FLAGS"] = (
    os.environ.get("XLA_FLAGS", "") + f" {_DEVICES}=8"
  ).strip()

import jax
import pytest
from absl import flags

REPO = pathlib.Path(__file__).resolve().parent.parent

# The jaxtyping plugin may have imported JAX already, so say it once more.
jax.config.update("jax_platforms", os.environ["JAX_PLATFORMS"])
jax.config.update("jax_numpy_rank_promotion", "raise")

# Compiled programs outlive the run: a second run of the suite is much faster.
jax.config.update(
  "jax_compilation_cache_dir",
  os.path.join(tempfile.gettempdir(), f"diffpose_jax-xla-{getpass.getuser()}"),
)
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)

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
