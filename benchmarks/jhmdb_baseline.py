"""A plain convolutional heatmap network on JHMDB, given as much CPU time.

  python benchmarks/jhmdb_baseline.py --root=/path/to/jhmdb --minutes=60 \
    --workdir=runs/jhmdb_baseline

Single frame, 128x96, no pre-training, no Transformer, no diffusion: the
question that a reviewer asks first. It shares data, augmentation, targets,
loss, optimiser and evaluation with DiffPose; `minutes` are those of the
process's CPU time, evaluation left out, and the learning rate falls over them.
"""

import argparse
import functools
import json
import pathlib
import time

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn

from diffpose_jax import config as config_lib
from diffpose_jax.data import instances, pipeline, prepare, prepared
from diffpose_jax.evaluation import measure
from diffpose_jax.model import diffpose, layers, sharding
from diffpose_jax.pose import geometry, heatmap, skeleton
from diffpose_jax.training import distort, optim
from diffpose_jax.training import step as step_lib

CHANNELS = (64, 128, 256)  # at 32x24, 16x12 and 8x6 cells
HEAD = 128  # channels of the two deconvolutions back to 32x24
STRIDE = 4


class Block(nn.Module):
  """Two 3x3 convolutions around a shortcut."""

  @nn.compact
  def __call__(self, x):
    """Features of the same shape."""
    norm = functools.partial(nn.GroupNorm, num_groups=8)
    conv = functools.partial(nn.Conv, x.shape[-1], (3, 3), use_bias=False)
    y = nn.relu(norm()(conv()(x)))
    return nn.relu(x + norm()(conv()(y)))


class PlainNet(nn.Module):
  """Residual encoder, two deconvolutions, one 1x1 convolution.

  Its strided convolutions are DiffPose's, so that neither is faster for that.
  """

  joints: int

  @nn.compact
  def __call__(self, frames):
    """Heatmaps (b, 32, 24, k) of uint8 frames (b, 1, 128, 96, 3)."""
    x = diffpose.normalise(frames)[:, 0]
    for i, channels in enumerate(CHANNELS):
      x = Block()(layers.Down(channels, 2 if i else 4)(x))
    x = Block()(x)
    for _ in range(2):
      x = layers.Up(HEAD, use_bias=False)(x)
      x = nn.relu(nn.GroupNorm(num_groups=8)(x))
    init = nn.initializers.normal(0.001)
    return nn.Conv(self.joints, (1, 1), kernel_init=init)(x)


def settings(root: pathlib.Path):
  """The config of the data and of the optimiser."""
  config = config_lib.default()
  config.data.name = "jhmdb"
  config.data.root = str(root)
  config.data.size = (128, 96)
  config.data.span = 0
  config.augment.rotation = 30.0
  config.augment.colour = 0.3
  config.augment.erase_probability = 0.2
  config.train.batch = 16
  config.train.cpu_devices = 2
  config.train.learning_rate = 1e-3
  config.train.ema = 0.995
  return config


def make_step(net, config, optimiser):
  """(params, ema, state, step, batch, rate) → the same after one step, loss."""

  def loss(params, batch):
    target = heatmap.encode(
      batch["joints"], size=(32, 24), stride=STRIDE, spread=3.0
    )
    error = jnp.square(net.apply(params, batch["frames"]) - target)
    weight = batch["labelled"] & batch["valid"][:, None]
    total = jnp.where(weight, error.mean(axis=(1, 2)), 0).sum()
    return total / jnp.maximum(weight.sum(), 1)

  def step(params, ema, state, number, batch, rate):
    keys = step_lib.clip_keys(config, number, batch)
    frames = distort.distort(keys, batch["frames"], config.augment)
    batch = batch | {"frames": frames}
    value, grads = jax.value_and_grad(loss)(params, batch)
    updates, state = optimiser.update(grads, state, params)
    updates = jax.tree.map(lambda u: -rate * u, updates)
    params = optax.apply_updates(params, updates)
    ema = optim.average(ema, params, number, config.train.ema)
    return params, ema, state, value

  return step


def train(config, split, seconds):
  """Averaged parameters after `seconds` of CPU time, and the steps done."""
  net = PlainNet(len(skeleton.POSETRACK.joints))
  mesh = sharding.mesh()
  place = sharding.replicated(mesh)
  optimiser = optax.chain(
    optax.clip_by_global_norm(config.train.clip),
    optax.scale_by_adam(),
    optax.add_decayed_weights(config.train.weight_decay),
  )
  shape = jnp.zeros((1, 1, *config.data.size, 3), jnp.uint8)
  params = jax.jit(net.init, out_shardings=place)(jax.random.key(0), shape)
  print(
    f"{sum(v.size for v in jax.tree.leaves(params)) / 1e6:.1f} M parameters"
  )
  ema, state = params, optimiser.init(params)
  step = jax.jit(make_step(net, config, optimiser))
  batches = pipeline.train_batches(
    [split], config, seed=0, start_step=0, batch=config.train.batch
  )
  number, began, last = 0, time.process_time(), 0.0
  while (spent := time.process_time() - began) < seconds:
    rate = (
      config.train.learning_rate * 0.5 * (1 + np.cos(np.pi * spent / seconds))
    )
    rate *= min(1.0, (number + 1) / 100)
    batch = sharding.to_global(next(batches), mesh)
    params, ema, state, value = step(params, ema, state, number, batch, rate)
    jax.block_until_ready(value)
    number += 1
    if spent - last > seconds / 20:
      last = spent
      print(f"{spent:.0f} s, step {number}, loss {value:.5f}", flush=True)
  return net, ema, number


def evaluate(config, net, params, split):
  """PCK by box and AP of the network on all people of a split."""
  people = instances.gt_instances(split, need_joints=False)
  back = geometry.invert(instances.crop_affines(people, config))
  read = jax.jit(
    lambda frames: heatmap.decode(net.apply(params, frames), stride=STRIDE)
  )
  joints = np.zeros_like(people.joints)
  score = np.zeros(people.labelled.shape, np.float32)
  for batch in pipeline.eval_batches(split, people, config, batch=32):
    found, peaks = jax.device_get(read(batch["frames"]))
    rows = batch["index"][batch["valid"]]
    joints[rows] = geometry.apply(back[rows], found[batch["valid"]])
    score[rows] = peaks[batch["valid"]]
  unknown = np.full((*joints.shape, 2), np.nan, np.float32)
  estimates = measure.Estimates(joints, score, joints[None], unknown)
  truth = prepared.to_videos(split)
  return measure.measure(split, people, estimates, truth)


def main() -> None:
  """Trains, evaluates, prints, and writes WORKDIR/baseline.json."""
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument("--root", type=pathlib.Path, required=True)
  parser.add_argument("--workdir", type=pathlib.Path, required=True)
  parser.add_argument("--minutes", type=float, default=60)
  flags = parser.parse_args()
  config = settings(flags.root)
  sharding.use_cpu_devices(config.train.cpu_devices)
  flags.workdir.mkdir(parents=True, exist_ok=True)
  folder = prepare.ensure(config, flags.workdir)
  train_split, val_split = (
    prepared.open_split(folder, name, skeleton=skeleton.POSETRACK)
    for name in ("train", "val")
  )
  net, params, steps = train(config, train_split, flags.minutes * 60)
  result = evaluate(config, net, params, val_split)
  result |= {"cpu_minutes": flags.minutes, "steps": steps}
  (flags.workdir / "baseline.json").write_text(json.dumps(result, indent=2))
  print(json.dumps({k: result[k] for k in ("pck_box", "steps")}, indent=2))


if __name__ == "__main__":
  main()
