"""Batches show joints where they say, and depend on (seed, step) alone."""

import itertools
from typing import Any

import numpy as np
import pytest

from diffpose_jax.data import (
  images,
  instances,
  pipeline,
  prepare,
  prepared,
  warping,
)
from diffpose_jax.pose import geometry, skeleton

POSETRACK = skeleton.POSETRACK


def _open(folder, split="train"):
  return prepared.open_split(folder, split, skeleton=POSETRACK)


def _take(batches, count):
  return list(itertools.islice(batches, count))


def _assert_equal(found, expected):
  assert len(found) == len(expected)
  for a, b in zip(found, expected, strict=True):
    assert a.keys() == b.keys()
    for key in a:
      np.testing.assert_array_equal(a[key], b[key], err_msg=key)


def _train(split, config, **changes):
  options: dict[str, Any] = {"seed": 3, "start_step": 0, "batch": 4} | changes
  return pipeline.train_batches([split], config, **options)


def _dot(crop, at, zoom, sigma):
  """Centroid of the brightness around `at`, and the strongest channel."""
  height, width, _ = crop.shape
  y, x = np.mgrid[:height, :width]
  near = np.hypot(x - at[0], y - at[1]) < 3 * sigma * zoom
  light = crop.astype(np.float64).sum(axis=-1) * near
  light[light < 60] = 0
  centre = np.array([(light * x).sum(), (light * y).sum()]) / light.sum()
  return centre, int((crop * near[..., None]).sum(axis=(0, 1)).argmax())


