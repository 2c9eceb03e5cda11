"""Your own labelled video, in the form of datasets/custom/README.md, on CPU.

python -m diffpose_jax.main --config=configs/custom.py --workdir=runs/own \
  --config.data.root=/path/to/own --config.train.init_from=diffpose-small

The network and recipe of jhmdb.py: the weights that ship and runs of synthetic.py,
pretrain.py or jhmdb.py are starts; joints of the same name keep their weights.
configs/custom.py:pt18 is the paper's network and recipe, for accelerators.
"""

import pathlib
import runpy


def get_config(base="jhmdb"):
  path = pathlib.Path(__file__).parent / f"{base}.py"
  config = runpy.run_path(str(path))["get_config"]()
  config.data.name = "custom"
  return config
