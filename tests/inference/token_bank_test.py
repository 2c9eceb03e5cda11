"""Frames that are looked at once give what clips give that are looked at whole."""

import dataclasses
from typing import Any

import jax
import numpy as np
import pytest

from diffpose_jax.benchmark import compiling
from diffpose_jax.data import warping
from diffpose_jax.inference import estimator as estimator_lib
from diffpose_jax.inference import network, token_bank
from diffpose_jax.inference import poses as poses_lib
from diffpose_jax.pose import geometry

SIZE = (32, 24)
BOX = np.array([11.3, 7.0, 60.1, 80.4])


@pytest.fixture(scope="module")
def tiny(tiny_run):
  """δ = 1, batches of 8; mirrored pictures too."""
  return estimator_lib.Estimator.load(tiny_run, flip=True, samples=2)


@pytest.fixture(scope="module")
def video():
  rng = np.random.default_rng(3)
  return rng.integers(0, 256, (9, 97, 71, 3), np.uint8)


def _affine(box=BOX):
  return geometry.crop_affine(box, SIZE)


def _clips(video, keys, name: Any = "a", affine=None):
  """Looks of the frames around each key frame, the ends repeated."""
  affine = _affine() if affine is None else affine
  return [
    [
      token_bank.Look((name, t), warping.warp([video[t]], affine, SIZE)[0])
      for t in np.clip([key - 1, key, key + 1], 0, len(video) - 1).tolist()
    ]
    for key in keys
  ]


def _plain(estimator, clips, noise):
  """The same clips, encoded whole."""
  frames = np.stack([[look.crop for look in clip] for clip in clips])
  return estimator(frames, noise)


def _noise(count):
  return np.arange(count, dtype=np.uint32) * 7919


def _close(found, wanted):
  np.testing.assert_allclose(found.joints, wanted.joints, atol=1e-3)
  np.testing.assert_allclose(found.samples, wanted.samples, atol=1e-3)
  np.testing.assert_allclose(found.score, wanted.score, atol=1e-5)
  np.testing.assert_allclose(found.shape, wanted.shape, rtol=1e-3, atol=1e-3)


def _looked(bank, monkeypatch):
  """A list that grows by the numbers of frames that are looked at."""
  seen = []
  look_at = bank._look_at

  def spy(looks):
    seen.append(len(looks))
    return look_at(looks)

  monkeypatch.setattr(bank, "_look_at", spy)
  return seen


def test_on_a_fixed_box_poses_are_those_of_whole_clips(
  tiny, video, monkeypatch
):
  bank = token_bank.Bank(tiny)
  seen = _looked(bank, monkeypatch)
  clips, noise = _clips(video, range(8)), _noise(8)
  _close(bank.start(clips, noise, size=8).poses(), _plain(tiny, clips, noise))
  # Nine frames for eight clips of three.
  assert seen == [8, 1]
  more = _clips(video, [8, 3, 8])
  _close(
    bank.start(more, noise[:3], size=8).poses(), _plain(tiny, more, noise[:3])
  )
  assert seen == [8, 1]


def test_features_are_those_of_whole_clips(tiny, video):
  """Within 1e-5 of their size."""
  params, _, _ = tiny.parts
  model = network.build_model(tiny.config, tiny.skeleton)

  def apply(method):
    return jax.jit(
      lambda params, x: model.apply({"params": params}, x, method=method)
    )

  frames = np.stack([warping.warp([f], _affine(), SIZE)[0] for f in video])
  rows = np.clip(np.arange(9)[:, None] + [-1, 0, 1], 0, 8)
  tokens = np.concatenate(
    [apply("look")(params, frames[i : i + 3]) for i in range(0, 9, 3)]
  )
  found = jax.tree.leaves(apply("fuse")(params, tokens[rows]))
  wanted = jax.tree.leaves(apply("encode")(params, frames[rows]))
  assert len(found) > 2
  for one, other in zip(found, wanted, strict=True):
    error = np.abs(np.asarray(one) - other).max()
    assert error <= 1e-5 * np.abs(other).max()


