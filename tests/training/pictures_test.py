"""Sheets of clips: what is on them is what the network gets and finds."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny

from diffpose_jax.data import instances, pipeline, prepare, prepared
from diffpose_jax.inference import colours, draw, estimator, network
from diffpose_jax.inference import sampling as sampling_lib
from diffpose_jax.model import hosts, sharding
from diffpose_jax.pose.skeleton import POSETRACK
from diffpose_jax.training import pictures
from diffpose_jax.training import step as step_lib

_GAP = 4  # of `draw.tile`


def _config(root, **changes):
  return tiny.config(
    tiny.RUN
    | {
      "data.root": str(root),
      "augment.colour": 0.5,
      "augment.erase_probability": 1.0,
      "train.pictures": 3,
    },
    **changes,
  )


@pytest.fixture(scope="module")
def data(root, tmp_path_factory):
  return prepare.ensure(_config(root), tmp_path_factory.mktemp("run"))


def _batch(config, data, step):
  split = prepared.open_split(data, "train", skeleton=POSETRACK)
  batches = pipeline.train_batches(
    [split], config, seed=0, start_step=step, batch=8
  )
  try:
    return next(batches)
  finally:
    batches.close()


def _cell(sheet, row, column, size):
  """A picture of a sheet of equal ones."""
  y, x = row * (size[0] + _GAP), column * (size[1] + _GAP)
  return sheet[y : y + size[0], x : x + size[1]]


def test_a_training_sheet_shows_what_the_loss_is_of(root, data):
  """At the right step and places, here those of a second host."""
  config, step, rows = _config(root), 5, [4, 5, 6, 7]
  batch = _batch(config, data, step)
  mine = {name: value[4:] for name, value in batch.items()}
  sheets = pictures.given(config, POSETRACK, mine, step=step, rows=rows)
  (sheet,) = sheets.values()
  # What the loss is of, for the whole batch at this step.
  given = {name: jnp.asarray(value) for name, value in batch.items()}
  keys = step_lib.clip_keys(config, jnp.int32(step), given)
  frames = np.asarray(step_lib.pictures(config, given | {"key": keys}))[4:7]
  assert (frames != batch["frames"][4:7]).mean() > 0.5  # it was distorted
  maps = np.asarray(step_lib.targets(config, given))[4:7]
  size = (192, 144)
  assert sheet.shape == (3 * 196 - 4, 5 * 148 - 4, 3)
  for i in range(3):
    for t in range(3):
      large = pictures._enlarged(frames[i, t])
      np.testing.assert_array_equal(_cell(sheet, i, t, size), large)
    key = pictures._enlarged(frames[i, 1])
    # The pose is over the key frame; the heatmap's peaks glow at the joints.
    posed, glowing = (_cell(sheet, i, column, size) for column in (3, 4))
    np.testing.assert_array_equal(glowing, draw.heatmap(key, maps[i]))
    for joint in np.flatnonzero(mine["labelled"][i]):
      x, y = np.round(mine["joints"][i, joint] * 6 + 2.5).astype(int)
      sides = (colours.LEFT, colours.RIGHT, colours.MIDDLE)
      around = posed[max(0, y - 2) : y + 3, max(0, x - 2) : x + 3]
      assert (
        min(
          np.abs(around.astype(int) - colour).sum(axis=2).min()
          for colour in sides
        )
        < 60
      ), joint
    changed = (posed != key).any(axis=2).mean()
    assert 0.01 < changed < 0.9


def test_no_pictures_are_made_unasked(root, data, monkeypatch):
  none = _config(root, train__pictures=0)
  batch = _batch(none, data, 0)
  rows = list(range(8))
  given = pictures.given(none, POSETRACK, batch, step=0, rows=rows)
  split = prepared.open_split(data, "val", skeleton=POSETRACK)
  assert given == {} == pictures.Found(none, split, sharding.mesh())({})
  monkeypatch.setattr(hosts, "is_first", lambda: False)
  config = _config(root)
  assert pictures.given(config, POSETRACK, batch, step=0, rows=rows) == {}


@pytest.fixture(scope="module")
def params(root):
  """Weights of which the heatmaps are not almost zero."""
  fresh = jax.jit(
    lambda: network.init_params(_config(root), POSETRACK, jax.random.key(0))
  )()
  leaf = lambda v: v + 0.3 * jax.random.normal(jax.random.key(v.size), v.shape)  # noqa: E731
  return jax.device_put(
    jax.tree.map(leaf, fresh), sharding.replicated(sharding.mesh())
  )


def test_a_validation_sheet_shows_what_validation_finds(
  root, data, params, monkeypatch
):
  config, mesh = _config(root), sharding.mesh()
  split = prepared.open_split(data, "val", skeleton=POSETRACK)
  drawn = []
  real = draw.pose

  def record(image, joints, score, **options):
    drawn.append((joints, score))
    return real(image, joints, score, **options)

  monkeypatch.setattr(pictures.draw, "pose", record)
  look = pictures.Found(config, split, mesh)
  (sheet,) = look(params).values()
  assert sheet.dtype == np.uint8 and sheet.shape == (2 * 192 + 8, 880, 3)
  # The same people by the estimator that validation uses: first, middle, last.
  people = instances.gt_instances(split, need_joints=True)
  assert len(people) == 6
  options = sampling_lib.Options(
    steps=1, samples=1, flip=False, seed=0, eta=0.0
  )
  run = estimator.Estimator(config, POSETRACK, params, options, mesh=mesh)
  batches = pipeline.eval_batches(
    split, people.take(np.array([0, 2, 5])), config, batch=8
  )
  batch = next(iter(batches))
  batches.close()
  poses = run(batch["frames"], batch["noise_id"])
  assert len(drawn) == 3
  for i, (joints, score) in enumerate(drawn):
    np.testing.assert_allclose(joints, poses.joints[i] * 6 + 2.5, atol=0.02)
    np.testing.assert_allclose(score, poses.score[i], atol=1e-4)
  assert np.ptp(poses.score) > 0.01
  # Other weights give another sheet; the same ones the same, from one program.
  program = look._program
  np.testing.assert_array_equal(look(params)["val/poses"], sheet)
  other = jax.tree.map(lambda v: 1.1 * v, params)
  assert (look(other)["val/poses"] != sheet).any()
  assert look._program is program and program._cache_size() == 1
