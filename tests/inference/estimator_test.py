"""What a pose may depend on, and what it must not, with a tiny network."""

import dataclasses
import json
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny

from diffpose_jax import compile_cache
from diffpose_jax.diffusion import sampler
from diffpose_jax.inference import adaptive, network
from diffpose_jax.inference import estimator as estimator_lib
from diffpose_jax.inference import poses as poses_lib
from diffpose_jax.inference import sampling as sampling_lib
from diffpose_jax.inference import workdir as run_folder
from diffpose_jax.model import sharding
from diffpose_jax.pose import heatmap
from diffpose_jax.pose.skeleton import POSETRACK
from diffpose_jax.weights import checkpoint

OPTIONS = sampling_lib.Options(steps=3, samples=3, flip=False, seed=5, eta=0.0)
HEIGHT, WIDTH = 32, 24
K = len(POSETRACK.joints)


def _config():
  config = tiny.config(data__size=(HEIGHT, WIDTH))
  config.evaluate.batch = 8
  config.evaluate.max_steps = 7
  return config


@pytest.fixture(scope="module")
def config():
  return _config()


@pytest.fixture(scope="module")
def params(config):
  return tiny.params(config, POSETRACK, spread=50)


@pytest.fixture(scope="module")
def estimator(config, params):
  return estimator_lib.Estimator(config, POSETRACK, params, OPTIONS, step=7)


@pytest.fixture(scope="module")
def clips():
  """Eight clips of eight people."""
  rng = np.random.default_rng(1)
  frames = rng.integers(0, 256, (8, 3, HEIGHT, WIDTH, 3), np.uint8)
  return frames, np.arange(8, dtype=np.uint32) * 1_000_003 + 17


@pytest.fixture(scope="module")
def poses(estimator, clips):
  return estimator(*clips)


def _same(poses, other, rows: Any = slice(None)):
  np.testing.assert_allclose(poses.joints, other.joints[rows], atol=1e-3)
  np.testing.assert_allclose(poses.score, other.score[rows], atol=1e-5)
  np.testing.assert_allclose(poses.samples, other.samples[:, rows], atol=1e-3)


def test_shapes_and_ranges(poses):
  assert poses.joints.shape == (8, K, 2)
  assert poses.samples.shape == (3, 8, K, 2)
  # A cell covers two pixels; the outermost centres are half a pixel inside.
  assert poses.joints.min() >= 0
  assert (poses.joints.max(axis=(0, 1)) <= [WIDTH - 1, HEIGHT - 1]).all()
  assert ((poses.score >= 0) & (poses.score <= 1)).all()
  # Else the comparisons below would compare little.
  assert len(np.unique(poses.score)) > 50
  assert len(np.unique(poses.joints.reshape(-1, 2), axis=0)) > 50


def test_other_clips_and_padding_change_nothing(estimator, clips, poses):
  frames, noise_id = clips
  _same(estimator(frames[2:5], noise_id[2:5]), poses, slice(2, 5))
  order = np.array([3, 0, 7, 1, 6, 2, 5, 4])
  _same(estimator(frames[order], noise_id[order]), poses, order)


def test_noise_is_a_function_of_its_identity(estimator, clips, poses):
  frames, noise_id = clips
  same = np.repeat(frames[:1], 4, axis=0)
  identity = noise_id[[0, 0, 1, 0]]
  found = estimator(same, identity)
  for row in (0, 1, 3):
    np.testing.assert_allclose(found.joints[row], poses.joints[0], atol=1e-3)
    np.testing.assert_allclose(
      found.samples[:, row], poses.samples[:, 0], atol=1e-3
    )
  assert np.abs(found.score[2] - found.score[0]).max() > 1e-3
  assert np.abs(found.samples[:, 2] - found.samples[:, 0]).max() > 0.5


def test_members_are_decoded_apart_and_their_mean_is_the_answer(
  config, params, clips, poses
):
  """Against the heatmaps of an unrolled, undistributed run."""
  frames, noise_id = clips
  times = jnp.asarray(sampler.time_grid(3, 3))

  @jax.jit
  def run(params, frames, noise_id):
    return sampling_lib.heatmaps(
      config, POSETRACK, params, frames, noise_id, (times, 3), OPTIONS
    )

  maps = np.asarray(run(params, frames[:2], noise_id[:2]))
  assert maps.shape == (3, 2, 16, 12, K)
  assert np.abs(maps[0] - maps[1]).max() > 1e-3
  joints, score = heatmap.decode(jnp.asarray(maps.mean(axis=0)), stride=2)
  np.testing.assert_allclose(poses.joints[:2], joints, atol=1e-2)
  np.testing.assert_allclose(poses.score[:2], score, atol=1e-4)
  for member in range(3):
    joints, _ = heatmap.decode(jnp.asarray(maps[member]), stride=2)
    np.testing.assert_allclose(poses.samples[member, :2], joints, atol=1e-2)


