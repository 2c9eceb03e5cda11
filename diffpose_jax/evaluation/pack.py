"""The verb `pack`: a run's weights in one file, and what that costs."""

import dataclasses
import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from flax import traverse_util

from diffpose_jax import config as config_lib
from diffpose_jax.data import pyramid, synthetic, synthetic_scene
from diffpose_jax.evaluation import evaluate, table
from diffpose_jax.inference import calibration, crops, pack_file
from diffpose_jax.inference import estimator as estimator_lib
from diffpose_jax.weights import checkpoint, packed

_SCENES = 12  # rendered, to compare on


@dataclasses.dataclass(frozen=True)
class Loss:
  """How far poses of packed weights are from those of the weights packed."""

  people: int
  joints: float  # the largest distance of a joint, picture pixels
  mean: float  # distance, picture pixels
  share: float  # the largest distance over the longer side of the box
  scores: float  # the largest difference

  def __str__(self) -> str:
    return (
      f"on {self.people} rendered people joints differ by at most "
      f"{self.joints:.3g} pixels ({self.share:.2%} of the box's longer side), "
      f"{self.mean:.3g} in the mean, scores by at most {self.scores:.3g}"
    )


def main(
  *,
  weights: pathlib.Path,
  out: pathlib.Path,
  dtype: str = "float16",
  **given: Any,
) -> Loss:
  """Packs, and prints what is in the file and what accuracy it costs.

  Args:
    weights: workdir of a training run, or a packed file.
    out: file to write, `.safetensors`.
    dtype: float16 or float32.
    **given: fields of `evaluate.Source`; where there are any, both weights are
      evaluated on these data too.

  Raises:
    ValueError: the weights do not fit the dtype, or the calibration in the
      workdir is of other weights.
  """
  packed.check_name(out)
  if out.resolve() == weights.resolve():
    raise ValueError(f"{out}: is what would be packed; give another --out")
  before = estimator_lib.Estimator.load(weights)
  network = pack(before, weights, out, dtype)
  pack_file.write(network)
  after = estimator_lib.Estimator.load(out)
  count, size = packed.size(network.leaves)
  print(
    f"written: {out}, {out.stat().st_size / 1e6:.2f} MB: {count:,} parameters "
    f"as {dtype} ({size / 1e6:.2f} MB) of training step {network.step}, "
    f"{len(network.skeleton.joints)} joints ({network.skeleton.name}), "
    + ("calibrated" if network.calibration else "not calibrated")
  )
  print(f"weights: SHA-256 {after.weights_hash}")
  print(f"of: SHA-256 {before.weights_hash}, float32")
  after = before.with_params(after.params)  # in the program compiled already
  lost = compare(before, after)
  print(f"loss: {lost}")
  if given:
    _evaluate(weights, before, after, dtype, evaluate.Source(**given))
  return lost


def pack(
  estimator: estimator_lib.Estimator,
  weights: pathlib.Path,
  out: pathlib.Path,
  dtype: str,
) -> pack_file.Network:
  """What `pack` writes to `out`; `weights` is where the estimator is from.

  Raises ValueError, see `main`.
  """
  leaves = packed.rounded(estimator.params, dtype)
  used = {name: leaf.astype(np.float32) for name, leaf in leaves.items()}
  found = calibration.read(weights)
  if found is not None:
    if found.weights_sha256 != estimator.weights_hash:
      raise ValueError(
        f"{weights}: its calibration is of other weights (SHA-256 "
        f"{found.weights_sha256[:12]}) than those to pack "
        f"({estimator.weights_hash[:12]}); calibrate again, or remove it"
      )
    # It is of these weights, whatever they are rounded to.
    rounded = checkpoint.weights_hash(
      traverse_util.unflatten_dict(used, sep="/")
    )
    found = dataclasses.replace(found, weights_sha256=rounded)
  return pack_file.Network(
    path=out,
    leaves=leaves,
    config=pack_file.portable(estimator.config),
    skeleton=estimator.skeleton,
    step=estimator.step,
    dtype=dtype,
    packed_from=estimator.weights_hash,
    calibration=None if found is None else found.record(),
  )


def compare(
  before: estimator_lib.Estimator, after: estimator_lib.Estimator
) -> Loss:
  """How far the poses of two estimators differ on rendered people."""
  people = rendered(before.config)
  noise = np.zeros(len(people), np.uint32)
  found = (crops.estimate(one, people, noise) for one in (before, after))
  return loss(people, *found)


def loss(
  people: Sequence[crops.Crop], before: crops.People, after: crops.People
) -> Loss:
  """How far two poses of each of these people differ."""
  side = np.array(
    [np.max(person.box[2:] - person.box[:2]) for person in people]
  )
  away = np.linalg.norm(before.joints - after.joints, axis=-1)
  return Loss(
    people=len(people),
    joints=float(away.max()),
    mean=float(away.mean()),
    share=float((away / side[:, None]).max()),
    scores=float(np.abs(before.scores - after.scores).max()),
  )


def rendered(config: Any) -> list[crops.Crop]:
  """Crops of people in a dozen rendered clips, the same in every call."""
  span, found = config.data.span, []
  for index in range(_SCENES):
    scene = synthetic.sample_scene(
      split="pack", index=index, frames=config_lib.frames(config)
    )
    frames = [
      synthetic_scene.render_frame(scene, number)
      for number in range(config_lib.frames(config))
    ]
    pictures = [
      pyramid.Pyramid(np.ascontiguousarray(f.image[..., ::-1])) for f in frames
    ]
    boxes = [p.box for p in frames[span].people]
    found += [
      crops.cut(pictures, np.asarray(box, float), config) for box in boxes
    ]
  return found


def _evaluate(
  weights: pathlib.Path,
  before: estimator_lib.Estimator,
  after: estimator_lib.Estimator,
  dtype: str,
  source: evaluate.Source,
) -> None:
  """Prints the accuracy of both on a split."""
  split, config = evaluate.open_source(before, weights, source)
  rows = {
    name: evaluate.evaluate_split(one, split, config).result
    for name, one in (("float32", before), (f"packed {dtype}", after))
  }
  print(table.table({name: row["ap_groups"] for name, row in rows.items()}))
  evaluate.print_pck(rows)
