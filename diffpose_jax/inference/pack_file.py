"""A network in one file: weights, config, joints and calibration."""

import dataclasses
import functools
import json
import pathlib
from collections.abc import Mapping
from typing import Any

import ml_collections

from diffpose_jax import config as config_lib
from diffpose_jax.data import skeleton_file, strict_json
from diffpose_jax.pose import skeleton as skeletons
from diffpose_jax.weights import packed

# Where a run found its data and start is of no use elsewhere, and nobody's
# business; what depends on them goes too.
_LOCAL = (
  *("data.root", "data.prepared", "data.mixture", "data.shares"),
  *("model.init_from", "train.init_from", "train.resume"),
  *("train.freeze_backbone", "train.freeze_steps", "train.teacher"),
  *("train.start_over", "train.accept_new_data"),
)
# A bundle of `export` is a folder with such a file in it.
BUNDLE, WEIGHTS = "bundle.json", f"weights{packed.SUFFIX}"
# One of `export --onnx` has this one, and no weights to read.
ONNX = "onnx.json"
_BOXES = ("gt", "prepared")
_REQUIRED = ("config", "skeleton", "step", "dtype", "packed_from_sha256")
_CALIBRATION = "calibration"


@dataclasses.dataclass(frozen=True)
class Network:
  """What a packed file holds."""

  path: pathlib.Path
  leaves: packed.Leaves  # as stored
  config: ml_collections.ConfigDict
  skeleton: skeletons.Skeleton
  step: int  # of training
  dtype: str  # of `leaves`
  packed_from: str  # SHA-256 of the float32 weights, as `Estimator` tells it
  calibration: Any  # what calibration.json would hold; None: there is none

  @property
  def protocol(self) -> dict[str, Any]:
    """What a result must say of the file, beside the hash of the weights."""
    return {
      "weights": self.path.name,
      "weights_dtype": self.dtype,
      "packed_from_sha256": self.packed_from,
    }


def is_one(weights: pathlib.Path) -> bool:
  """True where weights are in one file, or that was meant; or in a bundle."""
  single = weights.suffix == packed.SUFFIX or weights.is_file()
  return single or (weights / BUNDLE).is_file()


def read(path: pathlib.Path) -> Network:
  """The network in a packed file, also in that of a bundle.

  Raises ValueError where it is not as written, or of a version not known.
  """
  if (path / BUNDLE).is_file():
    path = path / WEIGHTS
  leaves, texts = packed.read(path)
  missing = [key for key in _REQUIRED if key not in texts]
  unknown = sorted(texts.keys() - {*_REQUIRED, _CALIBRATION})
  if missing or unknown or not texts["step"].isdecimal():
    wrong = ", ".join(missing + unknown) or f"step {texts['step'][:20]!r}"
    raise ValueError(
      f"{path}: missing or unknown in its header: {wrong}; pack it again"
    )
  wrong = [n for n, v in leaves.items() if str(v.dtype) != texts["dtype"]]
  if wrong:
    raise ValueError(f"{path}: {wrong[0]} is not of {texts['dtype']}")
  parse = functools.partial(_parse, path, texts)
  return Network(
    path=path,
    leaves=leaves,
    config=config_lib.parse(texts["config"], f"{path}: config"),
    skeleton=skeleton_file.of_record(parse("skeleton"), f"{path}: skeleton"),
    step=int(texts["step"]),
    dtype=texts["dtype"],
    packed_from=texts["packed_from_sha256"],
    calibration=parse(_CALIBRATION) if _CALIBRATION in texts else None,
  )


def _parse(path: pathlib.Path, texts: Mapping[str, str], key: str) -> Any:
  return strict_json.parse(texts[key], f"{path}: {key}")


def write(network: Network) -> None:
  """Writes the network to its path, whole or not at all."""
  texts = {
    "config": network.config.to_json_best_effort(sort_keys=True),
    "skeleton": json.dumps(
      skeleton_file.record_of(network.skeleton, str(network.path))
    ),
    "step": str(network.step),
    "dtype": network.dtype,
    "packed_from_sha256": network.packed_from,
  }
  if network.calibration is not None:
    texts[_CALIBRATION] = json.dumps(
      network.calibration, allow_nan=False, sort_keys=True
    )
  packed.write(network.path, network.leaves, texts)


def calibrate(path: pathlib.Path, calibration: Mapping[str, Any]) -> None:
  """Puts a calibration into a file, in place of the one in it; see `read`."""
  write(dataclasses.replace(read(path), calibration=dict(calibration)))


def portable(config: ml_collections.ConfigDict) -> ml_collections.ConfigDict:
  """A config of its own without what only holds where the run was made."""
  result, default = config_lib.copy(config), config_lib.default()
  for key in _LOCAL:
    group, name = key.split(".")
    result[group][name] = default[group][name]
  if result.evaluate.boxes not in _BOXES:
    result.evaluate.boxes = default.evaluate.boxes
  return result
