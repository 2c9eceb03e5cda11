"""Reading clips, beside a plain loop of decode and normalise, on one core.

  taskset -c 0 python benchmarks/pipeline.py --people=1,3,8
  taskset -c 0 python benchmarks/pipeline.py --mode=memory --clips=10000
  python benchmarks/pipeline.py --mode=throttle
  python benchmarks/pipeline.py --mode=workers

Makes its own videos: 1280x720 JPEG frames, every frame a key frame with so many
people; clips of 5 frames at 256x192. The modes:

  ratios    CPU time of each way to read the same clips, in turn, several
            rounds, with medians of the rounds' ratios
  memory    memory after each tenth of the clips
  throttle  how long a consumer waits that asks for batches at the rate of an
            H200's share: cores / 16 of what it can take
  workers   threads beside Grain's worker processes, as many as there are cores

The ways to read:

  plain     Pillow decodes the clip's five frames, OpenCV crops them, NumPy makes
            float32 of them and takes off the mean: what a first program does
  floor     each frame decoded once, each clip cropped, in order, and nothing else
  evaluate  `pipeline.eval_batches`: everyone once, in order
  turned    the floor with crops as training draws them; turned crops cost more
  train     `pipeline.train_batches`, near order, augmented
"""

import argparse
import io
import itertools
import os
import pathlib
import resource
import tempfile
import time
from collections.abc import Callable, Iterator

import cv2
import grain
import numpy as np
import source
from absl import flags
from PIL import Image

from diffpose_jax import config as config_lib
from diffpose_jax.data import (
  augment,
  clips,
  images,
  instances,
  pipeline,
  prepare,
  prepared,
  warping,
)
from diffpose_jax.pose import geometry, skeleton

MEAN = np.array([0.485, 0.456, 0.406], np.float32)
STD = np.array([0.229, 0.224, 0.225], np.float32)
BATCH = 32
WARM = 8  # batches that fill the buffers
# Clips a second that an H200 takes. It multiplies large bf16 matrices at 790
# TFLOP/s; half of that is reckoned with. A clip through ViT-B with four layers
# of width 768 over its frames, ten samples of four steps, is 319 GFLOP; a
# training step, 716.
H200 = {"evaluate": 0.5 * 790e12 / 319e9, "train": 0.5 * 790e12 / 716e9}
HOST_CORES = 16  # beside each H200


