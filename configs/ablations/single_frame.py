"""The key frame alone, without diffusion: temporal.py with one frame.

python -m diffpose_jax.main --config=configs/ablations/single_frame.py \
  --workdir=runs/ablations/single_frame

configs/ablations/full.py says what the set is for and what follows a colon.
One frame with diffusion is full.py with --config.data.span=0.
"""

import pathlib
import runpy


def get_config(base="synthetic_hard"):
  path = pathlib.Path(__file__).parents[1] / f"{base}.py"
  config = runpy.run_path(str(path))["get_config"]()
  config.data.span = 0
  config.model.diffusion = False
  return config
