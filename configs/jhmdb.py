"""JHMDB in PoseTrack18's layout, on CPU, from synthetic pre-training.

python -m diffpose_jax.main --config=configs/pretrain.py --workdir=runs/pretrain
DIFFPOSE_DATA_ROOT=/path/to/jhmdb python -m diffpose_jax.main \
  --config=configs/jhmdb.py --workdir=runs/jhmdb \
  --config.train.init_from=runs/pretrain

214 clips, 174 of them for training, 19 minutes of CPU time after pretrain's 39:
PCK by box 0.33 @0.05, 0.54 @0.1, 0.77 @0.2. More steps overfit the 174 clips.
"""

from diffpose_jax import config as config_lib


def get_config():
  config = config_lib.default()
  config.data.name = "jhmdb"
  config.data.size = (128, 96)
  config.data.span = 1
  config.data.order = "full"
  config.augment.rotation = 30.0
  config.augment.colour = 0.3
  config.augment.erase_probability = 0.2
  config.model.size = "cpu"
  config.model.stem = "conv"
  config.model.strl_depth = 2
  config.model.decoder_width = 48
  config.model.heatmap_width = 32
  config.diffusion.signal_scale = 0.5
  config.train.steps = 1800
  config.train.batch = 16
  config.train.cpu_devices = 2
  config.train.learning_rate = 1e-3
  config.train.backbone_factor = 1.0
  config.train.warmup = 100
  config.train.schedule = "cosine"
  config.train.self_aligned = 0.5
  config.train.ema = 0.995
  config.train.validation_instances = 300
  return config
