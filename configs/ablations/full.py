"""The whole method, which the other ablations differ from in one key.

python -m diffpose_jax.main --config=configs/ablations/full.py \
  --workdir=runs/ablations/full
python -m diffpose_jax.main --config=configs/ablations/full.py:pt18 \
  --workdir=runs/ablations/full_pt18 --config.data.root=/path/to/PoseTrack18

The base is configs/synthetic_hard.py, for CPU, or the config named after the
colon. The ladder: single_frame.py → temporal.py → no_lookup.py → full.py (and
single_scale.py), then steps and samples, which need no training:

python -m diffpose_jax.main evaluate --weights=runs/ablations/full \
  --out=one.json --steps=1 --samples=1
… --out=steps.json --steps=4 --samples=1    # also 2, 8
… --out=samples.json --steps=4 --samples=10 # also 1, 4
python -m diffpose_jax.main evaluate --compare=one.json,steps.json,samples.json
"""

import pathlib
import runpy


def get_config(base="synthetic_hard"):
  path = pathlib.Path(__file__).parents[1] / f"{base}.py"
  return runpy.run_path(str(path))["get_config"]()
