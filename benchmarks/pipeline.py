"""Reading clips, beside a plain loop of decode and normalise, on one core.

  taskset -c 0 python benchmarks/pipeline.py --people=3

Makes its own videos: 1280x720 JPEG frames, `people` in each, every frame a key
frame; clips of 5 frames at 256x192. In turn, several rounds over the same clips:

  plain     Pillow decodes the clip's five frames, OpenCV crops them, NumPy makes
            float32 of them and takes off the mean: what a first program does
  evaluate  `pipeline.eval_batches`: everyone once, in order
  train     `pipeline.train_batches`, near order, augmented
  floor     each frame decoded once, each clip cropped, in order, and nothing else

Prints clips a second and the ratios of medians. `--clips=10000` watches memory.
"""

import argparse
import io
import itertools
import pathlib
import resource
import tempfile
import time

import cv2
import numpy as np
from PIL import Image

from diffpose_jax import config as config_lib
from diffpose_jax.data import (
  annotations,
  images,
  instances,
  pipeline,
  prepare,
  prepared,
)
from diffpose_jax.pose import skeleton

SIZE = (720, 1280)
QUALITY = 90
MEAN = np.array([0.485, 0.456, 0.406], np.float32)
STD = np.array([0.229, 0.224, 0.225], np.float32)


def write_source(root: pathlib.Path, videos: int, frames: int, people: int):
  """Videos of noise and blocks, that compress about as footage does."""
  rng = np.random.default_rng(0)
  folder = root / "annotations" / "train"
  folder.mkdir(parents=True)
  for v in range(videos):
    name = f"{v:06d}"
    (root / "images" / name).mkdir(parents=True)
    small = rng.integers(0, 255, (45, 80, 3), np.uint8)
    picture = cv2.resize(small, SIZE[::-1], interpolation=cv2.INTER_CUBIC)
    noise = rng.normal(0, 4, (*SIZE, 3))
    picture = np.clip(picture + noise, 0, 255).astype(np.uint8)
    listed = []
    for f in range(frames):
      file_name = f"images/{name}/{f:06d}.jpg"
      moved = np.roll(picture, 5 * f, axis=1)
      quality = [cv2.IMWRITE_JPEG_QUALITY, QUALITY]
      cv2.imwrite(str(root / file_name), moved, quality)
      listed.append(
        annotations.Frame(
          file_name=file_name,
          image_id=1000 * v + f,
          labelled=True,
          people=tuple(person(rng, f, p, people) for p in range(people)),
          height=SIZE[0],
          width=SIZE[1],
        )
      )
    annotations.write_video(
      folder / f"{name}.json",
      annotations.Video(name, tuple(listed)),
      skeleton=skeleton.POSETRACK,
    )


def person(rng, frame: int, number: int, people: int) -> annotations.Person:
  """One of `people` side by side, about 300 pixels tall, walking."""
  left = 1000 * (number + 0.2) / people + 4 * frame
  box = np.array([left, 150, left + 150, 450], np.float32)
  joints = rng.uniform(box[:2], box[2:], (17, 2)).astype(np.float32)
  return annotations.Person(
    box=box, joints=joints, labelled=np.ones(17, bool), track_id=number
  )


