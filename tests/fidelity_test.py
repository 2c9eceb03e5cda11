"""What the paper says, statement by statement, and the test that holds it.

In the order of Feng et al., DiffPose (ICCV 2023, arXiv 2307.16687). A line
that begins with a dash is a statement; below it stand its tests, of this file
where no other is named.

Problem
- Top-down: a person's box is enlarged by 25 %.
    test_a_box_is_enlarged_by_a_quarter
    pose/geometry_test.py::test_enlarge_keeps_the_centre
- The key frame's box crops every frame of the clip.
    data/pipeline_test.py::test_evaluation_crops_show_the_joints
    data/pipeline_test.py::test_augmented_crops_show_the_joints
- Heatmaps of the key frame alone are generated, four cells a patch.
    model/diffpose_test.py::test_full_sizes_give_heatmaps_four_times_the_token_grid
- x0 is the true heatmaps, Gaussians at the labelled joints.
    pose/heatmap_test.py::test_encode_matches_a_loop_over_cells
    training/step_test.py::test_an_unlabelled_joint_has_an_empty_target
- Forward process: xt = √ᾱt x0 + √(1 - ᾱt) ε.
    test_noise_is_added_in_closed_form
- The network gives x0 itself, from xt, the feature and t.
    training/step_test.py::test_loss_is_the_mean_over_labelled_joints_of_valid_clips
    test_a_ddim_step_takes_the_heatmaps_for_x0
- ViT and STRL run once a clip, the Pose-Decoder at every step.
    test_the_encoder_runs_once_and_the_decoder_steps_times_samples
    model/flops_test.py::test_steps_and_samples_cost_the_decoder_alone

STRL
- A Vision Transformer encodes each frame.
    model/equations_test.py::test_the_vit_sees_every_frame_by_itself
    model/parameters_test.py::test_each_part_has_the_parameters_counted_by_hand
- Patch embedding; learnable positions of every frame are added.
    model/diffpose_test.py::test_strl_has_a_position_for_every_frame_and_cell
    model/equations_test.py::test_strl_is_the_paper_s_equations
- Tokens of all frames together pass pre-norm Transformer layers.
    model/equations_test.py::test_strl_is_the_paper_s_equations
    model/diffpose_test.py::test_every_frame_reaches_the_feature
- Token count and width stay the same through all layers.
    model/diffpose_test.py::test_strl_keeps_token_count_and_width_in_every_layer
- A linear layer over the frames, and an MLP, aggregate them.
    model/equations_test.py::test_strl_is_the_paper_s_equations
    model/diffpose_test.py::test_aggregation_starts_as_the_key_frame

Pose-Decoder
- The embedded time re-scales the noisy heatmap, and acts nowhere else.
    model/equations_test.py::test_time_scales_and_shifts_the_embedded_heatmap
    model/equations_test.py::test_time_acts_on_the_heatmap_s_path_only
    model/diffpose_test.py::test_time_and_noise_change_the_heatmaps_but_not_the_features
- The feature goes up by deconvolutions, the heatmap down by convolutions.
    model/equations_test.py::test_the_pyramid_is_deconvolutions_up_and_convolutions_down
    model/layers_test.py::test_up_is_a_transposed_convolution
    model/layers_test.py::test_down_is_a_strided_convolution
- Three pairs of equal size; the highest heatmap is the input's size.
    model/diffpose_test.py::test_pairs_have_matching_sizes_and_the_highest_is_the_heatmap_s
- The mask is the sigmoid of the strongest channel, one for all joints.
    model/equations_test.py::test_the_mask_is_the_sigmoid_of_the_strongest_channel
    model/diffpose_test.py::test_masks_have_one_channel_between_zero_and_one
- Lookup: the mask times the feature, at each of three scales.
    model/equations_test.py::test_the_lookup_is_the_mask_times_the_feature
- The local feature is concatenated with the plain one, which is not masked.
    model/diffpose_test.py::test_halved_fusion_is_the_convolution_of_the_concatenation
    model/diffpose_test.py::test_a_closed_mask_still_leaves_the_plain_feature
- A Transformer at the lowest scale, convolutions at the two others.
    model/equations_test.py::test_a_transformer_below_and_convolutions_above
- The three results have the heatmap's size and are summed; one 3x3
  convolution reads the heatmaps.
    model/equations_test.py::test_the_heatmaps_are_one_3x3_convolution_of_the_sum

Training
- The loss is the squared error of the heatmaps, and nothing else.
    training/step_test.py::test_loss_is_the_mean_over_labelled_joints_of_valid_clips
- ᾱ is given per step, as in DDPM.
    diffusion/process_test.py::test_linear_schedule_by_product
    diffusion/process_test.py::test_cosine_schedule_is_the_paper_s_where_beta_is_not_clipped
- 60 epochs.
    test_the_default_is_the_paper_s_set_up

Inference
- It starts from Gaussian noise.
    test_sampling_starts_from_normal_noise_at_the_end_of_the_schedule
- Steps go from the schedule's end to its start.
    test_the_time_grid_ends_where_the_schedule_does
    diffusion/sampler_test.py::test_ddim_error_halves_with_each_doubling_of_steps
    diffusion/sampler_test.py::test_oracle_gives_the_truth_for_any_number_of_steps
- The number of steps changes without training again.
    inference/estimator_test.py::test_steps_and_weights_change_without_compilation
- Several samples of independent noise make one pose, by their mean.
    diffusion/sampler_test.py::test_ensemble_members_are_samples_of_folded_keys
    inference/estimator_test.py::test_members_are_decoded_apart_and_their_mean_is_the_answer
    test_copies_of_one_sample_are_that_sample

Results
- Means are over 15 joints: (3 head + 2 of each other group) / 15.
    test_the_mean_of_joints_is_that_of_the_paper_s_rows
    evaluation/published_test.py::test_means_are_over_fifteen_joints
"""