def test_bits_are_the_same_where_frames_are_looked_at_in_one_shape(
  tiny_run, video
):
  """One frame a clip, as many at once as clips in a batch."""
  whole = estimator_lib.Estimator.load(tiny_run)
  config: Any = whole.config.copy_and_resolve_references()
  config.data.span = 0
  params = whole.params
  strl = params["strl"]
  # As with one frame in place of three.
  params["strl"] = strl | {
    "position_frame": strl["position_frame"][:, 1:2],
    "aggregate": strl["aggregate"][1:2],
  }
  single = estimator_lib.Estimator(
    config, whole.skeleton, params, whole.options
  )
  clips = [clip[1:2] for clip in _clips(video, range(8))]
  bank = token_bank.Bank(single)
  found = bank.start(clips, _noise(8), size=8).poses()
  wanted = _plain(single, clips, _noise(8))
  for field in dataclasses.fields(poses_lib.Poses):
    one, other = getattr(found, field.name), getattr(wanted, field.name)
    np.testing.assert_array_equal(one, other, field.name)


def test_what_is_in_the_bank_changes_no_bit(tiny, video, monkeypatch):
  """Nor do other clips beside it, nor which frames were looked at together."""
  bank = token_bank.Bank(tiny)
  clips, noise = _clips(video, [2, 5, 7]), _noise(3)
  alone = bank.start(clips, noise, size=8).poses()
  for before in ([0, 1], [6, 3, 4, 8]):
    other = token_bank.Bank(tiny)
    other.start(_clips(video, before), _noise(len(before)), size=8)
    beside = _clips(video, [4], "b", _affine(BOX + 5))
    found = other.start(
      [*beside, *clips], np.append(np.uint32(1), noise), size=8
    ).poses()
    np.testing.assert_array_equal(found.joints[1:], alone.joints)
    np.testing.assert_array_equal(found.samples[:, 1:], alone.samples)
  # Another box is another place, and another pose.
  assert np.abs(found.joints[0] - alone.joints[0]).max() > 0.5


def test_who_is_not_wanted_for_longest_makes_room(tiny, video, monkeypatch):
  monkeypatch.setattr(token_bank, "_MOST", 0)
  bank = token_bank.Bank(tiny)
  places = bank._bank.shape[1]
  assert places == 2 * 8 * 3
  seen = _looked(bank, monkeypatch)
  wanted = {}
  names = list(range(12))
  for name in names:
    clips = _clips(video, [1, 4], name, _affine(BOX + name))
    wanted[name] = bank.start(clips, _noise(2), size=8).poses()
  assert sum(seen) == 6 * len(names) > places
  before = sum(seen)
  # The last ones are there, the first ones are not, and come out the same.
  for name, new in ((11, 0), (10, 0), (0, 6), (1, 6), (0, 0)):
    clips = _clips(video, [1, 4], name, _affine(BOX + name))
    found = bank.start(clips, _noise(2), size=8).poses()
    np.testing.assert_array_equal(found.joints, wanted[name].joints)
    assert sum(seen) - before == new
    before = sum(seen)
  assert len(bank._places) == places


def test_nothing_is_compiled_after_the_first_clips(tiny, video):
  bank = token_bank.Bank(tiny)
  bank.start(_clips(video, [1]), _noise(1), size=8).poses()
  with compiling.counted() as names:
    for keys in ([0], range(8), [5, 5, 2]):
      clips = _clips(video, keys, "other", _affine(BOX - 2))
      bank.start(clips, _noise(len(clips)), size=8).poses()
  assert names == []


def test_the_bank_is_as_large_as_memory_allows(tiny, monkeypatch):
  assert token_bank.Bank(tiny)._bank.shape[:2] == (2, 2048)
  # Of each view 4 x 3 tokens of 128 numbers of 4 bytes a frame.
  monkeypatch.setattr(token_bank, "_BYTES", 100 * 2 * 4 * 3 * 128 * 4)
  assert token_bank.Bank(tiny)._bank.shape == (2, 100, 4, 3, 128)
