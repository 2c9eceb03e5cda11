"""What should be equal: the same run again, and with other loader workers."""

import functools
import pathlib
from collections.abc import Callable
from typing import Any

import grain
import jax

from diffpose_jax.data import pipeline, prepare, prepared
from fault_cases import judging, numbers, toy
from fault_cases.columns import Column
from fault_cases.files import Cases
from fault_cases.judging import Injection


def repeats(column: Column, base: pathlib.Path, count: int) -> Cases:
  """F22: the same again, and with another number of loader workers."""
  del base, count
  if column.name == "ours":
    cases: dict[str, Callable[[pathlib.Path], tuple[Any, Any]]] = {
      "same seed twice": lambda _: (_our_run(), _our_run()),
      "1 and 2 threads": lambda f: (_read(f, 1, 0), _read(f, 2, 0)),
      "on from step 2 with 2 threads": lambda f: (
        _read(f, 1, 0)[2:],
        _read(f, 2, 2)[:-2],
      ),
    }
  else:
    cases = {
      "same seed twice": lambda _: (_toy_run(), _toy_run()),
      "1 and 2 workers, MapDataset": lambda _: (_mapped(1), _mapped(2)),
      "1 and 2 workers, DataLoader": lambda _: (_loaded(1), _loaded(2)),
      "on from step 2 with 2 workers, MapDataset": lambda _: (
        _mapped(1)[2:],
        _mapped(2, after=2)[:-2],
      ),
    }
  return {k: functools.partial(_equal, k, v) for k, v in cases.items()}


def _equal(label, make, folder: pathlib.Path) -> Injection:
  try:
    a, b = make(folder)
  except Exception as error:
    return judging.of_error(label, error, ("worker",))
  same = a == b
  return Injection(
    label,
    judging.RECOVERED if same else judging.SILENT,
    "the same bits" if same else "others, without a word",
  )


def _our_run() -> str:
  step, init = numbers.our_step()
  state, batch = init(), jax.device_put(numbers.make_batch())
  for _ in range(3):
    state, _ = step(state, batch)
  return toy.digest(vars(state))


def _toy_run() -> str:
  state, batches = toy.first(), toy.iterator(toy.dataset())
  for _ in range(3):
    state = toy.step(state, next(batches))
  return toy.digest(state)


def _read(folder: pathlib.Path, threads: int, start: int) -> list[list[str]]:
  """Digests of six batches of our pipeline."""
  config = numbers.tiny_config()
  config.data.threads = threads
  place = folder.with_name("data")
  place.mkdir(exist_ok=True)
  split = prepared.open_split(prepare.ensure(config, place), "train")
  batches = pipeline.train_batches(
    [split], config, seed=0, start_step=start, batch=4
  )
  try:
    return [
      [toy.batch_digest(batch[key]) for key in sorted(batch)]
      for batch, _ in zip(batches, range(6), strict=False)
    ]
  finally:
    batches.close()


def _mapped(workers: int, after: int = 0) -> list[str]:
  """Six batches of a MapDataset, read by worker processes.

  With `after`, from the state that one worker had after so many.
  """

  def opened(workers):
    options = grain.MultiprocessingOptions(num_workers=workers)
    return iter(toy.dataset().to_iter_dataset().mp_prefetch(options))

  batches = opened(workers)
  if after:
    before = opened(1)
    for _ in range(after):
      next(before)
    batches.set_state(before.get_state())
    before.close()
  found = [toy.batch_digest(next(batches)) for _ in range(6)]
  batches.close()
  return found


def _loaded(workers: int) -> list[str]:
  """Six batches of a DataLoader."""
  sampler = grain.samplers.IndexSampler(
    toy.ITEMS, shard_options=grain.sharding.NoSharding(), shuffle=True, seed=0
  )
  loader = grain.DataLoader(
    data_source=grain.sources.RangeDataSource(0, toy.ITEMS, 1),
    sampler=sampler,
    operations=[grain.transforms.Batch(toy.BATCH)],
    worker_count=workers,
  )
  return [
    toy.batch_digest(batch) for batch, _ in zip(loader, range(6), strict=False)
  ]
