"""Prepared data to batches of clips: Grain, threads, and no state.

A batch is a dict of NumPy arrays:
  frames   uint8 (b, t, h, w, 3)  crops of one box; the key frame is t // 2
  joints   float32 (b, k, 2)      (x, y) in crop pixels; 0 if not labelled
  labelled bool (b, k)            labelled, and inside the crop
  valid    bool (b,)              False for padding
  index    int32 (b,)             row of the instances, those of a mixture one
                                  set after the other; -1 for padding
  noise_id uint32 (b,)            hash of video and track

What training sees at a step is a function of (seed, step) alone: not of the
threads, of the number of hosts, or of where the run was resumed.
"""

import dataclasses
from collections.abc import Sequence

import grain
import ml_collections
import numpy as np
from jaxtyping import Int

from diffpose_jax import config as config_lib
from diffpose_jax.data import (
  clips,
  instances,
  order,
  prepared,
  warping,
  watchdog,
)

WAIT = 300.0  # seconds for a batch, before reading counts as hanging

# Decoded frames kept in memory. Training draws them at random, so a small set
# should fit whole (6400 frames of 320x240 take 1.5 GB); evaluation goes in
# order and takes no more than the batches at work need.
TRAIN_CACHE = 2 << 30
EVAL_CACHE = 1 << 29


def train_batches(
  splits: Sequence[prepared.Split],
  config: ml_collections.ConfigDict,
  *,
  seed: int,
  start_step: int,
  batch: int,
  rows: Sequence[int] | None = None,
  cache_bytes: int = TRAIN_CACHE,
) -> watchdog.Watched[clips.Batch]:
  """Endless augmented batches of the labelled people of data sets.

  `order.Order` says who comes when. Clip number i of the run belongs to step
  i // batch, at place i % batch: another number of hosts goes on with the same
  batches.

  Args:
    splits: prepared data with the same joints: the run's own, then those to mix
      in. Each has fixed places of the batch, as many as `config.places` says,
      and an order of its own.
    config: of the run.
    seed: of order and augmentation.
    start_step: steps to leave out, those before a checkpoint.
    batch: clips a step over all hosts.
    rows: places of a batch that this host gives; all if None.
    cache_bytes: of decoded frames kept in memory.

  Raises:
    TimeoutError: from the iterator, where reading hangs.
    ValueError: nobody is labelled, there are fewer people than a batch has
      clips, or a place is outside of it; later, a picture that does not decode.
  """
  places = _places(batch, rows)
  sources = _sources(splits, config, seed, batch, cache_bytes)
  of_place = np.repeat(np.arange(len(sources)), [s.count for s in sources])

  shape = (config_lib.frames(config), *config.data.size)

  def make(step: int) -> clips.Batch:
    def clip(place: int, crops: warping.Crops) -> clips.Clip:
      source = sources[of_place[place]]
      return source.clip(seed, step, batch, place, crops)

    return clips.fill(clip, places, shape)

  steps = grain.MapDataset.range(1).repeat(None)
  batches = steps.map_with_index(lambda step, _: make(step))[start_step:]
  return watchdog.watch(
    iter(batches.to_iter_dataset(_read_options(config))),
    WAIT,
    f"{splits[0].folder} {splits[0].name}, training batches",
  )


@dataclasses.dataclass(frozen=True)
class _Source:
  """A data set of a mixture, and the places that are its own in a batch."""

  reader: clips.Reader
  order: order.Order
  place: int  # the first of them
  count: int
  first: int  # what its first person is called in `index`

  def clip(
    self, seed: int, step: int, batch: int, place: int, crops: warping.Crops
  ) -> clips.Clip:
    """The clip at a place of a step's batch."""
    i = self.order.at(step * self.count + place - self.place)
    clip = self.reader.train(seed, step * batch + place, i, crops)
    return clip | {"index": np.int32(self.first + i)}


def _sources(
  splits: Sequence[prepared.Split],
  config: ml_collections.ConfigDict,
  seed: int,
  batch: int,
  cache_bytes: int,
) -> list[_Source]:
  """The data sets of a run, each with a share of the batch and the memory."""
  zoom = 1 / max(0.05, 1 - config.augment.scale)
  counts = config_lib.places(config) if len(splits) > 1 else (batch,)
  sources, place, first = [], 0, 0
  for split, count in zip(splits, counts, strict=True):
    people = instances.gt_instances(split, need_joints=True)
    if len(people) < count:
      raise ValueError(
        f"{split.folder} {split.name}: {len(people)} people with a labelled "
        f"joint, fewer than the {count} that train.batch {batch} takes; set "
        "--config.train.batch lower or give more data"
      )
    share = cache_bytes * count // batch
    reader = clips.reader(split, people, config, share, zoom=zoom)
    turn = _order(split, people, reader, config, seed, count)
    sources.append(_Source(reader, turn, place, count, first))
    place, first = place + count, first + len(people)
  return sources


