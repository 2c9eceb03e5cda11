"""PoseTrack17 with the paper's sizes: ViT-B, 256x192, five frames, 60 epochs.

python -m diffpose_jax.main --config=configs/pt17.py --workdir=runs/pt17 \
  --config.data.root=/path/to/PoseTrack17
configs/pt17.py:short trains for 20 epochs. What is the paper's and what is not
is told in docs/configs.md.
"""

from diffpose_jax import config as config_lib


def get_config(recipe="paper"):
  config = config_lib.default()
  config.train.epochs = config_lib.epochs(recipe)
  config.data.name = "posetrack17"
  return config
