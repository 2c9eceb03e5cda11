"""Whose clips are in the batch of a step, without reading a picture."""

import functools
from collections.abc import Sequence
from typing import Any

import ml_collections

from diffpose_jax import config as config_lib
from diffpose_jax.data import instances, order, prepared


class Roster:
  """Who comes when in `pipeline.train_batches` of the same arguments.

  That is a function of (seed, step) alone, so that nothing has to travel with
  the batches, and each host knows the clips of all. It is worked out when it is
  first asked for.
  """

  def __init__(
    self, splits: Sequence[prepared.Split], config: ml_collections.ConfigDict
  ):
    """`splits` are the run's own data, then those to mix in."""
    self._splits = splits
    self._config = config

  def index(self, step: int) -> list[int]:
    """`index` of the batch of a step from 0 on, of all hosts."""
    return [first + i for _, _, first, i in self._turns(step)]

  def clips(self, step: int) -> list[dict[str, Any]]:
    """Data set, video, frame, picture and track of each clip of a step."""
    return [
      _told(split, people, i) for split, people, _, i in self._turns(step)
    ]

  def _turns(self, step: int) -> list[tuple[Any, Any, int, int]]:
    """Split, its people and its first index, and who of them, by place."""
    return [
      (split, people, first, turn.at(step * count + place))
      for split, people, first, turn, count in self._sources
      for place in range(count)
    ]

  @functools.cached_property
  def _sources(self) -> list[tuple[Any, Any, int, order.Order, int]]:
    config, first, found = self._config, 0, []
    for split, count in zip(
      self._splits, config_lib.places(config), strict=True
    ):
      people = instances.gt_instances(split, need_joints=True)
      turn = order.Order(
        split.frames.video[people.row],
        split.frames.frame_index[people.row],
        config.seed,
        count,
        config.data.order == "near",
      )
      found.append((split, people, first, turn, count))
      first += len(people)
    return found


def name(clip: dict[str, Any]) -> str:
  """A clip of `Roster.clips` in a few words."""
  track = "" if clip["track"] < 0 else f" track {clip['track']}"
  return f"{clip['video']} frame {clip['frame']}{track}"


def _told(
  split: prepared.Split, people: instances.Instances, i: int
) -> dict[str, Any]:
  row, frames = people.row[i], split.frames
  return {
    "data": f"{split.folder} {split.name}",
    "video": split.videos[frames.video[row]],
    "frame": int(frames.frame_index[row]),
    "file": str(frames.file_name[row]),
    "track": int(people.track_id[i]),
  }
