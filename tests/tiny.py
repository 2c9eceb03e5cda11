"""The sizes of a network that compiles in seconds, which many tests share.

Where they are the same, tests share compiled programs, too.
"""

import jax
import numpy as np

from diffpose_jax import config as config_lib
from diffpose_jax.inference import network

NETWORK = {
  "data.size": (32, 24),
  "data.span": 1,
  "model.size": "cpu",
  "model.depth": 1,
  "model.stem": "conv",
  "model.patch": 8,
  "model.strl_depth": 1,
  "model.decoder_width": 16,
  "model.heatmap_width": 8,
}
# Of whole runs: smaller still, eight clips a step, all of them logged.
RUN = NETWORK | {
  "data.threads": 1,
  "model.decoder_width": 8,
  "model.heatmap_width": 4,
  "model.scales": 1,
  "train.batch": 8,
  "train.warmup": 2,
  "train.log_every": 1,
  "evaluate.batch": 8,
}


def keys(changes):
  """Keys of a config from names of arguments: train__steps is train.steps."""
  return {name.replace("__", "."): value for name, value in changes.items()}


def config(base=NETWORK, **changes):
  """The default, with these sizes and changes."""
  made = config_lib.default()
  made.update_from_flattened_dict(base | keys(changes))
  return made


def params(config, skeleton, *, spread):
  """Random everywhere, so that no zero hides what a weight does.

  Peaks are between 0 and 1, where scores are not cut. `spread` divides the
  last kernel.
  """
  init = jax.jit(lambda key: network.init_params(config, skeleton, key))
  leaves, tree = jax.tree.flatten(init(jax.random.key(0)))
  rng = np.random.default_rng(0)
  noisy = [
    leaf + 0.1 * rng.standard_normal(leaf.shape).astype(np.float32)
    for leaf in leaves
  ]
  made = jax.tree.unflatten(tree, noisy)
  head = made["decoder"]["head"]
  head["kernel"] = head["kernel"] / spread
  head["bias"] = head["bias"] / 10 + 0.3
  return made
