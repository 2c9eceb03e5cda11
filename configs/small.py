"""diffpose-small, the weights that come with the package: rendered people only.

python -m diffpose_jax.main --config=configs/small.py
python -m diffpose_jax.main calibrate --weights=runs/small --split=val
python -m diffpose_jax.main pack --weights=runs/small --out=diffpose-small.safetensors

The network and the task of configs/pretrain.py, with people who face anywhere,
and more of them.
An hour on two busy cores. docs/model_card.md has the figures.
"""

import pathlib
import runpy


def get_config():
  base = pathlib.Path(__file__).with_name("pretrain.py")
  config = runpy.run_path(str(base))["get_config"]()
  config.data.synthetic.difficulty = "easy"
  config.data.synthetic.train_videos = 3000
  config.data.synthetic.val_videos = 100
  config.data.synthetic.frames = 5
  config.augment.colour = 0.4
  config.augment.erase_probability = 0.2
  config.train.steps = 4000
  config.train.ema = 0.998
  config.train.evaluate_every = 1500
  config.evaluate.steps = 2
  config.evaluate.samples = 4
  return config
