"""What the Pose-Decoder sees of noisy heatmaps, and what it makes of them.

  python -m benchmarks.experiments.masks --out=runs/experiments

Reads trainings of the plan (`ladder`, `aligned`) on their validation people: the
error of the estimate by what it is shown (noise alone; the truth, noised to some
time; its own estimate, noised), and the contrast of the lookup's mask between
the cells of joints and all others. Writes benchmarks/results/experiments/masks.json
and docs/results/masks.png, whose people are rendered.
"""

import argparse
import functools
import json
import pathlib
from collections.abc import Iterator
from typing import Any

import cv2
import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.experiments import plan, plots, tables, training
from diffpose_jax import compile_cache
from diffpose_jax.benchmark import machine
from diffpose_jax.data import instances as instances_lib
from diffpose_jax.data import pipeline, prepared
from diffpose_jax.diffusion import process
from diffpose_jax.evaluation import measure
from diffpose_jax.inference import estimator as estimator_lib
from diffpose_jax.inference import network
from diffpose_jax.pose import geometry
from diffpose_jax.training import step

# Name of a network: which of the plan's trainings it is.
NETWORKS = {
  "temporal (no diffusion)": ("ladder", "temporal"),
  "full": ("ladder", "full"),
  "full, self_aligned 0": ("aligned", "0, as in the paper"),
  "no lookup": ("ladder", "no lookup"),
}
TIMES = (0.75, 0.5, 0.25, 0.05)
PICTURE = training.REPO / "docs" / "results" / "masks.png"
_INSIDE = 0.5  # height of a joint's target from which a cell is its own
_ROWS = (2, 41, 77)  # people of the picture: whom others see depends on none
_SCALE = 2  # of a crop in the picture


def main() -> None:
  """Reads each network that is there."""
  parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
  parser.add_argument(
    "--out", type=pathlib.Path, default=pathlib.Path("runs/experiments")
  )
  parser.add_argument("--people", type=int, default=256)
  given = parser.parse_args()
  compile_cache.use()
  found = {}
  for name, (experiment, row) in NETWORKS.items():
    [run] = plan.EXPERIMENTS[experiment].runs(row, 1)
    found[name], shown = read(given.out / run.name, given.people)
    if name == "full, self_aligned 0":
      PICTURE.parent.mkdir(exist_ok=True)
      cv2.imwrite(str(PICTURE), picture(shown)[..., ::-1])
  content = {
    "name": "masks",
    "people": given.people,
    "times": TIMES,
    "machine": machine.describe(),
    "networks": found,
  }
  path = tables.FOLDER / "masks.json"
  path.write_text(json.dumps(content, indent=1) + "\n")
  print(f"written: {path}, {PICTURE}")


def read(
  weights: pathlib.Path, most: int
) -> tuple[dict[str, Any], list[dict[str, np.ndarray]]]:
  """Errors x 1000 and contrasts by what is shown; and some people's pictures."""
  estimator = estimator_lib.Estimator.load(weights)
  totals: dict[str, list[np.ndarray]] = {}
  shown = []
  for batch in batches(estimator, most):
    valid = np.asarray(batch.pop("valid"))
    for name, value in jax.device_get(_program(estimator)(batch)).items():
      totals.setdefault(name, []).append(value[valid])
  whole = {name: np.concatenate(value) for name, value in totals.items()}
  for person in _ROWS:
    shown.append({name: value[person] for name, value in whole.items()})
  named = lambda start: {  # noqa: E731
    name.removeprefix(start): round(float(np.nanmean(value)), 4)
    for name, value in whole.items()
    if name.startswith(start)
  }
  return {"error": named("error: "), "contrast": named("contrast: ")}, shown


