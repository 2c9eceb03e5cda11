"""COCO keypoints as image pre-training of the network of pt18.py.

python -m diffpose_jax.main --config=configs/coco.py --workdir=runs/coco \
  --config.data.root=/path/to/coco
python -m diffpose_jax.main --config=configs/pt18.py --workdir=runs/pt18 \
  --config.data.root=/path/to/PoseTrack18 --config.train.init_from=runs/coco

Each picture becomes a clip in which the camera moves (`augment.camera`), so
that every weight is carried over; the joints of both sets go by name.
"""

from diffpose_jax import config as config_lib


def get_config():
  config = config_lib.default()
  config.data.name = "coco"
  config.augment.camera = 0.03
  config.train.epochs = 20.0
  return config
