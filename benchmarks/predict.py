"""A long video through `predict`: memory, throughput, compilations.

  python benchmarks/predict.py --weights=runs/synthetic
  python benchmarks/predict.py --weights=runs/synthetic --minutes=1 --share
  python benchmarks/predict.py --weights=diffpose_jax/_weights/diffpose-small.safetensors \
    --rate=10 --steps=1 --samples=1
  python benchmarks/predict.py --weights=runs/synthetic --device_ms=8

It makes a video of rendered people who walk to and fro (1280x720, MPEG-4) with a file of their boxes and identities, and predicts it in this
process. Printed are the memory of the process at each minute of the video,
programs that were compiled after the first batch, frames a second beside what
the processor time of all stages allows on these cores, and beside what the
slowest stage alone would do, and the time of each.

With --device_ms nothing is computed: a stand-in for an accelerator takes so many
milliseconds for each person of a batch, one batch after the other, without any
of the processor's time, and answers with the poses of people seen before.
"""

import argparse
import dataclasses
import os
import pathlib
import tempfile
import time
from collections.abc import Iterator
from typing import Any

import cv2
import numpy as np

from diffpose_jax import compile_cache
from diffpose_jax import config as config_lib
from diffpose_jax.benchmark import compiling
from diffpose_jax.data import sources, synthetic, synthetic_scene, video
from diffpose_jax.inference import boxes_in, run, stages, stream, wanted
from diffpose_jax.inference import estimator as estimator_lib
from diffpose_jax.inference import poses as poses_lib

SIZE = (720, 1280)
LOOP = 50  # different frames


