"""The verb `calibrate`: uncertainty fitted to the errors on one split."""

import pathlib
from typing import Any

from diffpose_jax.evaluation import errors, evaluate, table
from diffpose_jax.inference import calibration
from diffpose_jax.inference import estimator as estimator_lib


def main(weights: pathlib.Path, **given: Any) -> calibration.Calibration:
  """Fits, prints and writes `calibration.json` beside the weights.

  Args:
    weights: workdir of a training run, or a packed file, into whose header the
      calibration is put; the weights stay as they are.
    **given: fields of `evaluate.Source`, and steps, samples, flip, seed, eta.

  Raises:
    ValueError: the people are detections, or have too few labelled joints.
  """
  estimator = estimator_lib.Estimator.load(weights, **evaluate.sampling(given))
  split, config = evaluate.open_source(
    estimator, weights, evaluate.Source(**given)
  )
  run = evaluate.evaluate_split(estimator, split, config, metrics=())
  found = errors.find(split, run.people, run.estimates)
  fitted = errors.calibrate(split, found, run.result["protocol"])
  result = errors.judge(found, fitted)
  path = fitted.save(weights)
  print(table.text(errors.summary(result)))
  held_out = fitted.fitted_on["held_out_nll"]
  print(
    f"chosen: {fitted.best}; on videos not fitted on, the mean negative "
    "log-likelihood is "
    + ", ".join(f"{value:.3f} ({name})" for name, value in held_out.items())
  )
  judged = {
    name: "unknown" if value is None else f"{value:.3f}"
    for name, value in fitted.fitted_on["held_out"].items()
  }
  print(
    f"there, {fitted.best} has an expected calibration error of "
    f"{judged['ece']}, holds {judged['coverage_0.9']} of the joints in its 90 % "
    f"regions, and tells wrong from right with an AUROC of {judged['auroc']}"
  )
  print(f"written: {path}")
  return fitted