def test_steps_and_weights_change_without_compilation(
  estimator, params, clips, poses, monkeypatch, caplog
):
  traces = []
  heatmaps = sampling_lib.heatmaps

  def counting(*args):
    traces.append(args)
    return heatmaps(*args)

  monkeypatch.setattr(sampling_lib, "heatmaps", counting)
  half = jax.tree.map(lambda v: v / 2, params)
  with jax.log_compiles():
    more = [estimator.with_steps(steps)(*clips) for steps in (1, 2, 7)]
    other = estimator.with_params(half)(*clips)
  assert traces == []
  assert [r for r in caplog.records if "Compiling" in r.getMessage()] == []
  for found in (*more, other):
    assert np.abs(found.score - poses.score).max() > 1e-3
  # The original is as it was.
  _same(estimator(*clips), poses)
  assert estimator.with_steps(2).protocol()["steps"] == 2
  with pytest.raises(ValueError, match="steps is 8, must be from 1 to 7"):
    estimator.with_steps(8)


def test_a_trace_would_be_counted(config, params, clips, monkeypatch):
  """The counter above sees what it must see."""

  def traced(*args):
    raise InterruptedError

  monkeypatch.setattr(sampling_lib, "heatmaps", traced)
  with pytest.raises(InterruptedError):
    estimator_lib.Estimator(config, POSETRACK, params, OPTIONS)(*clips)


class _Copy:
  """A network that gives back the noise it is shown."""

  def apply(self, variables, *args, method):
    return args[0] if method == "denoise" else None


def test_noise_depends_on_seed_identity_and_member_alone(config, monkeypatch):
  monkeypatch.setattr(network, "build_model", lambda *_: _Copy())
  times = jnp.asarray(sampler.time_grid(1, 1))

  def noise(seed, *identities):
    options = dataclasses.replace(OPTIONS, samples=2, seed=seed)
    return np.asarray(
      sampling_lib.heatmaps(
        config,
        POSETRACK,
        {},
        jnp.zeros((len(identities), 3, HEIGHT, WIDTH, 3), jnp.uint8),
        jnp.array(identities, jnp.uint32),
        (times, 1),
        options,
      )
    )

  base = noise(5, 17, 23, 17)
  assert base.shape == (2, 3, 16, 12, K)
  np.testing.assert_array_equal(base[:, 0], base[:, 2])
  np.testing.assert_array_equal(base[:, 1:2], noise(5, 23))
  fields = {
    "identity": (base[0, 0], base[0, 1]),
    "member": (base[0, 0], base[1, 0]),
    "seed": (base[0, 0], noise(6, 17)[0, 0]),
  }
  for name, (a, b) in fields.items():
    correlation = np.corrcoef(a.ravel(), b.ravel())[0, 1]
    assert abs(correlation) < 0.1, name


def test_flip_makes_the_mirrored_clip_s_pose_the_mirrored_pose(
  config, params, clips, monkeypatch
):
  """With its noise mirrored too, that of the steps (eta) included."""
  frames = clips[0][:2]
  order = POSETRACK.flip
  times = jnp.asarray(sampler.time_grid(3, 3))
  options = dataclasses.replace(OPTIONS, samples=1, flip=True, eta=0.7)

  @jax.jit
  def run(params, frames, noise):
    with monkeypatch.context() as patch:
      patch.setattr(
        sampler,
        "_normal",
        lambda keys, shape, tag: noise * jnp.cos(tag.astype(jnp.float32)),
      )
      maps = sampling_lib.heatmaps(
        config,
        POSETRACK,
        params,
        frames,
        jnp.zeros(2, jnp.uint32),
        (times, 3),
        options,
      )
    return maps[0], heatmap.decode(sampling_lib.merge(maps), stride=2)

  noise = jax.random.normal(jax.random.key(3), (2, 16, 12, K))
  maps, (joints, score) = run(params, frames, noise)
  mirrored_maps, (mirrored, mirrored_score) = run(
    params, frames[:, :, :, ::-1].copy(), heatmap.flip(noise, order)
  )
  np.testing.assert_allclose(
    mirrored_maps, np.asarray(maps)[:, :, ::-1][..., order], atol=1e-5
  )
  expected = np.asarray(joints)[:, order] * [-1, 1] + [WIDTH - 1, 0]
  np.testing.assert_allclose(mirrored, expected, atol=1e-3)
  np.testing.assert_allclose(
    mirrored_score, np.asarray(score)[:, order], atol=1e-5
  )
  # A clip and its mirror image are not the same to begin with.
  assert np.abs(np.asarray(mirrored_maps - maps)).max() > 1e-2