# pyright: reportArgumentType=false, reportAttributeAccessIssue=false
# pyright: reportCallIssue=false, reportIndexIssue=false
# (Linen's `init` and `apply` have no types that a checker can use.)

import ast
import functools
import pathlib
import re
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffpose_jax import config as config_lib
from diffpose_jax.diffusion import process, sampler
from diffpose_jax.evaluation import metric
from diffpose_jax.inference import network
from diffpose_jax.inference import sampling as sampling_lib
from diffpose_jax.model import pose_decoder, strl, vit
from diffpose_jax.pose import geometry
from diffpose_jax.pose.skeleton import POSETRACK

FILE = pathlib.Path(__file__).resolve()


def _tests(path):
  return {
    node.name
    for node in ast.parse(path.read_text()).body
    if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
  }


def test_every_statement_has_tests_and_they_exist():
  blocks = re.split(r"^- ", __doc__ or "", flags=re.MULTILINE)[1:]
  assert len(blocks) > 25
  own = {"test_every_statement_has_tests_and_they_exist"}
  for block in blocks:
    named = re.findall(r"^    (?:(\S+)::)?(test_\w+)$", block, re.MULTILINE)
    assert len(named) == len(re.findall(r"^    ", block, re.MULTILINE)) > 0
    for file, name in named:
      path = FILE.parent / file if file else FILE
      assert name in _tests(path), f"{path}: no {name}"
      own |= set() if file else {name}
  assert own == _tests(FILE)


def test_a_box_is_enlarged_by_a_quarter():
  box = np.array([10, 20, 50, 100], np.float32)
  enlarged = geometry.enlarge(box, config_lib.default().data.enlarge)
  np.testing.assert_allclose(enlarged, [5, 10, 55, 110])


def _kept(schedule, number):
  """ᾱ after `number` of 1000 steps, by the product over the steps."""
  if schedule == "linear":
    beta = np.linspace(1e-4, 0.02, 1000)
  else:
    f = np.cos((np.arange(1001) / 1000 + 0.008) / 1.008 * np.pi / 2) ** 2
    beta = np.minimum(1 - f[1:] / f[:-1], 0.999)
  return np.prod(1 - beta[:number])


