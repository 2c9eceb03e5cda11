"""The demo: one synthetic person a picture, from nothing to a DiffPose on CPU.

`make demo`, or: python -m diffpose_jax.main --config=configs/synthetic.py
Easy, for less than 8 minutes of training on two cores: upright people turned at
most 60°, few things around, 128x96 crops, δ = 1, 2.2 million parameters.
`make demo`: Mean AP 82.7, mean pose 39.2, in 7:57 minutes with everything.
"""

from diffpose_jax import config as config_lib


def get_config():
  config = config_lib.default()
  config.data.name = "synthetic"
  config.data.size = (128, 96)
  config.data.span = 1
  config.data.order = "full"
  config.data.synthetic.difficulty = "simple"
  config.data.synthetic.train_videos = 700
  config.data.synthetic.val_videos = 50
  config.data.synthetic.frames = 7
  config.augment.scale = 0.2
  config.augment.rotation = 15.0
  config.augment.half_body_probability = 0.0
  config.model.size = "cpu"
  config.model.stem = "conv"
  config.model.strl_depth = 2
  config.model.decoder_width = 48
  config.model.heatmap_width = 32
  config.diffusion.signal_scale = 0.5
  config.train.steps = 1000
  config.train.batch = 16
  config.train.cpu_devices = 2
  config.train.learning_rate = 1e-3
  config.train.backbone_factor = 1.0
  config.train.warmup = 50
  config.train.schedule = "cosine"
  config.train.self_aligned = 0.5
  config.train.ema = 0.99
  return config
