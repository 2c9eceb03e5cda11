"""The clip of one person: frames cropped by one box, and its joints in them."""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any

import cv2
import ml_collections
import numpy as np
from jaxtyping import Float, Int, UInt8

from diffpose_jax.data import (
  augment,
  frame_cache,
  images,
  instances,
  prepared,
  warping,
)
from diffpose_jax.pose import geometry
from diffpose_jax.pose import skeleton as skeletons

Batch = dict[str, np.ndarray]
Clip = dict[str, Any]  # one row of a batch, see `pipeline`
_FACTORS = 16  # more than any factor that a picture is shrunk by


@dataclasses.dataclass(frozen=True)
class Reader:
  """Makes the clip of one person."""

  people: instances.Instances
  rows: np.ndarray  # int32 (n, t), frames of each clip
  still: np.ndarray  # bool (n,), a video of one frame
  boxes: np.ndarray  # float64 (n, 4), enlarged
  skeleton: skeletons.Skeleton
  config: ml_collections.ConfigDict
  size: tuple[int, int]
  factors: np.ndarray  # int64 (frames,), how far each may be shrunk
  heights: np.ndarray  # int32 (frames,), of the full pictures
  cache: frame_cache.FrameCache  # pixels by `_key(row, factor)`

  def train(
    self, seed: int, position: int, i: int, crops: warping.Crops
  ) -> Clip:
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
    return self._clip(i, crop, crops, motion)

  def evaluate(self, i: int, crops: warping.Crops) -> Clip:
    """The clip of person `i`, or padding beyond the last."""
    if i >= len(self.people):
      return self._padding(crops)
    return self._clip(i, augment.Crop(self.boxes[i]), crops, alone=True)

  def _clip(
    self,
    i: int,
    crop: augment.Crop,
    crops: warping.Crops,
    motion: Float[np.ndarray, "t 2 3"] | None = None,
    *,
    alone: bool = False,
  ) -> Clip:
    """A row of a batch, its frames in `crops`.

    The crop may move from frame to frame, by `motion` of its pixels. `alone`,
    what it looks like does not depend on other people's crops.
    """
    affine = crop.affine(self.size)
    frames, affines = self._frames(self.rows[i], affine, alone)
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
      "frames": warping.warp(frames, affines, self.size, crops),
      "joints": np.where(labelled[:, None], joints, 0).astype(np.float32),
      "labelled": labelled,
      "valid": np.bool_(True),
      "index": np.int32(i),
      "noise_id": self.people.noise_id[i],
    }

  def _frames(
    self, rows: np.ndarray, affine: Float[np.ndarray, "2 3"], alone: bool
  ) -> tuple[list[np.ndarray], Float[np.ndarray, "t 2 3"]]:
    """Pictures as small as the crop allows, and affines from them.

    Unless `alone`, as small as all crops of theirs allow: so each is decoded
    once.
    """
    most = images.shrinkage(affine)
    frames, affines = [], []
    for row in rows.tolist():
      factor = most if alone else int(self.factors[row])
      factor = factor if factor <= most else 1  # a half body, much enlarged
      pixels = self.cache.get(_key(row, factor))
      if len(pixels) == self.heights[row]:
        factor = 1  # a PNG, which is not shrunk
      frames.append(pixels)
      scaled = images.Scaled(pixels, factor)
      affines.append(affine if factor == 1 else scaled.affine(affine))
    return frames, np.stack(affines)

  def _padding(self, crops: warping.Crops) -> Clip:
    joints = len(self.skeleton.joints)
    crops[:] = 0
    return {
      "frames": crops,
      "joints": np.zeros((joints, 2), np.float32),
      "labelled": np.zeros(joints, np.bool_),
      "valid": np.bool_(False),
      "index": np.int32(-1),
      "noise_id": np.uint32(0),
    }


def fill(
  clip: Callable[[int, warping.Crops], Clip],
  turns: Sequence[int],
  shape: tuple[int, int, int],
) -> Batch:
  """A batch of `clip(turn, crops)`, each of which puts its frames in `crops`.

  To stack clips that are made one by one takes twice the memory and a copy.

  Args:
    clip: makes a row, `frames` of which is `crops`.
    turns: what to make, in order.
    shape: (t, height, width) of the crops.
  """
  frames = np.empty((len(turns), *shape, 3), np.uint8)
  rows = [clip(turn, crops) for turn, crops in zip(turns, frames, strict=True)]
  others = [key for key in rows[0] if key != "frames"]
  return {"frames": frames} | {
    key: np.stack([row[key] for row in rows]) for key in others
  }


def reader(
  split: prepared.Split,
  people: instances.Instances,
  config: ml_collections.ConfigDict,
  cache_bytes: int,
  *,
  zoom: float = 1.0,
) -> Reader:
  """What makes the clips of `people`.

  Args:
    split: prepared data.
    people: whom to crop.
    config: of the run.
    cache_bytes: of decoded frames kept in memory.
    zoom: largest further enlargement of a crop, by augmentation.
  """
  cv2.setNumThreads(0)  # the threads are Grain's
  rows = instances.clip_rows(split, people.row, config.data.span)
  # As `crop_affines` does, which lead back.
  boxes = geometry.enlarge(people.box.astype(np.float64), config.data.enlarge)
  size = tuple(config.data.size)
  factors = shrink_factors(
    boxes, rows, size, frames=len(split.frames), zoom=zoom
  )
  return Reader(
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
