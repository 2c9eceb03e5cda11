"""By what a prediction that goes on knows that it is the same one."""

import hashlib
import pathlib
from typing import Any

import jax

from diffpose_jax.data import sources, video
from diffpose_jax.inference import boxes_in, program
from diffpose_jax.inference import estimator as estimator_lib

_SAMPLE = 1 << 16  # bytes looked at, at the beginning, middle and end of a file


def of(
  source: sources.Source,
  info: video.VideoInfo,
  supply: boxes_in.Supply,
  estimator: estimator_lib.Estimator,
  way: dict[str, Any],
) -> dict[str, Any]:
  """All that the poses of a video's frames depend on, in JSON types.

  By names as a user would call them. `way` is how frames flow to the network.
  """
  config: Any = estimator.config
  protocol = estimator.protocol()
  weights = {"training_step", "weights_sha256", "packed_from_sha256"}
  return {
    "frames": {
      "sha256": files(source.pictures or (source.path,)),
      "fps": source.fps,
      "decoded_by": info.backend,
    },
    "weights": {k: v for k, v in protocol.items() if k in weights},
    "options": {
      **{k: v for k, v in protocol.items() if k not in weights},
      **way,
      "config": _digest(config.to_json_best_effort(sort_keys=True)),
    },
    "boxes": {**supply.protocol, "sha256": supply.sha256},
    "program": {
      "code": program.code(),
      "jax": jax.__version__,
      "devices": [f"{d.platform} {d.device_kind}" for d in jax.devices()],
    },
  }


def files(paths: tuple[pathlib.Path, ...]) -> str:
  """SHA-256 of names, sizes, and samples of the content, of files in order.

  Of large files it does not read all, which would take as long as to decode.
  """
  digest = hashlib.sha256()
  for path in paths:
    size = path.stat().st_size
    digest.update(f"{path.name}\0{size}\0".encode())
    with path.open("rb") as file:
      for start in (0, max(0, size // 2), max(0, size - _SAMPLE)):
        file.seek(start)
        digest.update(file.read(_SAMPLE))
  return digest.hexdigest()


def _digest(text: str) -> str:
  return hashlib.sha256(text.encode()).hexdigest()
