"""Diffusion without the lookup: the embedded heatmap is concatenated.

python -m diffpose_jax.main --config=configs/ablations/no_lookup.py \
  --workdir=runs/ablations/no_lookup

configs/ablations/full.py says what the set is for and what follows a colon.
"""

import pathlib
import runpy


def get_config(base="synthetic_hard"):
  path = pathlib.Path(__file__).parents[1] / f"{base}.py"
  config = runpy.run_path(str(path))["get_config"]()
  config.model.lookup = False
  return config