def test_merge_leaves_out_members_that_are_not_finite():
  maps = np.ones((3, 2, 5, 7, 2), np.float32)
  maps *= np.array([1, 2, 6], np.float32).reshape(3, 1, 1, 1, 1)
  maps[2, 0, 4, 3, 1] = np.nan  # one cell of clip 0, joint 1
  maps[0, 1, 0, 0, 0] = np.inf
  maps[:, 1, 2, 2, 1] = np.nan  # in all members
  mean = np.asarray(sampling_lib.merge(jnp.asarray(maps)))
  assert mean.shape == (2, 5, 7, 2)
  np.testing.assert_allclose(mean[0, ..., 0], 3)
  np.testing.assert_allclose(mean[0, ..., 1], 1.5)
  np.testing.assert_allclose(mean[1, ..., 0], 4)
  assert np.isnan(mean[1, ..., 1]).all()
  joints, score = heatmap.decode(jnp.asarray(mean / 10), stride=2)
  np.testing.assert_allclose(score, [[0.3, 0.15], [0.4, 0]], atol=1e-6)
  # The middle of a crop of 14 x 10.
  np.testing.assert_allclose(joints[1, 1], [6.5, 4.5])


def test_a_joint_without_a_finite_heatmap_scores_0_and_is_logged(
  estimator, params, clips, caplog
):
  head = params["decoder"]["head"]
  one = head | {"bias": head["bias"].at[11].set(jnp.nan)}
  broken = params | {"decoder": params["decoder"] | {"head": one}}
  single = estimator.with_steps(1)
  expected = single(*clips)
  assert caplog.records == []
  found = single.with_params(broken)(*clips)
  assert (found.score[:, 11] == 0).all()
  others = [joint for joint in range(K) if joint != 11]
  np.testing.assert_allclose(
    found.joints[:, others], expected.joints[:, others], atol=1e-3
  )
  [record] = caplog.records
  assert "24 of 408 heatmaps are not finite" in record.getMessage()


def test_broken_weights_are_refused(estimator, params, clips):
  broken = jax.tree.map(lambda v: v * jnp.nan, params)
  with pytest.raises(ValueError, match="no finite heatmap; the weights are"):
    estimator.with_params(broken)(*clips)


def test_too_many_clips_are_refused(estimator, clips):
  frames, noise_id = clips
  with pytest.raises(ValueError, match="9 clips in a call; evaluate.batch is"):
    estimator(
      np.concatenate([frames, frames[:1]]),
      np.concatenate([noise_id, noise_id[:1]]),
    )


def test_a_batch_that_the_devices_cannot_share_is_refused(params):
  config = _config()
  config.evaluate.batch = 12
  with pytest.raises(ValueError, match="12 clips .* 8 devices; 8 or 16 would"):
    estimator_lib.Estimator(config, POSETRACK, params, OPTIONS)


@pytest.mark.parametrize(
  ("name", "value", "message"),
  [
    ("steps", 0, "steps is 0, must be from 1 to 7"),
    ("steps", 8, "steps is 8, must be from 1 to 7"),
    ("samples", 0, "samples is 0, must be at least 1"),
    ("eta", -0.1, "eta is -0.1, must be from 0 to 1"),
    ("eta", 1.5, "eta is 1.5, must be from 0 to 1"),
    ("solver", "heun", "solver is 'heun', must be one of ddim, dpm2m"),
    ("adaptive", -1.0, "adaptive is -1.0, must be at least 0"),
  ],
)
def test_sampling_out_of_range_is_refused(config, name, value, message):
  given = {"steps": None, "samples": None, "flip": None, "seed": None}
  given |= {"eta": None, name: value}
  with pytest.raises(ValueError, match=message):
    sampling_lib.options_of(config, **given)


