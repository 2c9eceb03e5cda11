"""diffpose-small, the weights that come with the package: rendered people only.

python -m diffpose_jax.main --config=configs/small.py --workdir=runs/small
is the second of its four trainings; docs/model_card.md has all, with the figures.
Easy and hard people one by one first (`:frames`), which costs half of a clip, then
in clips, then configs/small_front.py. `:hard` is the second of the two sets, `:fit`
the one that calibrates.
"""

import pathlib
import runpy


def get_config(part="clips"):
  base = pathlib.Path(__file__).with_name("pretrain.py")
  config = runpy.run_path(str(base))["get_config"]()
  people = config.data.synthetic
  people.difficulty = "hard" if part == "hard" else "easy"
  people.train_videos = {"hard": 2500, "fit": 2}.get(part, 4000)
  people.val_videos = 300 if part == "fit" else 100
  people.frames = 5 if part == "fit" else 3
  people.seed = 2 if part == "fit" else 0
  config.data.root = "runs/small-easy-source"
  config.data.prepared = "runs/small-easy"
  config.data.mixture = ("runs/small-hard",)
  config.data.shares = (0.4,)
  config.data.cache_bytes = 6_000_000_000
  config.augment.colour = 0.4
  config.augment.erase_probability = 0.2
  frames = part == "frames"
  config.data.span = 0 if frames else 1
  config.train.steps = 4500 if frames else 900
  config.train.batch = 32 if frames else 16
  config.train.learning_rate = 1e-3 if frames else 4e-4
  config.train.ema = 0.998 if frames else 0.99
  config.train.self_aligned = 0.5 if frames else 1.0
  config.train.init_from = "" if frames else "runs/small-frames"
  config.evaluate.steps, config.evaluate.samples = 2, 4
  return config
