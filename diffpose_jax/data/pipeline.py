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
import functools
from collections.abc import Sequence
from typing import Any

import cv2
import grain
import ml_collections
import numpy as np
from jaxtyping import Float, Int, UInt8

from diffpose_jax import config as config_lib
from diffpose_jax.data import (
  augment,
  frame_cache,
  images,
  instances,
  order,
  prepared,
  watchdog,
)
from diffpose_jax.pose import geometry
from diffpose_jax.pose import skeleton as skeletons

Batch = dict[str, np.ndarray]
_Clip = dict[str, Any]  # one row of a batch
WAIT = 300.0  # seconds for a batch, before reading counts as hanging
_FACTORS = 16  # more than any factor that a picture is shrunk by

# Decoded frames kept in memory. Training draws them at random, so a small set
# should fit whole (6400 frames of 320x240 take 1.5 GB); evaluation goes in
# order and needs those of the batches at work.
TRAIN_CACHE = 2 << 30
EVAL_CACHE = 1 << 29


def train_batches(
  splits: Sequence[prepared.Split],
  config: ml_collections.ConfigDict,
  *,
  seed: int,
  start_step: int,
  batch: int,
  shard: tuple[int, int] = (0, 1),
  cache_bytes: int = TRAIN_CACHE,
) -> watchdog.Watched[Batch]:
  """Endless augmented batches of the labelled people of data sets.

  `order.Order` says who comes when. Clip number i of the run belongs to step
  i // batch, and to host i % count: another number of hosts goes on with the
  same batches.

  Args:
    splits: prepared data with the same joints: the run's own, then those to mix
      in. Each has fixed places of the batch, as many as `config.places` says,
      and an order of its own.
    config: of the run.
    seed: of order and augmentation.
    start_step: steps to leave out, those before a checkpoint.
    batch: clips a step over all hosts.
    shard: (index, count) of this host.
    cache_bytes: of decoded frames kept in memory.

  Raises:
    TimeoutError: from the iterator, where reading hangs.
    ValueError: nobody is labelled, there are fewer people than a batch has
      clips, or the hosts do not divide the batch; later, a picture that does
      not decode.
  """
  local = _local_batch(batch, shard)
  sources = _sources(splits, config, seed, batch, cache_bytes)
  of_place = np.repeat(np.arange(len(sources)), [s.count for s in sources])

  def clip(position: int) -> _Clip:
    step, place = divmod(position, batch)
    source = sources[of_place[place]]
    return source.clip(seed, position, step, place)

  clips = (
    grain.MapDataset.range(batch)
    .repeat(None)
    .map_with_index(lambda position, _: clip(position))
  )
  batches = clips[shard[0] :: shard[1]].batch(local)[start_step:]
  return watchdog.watch(
    iter(batches.to_iter_dataset(_read_options(config))),
    WAIT,
    f"{splits[0].folder} {splits[0].name}, training batches",
  )


