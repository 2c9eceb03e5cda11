"""The verb `evaluate`: what its flags ask for."""

import dataclasses
import pathlib
from typing import Any

from diffpose_jax.data import skeleton_file
from diffpose_jax.evaluation import compare, evaluate, from_files, submission
from diffpose_jax.pose import skeleton as skeletons

_SKELETONS = {"posetrack": skeletons.POSETRACK, "coco": skeletons.COCO}


def main(**given: Any) -> Any:
  """Files or weights are evaluated, results compared, or files zipped.

  Raises ValueError for whatever is missing or does not fit together.
  """
  if "compare" in given:
    paths = [pathlib.Path(path) for path in given["compare"].split(",")]
    return compare.compare(paths, mixed=given.get("mixed_protocols", False))
  if "skeleton" in given:
    given["skeleton"] = _skeleton(given["skeleton"])
  if "zip" in given:
    return submission.write(out=given.pop("zip"), **given)
  if "metrics" in given:
    given["metrics"] = tuple(given["metrics"].split(","))
  if "weights" in given:
    names = [field.name for field in dataclasses.fields(evaluate.Source)]
    source = {name: given.pop(name) for name in names if name in given}
    return evaluate.evaluate_weights(source=evaluate.Source(**source), **given)
  if "split" in given and "dataset" not in given:
    raise ValueError("--split is of a data set: give --dataset too")
  if "dataset" in given:
    split = {"split": given.pop("split")} if "split" in given else {}
    given["of"] = from_files.DataSet(given.pop("dataset"), **split)
  return from_files.evaluate_files(**given)


def _skeleton(name: str) -> skeletons.Skeleton:
  """The joints of a name, or of a skeleton file."""
  return _SKELETONS.get(name) or skeleton_file.read(pathlib.Path(name))
