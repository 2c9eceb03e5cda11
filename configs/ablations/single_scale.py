"""Lookup at the heatmap's own resolution only, by convolutions.

python -m diffpose_jax.main --config=configs/ablations/single_scale.py \
  --workdir=runs/ablations/single_scale

configs/ablations/full.py says what the set is for and what follows a colon.
"""

import pathlib
import runpy


def get_config(base="synthetic_hard"):
  path = pathlib.Path(__file__).parents[1] / f"{base}.py"
  config = runpy.run_path(str(path))["get_config"]()
  config.model.scales = 1
  return config