@dataclasses.dataclass(frozen=True)
class _Source:
  """A data set of a mixture, and the places that are its own in a batch."""

  reader: "_Reader"
  order: order.Order
  place: int  # the first of them
  count: int
  first: int  # what its first person is called in `index`

  def clip(self, seed: int, position: int, step: int, place: int) -> _Clip:
    """The clip at a position of the run, which is a place of a step."""
    i = self.order.at(step * self.count + place - self.place)
    clip = self.reader.train(seed, position, i)
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
    reader = _reader(split, people, config, share, zoom=zoom)
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
  shard: tuple[int, int] = (0, 1),
  cache_bytes: int = EVAL_CACHE,
) -> watchdog.Watched[Batch]:
  """Batches with each of `people` exactly once, in order, without change.

  All hosts get equally many batches; what is over is padding.

  Args:
    split: prepared data.
    people: whom to crop; `index` counts its rows.
    config: of the run.
    batch: clips a batch over all hosts.
    shard: (index, count) of this host.
    cache_bytes: of decoded frames kept in memory.

  Raises:
    ValueError: there is nobody, or the hosts do not divide the batch.
  """
  if not len(people):
    raise ValueError(
      f"{split.folder} {split.name}: no people to evaluate; give a split with "
      "labelled people, or boxes"
    )
  reader = _reader(split, people, config, cache_bytes)
  local = _local_batch(batch, shard)
  steps = -(-len(people) // batch)
  # Each host takes a run of neighbours out of every batch: they share frames.
  turns = np.arange(steps * batch).reshape(steps, shard[1], local)[:, shard[0]]
  clips = grain.MapDataset.range(turns.size).map(
    lambda i: reader.evaluate(int(turns.flat[i]))
  )
  return watchdog.watch(
    iter(clips.batch(local).to_iter_dataset(_read_options(config))),
    WAIT,
    f"{split.folder} {split.name}, evaluation batches",
  )


@dataclasses.dataclass(frozen=True)
class _Reader:
  """Makes the clip of one person."""

  people: instances.Instances
  rows: np.ndarray  # int32 (n, t), frames of each clip
  still: np.ndarray  # bool (n,), a video of one frame
  boxes: np.ndarray  # float32 (n, 4), enlarged
  skeleton: skeletons.Skeleton
  config: ml_collections.ConfigDict
  size: tuple[int, int]
  factors: np.ndarray  # int64 (frames,), how far each may be shrunk
  heights: np.ndarray  # int32 (frames,), of the full pictures
  cache: frame_cache.FrameCache  # pixels by `_key(row, factor)`

  def train(self, seed: int, position: int, i: int) -> _Clip:
    """The augmented clip of person `i` at a position of the run."""
    rng = np.random.default_rng([seed, position])
    labelled = self.people.labelled[i]
    crop = augment.draw_crop(
      rng,
      self.boxes[i],
      self.people.joints[i],
      labelled,
      skeleton=self.skeleton,
      augment=self.config.augment,
    )
    motion = None
    if self.still[i] and self.config.augment.camera > 0:
      motion = augment.camera_motion(
        rng, self.rows.shape[1], self.size, self.config.augment.camera
      )
    return self._clip(i, crop, motion)

  def evaluate(self, i: int) -> _Clip:
    """The clip of person `i`, or padding beyond the last."""
    if i >= len(self.people):
      return self._padding()
    return self._clip(i, augment.Crop(self.boxes[i]))

  def _clip(
    self,
    i: int,
    crop: augment.Crop,
    motion: Float[np.ndarray, "t 2 3"] | None = None,
  ) -> _Clip:
    """The clip of person `i` in a crop, which may move from frame to frame."""
    affine = crop.affine(self.size)
    frames, affines = self._frames(self.rows[i], affine)
    if motion is not None:
      affines = geometry.compose(motion, affines)
    joints = geometry.apply(affine, self.people.joints[i].astype(np.float64))
    labelled = self.people.labelled[i]
    if crop.mirror:
      joints, labelled = augment.mirror_joints(
        joints, labelled, skeleton=self.skeleton
      )
    height, width = self.size
    edge = np.array([width, height]) - 0.5
    labelled = labelled & np.all((joints >= -0.5) & (joints <= edge), axis=1)
    return {
      "frames": warp(frames, affines, self.size),
      "joints": np.where(labelled[:, None], joints, 0).astype(np.float32),
      "labelled": labelled,
      "valid": np.bool_(True),
      "index": np.int32(i),
      "noise_id": self.people.noise_id[i],
    }

  def _frames(
    self, rows: np.ndarray, affine: Float[np.ndarray, "2 3"]
  ) -> tuple[list[np.ndarray], Float[np.ndarray, "t 2 3"]]:
    """Pictures as small as all crops of theirs allow, and affines from them."""
    most = images.shrinkage(affine)
    frames, affines = [], []
    for row in rows:
      factor = int(self.factors[row])
      factor = factor if factor <= most else 1  # a half body, much enlarged
      pixels = self.cache.get(_key(int(row), factor))
      if len(pixels) == self.heights[row]:
        factor = 1  # a PNG, which is not shrunk
      frames.append(pixels)
      affines.append(images.Scaled(pixels, factor).affine(affine))
    return frames, np.stack(affines)

  def _padding(self) -> _Clip:
    joints = len(self.skeleton.joints)
    frames = self.rows.shape[1]
    return {
      "frames": np.zeros((frames, *self.size, 3), np.uint8),
      "joints": np.zeros((joints, 2), np.float32),
      "labelled": np.zeros(joints, np.bool_),
      "valid": np.bool_(False),
      "index": np.int32(-1),
      "noise_id": np.uint32(0),
    }


def warp(
  frames: list[UInt8[np.ndarray, "_ _ 3"]],
  affines: Float[np.ndarray, "... 2 3"],
  size: tuple[int, int],
) -> UInt8[np.ndarray, "t h w 3"]:
  """Crops of size (height, width), bilinear, black outside.

  `affines` is one for all frames or one for each. What stands twice in a row
  (at the edges of a video) is warped once.
  """
  height, width = size
  affines = np.broadcast_to(affines, (len(frames), 2, 3))
  crops = np.empty((len(frames), height, width, 3), np.uint8)
  for t, frame in enumerate(frames):
    same = t and frame is frames[t - 1]
    if same and np.array_equal(affines[t], affines[t - 1]):
      crops[t] = crops[t - 1]
    else:
      cv2.warpAffine(
        frame,
        affines[t],
        (width, height),
        dst=crops[t],
        flags=cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_CONSTANT,
        borderValue=(0, 0, 0),
      )
  return crops


def _reader(
  split: prepared.Split,
  people: instances.Instances,
  config: ml_collections.ConfigDict,
  cache_bytes: int,
  *,
  zoom: float = 1.0,
) -> _Reader:
  cv2.setNumThreads(0)  # the threads are Grain's
  rows = instances.clip_rows(split, people.row, config.data.span)
  boxes = geometry.enlarge(people.box, config.data.enlarge)
  size = tuple(config.data.size)
  factors = shrink_factors(
    boxes, rows, size, frames=len(split.frames), zoom=zoom
  )
  return _Reader(
    people=people,
    rows=rows,
    still=split.frames.num_frames[people.row] == 1,
    boxes=boxes,
    skeleton=split.skeleton,
    config=config,
    size=size,
    factors=factors,
    heights=split.frames.height,
    cache=frame_cache.FrameCache(
      functools.partial(_decode, split), max_bytes=cache_bytes
    ),
  )


def _key(row: int, factor: int) -> int:
  """One number for a frame and how far it is shrunk."""
  return row * _FACTORS + factor


def _decode(split: prepared.Split, key: int) -> UInt8[np.ndarray, "h w 3"]:
  row, factor = divmod(key, _FACTORS)
  place = split.place(row)
  return images.decode_scaled(
    split.jpeg(row), place=place, factor=factor
  ).pixels


def shrink_factors(
  boxes: Float[np.ndarray, "n 4"],
  rows: Int[np.ndarray, "n t"],
  size: tuple[int, int],
  *,
  frames: int,
  zoom: float = 1.0,
) -> Int[np.ndarray, "frames"]:
  """How far each frame may be shrunk so that no crop of it enlarges it.

  Args:
    boxes: what the clips show, edges in the picture.
    rows: frames of each clip.
    size: (height, width) of the crops.
    frames: how many there are.
    zoom: largest further enlargement of a crop, by augmentation.
  """
  height, width = size
  sides = boxes[:, 2:] - boxes[:, :2]
  scale = zoom * np.minimum(width / sides[:, 0], height / sides[:, 1])
  # As `images.shrinkage`: exactly twice the crop's size counts.
  most = np.clip(np.floor(np.log2((1 + 1e-6) / scale)), 0, 3)
  result = np.full(frames, 3)
  np.minimum.at(result, rows, most.astype(int)[:, None])
  return 1 << result


def _order(
  split: prepared.Split,
  people: instances.Instances,
  reader: _Reader,
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
    share = batch * order.MIXED * (order.BLOCK + 2 * config.data.span)
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


def _local_batch(batch: int, shard: tuple[int, int]) -> int:
  index, count = shard
  if not 0 <= index < count:
    raise ValueError(f"shard {index} of {count} does not exist")
  if batch < 1 or batch % count:
    raise ValueError(
      f"batch {batch} is not divisible by the {count} hosts; take "
      f"{max(1, batch // count) * count} or {(batch // count + 1) * count}"
    )
  return batch // count


def _read_options(config: ml_collections.ConfigDict) -> grain.ReadOptions:
  # A thread makes a whole batch, so the buffer counts batches.
  threads = config.data.threads
  return grain.ReadOptions(
    num_threads=threads, prefetch_buffer_size=2 * threads
  )
