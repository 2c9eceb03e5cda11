"""PoseTrack17 with the paper's sizes: ViT-B, 256x192, five frames, 60 epochs.

python -m diffpose_jax.main --config=configs/pt17.py --workdir=runs/pt17 \
  --config.data.root=/path/to/PoseTrack17
"""

from diffpose_jax import config as config_lib


def get_config():
  config = config_lib.default()
  config.data.name = "posetrack17"
  return config
