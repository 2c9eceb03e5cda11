"""diffpose-small, its last two trainings, in which it learns left from right.

python -m diffpose_jax.main --config=configs/small_front.py --workdir=runs/small-front
comes last of the commands in docs/model_card.md. In configs/small.py people are seen
from behind as often as from the front; a network that cannot tell which puts both
knees where one is. Here most face the camera: one by one first (`:frames`).
"""

import pathlib
import runpy


def get_config(part="clips"):
  base = pathlib.Path(__file__).with_name("small.py")
  config = runpy.run_path(str(base))["get_config"](part)
  frames = part == "frames"
  people = config.data.synthetic
  people.difficulty = "front"
  people.train_videos, people.frames, people.seed = 2500, 2, 11
  config.data.root = "runs/front-source"
  config.data.prepared = "runs/front"
  config.data.mixture = ("runs/easy", "runs/small-hard")
  config.data.shares = (0.25, 0.25) if frames else (0.1, 0.15)
  config.train.steps = 1400 if frames else 1200
  config.train.warmup = 50 if frames else 100
  config.train.learning_rate = 1e-3 if frames else 5e-4
  config.train.init_from = "runs/small" if frames else "runs/small-front-frames"
  return config
