"""A bundle: the network as StableHLO programs, with its weights beside them.

A folder with

- `weights.safetensors`, what `pack` writes, in float32: also config, joints and
  calibration;
- `encode.stablehlo`, `step.stablehlo`, `read.stablehlo`: what `jax.export`
  serialises, for CPU, CUDA and TPU, of any number of clips;
- `bundle.json`: what they take and give, and the SHA-256 of each program;
- `run.py`: a runner that needs JAX and NumPy alone.

Programs, where `params` are the leaves of the file by their names:

- encode(params, frames u8[b t h w 3]) → features, a tuple;
- step(params, features, noisy [b y x k], times [2]) → heatmaps [b y x k], and
  the noisy heatmaps at times[1]: one DDIM step without noise of its own;
- read(heatmaps [m b y x k]) → joints [b k 2] (x, y) in crop pixels, their scores
  [b k], joints of each member [m b k 2].
"""

import hashlib
import pathlib
from typing import Any

import jax
import jax.numpy as jnp
from flax import traverse_util
from jax import export as jax_export

from diffpose_jax.data import strict_json
from diffpose_jax.inference import network, pack_file

FORMAT, VERSION = "diffpose_jax bundle", 1
PLATFORMS = ("cpu", "cuda", "tpu")
PROGRAMS = ("encode", "step", "read")
RUNNER = "run.py"


def is_one(weights: pathlib.Path) -> bool:
  """True for the folder of a bundle."""
  return (weights / pack_file.BUNDLE).is_file()


def file(folder: pathlib.Path, program: str) -> pathlib.Path:
  """Where a program is."""
  return folder / f"{program}.stablehlo"


def leaves(params: Any) -> dict[str, Any]:
  """Parameters by their names, as programs take them."""
  return dict(traverse_util.flatten_dict(params, sep="/"))


def halves(folder: pathlib.Path) -> network.Halves:
  """What inference is made of, by the programs of a bundle.

  Raises ValueError where a file is absent, damaged, of a newer version, or of
  no use to this JAX or on these devices.
  """
  about = strict_json.load(folder / pack_file.BUNDLE)
  place = str(folder / pack_file.BUNDLE)
  strict_json.require(about, ("format", "version", "sha256"), place)
  if about["format"] != FORMAT or about["version"] != VERSION:
    raise ValueError(
      f"{place}: {about['format']!r} of version {about['version']!r}, this "
      f"program reads {FORMAT!r} of version {VERSION}; export it again"
    )
  encode, step = (_program(folder, name, about) for name in ("encode", "step"))

  def denoise(params, noisy, time, features):
    # All clips are at one time; where the step leads to is not looked at.
    times = jnp.stack([time[0], time[0]])
    return step(leaves(params), features, noisy, times)[0]

  return network.Halves(
    lambda params, frames: encode(leaves(params), frames), denoise, True
  )


def _program(folder: pathlib.Path, name: str, about: dict[str, Any]) -> Any:
  """A program, to be called within others."""
  path = file(folder, name)
  if not path.is_file():
    raise ValueError(f"{path}: no such file; export the bundle again")
  content = path.read_bytes()
  if hashlib.sha256(content).hexdigest() != about["sha256"].get(path.name):
    raise ValueError(f"{path}: damaged (another SHA-256); export it again")
  try:
    found = jax_export.deserialize(bytearray(content))
  except Exception as error:  # whatever a newer JAX finds wrong with it
    raise ValueError(
      f"{path}: JAX {jax.__version__} cannot read it ({error}); export it again"
    ) from error
  platform = {"gpu": "cuda"}.get(jax.default_backend(), jax.default_backend())
  if platform not in found.platforms:
    raise ValueError(
      f"{path}: is for {', '.join(found.platforms)}, not for {platform}"
    )
  return found.call
