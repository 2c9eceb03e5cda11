"""Synthetic people whose key frame alone is often ambiguous, for experiments.

python -m diffpose_jax.main --config=configs/synthetic_hard.py \
  --workdir=runs/synthetic_hard

Blur or an occluder hides a person in one or two frames while the neighbours
show it: what a temporal model is for. Up to four people cross.
"""

from diffpose_jax import config as config_lib


def get_config():
  config = config_lib.default()
  config.data.name = "synthetic"
  config.data.size = (128, 96)
  config.data.span = 1
  config.data.order = "full"
  config.data.synthetic.difficulty = "hard"
  config.data.synthetic.train_videos = 400
  config.data.synthetic.val_videos = 40
  config.data.synthetic.frames = 16
  config.augment.rotation = 20.0
  config.augment.half_body_probability = 0.0
  config.model.size = "cpu"
  config.model.stem = "conv"
  config.model.strl_depth = 2
  config.model.decoder_width = 48
  config.model.heatmap_width = 32
  config.diffusion.signal_scale = 0.5
  config.train.steps = 2000
  config.train.batch = 16
  config.train.cpu_devices = 2
  config.train.learning_rate = 1e-3
  config.train.backbone_factor = 1.0
  config.train.warmup = 50
  config.train.schedule = "cosine"
  config.train.self_aligned = 0.5
  config.train.ema = 0.995
  return config
