"""Runs an exported DiffPose. Needs JAX and NumPy, nothing else.

  python run.py FRAMES.npy [STEPS [SAMPLES]]

FRAMES.npy: uint8 (clips, frames, height, width, 3), RGB crops around a person,
of the sizes in bundle.json. Prints x, y (crop pixels) and score of each joint.
"""

import json
import pathlib
import struct
import sys

import jax
import jax.numpy as jnp
import numpy as np
from jax import export


def read_weights(path):
  """The tensors of a safetensors file of float32."""
  content = path.read_bytes()
  (size,) = struct.unpack("<Q", content[:8])
  header = json.loads(content[8 : 8 + size])
  header.pop("__metadata__", None)
  data = memoryview(content)[8 + size :]
  return {
    name: np.frombuffer(data[slice(*entry["data_offsets"])], "<f4").reshape(
      entry["shape"]
    )
    for name, entry in header.items()
  }


class Runner:
  """Poses of clips."""

  def __init__(self, folder):
    """`folder` is the bundle's."""
    folder = pathlib.Path(folder)
    self.about = json.loads((folder / "bundle.json").read_text("utf-8"))
    self.params = jax.device_put(read_weights(folder / "weights.safetensors"))
    self.encode, self.step, self.read = (
      jax.jit(
        export.deserialize(
          bytearray((folder / f"{name}.stablehlo").read_bytes())
        ).call
      )
      for name in ("encode", "step", "read")
    )

  def __call__(self, frames, steps=None, samples=None, seed=0):
    """Joints (b, k, 2), scores (b, k), joints of each sample (m, b, k, 2)."""
    steps = steps or self.about["sampling"]["steps"]
    samples = samples or self.about["sampling"]["samples"]
    features = self.encode(self.params, jnp.asarray(frames))
    times = np.linspace(1, 0, steps + 1).astype(np.float32)
    maps = []
    for member in range(samples):
      noisy = self.noise(len(frames), seed, member)
      for i in range(steps):
        clean, noisy = self.step(self.params, features, noisy, times[i : i + 2])
      maps.append(clean)
    return tuple(map(np.asarray, self.read(jnp.stack(maps))))

  def noise(self, clips, seed, member):
    """The noise of a member of the ensemble, the same for all clips."""
    fold = jax.random.fold_in
    key = fold(fold(fold(jax.random.key(seed), 0), np.uint32(member)), 0)
    one = jax.random.normal(key, self.about["heatmaps"])
    return jnp.broadcast_to(one, (clips, *one.shape))


def main(frames, steps="0", samples="0"):
  """Prints the poses of a file."""
  runner = Runner(pathlib.Path(__file__).parent)
  joints, scores, _ = runner(np.load(frames), int(steps), int(samples))
  for clip, (points, sure) in enumerate(zip(joints, scores, strict=True)):
    print(f"clip {clip}")
    for name, (x, y), score in zip(
      runner.about["joints"], points, sure, strict=True
    ):
      print(f"  {name:16} {x:7.2f} {y:7.2f}  {score:.3f}")


if __name__ == "__main__":
  main(*sys.argv[1:])