def test_a_solver_without_noise_takes_none(config):
  with pytest.raises(
    ValueError, match="solver is 'dpm2m', whose .* eta is 0.5"
  ):
    sampling_lib.options_of(config, solver="dpm2m", eta=0.5)
  found = sampling_lib.options_of(config, solver="dpm2m")
  assert found == dataclasses.replace(
    sampling_lib.options_of(config), solver="dpm2m"
  )


@pytest.mark.parametrize("flip", [False, True])
def test_adaptive_is_between_a_first_look_and_all(config, params, clips, flip):
  """At a spread that half of them exceed; a person's poses are one's or other's."""

  def run(steps, samples, threshold=0.0):
    options = sampling_lib.Options(
      steps, samples, flip, seed=5, eta=0.0, adaptive=threshold
    )
    found = estimator_lib.Estimator(config, POSETRACK, params, options)
    return found(*clips)

  few, whole = run(1, 2), run(2, 6)
  spread = np.asarray(adaptive.spread(jnp.asarray(few.samples / HEIGHT)))
  limit = float(np.median(spread))
  mixed = run(2, 6, limit)
  wide = spread > limit
  assert 2 <= wide.sum() <= 6
  np.testing.assert_array_equal(adaptive.whole(mixed.samples), wide)
  near = np.testing.assert_allclose
  near(mixed.joints[wide], whole.joints[wide], atol=1e-3)
  near(mixed.score[wide], whole.score[wide], atol=1e-5)
  near(mixed.samples[:, wide], whole.samples[:, wide], atol=1e-3)
  near(mixed.joints[~wide], few.joints[~wide], atol=1e-3)
  near(mixed.score[~wide], few.score[~wide], atol=1e-5)
  assert float(np.abs(few.joints - whole.joints)[wide].max()) > 1e-2


def test_options_are_the_config_s_where_none_is_given(config):
  options = sampling_lib.options_of(
    config, steps=None, samples=2, flip=True, seed=None, eta=None
  )
  assert options == sampling_lib.Options(4, 2, True, 0, 0.0)


def test_protocol(estimator, params):
  protocol = estimator.protocol()
  assert protocol == {
    "steps": 3,
    "samples": 3,
    "flip": False,
    "seed": 5,
    "eta": 0.0,
    "solver": "ddim",
    "adaptive": 0.0,
    "decode": "refine",
    "dtype": "float32",
    "training_step": 7,
    "weights_sha256": checkpoint.weights_hash(params),
  }
  json.dumps(protocol)
  other = estimator.with_params(jax.tree.map(lambda v: v + 1, params))
  assert other.weights_hash != estimator.weights_hash


@pytest.fixture(scope="module")
def workdir(config, params, tmp_path_factory):
  """A run's folder whose averaged weights are not its last ones."""
  folder = tmp_path_factory.mktemp("run")
  last = jax.tree.map(lambda v: v + 1, params)
  checkpoints = checkpoint.Checkpoints(folder)
  checkpoints.save({"params": last, "ema": params}, 7, 50.0)
  checkpoints.close()
  run_folder.save(folder, config, POSETRACK)
  return folder


def test_a_run_is_loaded_with_its_averaged_weights(workdir, params):
  loaded = estimator_lib.Estimator.load(workdir, samples=3, seed=5)
  assert loaded.options == dataclasses.replace(OPTIONS, steps=4)
  assert loaded.step == 7
  assert loaded.weights_hash == checkpoint.weights_hash(params)


def test_loaded_weights_give_the_same_poses(workdir, clips, poses):
  loaded = estimator_lib.Estimator.load(workdir, steps=3, samples=3, seed=5)
  _same(loaded(*clips), poses)


def test_a_folder_without_weights_is_refused(config, workdir, tmp_path):
  with pytest.raises(ValueError, match="no weights here .*config.json"):
    estimator_lib.Estimator.load(tmp_path)
  run_folder.save(tmp_path, config, POSETRACK)
  with pytest.raises(ValueError, match="no checkpoint here"):
    estimator_lib.Estimator.load(tmp_path)