class Reading:
  """The ways to read the clips of one prepared split."""

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
    self._once(count, self.affines)

  def turned(self, count: int) -> None:
    """The floor with crops that are drawn as training draws them."""
    rng = np.random.default_rng(0)
    crops = (
      augment.draw_crop(
        rng,
        geometry.enlarge(self.people.box[i], self.config.data.enlarge),
        self.people.joints[i],
        self.people.labelled[i],
        skeleton=self.split.skeleton,
        augment=self.config.augment,
      )
      for i in range(len(self.people))
    )
    self._once(count, np.stack([crop.affine(self.size) for crop in crops]))

  def _once(self, count: int, affines: np.ndarray) -> None:
    kept = {}
    for i in range(count):
      rows = self.rows[i % len(self.rows)].tolist()
      kept = {
        row: kept[row] if row in kept else self._decode(row) for row in rows
      }
      frames = [kept[row] for row in rows]
      warping.warp(frames, affines[i % len(self.rows)], self.size)

  def _decode(self, row: int) -> np.ndarray:
    return images.decode(self.split.jpeg(row), place=self.split.place(row))

  def evaluate(self, count: int) -> None:
    """As evaluation reads: everyone once, in order."""
    for _ in self.batches("evaluate", count):
      pass

  def train(self, count: int) -> None:
    """As training reads, from its first step."""
    for _ in self.batches("train", count):
      pass

  def batches(self, name: str, count: int) -> Iterator[clips.Batch]:
    """Batches of at least so many clips in one pass, people over again."""
    if name == "evaluate":
      again = self.people.take(np.arange(count) % len(self.people))
      return pipeline.eval_batches(self.split, again, self.config, batch=BATCH)
    batches = pipeline.train_batches(
      [self.split],
      self.config,
      seed=0,
      start_step=0,
      batch=BATCH,
      cache_bytes=self.config.data.cache_bytes,
    )
    return itertools.islice(batches, -(-count // BATCH))


def cpu_seconds(call: Callable[[], None]) -> float:
  """CPU time of a call, over all threads and finished child processes."""
  began = os.times()
  call()
  ended = os.times()
  return sum(ended[:4]) - sum(began[:4])


def ratios(reading: Reading, options: argparse.Namespace) -> None:
  """Prints clips a CPU second of each way, ratios, and cores for an H200."""
  names = ("plain", "floor", "evaluate", "turned", "train")
  every: int = options.clips
  share = {"plain": max(20, every // 10)}  # slow, so fewer of them
  seconds = {name: [] for name in names}  # a clip
  for _, name in itertools.product(range(options.rounds), names):
    count = share.get(name, every)
    taken = cpu_seconds(lambda n=name, c=count: getattr(reading, n)(c))
    seconds[name].append(taken / count)
  floors = {"train": "turned", "turned": "turned"}
  for name in names:
    rate = 1.0 / np.median(seconds[name]).item()
    floor = floors.get(name, "floor")
    times = np.median(np.divide(seconds["plain"], seconds[name]))
    of_floor = np.median(np.divide(seconds[floor], seconds[name]))
    line = (
      f"{name:9} {rate:7.1f} clips/s/core  x {times:5.1f} of plain, "
      f"{of_floor:.2f} of {floor}"
    )
    if name in H200:
      line += f"; {H200[name] / rate:.1f} cores for {H200[name]:.0f} clips/s"
    print(line, flush=True)


def memory(reading: Reading, options: argparse.Namespace) -> None:
  """Prints the memory after each tenth of the clips, for both readings."""
  page = os.sysconf("SC_PAGE_SIZE")
  for name in ("evaluate", "train"):
    steps = -(-options.clips // BATCH)
    for step, _ in enumerate(reading.batches(name, options.clips), start=1):
      if step % max(1, steps // 10) == 0:
        text = pathlib.Path("/proc/self/statm").read_text(encoding="ascii")
        now = int(text.split()[1]) * page / 1e6
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
        print(
          f"{name:9} after {BATCH * step:6} clips: {now:.0f} MB, "
          f"peak {peak:.0f} MB",
          flush=True,
        )


def throttle(reading: Reading, options: argparse.Namespace) -> None:
  """Prints the share of time that a consumer of fixed speed waits.

  It takes a batch, is busy for as long as its share of an H200 would be, and
  asks for the next. The first batches do not count.
  """
  cores = len(os.sched_getaffinity(0))
  for name in ("evaluate", "train"):
    rate = H200[name] * cores / HOST_CORES
    batches = reading.batches(name, options.clips + WARM * BATCH)
    for _ in range(WARM):
      next(batches)
    waited, began = 0.0, time.perf_counter()
    for _ in range(-(-options.clips // BATCH)):
      asked = time.perf_counter()
      next(batches)
      waited += time.perf_counter() - asked
      time.sleep(BATCH / rate)
    total = time.perf_counter() - began
    print(
      f"{name:9} {rate:.0f} clips/s ({cores} of {HOST_CORES} cores): waits "
      f"{100 * waited / total:.1f} % of {total:.1f} s",
      flush=True,
    )


class Part(grain.IterDataset):
  """What one of Grain's worker processes reads: its share of every batch."""

  def __init__(self, folder: pathlib.Path, config, steps: int) -> None:
    super().__init__()
    self.folder, self.config, self.steps = folder, config, steps
    self.shard = (0, 1)

  def set_slice(self, sl: slice, sequential_slice: bool = False) -> None:
    """Told by Grain which worker this is."""
    del sequential_slice
    self.shard = (sl.start, sl.step)

  def __iter__(self) -> "PartIterator":
    return PartIterator(self)


class PartIterator(grain.DatasetIterator):
  """Batches of a `Part`: as large as all of them together read otherwise."""

  def __init__(self, part: Part) -> None:
    super().__init__()
    split = prepared.open_split(part.folder, "train")
    count = part.shard[1]
    self.batches = itertools.islice(
      pipeline.eval_batches(
        split,
        instances.gt_instances(split, need_joints=True),
        part.config,
        batch=BATCH * count,
        rows=range(part.shard[0] * BATCH, (part.shard[0] + 1) * BATCH),
      ),
      -(-part.steps // count),
    )

  def __next__(self) -> clips.Batch:
    return next(self.batches)

  def get_state(self) -> dict:
    """Nothing: the benchmark is never resumed."""
    return {}

  def set_state(self, state: dict) -> None:
    """Nothing to set."""


def workers(reading: Reading, options: argparse.Namespace) -> None:
  """Prints clips a second of threads, and of processes of one thread each.

  By the clock, because the cores are shared in turn; in one epoch of
  evaluation, of which the first batch, and with it the start, does not count.
  """
  flags.FLAGS.mark_as_parsed()  # Grain's processes ask for some of them
  count = len(os.sched_getaffinity(0))
  steps = min(options.clips, len(reading.people)) // BATCH

  def threads() -> Iterator[clips.Batch]:
    config = reading.config.copy_and_resolve_references()
    config.data.threads = count
    return pipeline.eval_batches(
      reading.split, reading.people, config, batch=BATCH
    )

  def processes() -> Iterator[clips.Batch]:
    part = Part(reading.split.folder, reading.config, steps)
    several = grain.MultiprocessingOptions(num_workers=count)
    return iter(part.mp_prefetch(several))

  for make in (threads, processes) * options.rounds:
    batches = make()
    next(batches)
    began = time.perf_counter()
    done = sum(1 for _ in itertools.islice(batches, steps - 1))
    rate = BATCH * done / (time.perf_counter() - began)
    print(f"{count} {make.__name__:9} {rate:.0f} clips/s", flush=True)
    del batches


def main() -> None:
  """Writes, prepares, measures."""
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument("--people", default="3", help="in each frame, as 1,3,8")
  parser.add_argument("--videos", type=int, default=40)
  parser.add_argument("--frames", type=int, default=31, help="of each video")
  parser.add_argument("--clips", type=int, default=1280, help="a round")
  parser.add_argument("--rounds", type=int, default=5)
  modes = {
    "ratios": ratios,
    "memory": memory,
    "throttle": throttle,
    "workers": workers,
  }
  parser.add_argument("--mode", choices=modes, default="ratios")
  options = parser.parse_args()
  config = config_lib.default()
  config.data.threads = 1
  if options.mode in ("memory", "throttle"):
    config.data.threads = len(os.sched_getaffinity(0))
  for people in map(int, options.people.split(",")):
    with tempfile.TemporaryDirectory() as folder:
      root = pathlib.Path(folder)
      source.write(
        root / "source",
        videos=options.videos,
        frames=options.frames,
        people=people,
      )
      out = prepare.prepare(
        dataset="posetrack18", source=root / "source", out=root / "data"
      )
      split = prepared.open_split(out, "train", skeleton=skeleton.POSETRACK)
      size = np.mean([len(split.jpeg(row)) for row in range(0, 100, 7)])
      print(
        f"\n{people} people in each of {len(split.frames)} frames of "
        f"{size / 1e3:.0f} kB"
      )
      reading = Reading(split, config)
      modes[options.mode](reading, options)


if __name__ == "__main__":
  main()
