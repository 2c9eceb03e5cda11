"""The folder that `export` writes: whole or not at all, with a file that says
what is in it.
"""

import contextlib
import hashlib
import json
import pathlib
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from typing import Any

import jax

from diffpose_jax.inference import bundle, network, pack_file
from diffpose_jax.inference import estimator as estimator_lib


def check(weights: pathlib.Path, out: pathlib.Path) -> None:
  """Raises ValueError where `out` is taken, or the weights are a bundle."""
  if out.exists():
    raise ValueError(f"{out}: is there already; give another --out")
  if bundle.is_one(weights):
    raise ValueError(f"{weights}: is a bundle already; copy it")


def check_steps(config: Any) -> None:
  """Raises ValueError for a network whose steps need more than exported ones."""
  if config.model.self_condition:
    raise ValueError(
      "model.self_condition: a step of such a network takes the heatmaps of "
      "the step before, which the programs of a bundle do not; it cannot be "
      "exported"
    )


@contextlib.contextmanager
def whole(out: pathlib.Path) -> Iterator[pathlib.Path]:
  """A folder that takes the name `out` at the end, or goes."""
  out.parent.mkdir(parents=True, exist_ok=True)
  part = pathlib.Path(tempfile.mkdtemp(dir=out.parent, prefix=f".{out.name}."))
  try:
    yield part
    part.chmod(0o755)
    part.rename(out)
  except BaseException:
    shutil.rmtree(part, ignore_errors=True)
    raise


def describe(
  live: estimator_lib.Estimator, path: pathlib.Path, about: Mapping[str, Any]
) -> None:
  """Writes what is in the folder to `path`, last, since it makes it valid.

  Args:
    live: the network.
    path: a JSON file in the folder.
    about: what only this kind of folder has, first of all its format.
  """
  config: Any = live.config
  frames, noisy, _ = network.inputs(config, live.skeleton, 1)
  diffusion = config.diffusion
  found = {
    **about,
    "jax": jax.__version__,
    # The weights have one of their own within, for `calibrate` may add to them.
    "sha256": {
      file.name: hashlib.sha256(file.read_bytes()).hexdigest()
      for file in sorted(path.parent.iterdir())
      if file.name != pack_file.WEIGHTS
    },
    "weights_sha256": live.weights_hash,
    "training_step": live.step,
    "joints": live.skeleton.joints,
    "joint_pairs": live.skeleton.flip,
    "frames": frames.shape[1:],  # uint8 RGB; the key frame is the middle one
    "box_enlarged": config.data.enlarge,
    "normalisation": "in the programs: (frames / 255 - mean) / std of ImageNet",
    "heatmaps": noisy.shape[1:],
    "stride": config.model.patch / 4,  # crop pixels of a heatmap's pixel
    "decode": config.evaluate.decode,
    "diffusion": {
      "schedule": diffusion.schedule,
      "steps": diffusion.steps,
      "signal_scale": diffusion.signal_scale,
    },
    "sampling": {
      "steps": live.options.steps,
      "samples": live.options.samples,
    },
    "dtype": str(network.compute_dtype(config)),
  }
  path.write_text(json.dumps(found, indent=1) + "\n", "utf-8")


def tell(out: pathlib.Path, kind: str) -> None:
  """Prints what was written."""
  print(f"written: {out}, {kind}")
  for path in sorted(out.iterdir()):
    print(f"  {path.name}, {path.stat().st_size / 1e6:.2f} MB")