def test_weights_of_another_model_are_refused(workdir, tmp_path):
  config = _config()
  config.model.decoder_width = 24
  run_folder.save(tmp_path, config, POSETRACK)
  (tmp_path / "checkpoints").symlink_to(workdir / "checkpoints")
  with pytest.raises(ValueError, match="checkpoints/7"):
    estimator_lib.Estimator.load(tmp_path)


def test_a_kept_program_gives_the_same_poses(
  workdir, clips, poses, tmp_path, monkeypatch
):
  """Bit for bit, and without tracing the network again."""
  (tmp_path / "cache").mkdir(mode=0o700)
  monkeypatch.setenv(compile_cache.VARIABLE, str(tmp_path / "cache"))
  sampling: Any = dict(samples=3, seed=5)
  first = estimator_lib.Estimator.load(workdir, steps=3, **sampling)
  _same(first(*clips), poses)

  def traced(*_):
    raise AssertionError("traced again")

  monkeypatch.setattr(estimator_lib, "_estimate", traced)
  monkeypatch.setattr(network, "init_params", traced)
  again = estimator_lib.Estimator.load(workdir, steps=3, **sampling)
  _same(again(*clips), poses)
  # The number of steps is an argument, the number of samples is not.
  estimator_lib.Estimator.load(workdir, steps=2, **sampling)(*clips)
  with pytest.raises(AssertionError, match="traced again"):
    estimator_lib.Estimator.load(workdir, steps=3, samples=2, seed=5)


@pytest.mark.parametrize(
  ("batch", "devices", "sizes"),
  [
    (32, 1, (8, 32)),
    (32, 3, (9, 32)),
    (32, 16, (16, 32)),
    (32, 32, (32,)),
    (8, 1, (8,)),
    (5, 1, (5,)),
  ],
)
def test_sizes_of_batches(batch, devices, sizes):
  assert estimator_lib._sizes(batch, devices) == sizes


@pytest.mark.parametrize(
  ("sizes", "devices", "ladder"),
  [
    ((8, 32), 1, (1, 2, 4, 8, 32)),
    ((9, 33), 3, (3, 6, 9, 33)),
    ((16, 32), 16, (16, 32)),
    ((5,), 1, (1, 2, 4, 5)),
    ((1,), 1, (1,)),
  ],
)
def test_sizes_of_batches_that_cannot_wait(sizes, devices, ladder):
  assert estimator_lib._ladder(sizes, devices) == ladder


def test_work_is_begun_before_it_is_waited_for(estimator, clips, poses):
  """Batch by batch, in the size that is asked for."""
  frames, noise_id = clips
  first = estimator.start(frames[:3], noise_id[:3])
  second = estimator.start(frames[3:], noise_id[3:], size=8)
  assert (first.count, second.count) == (3, 5)
  both = poses_lib.joined([first.poses(), second.poses()])
  _same(both, poses)
  one = both.row(4)
  assert one.joints.shape == (1, K, 2) and one.samples.shape == (3, 1, K, 2)
  np.testing.assert_array_equal(one.samples[:, 0], both.samples[:, 4])
  none = poses_lib.nobody(K, 3)
  again = poses_lib.joined([none, both])
  np.testing.assert_array_equal(again.shape, both.shape)
  assert again.joints.dtype == np.float32


def test_a_handful_of_clips_does_not_wait_for_a_full_batch(params, clips):
  config = _config()
  config.evaluate.batch = 16
  estimator = estimator_lib.Estimator(config, POSETRACK, params, OPTIONS)
  frames, noise_id = clips
  twice = np.concatenate([frames, frames]), np.concatenate([noise_id, noise_id])
  seen = []
  place = sharding.to_global

  def spy(batch, mesh):
    seen.append(len(batch["frames"]))
    return place(batch, mesh)

  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(sharding, "to_global", spy)
    few = estimator(frames[:3], noise_id[:3])
    full = estimator(*twice)
    last = estimator(frames[:3], noise_id[:3])
  # The small one first, then the full; then the small one, compiled already.
  assert seen == [8, 16, 8]
  _same(last, few)
  np.testing.assert_allclose(full.joints[:3], few.joints, atol=1e-3)
  # After full batches nothing is compiled for a rest.
  estimator = estimator_lib.Estimator(config, POSETRACK, params, OPTIONS)
  seen.clear()
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(sharding, "to_global", spy)
    estimator(*twice)
    estimator(frames[:3], noise_id[:3])
  assert seen == [16, 16]
