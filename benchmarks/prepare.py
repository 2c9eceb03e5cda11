"""Preparing a set, beside decoding each of its pictures once.

  python benchmarks/prepare.py --frames=10000

Makes 1280x720 JPEG frames in PoseTrack18's layout, three people in each. A few
videos have pictures of their own; the others are hard links to them, so that the
set takes little disk. In turn, several rounds, each in a process of its own:

  decode   every picture read and decoded, on as many threads as `prepare` has
  prepare  `prepare`, from nothing to a finished set

Prints the time by the clock and of the CPU, the largest memory, and the ratio
of the medians.
"""

import argparse
import os
import pathlib
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent import futures

import numpy as np
import source

from diffpose_jax.data import images, prepare, records

LENGTH = 100  # frames of a video
DIFFERENT = 4  # videos whose pictures are not links


def decode(root: pathlib.Path) -> None:
  """Decodes every picture once."""

  def one(path: pathlib.Path) -> None:
    images.decode(path.read_bytes(), place=str(path))

  with futures.ThreadPoolExecutor(records.THREADS) as pool:
    for done in pool.map(one, sorted(root.glob("images/*/*.jpg"))):
      assert done is None


def work(name: str, root: pathlib.Path) -> None:
  """One measured job; prints what it took, as numbers."""
  began = time.perf_counter(), time.process_time()
  if name == "decode":
    decode(root / "source")
  else:
    shutil.rmtree(root / "data", ignore_errors=True)
    prepare.prepare(
      dataset="posetrack18", source=root / "source", out=root / "data"
    )
  clock, cpu = time.perf_counter() - began[0], time.process_time() - began[1]
  peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
  print(f"\nresult {clock} {cpu} {peak}")


def measured(name: str, root: pathlib.Path) -> list[float]:
  """Seconds by the clock and of the CPU, and peak MB, of a new process."""
  command = [sys.executable, __file__, "--only", name, "--root", str(root)]
  result = subprocess.run(
    command, check=True, stdout=subprocess.PIPE, text=True
  )
  return [float(word) for word in result.stdout.split("result ")[-1].split()]


def main() -> None:
  """Writes the source, then measures; or does one job, as told."""
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument("--frames", type=int, default=10_000)
  parser.add_argument("--rounds", type=int, default=3)
  parser.add_argument("--only", choices=("decode", "prepare"))
  parser.add_argument("--root", type=pathlib.Path)
  options = parser.parse_args()
  if options.only:
    work(options.only, options.root)
    return
  with tempfile.TemporaryDirectory() as folder:
    root = pathlib.Path(folder)
    source.write(
      root / "source",
      videos=-(-options.frames // LENGTH),
      frames=min(LENGTH, options.frames),
      people=3,
      different=DIFFERENT,
    )
    taken = {"decode": [], "prepare": []}
    for _ in range(options.rounds):
      for name, results in taken.items():
        results.append(measured(name, root))
    files = sum(f.stat().st_size for f in os.scandir(root / "data"))
  print(f"{options.frames} frames, {files / 1e9:.2f} GB prepared")
  middle = {name: np.median(results, axis=0) for name, results in taken.items()}
  for name, (clock, cpu, peak) in middle.items():
    print(f"{name:8} {clock:6.1f} s, {cpu:6.1f} s of CPU, peak {peak:.0f} MB")
  ratio = middle["prepare"] / middle["decode"]
  print(f"ratio    {ratio[0]:.2f} by the clock, {ratio[1]:.2f} of CPU")


if __name__ == "__main__":
  main()
