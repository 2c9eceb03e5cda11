"""Three lines of Python: poses in the picture, and what is refused."""

import doctest
import json
import shutil
import subprocess
import sys

import jax
import numpy as np
import pytest

import diffpose_jax
from diffpose_jax import api
from diffpose_jax.data import annotations, pyramid
from diffpose_jax.evaluation import pack
from diffpose_jax.inference import calibration, pack_file, shipped
from diffpose_jax.inference import estimator as estimator_lib
from diffpose_jax.pose import geometry
from diffpose_jax.pose.skeleton import POSETRACK

K = len(POSETRACK.joints)


@pytest.fixture(scope="module")
def weights(tiny_run, tmp_path_factory):
  """A folder with the weights that come with the package, as it were."""
  folder = tmp_path_factory.mktemp("shipped")
  path = folder / f"{shipped.DEFAULT}.safetensors"
  before = estimator_lib.Estimator.load(tiny_run)
  pack_file.write(pack.pack(before, tiny_run, path, "float16"))
  return path


@pytest.fixture(scope="module")
def model(weights):
  return diffpose_jax.DiffPose.from_pretrained(weights)


@pytest.fixture(scope="module")
def video():
  rng = np.random.default_rng(2)
  return rng.integers(0, 256, (5, 67, 89, 3), np.uint8)


BOXES = np.array([[3.5, 5, 41, 59], [30, -9, 95, 61], [50, 20, 61, 40]])


def _examples(text, tests):
  """Numbers of failed and of all examples in a text."""
  test = doctest.DocTestParser().get_doctest(text, {}, "x", "x", 0)
  flags = doctest.ELLIPSIS
  result = doctest.DocTestRunner(verbose=False, optionflags=flags).run(
    test, out=tests.append
  )
  return result.failed, result.attempted


def test_the_examples_are_true(weights, monkeypatch):
  monkeypatch.setattr(shipped, "FOLDER", weights.parent)
  told = []
  for text in (
    api.__doc__,
    api.DiffPose.from_pretrained.__doc__,
    api.DiffPose.predict.__doc__,
    api.DiffPose.live.__doc__,
  ):
    failed, attempted = _examples(text, told)
    assert failed == 0, "\n".join(told)
    assert text is not None and attempted == text.count(">>> ") > 0
  # They are compared: what is not true fails.
  assert api.__doc__ is not None and "(2, 17, 2)" in api.__doc__
  assert (
    _examples(api.__doc__.replace("(2, 17, 2)", "(2, 16, 2)"), told)[0] == 1
  )


def test_no_example_is_left_out():
  found = doctest.DocTestFinder().find(api)
  assert {test.name.rpartition(".")[2] for test in found if test.examples} == {
    "api",
    "from_pretrained",
    "predict",
    "live",
  }


def test_a_picture_is_a_video_that_stands_still(model, video):
  one = model.predict(video[2], BOXES)
  many = model.predict(np.stack([video[2]] * 4), BOXES)
  assert len(many) == 4
  for result in many:
    # The same sizes of batches are the same bits; sizes differ here.
    np.testing.assert_allclose(result.joints, one.joints, atol=1e-2)