def _check_dots(batch, scene, affines, *, shift=0.0):
  """Every labelled joint well inside its crop has its dot, of its colour.

  Returns how many were looked at.
  """
  looked = 0
  for frames, joints, labelled, affine in zip(
    batch["frames"], batch["joints"], batch["labelled"], affines, strict=True
  ):
    height, width = frames.shape[1:3]
    zoom = np.sqrt(abs(np.linalg.det(affine[:, :2])))
    margin = 3 * scene.sigma * zoom
    for joint in np.flatnonzero(labelled):
      moved = joints[joint] + affine[:, :2] @ (shift * scene.step)
      low, high = (
        moved.min() > margin,
        np.all(moved < np.array([width, height]) - 1 - margin),
      )
      if low and high:
        frame = frames[len(frames) // 2 + int(shift)]
        centre, channel = _dot(frame, moved, zoom, scene.sigma)
        np.testing.assert_allclose(centre, moved, atol=0.3)
        name = POSETRACK.joints[joint]
        side = 0 if "left" in name else 1 if "right" in name else 2
        # A mirrored left hand was a right hand, and is drawn as one.
        mirrored = np.linalg.det(affine[:, :2]) < 0
        assert channel == ((1, 0, 2)[side] if mirrored else side), name
        looked += 1
  return looked


def _capture_affines(monkeypatch):
  """Affines of the clips, one of equal frames, in order (one thread)."""
  affines = []
  warp = warping.warp

  def spy(frames, affine, size, crops=None):
    assert np.all(affine == affine[0])
    affines.append(affine[0])
    return warp(frames, affine, size, crops)

  monkeypatch.setattr(warping, "warp", spy)
  return affines


def test_batch_follows_the_contract(dots, small_config):
  (batch,) = _take(_train(_open(dots), small_config), 1)
  shapes = {
    key: (value.dtype.name, value.shape) for key, value in batch.items()
  }
  assert shapes == {
    "frames": ("uint8", (4, 3, 61, 47, 3)),
    "joints": ("float32", (4, 17, 2)),
    "labelled": ("bool", (4, 17)),
    "valid": ("bool", (4,)),
    "index": ("int32", (4,)),
    "noise_id": ("uint32", (4,)),
  }


@pytest.mark.parametrize("shift", [-1, 0, 1])
def test_evaluation_crops_show_the_joints(dots, scene, small_config, shift):
  small_config.data.size = (127, 97)
  split = _open(dots)
  people = instances.gt_instances(split, need_joints=False)
  inner = people.take(np.array([1, 3, 5]))  # their neighbours exist
  (batch,) = pipeline.eval_batches(split, inner, small_config, batch=3)
  affines = instances.crop_affines(inner, small_config)
  assert _check_dots(batch, scene, affines, shift=shift) >= 40
  back = geometry.apply(geometry.invert(affines), batch["joints"])
  np.testing.assert_allclose(back, inner.joints, atol=1e-3)


@pytest.mark.parametrize(
  "changes",
  [
    {"rotation": 0.0, "scale": 0.0, "flip_probability": 0.0},
    {"rotation": 0.0, "scale": 0.0, "flip_probability": 1.0},
    {"rotation": 45.0, "rotation_probability": 1.0, "flip_probability": 0.0},
    {"shift": 0.2},
    {},
  ],
)
def test_augmented_crops_show_the_joints(
  dots, scene, small_config, monkeypatch, changes
):
  small_config.data.size = (127, 97)
  small_config.data.threads = 0
  small_config.augment.update(changes)
  affines = _capture_affines(monkeypatch)
  batches = _take(_train(_open(dots), small_config, batch=5), 4)
  looked = 0
  for step, batch in enumerate(batches):
    own = affines[5 * step : 5 * step + 5]
    for shift in (-1, 0, 1):
      # At the ends of a video the neighbour is the key frame itself.
      frame = batch["index"] % 7
      keep = (frame + shift >= 0) & (frame + shift <= 6)
      kept = {key: value[keep] for key, value in batch.items()}
      looked += _check_dots(kept, scene, np.array(own)[keep], shift=shift)
  assert looked > 200


def test_joints_outside_the_crop_are_not_labelled(dots, small_config):
  small_config.augment.shift = 1.0
  batches = _take(_train(_open(dots), small_config, batch=7), 4)
  outside = 0
  for batch in batches:
    labelled, joints = batch["labelled"], batch["joints"]
    assert np.all(joints[~labelled] == 0)
    assert np.all(joints[labelled] >= -0.5)
    assert np.all(joints[labelled] <= np.array([46.5, 60.5]))
    outside += np.sum(~labelled)
  assert outside > 50


def test_an_epoch_visits_everyone_once_in_an_order_of_its_own(
  dots, small_config
):
  batches = _take(_train(_open(dots), small_config, batch=7), 6)
  order = np.concatenate([batch["index"] for batch in batches])
  epochs = order.reshape(3, 14)
  for epoch in epochs:
    np.testing.assert_array_equal(np.sort(epoch), np.arange(14))
  assert len({tuple(epoch) for epoch in epochs}) == 3


def test_the_seed_decides(dots, small_config):
  split = _open(dots)
  first = _take(_train(split, small_config), 3)
  _assert_equal(_take(_train(split, small_config), 3), first)
  (other,) = _take(_train(split, small_config, seed=4), 1)
  assert not np.array_equal(other["frames"], first[0]["frames"])


def test_resuming_gives_the_batches_that_would_have_come(dots, small_config):
  split = _open(dots)
  whole = _take(_train(split, small_config), 9)
  rest = _take(_train(split, small_config, start_step=5), 4)
  _assert_equal(rest, whole[5:])


@pytest.mark.parametrize("threads", [0, 3])
def test_threads_and_cache_change_nothing(dots, small_config, threads):
  split = _open(dots)
  expected = _take(_train(split, small_config), 5)
  small_config.data.threads = threads
  _assert_equal(_take(_train(split, small_config), 5), expected)
  _assert_equal(_take(_train(split, small_config, cache_bytes=0), 5), expected)


def test_hosts_share_every_batch(dots, small_config):
  split = _open(dots)
  whole = _take(_train(split, small_config, batch=6), 4)
  for shares in ([[0, 1, 2], [3, 4, 5]], [[0, 5], [1, 4], [2, 3]], [[4]]):
    parts = [
      _take(_train(split, small_config, batch=6, rows=rows), 4)
      for rows in shares
    ]
    for step, batch in enumerate(whole):
      for key in batch:
        for rows, part in zip(shares, parts, strict=True):
          np.testing.assert_array_equal(part[step][key], batch[key][rows])


@pytest.mark.parametrize("count", [1, 2])
def test_evaluation_sees_everyone_once(dots, small_config, count):
  split = _open(dots)
  people = instances.gt_instances(split, need_joints=False)
  seen, sizes = [], []
  for i in range(count):
    batches = list(
      pipeline.eval_batches(
        split, people, small_config, batch=4, rows=range(i, 4, count)
      )
    )
    sizes.append([len(batch["valid"]) for batch in batches])
    for batch in batches:
      seen += batch["index"][batch["valid"]].tolist()
      padding = ~batch["valid"]
      assert np.all(batch["index"][padding] == -1)
      assert not batch["frames"][padding].any()
      assert not batch["labelled"][padding].any()
      assert not batch["noise_id"][padding].any()
  assert sorted(seen) == list(range(14))
  assert sizes == [[4 // count] * 4] * count  # 14 people, 2 of padding


def test_evaluation_decodes_every_frame_once(dots, small_config, monkeypatch):
  decoded = []
  decode = images.decode_scaled

  def spy(data, *, place, factor):
    decoded.append(place)
    return decode(data, place=place, factor=factor)

  monkeypatch.setattr(images, "decode_scaled", spy)
  split = _open(dots)
  people = instances.gt_instances(split, need_joints=False)
  small_config.data.threads = 2
  list(pipeline.eval_batches(split, people, small_config, batch=3))
  assert len(decoded) == len(set(decoded)) == 14


def test_too_few_people_for_a_batch(dots, small_config):
  with pytest.raises(ValueError, match=r"14 people .* the 15 that train.batch"):
    _train(_open(dots), small_config, batch=15)


def test_nobody_to_evaluate(dots, small_config):
  split = _open(dots)
  nobody = instances.gt_instances(split, need_joints=True).take(
    np.zeros(0, int)
  )
  with pytest.raises(ValueError, match="no people to evaluate"):
    pipeline.eval_batches(split, nobody, small_config, batch=4)


@pytest.mark.parametrize("rows", [[], [7], [-1, 3]])
def test_places_outside_of_the_batch_are_refused(dots, small_config, rows):
  with pytest.raises(ValueError, match="batch of 7; give some of 0 to 6"):
    _train(_open(dots), small_config, batch=7, rows=rows)


def test_a_broken_record_is_named(dots, small_config, monkeypatch):
  split = _open(dots)
  good = prepared.Split.jpeg
  monkeypatch.setattr(
    prepared.Split,
    "jpeg",
    lambda self, row: b"" if row == 9 else good(self, row),
  )
  people = instances.gt_instances(split, need_joints=False)
  with pytest.raises(ValueError, match=r"000001_train/000002\.jpg: .*empty"):
    list(pipeline.eval_batches(split, people, small_config, batch=4))


def test_real_video_trains_and_evaluates(shared_data, tmp_path, small_config):
  out = prepare.prepare(
    dataset="jhmdb", source=shared_data / "jhmdb_mini", out=tmp_path / "out"
  )
  split = _open(out)
  for batch in _take(_train(split, small_config, batch=8), 3):
    assert batch["valid"].all()
    assert batch["labelled"].any(axis=1).sum() >= 7
  validation = _open(out, "val")
  people = instances.gt_instances(validation, need_joints=False)
  batches = list(
    pipeline.eval_batches(validation, people, small_config, batch=8)
  )
  found = np.concatenate([batch["index"] for batch in batches])
  assert found[found >= 0].tolist() == list(range(len(people)))
  # Boxes are the extents of the person, so enlarged ones hold all joints.
  shown = sum(batch["labelled"].sum() for batch in batches)
  assert shown > 0.97 * people.labelled.sum()
