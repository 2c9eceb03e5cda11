"""PoseTrack21 with the paper's sizes: ViT-B, 256x192, five frames, 60 epochs.

python -m diffpose_jax.main --config=configs/pt21.py --workdir=runs/pt21 \
  --config.data.root=/path/to/PoseTrack21
"""

from diffpose_jax import config as config_lib


def get_config():
  config = config_lib.default()
  config.data.name = "posetrack21"
  return config