@pytest.mark.parametrize("schedule", ["cosine", "linear"])
def test_noise_is_added_in_closed_form(schedule):
  rng = np.random.default_rng(0)
  heatmaps = rng.random((3, 5, 7, 2), np.float32)
  noise = rng.standard_normal((3, 5, 7, 2), np.float32)
  numbers = np.array([1, 400, 1000])
  kept = np.array([_kept(schedule, n) for n in numbers]).reshape(3, 1, 1, 1)
  found = process.add_noise(
    process.to_signal(jnp.asarray(heatmaps), 0.5),
    jnp.asarray(noise),
    process.alpha_bar(jnp.asarray(numbers / 1000), schedule=schedule),
  )
  x0 = heatmaps - 0.5  # in [0, 1], diffused in [-0.5, 0.5]
  expected = np.sqrt(kept) * x0 + np.sqrt(1 - kept) * noise
  np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("eta", [0.0, 0.6])
def test_a_ddim_step_takes_the_heatmaps_for_x0(eta):
  """xt' = √ᾱ' x̂0 + √(1 - ᾱ' - σ²) ε̂ + σ z, in numpy."""
  rng = np.random.default_rng(0)
  heatmaps = rng.random((1, 5, 7, 2), np.float32)
  xt, z = rng.standard_normal((2, 1, 5, 7, 2), np.float32)
  a, b = _kept("cosine", 600), _kept("cosine", 350)
  x0 = 2 * heatmaps - 1
  noise = (xt - np.sqrt(a) * x0) / np.sqrt(1 - a)
  sigma = eta * np.sqrt((1 - a / b) * (1 - b) / (1 - a))
  expected = np.sqrt(b) * x0 + np.sqrt(1 - b - sigma**2) * noise + sigma * z
  found = sampler.ddim_step(
    jnp.asarray(xt),
    jnp.asarray(heatmaps),
    (jnp.asarray(0.6), jnp.asarray(0.35)),
    jnp.asarray(z) if eta else None,
    sampler.Process(eta=eta),
  )
  np.testing.assert_allclose(found, expected, atol=1e-4)


@pytest.mark.parametrize(("steps", "samples"), [(1, 1), (3, 2)])
def test_the_encoder_runs_once_and_the_decoder_steps_times_samples(
  monkeypatch, steps, samples
):
  calls = {}

  def count(module):
    plain = module.__call__

    def counted(self, x, *rest):
      # With a value of each sample, so that each sample is counted.
      add = lambda _: calls.update({module: calls.get(module, 0) + 1})  # noqa: E731
      jax.debug.callback(add, x.reshape(-1)[0])
      return plain(self, x, *rest)

    monkeypatch.setattr(module, "__call__", counted)

  parts = (vit.ViT, strl.STRL, pose_decoder.PoseDecoder)
  for module in parts:
    count(module)
  config = config_lib.default()
  config.data.size, config.data.span = (32, 24), 1
  config.model.update(
    size="cpu", patch=8, strl_depth=1, decoder_width=16, heatmap_width=8
  )
  init = functools.partial(network.init_params, config, POSETRACK)
  params = jax.jit(init)(jax.random.key(0))
  options = sampling_lib.Options(steps, samples, flip=False, seed=0, eta=0.0)
  times = jnp.asarray(sampler.time_grid(steps, 4))

  @jax.jit
  def run(params, frames, noise_id):
    return sampling_lib.heatmaps(
      config, POSETRACK, params, frames, noise_id, (times, steps), options
    )

  frames = jnp.zeros((1, 3, 32, 24, 3), jnp.uint8)
  calls.clear()
  maps = run(params, frames, jnp.zeros(1, jnp.uint32))
  jax.effects_barrier()
  assert maps.shape == (samples, 1, 16, 12, 17)
  assert [calls[module] for module in parts] == [1, 1, steps * samples]


