"""Joints made steady online and afterwards, beside what they were made from.

  python benchmarks/smoothing.py --data=jhmdb/annotations/val
  python benchmarks/smoothing.py

With `--data`, labelled joints of annotation files; without, drawn walkers, who
do not tremble. To them is added noise (`--noise`, in sizes of the person,
independent from frame to frame), and in `--outliers` of the places an error of
0.3 sizes. Frames are taken for 25 a second.

Printed are, in thousandths of the size, the mean error and the mean length of
the error's second difference (the jitter metric's acceleration error), and the
milliseconds that a frame took. Labels tremble themselves, about as
1.5 % noise would in JHMDB and Bonn: no error falls below that.
"""

import argparse
import pathlib
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import tracking

from diffpose_jax.data import annotations
from diffpose_jax.data.annotations import Video
from diffpose_jax.inference import one_euro, smoothing
from diffpose_jax.pose import temporal

RATE = 25.0

# A function from joints (t, k, 2) and sizes (t,) to joints.
Way = Callable[[np.ndarray, np.ndarray], np.ndarray]


def tracks(videos: list[Video]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
  """Joints (t, 17, 2), NaN where absent, and the box's size, of each track."""
  for video in videos:
    ids = sorted({p.track_id for f in video.frames for p in f.people})
    for identity in ids:
      joints = np.full((len(video.frames), 17, 2), np.nan)
      sizes = np.ones(len(video.frames))
      for number, frame in enumerate(video.frames):
        for person in frame.people:
          if person.track_id == identity and person.box is not None:
            joints[number, person.labelled] = person.joints[person.labelled]
            sizes[number] = np.sqrt(np.prod(person.box[2:] - person.box[:2]))
      if len(joints) > 2:
        yield joints, sizes


def online(**options: Any) -> Way:
  """One-Euro."""

  def run(joints: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    one = one_euro.OneEuro(one_euro.Options(**options))
    rows = [
      one.update(n / RATE, [0], joints[n : n + 1], sizes[n : n + 1])
      for n in range(len(joints))
    ]
    return np.concatenate(rows)

  return run


def afterwards(**options: Any) -> Way:
  """Local polynomials, a fixed lag behind."""

  def run(joints: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    one = smoothing.FixedLag(smoothing.Options(**options))
    rows = []
    for n in range(len(joints)):
      rows += one.push(n / RATE, [0], joints[n : n + 1], sizes[n : n + 1])
    return np.concatenate(rows + one.finish())

  return run


WAYS: dict[str, Way] = {
  "as it is": lambda joints, sizes: joints,
  "One-Euro": online(),
  "fixed lag": afterwards(),
  "fixed lag, outliers kept": afterwards(outlier=0.0),
  "fixed lag, degree 1": afterwards(degree=1),
  "fixed lag, 0.1 s": afterwards(reach=0.1),
  "fixed lag, 0.4 s": afterwards(reach=0.4),
}


def main() -> None:
  """Prints a line for each way."""
  parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
  parser.add_argument("--data", type=pathlib.Path)
  parser.add_argument("--every", type=int, default=1, help="of the videos")
  parser.add_argument("--noise", type=float, default=0.03)
  parser.add_argument("--outliers", type=float, default=0.01)
  arguments = parser.parse_args()
  if arguments.data:
    videos = annotations.read_folder(
      arguments.data, skeleton=tracking.SKELETON
    )[:: arguments.every]
  else:
    videos = [tracking.walkers(seed) for seed in range(3)]
  rng = np.random.default_rng(0)
  cases = []
  for joints, sizes in tracks(videos):
    size = float(np.median(sizes))
    noise = rng.normal(0, arguments.noise * size, joints.shape)
    bad = rng.random(joints.shape[:2]) < arguments.outliers
    noise[bad] += rng.normal(0, 0.3 * size, (int(bad.sum()), 2))
    cases.append((joints, joints + noise, sizes, size))
  print("| | error | acceleration error | ms a frame |\n|---|---|---|---|")
  for name, way in WAYS.items():
    errors, accelerations, spent, frames = [], [], 0.0, 0
    for truth, seen, sizes, size in cases:
      begin = time.perf_counter()
      away = (way(seen, sizes) - truth) * 1e3 / size
      spent, frames = spent + time.perf_counter() - begin, frames + len(seen)
      errors.append(np.nanmean(np.hypot(*np.moveaxis(away, -1, 0))))
      second = np.moveaxis(temporal.acceleration(away), -1, 0)
      accelerations.append(np.nanmean(np.hypot(*second)))
    print(
      f"| {name} | {np.mean(errors):.1f} | {np.mean(accelerations):.1f} "
      f"| {1e3 * spent / frames:.2f} |",
      flush=True,
    )


if __name__ == "__main__":
  main()
