"""Saving and restoring a state: ours beside plain Orbax.

  python benchmarks/checkpoint.py --megabytes=1024

The state is of float32 noise, in leaves of 4 MB. In turn, several rounds:

  synchronous  Orbax's `Checkpointer`
  plain        Orbax's `CheckpointManager`, which writes in the background
  ours         `Checkpoints`: the same, sealed by checksums

Prints medians and, since disks of shared machines are noisy, the least: how
long `save` blocks, how long until the checkpoint is there, and how long it
takes to restore, with the file cache warm; and what the checksums take by
themselves, of the state and of the files. The files are removed after each
round.
"""

import argparse
import contextlib
import gc
import os
import pathlib
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp

from diffpose_jax.weights import checkpoint, restore, seal

LEAF = 1 << 20  # numbers
STEP = 7
Times = tuple[float, float, float]  # seconds: blocked, saved, restored


def make(megabytes: int) -> dict[str, jax.Array]:
  """A state of so many megabytes on the default device."""
  rng = np.random.default_rng(0)
  place = jax.sharding.SingleDeviceSharding(jax.devices()[0])
  return {
    f"leaf{i}": jax.device_put(rng.standard_normal(LEAF, np.float32), place)
    for i in range(max(1, megabytes // 4))
  }


def timed(
  save: Callable[[], Any], end: Callable[[], Any], restore: Callable[[], Any]
) -> Times:
  """What the three take, one after the other."""
  began = time.perf_counter()
  save()
  blocked = time.perf_counter() - began
  end()
  saved = time.perf_counter() - began
  began = time.perf_counter()
  jax.block_until_ready(restore())
  return blocked, saved, time.perf_counter() - began


def synchronous(folder: pathlib.Path, state: Any, like: Any) -> Times:
  """Orbax without a background."""
  with ocp.Checkpointer(ocp.StandardCheckpointHandler()) as writer:
    return timed(
      lambda: writer.save(folder / "1", args=ocp.args.StandardSave(state)),
      lambda: None,
      lambda: writer.restore(folder / "1", args=ocp.args.StandardRestore(like)),
    )


def plain(folder: pathlib.Path, state: Any, like: Any) -> Times:
  """Orbax in the background, with its own management of steps."""
  with ocp.CheckpointManager(folder) as manager:
    return timed(
      lambda: manager.save(STEP, args=ocp.args.StandardSave(state)),
      manager.wait_until_finished,
      lambda: manager.restore(STEP, args=ocp.args.StandardRestore(like)),
    )


def ours(folder: pathlib.Path, state: Any, like: Any) -> Times:
  """With checksums, which restoring compares."""
  checkpoints = checkpoint.Checkpoints(folder)
  return timed(
    lambda: checkpoints.save(state, STEP, 0.0),
    checkpoints.close,
    lambda: checkpoints.restore(like, STEP),
  )


def checksums(folder: pathlib.Path, state: Any) -> float:
  """Seconds that the sums of `state` and of its files take."""
  with ocp.Checkpointer(restore.handler()) as writer:
    writer.save(folder / restore.STATE, args=ocp.args.PyTreeSave(state))
  began = time.perf_counter()
  leaves = seal.leaf_sums(seal.views(state))
  seal.write(folder, step=STEP, quality=None, about={}, leaves=leaves)
  return time.perf_counter() - began


def main() -> None:
  """Prints the table and the ratios."""
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument("--megabytes", type=int, default=1024)
  parser.add_argument("--rounds", type=int, default=5)
  parser.add_argument("--folder", help="on the disk to be measured")
  arguments = parser.parse_args()
  state = make(arguments.megabytes)
  like = jax.tree.map(
    lambda v: jax.ShapeDtypeStruct(v.shape, v.dtype, sharding=v.sharding), state
  )
  contenders = (synchronous, plain, ours)
  found: dict[str, list[Times]] = {c.__name__: [] for c in contenders}
  sums = []
  for number in range(arguments.rounds + 1):
    for contender in contenders:
      with _folder(arguments.folder) as folder:
        times = contender(folder, state, like)
      if number:  # The first round warms up.
        found[contender.__name__].append(times)
    with _folder(arguments.folder) as folder:
      sums.append(checksums(folder, state))
  print(f"{arguments.megabytes} MB on {jax.devices()[0].platform}")
  for title, choose in (("median", statistics.median), ("least", min)):
    report(title, choose, found, sums[1:])


@contextlib.contextmanager
def _folder(parent: str | None) -> Iterator[pathlib.Path]:
  """A folder for one measurement, with nothing left to be written before."""
  gc.collect()
  os.sync()
  with tempfile.TemporaryDirectory(dir=parent) as folder:
    yield pathlib.Path(folder)


def report(
  title: str,
  choose: Callable[[Any], float],
  found: dict[str, list[Times]],
  sums: list[float],
) -> None:
  """Prints one table of milliseconds, and its ratios."""
  chosen = {
    name: [1e3 * choose(column) for column in zip(*rows, strict=True)]
    for name, rows in found.items()
  }
  print(f"\n{title + ', ms':12} {'blocked':>9} {'saved':>9} {'restored':>9}")
  for name, row in chosen.items():
    print(f"{name:12} {row[0]:9.1f} {row[1]:9.1f} {row[2]:9.1f}")
  whole = chosen["synchronous"][1]
  ratios = {
    "ours blocks, of synchronous": chosen["ours"][0] / whole,
    "plain blocks, of synchronous": chosen["plain"][0] / whole,
    "checksums by themselves, of synchronous": 1e3 * choose(sums) / whole,
    "ours saves, of plain": chosen["ours"][1] / chosen["plain"][1],
    "ours restores, of plain": chosen["ours"][2] / chosen["plain"][2],
  }
  for text, ratio in ratios.items():
    print(f"{text}: {ratio:.3f}")


if __name__ == "__main__":
  main()