def eval_batches(
  split: prepared.Split,
  people: instances.Instances,
  config: ml_collections.ConfigDict,
  *,
  batch: int,
  rows: Sequence[int] | None = None,
  cache_bytes: int = EVAL_CACHE,
) -> watchdog.Watched[clips.Batch]:
  """Batches with each of `people` exactly once, in order, without change.

  All hosts get equally many batches; what is over is padding.

  Args:
    split: prepared data.
    people: whom to crop; `index` counts its rows.
    config: of the run.
    batch: clips a batch over all hosts.
    rows: places of a batch that this host gives; all if None.
    cache_bytes: of decoded frames kept in memory.

  Raises:
    ValueError: there is nobody, or a place is outside of the batch.
  """
  if not len(people):
    raise ValueError(
      f"{split.folder} {split.name}: no people to evaluate; give a split with "
      "labelled people, or boxes"
    )
  reader = clips.reader(split, people, config, cache_bytes)
  steps = -(-len(people) // batch)
  turns = np.arange(steps * batch).reshape(steps, batch)
  turns = turns[:, _places(batch, rows)]
  shape = (config_lib.frames(config), *config.data.size)
  options = _read_options(config)
  # To write frames where others were is faster than to ask for new memory.
  enough = _window_bytes(split, reader, turns, options.prefetch_buffer_size + 1)
  reader.cache.max_bytes = min(cache_bytes, enough)
  batches = grain.MapDataset.range(steps).map(
    lambda step: clips.fill(reader.evaluate, turns[step].tolist(), shape)
  )
  return watchdog.watch(
    iter(batches.to_iter_dataset(options)),
    WAIT,
    f"{split.folder} {split.name}, evaluation batches",
  )


def _order(
  split: prepared.Split,
  people: instances.Instances,
  reader: clips.Reader,
  config: ml_collections.ConfigDict,
  seed: int,
  batch: int,
) -> order.Order:
  """Who comes when; says so where the frames that it needs do not fit."""
  frames, near = split.frames, config.data.order == "near"
  # Of pictures that are shrunk, so much is kept.
  height, width = (v // reader.factors for v in (frames.height, frames.width))
  memory = order.decoded_bytes(height, width, reader.rows)
  if near:
    used = np.unique(reader.rows)
    share = batch * (order.BLOCK + 2 * config.data.span)
    memory = memory * min(1.0, share / len(used))
  if memory > reader.cache.max_bytes:
    advice = "" if near else ", or take --config.data.order=near"
    print(
      f"data: the frames that training mixes take {memory / 1e9:.1f} GB and do "
      f"not fit in {reader.cache.max_bytes / 1e9:.1f} GB, so many are decoded "
      f"again; raise --config.data.cache_bytes{advice}",
      flush=True,
    )
  return order.Order(
    frames.video[people.row],
    frames.frame_index[people.row],
    seed,
    batch,
    near,
  )


def _window_bytes(
  split: prepared.Split,
  reader: clips.Reader,
  turns: Int[np.ndarray, "steps b"],
  window: int,
) -> int:
  """Most memory that the frames of so many successive batches take.

  At full size, because a PNG is never shrunk. `turns` are the people of each
  batch; those beyond the last are padding.
  """
  height, width = split.frames.height, split.frames.width
  near = (turns[step : step + window] for step in range(len(turns)))
  return max(
    order.decoded_bytes(
      height, width, reader.rows[some[some < len(reader.rows)]]
    )
    for some in near
  )


def _places(batch: int, rows: Sequence[int] | None) -> list[int]:
  """The places of a batch that are asked for."""
  places = list(range(batch)) if rows is None else [int(row) for row in rows]
  if not places or not 0 <= min(places) <= max(places) < batch:
    raise ValueError(
      f"places {places} are asked for of a batch of {batch}; give some of 0 to "
      f"{batch - 1}"
    )
  return places


def _read_options(config: ml_collections.ConfigDict) -> grain.ReadOptions:
  # A thread makes a whole batch, so the buffer counts batches.
  threads = config.data.threads
  return grain.ReadOptions(
    num_threads=threads, prefetch_buffer_size=2 * threads
  )
