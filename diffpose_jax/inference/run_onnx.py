"""Runs a DiffPose of ONNX files. Needs NumPy and ONNX Runtime, nothing else.

  python run.py FRAMES.npy [STEPS [SAMPLES]]

FRAMES.npy: uint8 (clips, frames, height, width, 3), RGB crops around a person,
of the sizes in onnx.json. Prints x, y (crop pixels) and score of each joint.
"""

import json
import pathlib
import sys

import numpy as np


class Runner:
  """Poses of clips; the loop over steps is here, the network in the files."""

  def __init__(self, folder, threads=0, providers=("CPUExecutionProvider",)):
    """`folder` holds the files; `threads` 0: as many as there are cores."""
    try:
      import onnxruntime as ort  # pyright: ignore[reportMissingImports]
    except ImportError as error:
      raise ValueError(f"pip install onnxruntime ({error})") from None
    self.about = json.loads(pathlib.Path(folder, "onnx.json").read_bytes())
    self.noise = np.load(pathlib.Path(folder, "noise.npy"))
    options = ort.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = threads, 3
    self.encoder, self.step = (
      ort.InferenceSession(pathlib.Path(folder, name), options, list(providers))
      for name in ("encoder.onnx", "step.onnx")
    )
    self.taken = {one.name for one in self.step.get_inputs()}

  def __call__(self, frames, steps=0, samples=0):
    """Joints (b, k, 2), scores (b, k), joints of each sample (m, b, k, 2)."""
    steps = steps or self.about["sampling"]["steps"]
    samples = samples or self.about["sampling"]["samples"]
    names = [one.name for one in self.encoder.get_outputs()]
    features = self.encoder.run(names, {"frames": frames})
    given = dict(zip(names, features, strict=True))
    times = np.linspace(1, 0, steps + 1).astype(np.float32)
    maps = []
    for member in range(samples):
      given["noisy"] = np.stack([self.draw(member)] * len(frames))
      for i in range(steps):
        given["times"] = times[i : i + 2]
        feed = {name: given[name] for name in self.taken}
        clean, given["noisy"] = self.step.run(["heatmaps", "next"], feed)
      maps.append(clean)
    samples = np.stack([self.read(one)[0] for one in maps])
    return *self.read(np.mean(maps, axis=0)), samples

  def draw(self, member):
    """Noise of a member: as stored for the first ones, then NumPy's."""
    if member >= len(self.noise):
      rng = np.random.default_rng(member)
      return rng.standard_normal(self.noise.shape[1:], np.float32)
    return self.noise[member]

  def read(self, maps):
    """Joints in crop pixels and scores of heatmaps (b, y, x, k)."""
    b, rows, columns, k = maps.shape
    flat = maps.reshape(b, rows * columns, k)
    peak = flat.argmax(axis=1)

    def at(index):
      index = np.clip(index, 0, rows * columns - 1)
      return np.take_along_axis(flat, index[:, None], axis=1)[:, 0]

    def offset(position, count, step):
      low, top, high = (at(peak + d) for d in (-step, 0, step))
      if self.about["decode"] == "quarter":
        found = 0.25 * np.sign(high - low)
      else:  # a parabola through the logarithms
        low, top, high = np.log(np.maximum([low, top, high], 1e-6))
        bend = np.minimum(low - 2 * top + high, -1e-30)
        found = ((low - high) / (2 * bend)).clip(-0.5, 0.5)
      return np.where((position > 0) & (position < count - 1), found, 0)

    y, x = np.divmod(peak, columns)
    cells = x + offset(x, columns, 1), y + offset(y, rows, columns)
    joints = (np.stack(cells, -1) + 0.5) * self.about["stride"] - 0.5
    return joints.astype(np.float32), at(peak).clip(0, 1)


def main(frames, steps="0", samples="0"):
  """Prints the poses of a file."""
  runner = Runner(pathlib.Path(__file__).parent)
  joints, scores, _ = runner(np.load(frames), int(steps), int(samples))
  for clip in range(len(joints)):
    print(f"clip {clip}")
    for k, name in enumerate(runner.about["joints"]):
      x, y = joints[clip, k]
      print(f"  {name:16} {x:7.2f} {y:7.2f}  {scores[clip, k]:.3f}")


if __name__ == "__main__":
  main(*sys.argv[1:])