def test_each_person_of_each_frame_by_the_network_alone(model, video):
  """Against crops by hand, one by one."""
  people = [BOXES, BOXES[:0], BOXES[2:], BOXES[1:], BOXES[:1]]
  results = model.predict(video, people)
  assert [len(result) for result in results] == [3, 0, 1, 2, 1]
  estimator = model.estimator
  data = estimator.config.data
  for t, (boxes, result) in enumerate(zip(people, results, strict=True)):
    window = [video[min(max(i, 0), 4)] for i in (t - 1, t, t + 1)]
    for i, box in enumerate(boxes):
      affine = geometry.crop_affine(
        geometry.enlarge(box, data.enlarge), tuple(data.size)
      )
      pyramids = [pyramid.Pyramid(frame) for frame in window]
      clip = pyramid.cut(pyramids, affine, tuple(data.size))
      poses = estimator(
        clip[None], np.array([annotations.noise_id("", -1)], np.uint32)
      )
      back = geometry.invert(affine)
      zoom = back[0, 0]  # upright: the affine is a zoom and a shift
      scale = dict(atol=0.02 * zoom)
      np.testing.assert_allclose(
        result.joints[i], geometry.apply(back, poses.joints[0]), **scale
      )
      for member in range(3):
        np.testing.assert_allclose(
          result.samples[member, i],
          geometry.apply(back, poses.samples[member, 0]),
          **scale,
        )
      away = poses.samples[:, 0] - poses.samples[:, 0].mean(axis=0)
      spread = np.einsum("mki,mkj->kij", away, away) / 2
      wanted = zoom**2 * (spread + poses.shape[0])
      size = max(box[2] - box[0], box[3] - box[1])
      np.testing.assert_allclose(
        result.covariance[i], wanted, rtol=0.02, atol=1e-4 * size**2
      )
      known = np.isin(np.arange(K), POSETRACK.evaluated)
      np.testing.assert_allclose(
        result.scores[i], np.where(known, poses.score[0], 0), atol=1e-3
      )


def test_live_frames_give_what_the_video_gives(model, video):
  """Of δ frames later; without anybody too."""
  people = [BOXES, BOXES[:0], BOXES[2:], BOXES[1:], BOXES[:1]]
  wanted = model.predict(video, people)
  live = model.live()
  found = [live.push(frame, boxes) for frame, boxes in zip(video, people)]  # noqa: B905
  assert [len(results) for results in found] == [0, 1, 1, 1, 1]
  found = [result for results in found for result in results] + live.finish()
  for one, other in zip(found, wanted, strict=True):
    np.testing.assert_allclose(one.joints, other.joints, atol=1e-2)
    np.testing.assert_allclose(one.samples, other.samples, atol=1e-2)


def test_causal_frames_see_the_past_in_the_place_of_the_future(model, video):
  live = model.live(causal=True)
  for t, frame in enumerate(video):
    # The camera's memory may be used again.
    [result] = live.push(frame.copy(), BOXES)
    before = video[max(t - 1, 0)]
    wanted = model.predict(np.stack([before, frame, before]), BOXES)[1]
    np.testing.assert_allclose(result.joints, wanted.joints, atol=1e-2)
  assert live.finish() == []
  with pytest.raises(ValueError, match=r"shape \(5, 67, 89, 3\); push one at"):
    live.push(video, BOXES)


def test_what_a_result_is(model, video):
  result = model.predict(video[0], BOXES)
  assert len(result) == 3
  assert result.joints.dtype == result.scores.dtype == np.float32
  assert result.samples.shape == (3, 3, K, 2)
  assert result.joint_names == model.joint_names == POSETRACK.joints
  assert result.limbs == POSETRACK.limbs
  assert not result.calibrated and result.within is None
  assert result.tail == float("inf")
  nobody = model.predict(video[0], [])
  assert nobody.joints.shape == (0, K, 2)
  assert nobody.samples.shape == (3, 0, K, 2)
  assert nobody.covariance.shape == (0, K, 2, 2)
  assert "raw spread" in model.protocol["uncertainty"]
  assert json.loads(json.dumps(model.protocol))["weights_dtype"] == "float16"
  assert repr(model) == "DiffPose(17 joints, 2 steps, 3 samples)"


def test_more_people_than_a_batch(model, video):
  """Eight at a time; frames share batches, and order is kept."""
  boxes = np.concatenate([BOXES, BOXES + 1, BOXES - 1, BOXES + 2])
  results = model.predict(video[:2], boxes)
  assert [len(result) for result in results] == [12, 12]
  alone = model.predict(video[:2], boxes[10:11])
  for result, one in zip(results, alone, strict=True):
    np.testing.assert_allclose(result.joints[10:11], one.joints, atol=0.05)


