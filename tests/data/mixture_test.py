"""Several data sets in one batch, and still pictures that move."""

import itertools

import numpy as np
import pytest

from diffpose_jax import config as config_lib
from diffpose_jax.data import instances, pipeline, prepare, prepared
from diffpose_jax.pose import geometry


@pytest.fixture(scope="module")
def stills(scene, tmp_path_factory):
  """Five videos of one frame, whose only person is on track 9."""
  folder = tmp_path_factory.mktemp("stills")
  scene.write(folder / "source", "train", videos=5, frames=1, track_id=9)
  return prepare.prepare(
    dataset="posetrack18", source=folder / "source", out=folder / "prepared"
  )


@pytest.fixture
def splits(dots, stills):
  return [prepared.open_split(folder, "train") for folder in (dots, stills)]


@pytest.fixture
def mixed(small_config):
  small_config.data.mixture = ("stills",)
  small_config.data.shares = (0.25,)
  small_config.train.batch = 8
  return small_config


def _take(splits, config, count, **changes):
  options = {"seed": 3, "start_step": 0, "batch": config.train.batch} | changes
  batches = pipeline.train_batches(splits, config, **options)
  return list(itertools.islice(batches, count))


def test_every_batch_has_the_share_of_each(splits, mixed):
  batches = _take(splits, mixed, 10)
  own = np.concatenate([batch["index"][:6] for batch in batches])
  other = np.concatenate([batch["index"][6:] for batch in batches])
  # 14 people of the dots, then five of the stills.
  assert own.min() == 0 and own.max() == 13
  assert sorted(set(other)) == [14, 15, 16, 17, 18]
  ids = {
    split.folder: set(instances.gt_instances(split, need_joints=True).noise_id)
    for split in splits
  }
  for batch in batches:
    assert set(batch["noise_id"][:6]) <= ids[splits[0].folder]
    assert set(batch["noise_id"][6:]) <= ids[splits[1].folder]


def test_each_set_has_its_own_epochs(splits, mixed):
  mixed.data.order = "full"
  batches = _take(splits, mixed, 7)
  own = np.concatenate([batch["index"][:6] for batch in batches])
  for epoch in own.reshape(3, 14):
    np.testing.assert_array_equal(np.sort(epoch), np.arange(14))
  other = np.concatenate([batch["index"][6:] for batch in batches])
  for epoch in other[:10].reshape(2, 5):
    np.testing.assert_array_equal(np.sort(epoch), np.arange(14, 19))


@pytest.mark.parametrize("order", ["near", "full"])
def test_resuming_and_hosts_change_nothing(splits, mixed, order):
  mixed.data.order = order
  whole = _take(splits, mixed, 6)
  # Resumed after three steps, with two hosts instead of one.
  parts = [
    _take(splits, mixed, 3, start_step=3, rows=range(host, 8, 2))
    for host in (0, 1)
  ]
  for step, batch in enumerate(whole[3:]):
    for key in batch:
      joined = np.stack([part[step][key] for part in parts], axis=1)
      np.testing.assert_array_equal(
        joined.reshape(batch[key].shape), batch[key], err_msg=key
      )


def test_one_set_alone_is_as_it_would_be_without_the_others(splits, mixed):
  """The order and the crops of the first set are a function of its places."""
  batches = _take(splits, mixed, 3)
  mixed.data.mixture, mixed.data.shares = (), ()
  alone = _take(splits[:1], mixed, 3, batch=6)
  for a, b in zip(batches, alone, strict=True):
    np.testing.assert_array_equal(a["index"][:6], b["index"])


def test_still_pictures_move_and_their_key_frame_has_the_joints(
  splits, mixed, scene
):
  mixed.data.size = (127, 97)
  mixed.augment.rotation_probability = 0.0
  mixed.augment.flip_probability = 0.0
  mixed.augment.scale = 0.0
  mixed.augment.camera = 0.02
  moved = []
  for batch in _take(splits, mixed, 6):
    for frames, joints, labelled in zip(
      *(batch[key][6:] for key in ("frames", "joints", "labelled")),
      strict=True,
    ):
      assert not np.array_equal(frames[0], frames[1])
      assert not np.array_equal(frames[2], frames[1])
      for x, y in joints[labelled].round().astype(int):
        # The key frame's dot is at the joint, and brighter than around it.
        near = frames[1][max(0, y - 1) : y + 2, max(0, x - 1) : x + 2]
        assert near.max() > 150
      moved.append(np.abs(frames[2].astype(int) - frames[1]).mean())
  assert np.std(moved) > 0
  mixed.augment.camera = 0.0
  for batch in _take(splits, mixed, 2):
    np.testing.assert_array_equal(
      batch["frames"][6:, 0], batch["frames"][6:, 2]
    )


def test_the_camera_leaves_videos_alone(splits, mixed):
  mixed.augment.camera = 0.0
  without = _take(splits, mixed, 2)
  mixed.augment.camera = 0.05
  for a, b in zip(without, _take(splits, mixed, 2), strict=True):
    np.testing.assert_array_equal(a["frames"][:6], b["frames"][:6])
    assert not np.array_equal(a["frames"][6:], b["frames"][6:])


def test_affines_compose():
  rng = np.random.default_rng(0)
  outer, inner = rng.normal(size=(2, 5, 2, 3))
  points = rng.normal(size=(5, 7, 2))
  np.testing.assert_allclose(
    geometry.apply(geometry.compose(outer, inner), points),
    geometry.apply(outer, geometry.apply(inner, points)),
  )


def test_a_set_too_small_for_its_share_is_named(splits, mixed):
  mixed.train.batch, mixed.data.shares = 14, (0.5,)
  with pytest.raises(ValueError, match=r"prepared train: 5 people .* the 7"):
    _take(splits, mixed, 1)


@pytest.mark.parametrize(
  ("folders", "shares", "message"),
  [
    (("a",), (), "has 1 folders and data.shares 0 numbers"),
    (("a", "b"), (0.5, 0.5), "are 8, 8 clips; each must be at least 1"),
    (("a",), (0.01,), "are 0 clips"),
    (("a",), (-0.5,), "are -8 clips"),
  ],
)
def test_shares_that_cannot_be_are_refused(folders, shares, message):
  config = config_lib.default()
  config.train.batch = 16
  config.data.mixture, config.data.shares = folders, shares
  with pytest.raises(ValueError, match=message):
    config_lib.check(config)


def test_shares_are_rounded_to_clips_and_epochs_are_of_the_own_data(tmp_path):
  config = config_lib.default()
  config.train.batch = 16
  config.train.epochs = 2.0
  config.data.mixture, config.data.shares = ("a", "b"), (0.3, 0.11)
  assert config_lib.places(config) == (9, 5, 2)
  assert config_lib.train_steps(config, 90) == 20
  config_lib.save(config, tmp_path / "config.json")
  assert config_lib.load(tmp_path / "config.json").to_dict() == config.to_dict()