def batches(
  estimator: estimator_lib.Estimator, most: int
) -> Iterator[dict[str, Any]]:
  """Clips of the validation split with their joints in the crop."""
  found: Any = estimator.config
  split = prepared.open_split(
    pathlib.Path(found.data.prepared),
    found.data.val_split,
    skeleton=estimator.skeleton,
  )
  people = instances_lib.gt_instances(split, need_joints=True)
  _, people = measure.evenly(split, people, most)
  joints = geometry.apply(
    instances_lib.crop_affines(people, found), people.joints
  ).astype(np.float32)
  size = found.evaluate.batch
  for batch in pipeline.eval_batches(
    split, people, found, batch=size, rows=list(range(size))
  ):
    rows = np.where(batch["valid"], batch["index"], 0)
    yield {
      "valid": batch["valid"],
      "frames": batch["frames"],
      "joints": joints[rows],
      "labelled": people.labelled[rows],
      "rows": rows.astype(np.uint32),
    }


@functools.cache
def _program(estimator: estimator_lib.Estimator):
  return jax.jit(functools.partial(_looked, estimator))


def _looked(estimator, batch) -> dict[str, jax.Array]:
  """Of each clip: errors, contrasts and maps, by what the decoder is shown."""
  found, skeleton = estimator.config, estimator.skeleton
  d = found.diffusion
  apply: Any = functools.partial(
    network.build_model(found, skeleton).apply,
    {"params": jax.device_put(estimator.params, jax.devices()[0])},
  )
  features = apply(batch["frames"], method="encode")
  target = step.targets(found, batch)
  key = jax.random.key(0)
  keys = jax.vmap(functools.partial(jax.random.fold_in, key))(batch["rows"])
  noise = jax.vmap(lambda k: jax.random.normal(k, target.shape[1:]))(keys)
  weight = batch["labelled"].astype(jnp.float32)

  def error(maps):
    each = 1e3 * jnp.square(maps - target).mean(axis=(1, 2))
    return (each * weight).sum(axis=1) / weight.sum(axis=1)

  def shown(clean, time):
    kept = process.alpha_bar(
      jnp.full(len(clean), time), schedule=d.schedule, steps=d.steps
    )
    x0 = process.to_signal(clean, d.signal_scale)
    return process.add_noise(x0, noise, kept), jnp.full(len(clean), time)

  def mask(noisy, time):
    return apply(
      noisy, time, method=lambda model, *a: model.decoder.masks(*a)[-1][..., 0]
    )

  near = target.max(axis=-1) > _INSIDE

  def contrast(seen):
    inside = jnp.mean(seen, axis=(1, 2), where=near)
    return inside - jnp.mean(seen, axis=(1, 2), where=~near)

  middle = batch["frames"].shape[1] // 2
  start = apply(noise, jnp.ones(len(noise)), features, method="denoise")
  result = {
    "crop": batch["frames"][:, middle],
    "truth": target.max(axis=-1),
    "estimate": start.max(axis=-1),
  }
  given = {"noise": (noise, jnp.ones(len(noise)))}
  for time in TIMES:
    given[f"truth at {time}"] = shown(target, time)
    given[f"own at {time}"] = shown(jnp.clip(start, 0, 1), time)
  for name, (noisy, time) in given.items():
    seen = mask(noisy, time)
    estimate = apply(noisy, time, features, method="denoise")
    result[f"mask: {name}"] = seen
    result[f"error: {name}"] = error(estimate)
    result[f"contrast: {name}"] = contrast(seen)
  return result


def picture(shown: list[dict[str, np.ndarray]]) -> np.ndarray:
  """A row for each person: crop, truth, estimate, and masks by what is shown."""
  names = ["noise", "truth at 0.5", "truth at 0.05", "own at 0.5"]
  lines = []
  for one in shown:
    height, width = (_SCALE * side for side in one["crop"].shape[:2])
    crop = cv2.resize(one["crop"], (width, height))
    cells = [crop]
    for name in ("truth", "estimate", *(f"mask: {name}" for name in names)):
      cells.append(plots.coloured(one[name], (width, height)))
    lines.append(np.concatenate(cells, axis=1))
  heads = ["frame", "truth", "first estimate", *(f"mask, {n}" for n in names)]
  return plots.headed(np.concatenate(lines), heads)


if __name__ == "__main__":
  main()
