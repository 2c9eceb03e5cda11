"""Weights carried from one skeleton or δ to another."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny

from diffpose_jax.inference import network
from diffpose_jax.pose.skeleton import COCO, POSETRACK, Skeleton
from diffpose_jax.training import transfer

ONE = Skeleton(
  "one", ("right_ankle", "tail"), (), (), (), (), (0, 1), (), (1.0, 1.0)
)


def _random(config, skeleton, seed):
  init = lambda key: network.init_params(config, skeleton, key)  # noqa: E731
  shapes = jax.eval_shape(init, jax.random.key(0))
  rng = np.random.default_rng(seed)
  return jax.tree.map(lambda s: rng.standard_normal(s.shape), shapes)


@pytest.mark.parametrize("target", [COCO, ONE])
def test_each_joint_behaves_as_the_one_of_its_name(target):
  """Heatmaps of the carried joints, where the others see nothing."""
  config = tiny.config()
  old, fresh = _random(config, POSETRACK, 1), _random(config, target, 2)
  new = transfer.to_skeleton(config, POSETRACK, target, old, fresh)
  rng = np.random.default_rng(3)
  frames = rng.integers(0, 256, (1, 3, 32, 24, 3), np.uint8)
  time = np.array([0.5], np.float32)
  shared = [name for name in target.joints if name in POSETRACK.joints]
  assert len(shared) == (15 if target is COCO else 1)
  noise = rng.standard_normal((1, 16, 12, len(shared))).astype(np.float32)

  def run(skeleton, params):
    noisy = np.zeros((1, 16, 12, len(skeleton.joints)), np.float32)
    at = [skeleton.index(name) for name in shared]
    noisy[..., at] = noise
    inputs = (jnp.asarray(value) for value in (frames, noisy, time))
    apply = jax.jit(network.build_model(config, skeleton).apply)
    return np.asarray(apply({"params": params}, *inputs))[..., at]

  np.testing.assert_allclose(
    run(target, new), run(POSETRACK, old), rtol=1e-3, atol=1e-3
  )


def test_joints_that_are_new_stay_as_they_start():
  config = tiny.config()
  old, fresh = _random(config, POSETRACK, 1), _random(config, COCO, 2)
  new = transfer.to_skeleton(config, POSETRACK, COCO, old, fresh)
  head = [tree["decoder"]["head"]["bias"] for tree in (old, fresh, new)]
  for joint, name in enumerate(COCO.joints):
    if name in POSETRACK.joints:
      assert head[2][joint] == head[0][POSETRACK.index(name)]
    else:
      assert head[2][joint] == head[1][joint]


def test_nothing_in_common_is_refused():
  other = dataclasses.replace(ONE, joints=("a", "b"))
  with pytest.raises(ValueError, match="none of which are among a, b; give"):
    transfer.to_skeleton(tiny.config(), POSETRACK, other, {}, {})


@pytest.mark.parametrize("span", [0, 2, 3])
def test_a_still_clip_shows_as_much_in_more_or_fewer_frames(span):
  """Where a frame's place in the clip says nothing, pictures alone count."""
  config = tiny.config()
  params = jax.tree.map(np.asarray, _random(config, POSETRACK, 1))
  params["strl"]["position_frame"] *= 0
  rng = np.random.default_rng(2)
  frame = rng.integers(0, 256, (1, 1, 32, 24, 3), np.uint8)

  def seen(span, params):
    of = config.copy_and_resolve_references()
    of.data.span = span
    model = network.build_model(of, POSETRACK)
    clip = jnp.asarray(np.repeat(frame, 2 * span + 1, axis=1))
    run = jax.jit(lambda p: model.apply({"params": p}, clip, method="encode"))
    return jax.tree.leaves(run(params))

  ours = seen(config.data.span, params)
  theirs = seen(span, transfer.to_span(params, span))
  for one, other in zip(ours, theirs, strict=True):
    np.testing.assert_allclose(other, one, rtol=1e-3, atol=1e-3)


def test_frames_keep_their_place_beside_the_key_frame():
  strl = {
    "position_frame": np.arange(3.0).reshape(1, 3, 1, 1, 1),
    "aggregate": np.array([0.25, 0.5, 0.125], np.float32),
    "position_space": np.ones(4),
  }
  params = {"vit": np.ones(2), "strl": strl}
  wider, none = (transfer.to_span(params, span) for span in (2, 0))
  np.testing.assert_array_equal(
    wider["strl"]["position_frame"][0, :, 0, 0, 0], [0, 0, 1, 2, 2]
  )
  np.testing.assert_array_equal(
    wider["strl"]["aggregate"], [0, 0.25, 0.5, 0.125, 0]
  )
  np.testing.assert_array_equal(none["strl"]["aggregate"], [0.875])
  assert none["strl"]["position_frame"].item() == 1
  back = transfer.to_span(wider, 1)["strl"]
  for name, leaf in strl.items():
    np.testing.assert_array_equal(back[name], leaf)
