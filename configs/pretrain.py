"""Synthetic pre-training of the CPU-size network, for configs/jhmdb.py.

python -m diffpose_jax.main --config=configs/pretrain.py --workdir=runs/pretrain
39 minutes of CPU time on a busy machine. On JHMDB's people, `evaluate
--weights=runs/pretrain --root=JHMDB`: PCK@0.1 0.40 by box, mean pose 0.33.
"""

from diffpose_jax import config as config_lib


def get_config():
  config = config_lib.default()
  config.data.name = "synthetic"
  config.data.size = (128, 96)
  config.data.span = 1
  config.data.order = "full"
  config.data.synthetic.difficulty = "simple"
  config.data.synthetic.train_videos = 1600
  config.data.synthetic.val_videos = 50
  config.data.synthetic.frames = 7
  config.augment.rotation = 30.0
  config.augment.colour = 0.3
  config.augment.half_body_probability = 0.1
  config.model.size = "cpu"
  config.model.stem = "conv"
  config.model.strl_depth = 2
  config.model.decoder_width = 48
  config.model.heatmap_width = 32
  config.diffusion.signal_scale = 0.5
  config.train.steps = 3300
  config.train.batch = 16
  config.train.cpu_devices = 2
  config.train.learning_rate = 1e-3
  config.train.backbone_factor = 1.0
  config.train.warmup = 100
  config.train.schedule = "cosine"
  config.train.self_aligned = 0.5
  config.train.ema = 0.995
  config.train.validation_instances = 250
  return config
