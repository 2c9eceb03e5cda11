"""People who are found well, but blurred or covered in every third frame.

python -m diffpose_jax.main --config=configs/synthetic_hidden.py \
  --workdir=runs/synthetic_hidden

The frames beside show what one hides: what a temporal model is for. The ViT is
that of the weights that ship, all else is new; ten minutes on one core.
"""

import pathlib
import runpy


def get_config():
  base = pathlib.Path(__file__).with_name("synthetic.py")
  config = runpy.run_path(str(base))["get_config"]()
  config.data.synthetic.difficulty = "hidden"
  config.data.synthetic.train_videos = 1000
  config.data.synthetic.val_videos = 300
  config.data.synthetic.frames = 8
  config.model.init_from = "diffpose-small"
  config.train.steps = 500
  config.train.learning_rate = 7e-4
  config.train.backbone_factor = 0.5
  config.train.validation_instances = 300
  return config
