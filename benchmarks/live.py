"""Milliseconds from a frame to its poses, by `DiffPose.live`.

  python benchmarks/live.py

Frames of 1280x720 with rendered people in their true boxes are pushed one after
the other, each as soon as the one before is done; told are the median and what
95 % stay below, after the first ten. With lag, a frame's poses come with the δ-th
frame after it: the camera's time for these comes on top.
"""

import argparse
import time

import numpy as np
import predict as scene

from diffpose_jax import DiffPose

SAMPLINGS = ((1, 1), (2, 4))


def main() -> None:
  """Prints a table."""
  parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
  parser.add_argument("--weights", default="diffpose-small")
  parser.add_argument("--frames", type=int, default=60)
  given = parser.parse_args()
  print("| people | steps × samples | | median ms | 95 % below |")
  print("|--:|---|---|--:|--:|")
  for people in (1, 3):
    frames = list(scene.loop(people))
    for steps, samples in SAMPLINGS:
      model = DiffPose.from_pretrained(
        given.weights, steps=steps, samples=samples
      )
      for causal in (True, False):
        live, took = model.live(causal=causal), []
        for number in range(given.frames):
          picture, boxes = frames[number % len(frames)]
          began = time.perf_counter()
          live.push(picture[..., ::-1], np.asarray(boxes, np.float32))
          took.append(1e3 * (time.perf_counter() - began))
        median, most = np.percentile(took[10:], [50, 95])
        way = "causal" if causal else "lag"
        print(
          f"| {people} | {steps} × {samples} | {way} | {median:.0f} | {most:.0f} |",
          flush=True,
        )


if __name__ == "__main__":
  main()
