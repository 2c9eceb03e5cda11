"""All frames, but no diffusion: heatmaps are regressed from the features.

python -m diffpose_jax.main --config=configs/ablations/temporal.py \
  --workdir=runs/ablations/temporal

configs/ablations/full.py says what the set is for and what follows a colon.
In place of the noisy heatmap stands 0 and the time is fixed, so the lookup's
mask knows nothing and every number of steps and samples gives the same.
"""

import pathlib
import runpy


def get_config(base="synthetic_hard"):
  path = pathlib.Path(__file__).parents[1] / f"{base}.py"
  config = runpy.run_path(str(path))["get_config"]()
  config.model.diffusion = False
  return config