def test_views_of_pictures_may_be_given(model, video):
  """BGR turned round, and every second pixel."""
  turned = video[0][..., ::-1]
  wanted = model.predict(turned.copy(), BOXES)
  np.testing.assert_array_equal(
    model.predict(turned, BOXES).joints, wanted.joints
  )
  wanted = model.predict(video[:, ::2, ::2].copy(), BOXES / 2)
  found = model.predict(video[:, ::2, ::2], BOXES / 2)
  np.testing.assert_array_equal(found[3].joints, wanted[3].joints)


def test_calibrated_weights(weights, video, tmp_path):
  path = tmp_path / "a.safetensors"
  shutil.copy(weights, path)
  protocol = estimator_lib.Estimator.load(path).protocol()
  calibration.Calibration(
    factors={"heatmap": calibration.Factors(0.0, 2.0, 0.01, 5.0)},
    best="heatmap",
    head=0.15,
    weights_sha256=protocol["weights_sha256"],
    sampling={key: protocol[key] for key in calibration.SAMPLING},
    fitted_on={},
  ).save(path)
  model = diffpose_jax.DiffPose.from_pretrained(path)
  result = model.predict(video[0], BOXES)
  raw = diffpose_jax.DiffPose.from_pretrained(weights).predict(video[0], BOXES)
  assert result.calibrated and result.tail == 5
  np.testing.assert_array_equal(result.joints, raw.joints)
  assert result.within is not None and result.within.shape == (3, K)
  assert ((result.within > 0) & (result.within < 1)).all()
  # The floor is 1 % of the squared longer side, at least.
  sides = np.array([54.0, 70.0, 20.0])
  variance = result.covariance[..., 0, 0]
  assert (variance >= 0.01 * np.square(sides)[:, None]).all()
  assert model.predict(video[0], []).within.shape == (0, K)
  assert model.protocol["uncertainty"] == "calibrated, from heatmap"


PICTURE = np.zeros((7, 11, 3), np.uint8)
BOX = np.array([[0, 0, 5.0, 5]])


@pytest.mark.parametrize(
  ("frames", "boxes", "message"),
  [
    ([PICTURE], BOX, r"frames: a list; give np.stack\(frames\)"),
    (PICTURE, BOX * np.nan, r"boxes: 0: \[nan, .* is not finite"),
    (PICTURE[None], [BOX, BOX], "boxes: 2 for 1 frames; give"),
  ],
)
def test_what_is_refused(model, frames, boxes, message):
  """For the rest see `arrays_in`."""
  with pytest.raises(ValueError, match=message):
    model.predict(frames, boxes)


def test_boxes_at_the_edge_are_taken(model):
  """Half a pixel of the last column is in the picture."""
  result = model.predict(PICTURE, BOX + np.array([10.2, 0, 10.2, 0]))
  assert np.isfinite(result.joints).all()
  assert len(model.predict(PICTURE, BOX.astype(np.int8))) == 1


def test_unknown_options(weights):
  load = diffpose_jax.DiffPose.from_pretrained
  with pytest.raises(ValueError, match="no option 'step'; there are steps"):
    load(weights, step=3)
  with pytest.raises(ValueError, match="samples is 0"):
    load(weights, samples=0)


def test_weights_that_are_broken(model, video):
  broken = jax.tree.map(lambda leaf: leaf * np.nan, model.estimator.params)
  other = api.DiffPose(model.estimator.with_params(broken))
  with pytest.raises(ValueError, match="no finite heatmap; the weights are"):
    other.predict(video[0], BOXES)


def test_importing_the_package_is_light():
  code = (
    "import sys, diffpose_jax; assert diffpose_jax.__version__;"
    "heavy = {'jax', 'numpy', 'cv2', 'flax'} & set(sys.modules);"
    "assert not heavy, heavy; assert 'DiffPose' in dir(diffpose_jax);"
    "from diffpose_jax import config, DiffPose;"
    "assert 'jax' in sys.modules and DiffPose.predict"
  )
  subprocess.run([sys.executable, "-c", code], check=True)


def test_what_the_package_has_not():
  with pytest.raises(AttributeError, match="has no attribute 'DifPose'"):
    diffpose_jax.DifPose  # noqa: B018
