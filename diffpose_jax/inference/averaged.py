"""The averaged weights of a run, wherever they lie: what all verbs begin with."""

import dataclasses
import pathlib
from typing import Any

import ml_collections

from diffpose_jax.inference import pack_file, workdir
from diffpose_jax.pose import skeleton as skeletons
from diffpose_jax.weights import checkpoint, packed


@dataclasses.dataclass(frozen=True)
class Origin:
  """A workdir, a packed file or a bundle, and the network that it describes."""

  path: pathlib.Path
  config: ml_collections.ConfigDict
  skeleton: skeletons.Skeleton
  file: pack_file.Network | None  # of packed weights, also a bundle's

  def params(self, like: Any) -> tuple[Any, int]:
    """Averaged weights in float32, and the step of training they are of.

    Of a workdir they are the newest good state's, with `train.patience` the
    best one's: the newest has waited for a gain.

    Args:
      like: the network's parameters as ShapeDtypeStructs with shardings.

    Raises ValueError where there are none, or they are not of that network.
    """
    if self.file:
      return packed.params(self.path, self.file.leaves, like), self.file.step
    best = self.config.train.patience > 0
    return checkpoint.load_averaged(self.path, like, best=best)


def find(weights: pathlib.Path) -> Origin:
  """What is said beside the weights of a workdir, a packed file or a bundle.

  Raises ValueError where the place holds none, or the file is not as written.
  """
  if (weights / pack_file.ONNX).is_file():
    raise ValueError(
      f"{weights}: ONNX files, which the run.py in that folder runs; give the "
      "weights that they were exported from"
    )
  if pack_file.is_one(weights):
    file = pack_file.read(weights)
    return Origin(weights, file.config, file.skeleton, file)
  return Origin(weights, *workdir.load(weights), file=None)


def is_one(place: pathlib.Path) -> bool:
  """True for a place of this project's weights; else they may be public ones."""
  if (place / workdir.CONFIG).exists() or (place / pack_file.BUNDLE).exists():
    return True
  return packed.is_ours(place)
