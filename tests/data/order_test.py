"""The order of training: complete, random, and near where asked for."""

import collections
from concurrent import futures

import numpy as np
import pytest

from diffpose_jax.data import order


def _order(*, near, videos=23, frames=31, people=3, batch=7, seed=5):
  video, frame, _ = np.meshgrid(
    np.arange(videos, dtype=np.int32),
    np.arange(frames, dtype=np.int32),
    np.arange(people),
    indexing="ij",
  )
  return order.Order(video.ravel(), frame.ravel(), seed, batch, near)


def _epoch(o, epoch):
  count = len(o.video) // o.batch * o.batch if o.near else len(o.video)
  return [o.at(epoch * count + i) for i in range(count)]


@pytest.mark.parametrize("epoch", [0, 1, 8])
def test_full_visits_each_person_once_an_epoch(epoch):
  o = _order(near=False)
  assert sorted(_epoch(o, epoch)) == list(range(23 * 31 * 3))


@pytest.mark.parametrize("epoch", [0, 1, 8])
def test_near_visits_nobody_twice_and_leaves_out_less_than_a_batch(epoch):
  o = _order(near=True)
  taken = _epoch(o, epoch)
  assert len(taken) == len(set(taken)) == 2139 // 7 * 7
  assert 0 < 2139 - len(taken) < 7


def test_near_leaves_out_others_each_time():
  o = _order(near=True)
  everyone = set(range(len(o.video)))
  assert everyone - set(_epoch(o, 0)) != everyone - set(_epoch(o, 1))


@pytest.mark.parametrize("near", [False, True])
def test_epochs_and_seeds_differ_and_repeat(near):
  first = _epoch(_order(near=near), 0)
  assert first == _epoch(_order(near=near), 0)
  assert first != _epoch(_order(near=near), 1)
  assert first != _epoch(_order(near=near, seed=6), 0)


@pytest.mark.parametrize("near", [False, True])
def test_any_position_at_any_time_from_any_thread(near):
  o = _order(near=near)
  expected = [o.at(p) for p in range(3 * 2139)]
  other = _order(near=near)
  positions = np.random.default_rng(0).permutation(3 * 2139)
  with futures.ThreadPoolExecutor(4) as pool:
    got = list(pool.map(other.at, positions.tolist()))
  assert got == [expected[p] for p in positions]


def _decodes(o, span, kept):
  """Decoded frames per clip with the `kept` latest frames in memory."""
  memory, decoded = collections.OrderedDict(), 0
  clips = _epoch(o, 0)
  for i in clips:
    for offset in range(-span, span + 1):
      frame = (o.video[i], min(max(o.frame[i] + offset, 0), 30))
      decoded += frame not in memory
      memory[frame] = True
      memory.move_to_end(frame)
      if len(memory) > kept:
        memory.popitem(last=False)
  return decoded / len(clips)


def test_near_decodes_a_frame_for_all_its_clips():
  # Each place of a batch needs a block with 2 frames on each side.
  kept = 7 * (order.BLOCK + 4)
  # A block's 12 frames serve 24 clips; the ends of videos have shorter ones.
  assert _decodes(_order(near=True), 2, kept) < 0.75
  assert _decodes(_order(near=False), 2, kept) > 3


def test_near_mixes_videos_in_a_batch():
  o = _order(near=True, batch=11)
  steps = [[o.at(s * 11 + p) for p in range(11)] for s in range(40)]
  assert np.mean([len(set(o.video[step])) for step in steps]) > 7


def test_decoded_bytes_counts_each_frame_once():
  height, width = np.array([2, 3, 5]), np.array([7, 11, 13])
  rows = np.array([[0, 0, 2], [2, 2, 0]])
  assert order.decoded_bytes(height, width, rows) == 3 * (2 * 7 + 5 * 13)