class Reading:
  """The four ways to read the clips of one prepared split."""

  def __init__(self, split: prepared.Split, config) -> None:
    self.split, self.config = split, config
    self.people = instances.gt_instances(split, need_joints=True)
    self.rows = instances.clip_rows(split, self.people.row, config.data.span)
    self.affines = instances.crop_affines(self.people, config)
    self.size = tuple(config.data.size)

  def plain(self, count: int) -> None:
    """Decode, crop and normalise each clip by itself."""
    for i in range(count):
      frames = []
      for row in self.rows[i % len(self.rows)]:
        with Image.open(io.BytesIO(self.split.jpeg(row))) as picture:
          pixels = np.asarray(picture.convert("RGB"))
        crop = cv2.warpAffine(
          pixels, self.affines[i % len(self.rows)], self.size[::-1]
        )
        frames.append((crop.astype(np.float32) / 255 - MEAN) / STD)
      np.stack(frames)

  def floor(self, count: int) -> None:
    """Decode each frame once; crop each clip; keep five frames."""
    kept = {}
    for i in range(count):
      rows = self.rows[i % len(self.rows)].tolist()
      kept = {
        row: kept[row] if row in kept else self._decode(row) for row in rows
      }
      frames = [kept[row] for row in rows]
      pipeline.warp(frames, self.affines[i % len(self.rows)], self.size)

  def _decode(self, row: int) -> np.ndarray:
    return images.decode(self.split.jpeg(row), place=self.split.place(row))

  def evaluate(self, count: int) -> None:
    """As evaluation reads: everyone once, in order."""
    done = 0
    while done < count:
      for batch in pipeline.eval_batches(
        self.split, self.people, self.config, batch=32
      ):
        done += int(batch["valid"].sum())
        if done >= count:
          break

  def train(self, count: int) -> None:
    """As training reads, from its first step."""
    batches = pipeline.train_batches(
      self.split,
      self.config,
      seed=0,
      start_step=0,
      batch=32,
      cache_bytes=self.config.data.cache_bytes,
    )
    for _ in itertools.islice(batches, -(-count // 32)):
      pass


def peak_mb() -> float:
  """Largest memory of this process so far."""
  return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def measure(reading: Reading, clips: int, rounds: int) -> None:
  """Prints clips a second of each way, and ratios to the plain loop."""
  names = ("plain", "evaluate", "train", "floor")
  share = {"plain": max(20, clips // 10)}  # slow, so fewer of them
  rates = {name: [] for name in names}
  for _ in range(rounds):
    for name in names:
      count = share.get(name, clips)
      began = time.perf_counter()
      getattr(reading, name)(count)
      rates[name].append(count / (time.perf_counter() - began))
  middle = {name: float(np.median(rates[name])) for name in names}
  for name in names:
    print(
      f"{name:9} {middle[name]:8.1f} clips/s  x {middle[name] / middle['plain']:.1f}"
      f" of plain, {middle[name] / middle['floor']:.2f} of the floor"
    )


def watch_memory(reading: Reading, clips: int) -> None:
  """Prints the peak of memory after each tenth of training clips."""
  batches = pipeline.train_batches(
    reading.split,
    reading.config,
    seed=1,
    start_step=0,
    batch=32,
    cache_bytes=reading.config.data.cache_bytes,
  )
  steps = -(-clips // 32)
  for step in range(steps):
    next(batches)
    if step % max(1, steps // 10) == 0:
      print(f"after {32 * step:6} clips: peak {peak_mb():.0f} MB", flush=True)


def main() -> None:
  """Writes, prepares, measures."""
  parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
  parser.add_argument("--people", type=int, default=3, help="in each frame")
  parser.add_argument("--videos", type=int, default=40)
  parser.add_argument("--frames", type=int, default=31, help="of each video")
  parser.add_argument("--clips", type=int, default=640, help="a round")
  parser.add_argument("--rounds", type=int, default=3)
  parser.add_argument("--memory", action="store_true", help="watch it instead")
  options = parser.parse_args()
  config = config_lib.default()
  config.data.threads = 1
  with tempfile.TemporaryDirectory() as folder:
    root = pathlib.Path(folder)
    write_source(
      root / "source", options.videos, options.frames, options.people
    )
    began = time.perf_counter()
    out = prepare.prepare(
      dataset="posetrack18", source=root / "source", out=root / "data"
    )
    print(f"prepared in {time.perf_counter() - began:.1f} s")
    split = prepared.open_split(out, "train", skeleton=skeleton.POSETRACK)
    size = np.mean([len(split.jpeg(row)) for row in range(0, 100, 7)])
    print(f"{len(split.frames)} frames, {size / 1e3:.0f} kB each")
    reading = Reading(split, config)
    if options.memory:
      watch_memory(reading, options.clips)
    else:
      measure(reading, options.clips, options.rounds)


if __name__ == "__main__":
  main()
