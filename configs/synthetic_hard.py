"""The demo: synthetic people, easy, from nothing to a trained DiffPose on CPU.

python -m diffpose_jax.main --config=configs/synthetic.py --workdir=runs/synthetic
"""

from diffpose_jax import config as config_lib


def get_config():
  config = config_lib.default()
  config.data.name = "synthetic"
  config.data.size = (128, 96)
  config.data.span = 1
  config.data.synthetic.train_videos = 120
  config.data.synthetic.val_videos = 12
  config.augment.rotation = 20.0
  config.augment.scale = 0.2
  config.augment.half_body_probability = 0.0
  config.model.size = "cpu"
  config.model.stem = "conv"
  config.model.strl_depth = 2
  config.model.decoder_width = 48
  config.model.heatmap_width = 32
  config.train.steps = 1000
  config.train.batch = 32
  config.train.learning_rate = 1e-3
  config.train.backbone_factor = 1.0
  config.train.warmup = 50
  config.train.schedule = "cosine"
  config.train.ema = 0.99
  return config