def test_the_default_is_the_paper_s_set_up():
  config = config_lib.default()
  config_lib.check(config)
  assert config.train.epochs == 60 and config.train.steps == 0
  assert config.data.size == (256, 192)
  assert config_lib.heatmap_size(config) == (64, 48)
  assert config.data.enlarge == 1.25
  model = config.model
  assert model.diffusion and model.lookup and model.scales == 3
  assert config.train.self_aligned == config.train.start_weight == 0


def test_sampling_starts_from_normal_noise_at_the_end_of_the_schedule():
  calls = []

  def denoise(xt, time):
    calls.append((xt, time))
    return jnp.zeros_like(xt)

  keys = jax.random.split(jax.random.key(0), 3)
  times = jnp.asarray(sampler.time_grid(4, 4))
  sampler.sample(denoise, keys, (31, 37, 5), times, 4)
  xt, time = calls[0]
  np.testing.assert_array_equal(time, np.ones(3))
  for clip in np.asarray(xt):
    np.testing.assert_allclose([clip.mean(), clip.std()], [0, 1], atol=0.05)
  assert [float(time[0]) for _, time in calls] == [1.0, 0.75, 0.5, 0.25]


@pytest.mark.parametrize("schedule", ["cosine", "linear"])
@pytest.mark.parametrize("steps", [1, 4, 7])
def test_the_time_grid_ends_where_the_schedule_does(schedule, steps):
  """At the last of its T steps, and at none of them."""
  grid = sampler.time_grid(steps, 16)
  assert grid[0] == 1 and (grid[steps:] == 0).all()
  kept = process.alpha_bar(jnp.asarray(grid), schedule=schedule)
  np.testing.assert_allclose(kept[0], _kept(schedule, 1000), rtol=1e-4)
  assert kept[0] > 0 and kept[steps] == 1


def test_copies_of_one_sample_are_that_sample():
  denoise = lambda xt, time: jax.nn.sigmoid(xt)  # noqa: E731
  keys = jax.random.split(jax.random.key(0), 2)
  times = jnp.asarray(sampler.time_grid(3, 4))
  one = sampler.sample(denoise, keys, (5, 7, 3), times, 3)
  copies = jnp.stack([one] * 4)
  np.testing.assert_array_equal(sampling_lib.merge(copies), one)


ROWS: dict[str, tuple[Any, ...]] = {
  # Head, shoulder, elbow, wrist, hip, knee, ankle; their mean; as published.
  "PoseTrack17": (89.0, 91.2, 87.4, 83.5, 85.5, 87.2, 80.2, 86.47, 86.4),
  "PoseTrack18": (85.0, 87.7, 84.3, 81.5, 81.4, 82.9, 77.6, 83.05, 83.0),
  "PoseTrack21": (84.7, 85.6, 83.6, 80.8, 81.4, 83.5, 80.0, 82.93, 82.9),
}


@pytest.mark.parametrize("data", ROWS)
def test_the_mean_of_joints_is_that_of_the_paper_s_rows(data):
  *groups, mean, published = ROWS[data]
  names = ("head", "shoulder", "elbow", "wrist", "hip", "knee", "ankle")
  row = dict(zip(names, groups, strict=True))
  parts = {"head": ("nose", "head_bottom", "head_top")} | {
    name: (f"left_{name}", f"right_{name}") for name in names[1:]
  }
  of = {joint: row[name] for name, joints in parts.items() for joint in joints}
  joints = [POSETRACK.joints[channel] for channel in POSETRACK.evaluated]
  assert sorted(joints) == sorted(of)
  values = np.array([of[joint] for joint in joints])
  # Left and right, and the head's three, need not be alike.
  values[[joints.index("nose"), joints.index("head_top")]] += [3, -3]
  for name in names[1:]:
    values[joints.index(f"left_{name}")] += 2
    values[joints.index(f"right_{name}")] -= 2
  table = metric.by_group(values, POSETRACK)
  for name in names:
    assert table[name] == pytest.approx(row[name])
  assert table["total"] == pytest.approx(mean, abs=0.005)
  by_hand = (3 * groups[0] + 2 * sum(groups[1:])) / 15
  assert table["total"] == pytest.approx(by_hand)
  assert abs(by_hand - published) < 0.1