def sprites(people: int) -> list[list[tuple[np.ndarray, np.ndarray]]]:
  """For each person the pictures of a clip, there and back, and their boxes."""
  found = []
  for index in range(people):
    scene = synthetic.sample_scene(
      split="predict", index=index, frames=LOOP // 2
    )
    frames = [
      synthetic_scene.render_frame(scene, number) for number in range(LOOP // 2)
    ]
    clip = [
      (np.ascontiguousarray(frame.image[..., ::-1]), frame.people[0].box)
      for frame in frames
    ]
    found.append(clip + clip[::-1])
  return found


def loop(people: int) -> Iterator[tuple[np.ndarray, list[np.ndarray]]]:
  """(BGR picture, boxes) of each frame of what is repeated."""
  rng = np.random.default_rng(0)
  ground = rng.integers(0, 256, (*SIZE, 3), np.uint8)
  ground = cv2.GaussianBlur(ground, (0, 0), 4)
  clips = sprites(people)
  for number in range(LOOP):
    picture, boxes = ground.copy(), []
    for index, clip in enumerate(clips):
      sprite, box = clip[number]
      height, width = sprite.shape[:2]
      x = 40 + index * (width + 60) % (SIZE[1] - width - 40)
      y = 60 + 150 * (index % 3)
      picture[y : y + height, x : x + width] = sprite[..., ::-1]
      boxes.append(np.asarray(box) + np.array([x, y, x, y]))
    yield picture, boxes


def make(folder: pathlib.Path, people: int, frames: int, rate: int) -> None:
  """Writes video.mp4 and boxes.csv."""
  writer = cv2.VideoWriter(
    str(folder / "video.mp4"),
    cv2.VideoWriter.fourcc(*"mp4v"),
    rate,
    SIZE[::-1],
  )
  lines = ["frame_index,x1,y1,x2,y2,score,track_id"]
  repeated = list(loop(people))
  for number in range(frames):
    picture, boxes = repeated[number % LOOP]
    writer.write(picture)
    for track, box in enumerate(boxes):
      edges = ",".join(f"{edge:.2f}" for edge in box)
      lines.append(f"{number},{edges},1,{track}")
  writer.release()
  (folder / "boxes.csv").write_text("\n".join(lines))


def resident() -> float:
  """MB of memory that the process has in use."""
  text = pathlib.Path("/proc/self/status").read_text()
  [line] = [line for line in text.splitlines() if line.startswith("VmRSS")]
  return int(line.split()[1]) / 1024


def processor() -> float:
  """Seconds of this process and of those that it started and that ended."""
  times = os.times()
  return sum(times[:4])


@dataclasses.dataclass(frozen=True)
class Answer:
  """Poses of a batch, on a device that is only pretended; see `Device`."""

  found: poses_lib.Poses
  ready: float  # on the clock

  def poses(self) -> poses_lib.Poses:
    """Waits for them."""
    time.sleep(max(0.0, self.ready - time.perf_counter()))
    return self.found


class Device:
  """Stands in for an accelerator, behind `Estimator.start`."""

  def __init__(self, estimator: estimator_lib.Estimator, seconds: float):
    """Each person of a batch takes `seconds`."""
    self._seconds, self._free = seconds, 0.0
    self._rows = estimator.sizes[-1]
    config: Any = estimator.config
    frames = config_lib.frames(config)
    noise = np.random.default_rng(0).integers(
      0, 256, (self._rows, frames, *config.data.size, 3), np.uint8
    )
    self._known = estimator.start(
      noise, np.arange(self._rows, dtype=np.uint32)
    ).poses()

  def start(
    self, frames: np.ndarray, noise_id: np.ndarray, *, size: int | None = None
  ) -> Answer:
    """As of an `Estimator`; the batch is copied, as for its padding there."""
    size = size or self._rows
    count = len(noise_id)
    np.pad(frames, ((0, size - count),) + ((0, 0),) * 4)
    begins = max(self._free, time.perf_counter())
    self._free = begins + size * self._seconds
    rows = [self._known.row(i) for i in range(count)]
    return Answer(poses_lib.joined(rows), self._free)


class Watch:
  """Looks at the process whenever another minute of the video is done."""

  def __init__(self, rate: int):
    self._minute = 60 * rate  # frames
    self.memory: list[float] = []
    self.compiled: list[str] = []
    self.began = time.perf_counter()

  def __call__(self, index: int, names: list[str]) -> None:
    """After a frame."""
    if (index + 1) % self._minute == 0:
      self.memory.append(resident())
      print(
        f"minute {len(self.memory)}: {self.memory[-1]:.0f} MB, "
        f"{(index + 1) / (time.perf_counter() - self.began):.1f} frames/s",
        flush=True,
      )
    if index == 60:
      names.clear()  # what the first batches needed


def main() -> None:
  """Prints what is measured."""
  parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
  parser.add_argument("--weights", type=pathlib.Path, required=True)
  parser.add_argument("--minutes", type=float, default=10)
  parser.add_argument("--people", type=int, default=3)
  parser.add_argument("--rate", type=int, default=25, help="frames a second")
  parser.add_argument("--video", default="webm", help="to write: or none")
  parser.add_argument("--steps", type=int)
  parser.add_argument("--samples", type=int)
  parser.add_argument("--share", action="store_true")
  parser.add_argument("--device_ms", type=float, help="of a stand-in, a person")
  arguments = parser.parse_args()
  compile_cache.use()
  estimator = estimator_lib.Estimator.load(
    arguments.weights, steps=arguments.steps, samples=arguments.samples
  )
  if arguments.device_ms is not None:
    device = Device(estimator, arguments.device_ms / 1e3)
    setattr(estimator, "start", device.start)  # noqa: B010 - of another type
  with tempfile.TemporaryDirectory() as name:
    folder = pathlib.Path(name)
    frames = round(arguments.minutes * 60 * arguments.rate)
    make(folder, arguments.people, frames, arguments.rate)
    measure(estimator, folder, frames, arguments)


def measure(
  estimator: estimator_lib.Estimator,
  folder: pathlib.Path,
  frames: int,
  arguments: argparse.Namespace,
) -> None:
  """Predicts what `make` wrote."""
  [source] = sources.find(folder / "video.mp4")
  pair = (source, video.open_video(source))
  [supply] = boxes_in.of_file(folder / "boxes.csv", [pair], threshold=0.0)
  watch = Watch(arguments.rate)
  journal = run.journal_lib.Journal
  add = journal.add
  clocks: list[stages.Stages] = []

  class Stages(stages.Stages):
    def __init__(self):
      super().__init__()
      clocks.append(self)

  run.stages_lib.Stages = Stages
  with compiling.counted() as names:

    def watched(self, frame):
      add(self, frame)
      watch(frame.index, names)

    journal.add = watched
    cpu, wall = processor(), time.perf_counter()
    [output] = run.run(
      [run.Video(*pair, supply)],
      estimator,
      folder / "out",
      way=stream.Way(share=arguments.share),
      wanted=wanted.Wanted(video=arguments.video),
    )
    cpu, wall = processor() - cpu, time.perf_counter() - wall
  assert output.frames == frames, output.frames
  print(f"compiled after the first batches: {len(names)} {names or ''}")
  cores = stages._cores()
  print(
    f"{frames / wall:.2f} frames/s; {1e3 * cpu / frames:.1f} ms of processor "
    f"time a frame allow {cores * frames / cpu:.2f} on {cores} cores: "
    f"{cpu / wall / cores:.2f} of it"
  )
  name, seconds = next(iter(clocks[0].wall.items()))
  print(
    f"the slowest stage, {name}, alone: {frames / seconds:.2f} frames/s; "
    f"{seconds / wall:.2f} of it"
  )
  if watch.memory:
    low, high = min(watch.memory), max(watch.memory)
    first, last = watch.memory[0], watch.memory[-1]
    print(
      f"memory: minute 1 {first:.0f} MB, last {last:.0f} MB "
      f"({100 * (last / first - 1):+.1f} %), from {low:.0f} to {high:.0f} MB"
    )


if __name__ == "__main__":
  main()
