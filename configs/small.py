"""diffpose-small, the weights that come with the package: rendered people only.

python -m diffpose_jax.main --config=configs/small.py
python -m diffpose_jax.main calibrate --weights=runs/small --split=val
python -m diffpose_jax.main pack --weights=runs/small --out=diffpose-small.safetensors

The network and the task of configs/pretrain.py, with people who face anywhere,
and more of them.
An hour on two busy cores. docs/model_card.md has the figures.
"""

from diffpose_jax import config as config_lib


def get_config():
  config = config_lib.default()
  config.data.name = "synthetic"
  config.data.size = (128, 96)
  config.data.span = 1
  config.data.order = "full"
  config.data.synthetic.difficulty = "easy"
  config.data.synthetic.train_videos = 3000
  config.data.synthetic.val_videos = 100
  config.data.synthetic.frames = 5
  config.augment.rotation = 30.0
  config.augment.colour = 0.4
  config.augment.half_body_probability = 0.1
  config.augment.erase_probability = 0.2
  config.model.size = "cpu"
  config.model.stem = "conv"
  config.model.strl_depth = 2
  config.model.decoder_width = 48
  config.model.heatmap_width = 32
  config.diffusion.signal_scale = 0.5
  config.train.steps = 4000
  config.train.batch = 16
  config.train.cpu_devices = 2
  config.train.learning_rate = 1e-3
  config.train.backbone_factor = 1.0
  config.train.warmup = 100
  config.train.schedule = "cosine"
  config.train.self_aligned = 0.5
  config.train.ema = 0.998
  config.train.evaluate_every = 1500
  config.train.validation_instances = 250
  config.evaluate.steps = 2
  config.evaluate.samples = 4
  return config
