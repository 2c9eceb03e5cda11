"""ONNX files give the poses of their network, in the runner beside them."""

import hashlib
import importlib.util
import json
import pathlib
import sys

import alone
import jax
import numpy as np
import pytest

from diffpose_jax import config as config_lib
from diffpose_jax import main as command
from diffpose_jax.diffusion import process
from diffpose_jax.evaluation import export, export_onnx
from diffpose_jax.inference import estimator as estimator_lib
from diffpose_jax.inference import network, pack_file, run_onnx
from diffpose_jax.pose import heatmap

SIZE = (4, 3, 32, 24, 3)
FILES = {"encoder.onnx", "step.onnx", "noise.npy", "run.py"}
INSTALLED = all(
  importlib.util.find_spec(name) for name in ("jax2onnx", "onnx", "onnxruntime")
)


def needs_onnx(test):
  """Skips it without the extra; to load the converter alone takes long."""
  skip = pytest.mark.skipif(
    not INSTALLED, reason="the extra onnx is not installed"
  )
  return pytest.mark.slow(skip(test))


@pytest.fixture(scope="module")
def exported(tiny_run, tmp_path_factory):
  """The folder, what `export` found, and the network that it is of."""
  out = tmp_path_factory.mktemp("export") / "small.onnx"
  loss = export.main(weights=tiny_run, out=out, onnx=True)
  return out, loss, estimator_lib.Estimator.load(tiny_run)


@pytest.fixture(scope="module")
def clips():
  return np.random.default_rng(0).integers(0, 256, SIZE, np.uint8)


@needs_onnx
def test_the_drift_is_told_and_small(exported):
  _, loss, _ = exported
  assert loss.people > 10 and loss.joints <= 0.01 and loss.scores < 1e-4


@needs_onnx
@pytest.mark.parametrize(("steps", "count"), [(1, 1), (3, 4)])
def test_poses_are_those_of_the_network(
  exported, tiny_run, clips, steps, count
):
  folder, *_ = exported
  live = estimator_lib.Estimator.load(tiny_run, steps=steps, samples=5)
  wanted = live(clips[:count], np.zeros(count, np.uint32))
  runner = run_onnx.Runner(folder)
  joints, scores, samples = runner(clips[:count], steps, 5)
  np.testing.assert_allclose(joints, wanted.joints, atol=0.005)
  np.testing.assert_allclose(scores, wanted.score, atol=1e-5)
  np.testing.assert_allclose(samples, wanted.samples, atol=0.005)


@needs_onnx
def test_the_quarter_rule_is_the_networks(exported):
  from_maps = np.random.default_rng(1).random((2, 16, 12, 17), np.float32)
  runner = run_onnx.Runner(exported[0])
  for rule in ("quarter", "refine"):
    runner.about["decode"] = rule
    wanted = heatmap.decode(jax.numpy.asarray(from_maps), stride=2, method=rule)
    for found, value in zip(runner.read(from_maps), wanted, strict=True):
      np.testing.assert_allclose(found, value, atol=1e-4)


@needs_onnx
def test_more_members_than_are_stored_have_noise_too(exported, clips):
  folder, *_ = exported
  runner = run_onnx.Runner(folder)
  members = len(runner.noise) + 1
  assert members > export_onnx.MEMBERS
  *_, samples = runner(clips[:1], 1, members)
  assert len(samples) == members and np.isfinite(samples).all()
  assert abs(runner.draw(members - 1).std() - 1) < 0.1


@needs_onnx
def test_the_runner_needs_onnx_runtime_and_numpy_alone(
  exported, clips, tmp_path
):
  """As a program, where neither JAX nor anything of ours can be imported."""
  folder, _, live = exported
  np.save(tmp_path / "clips.npy", clips[:1])
  found = alone.joints(
    folder / "run.py",
    *(tmp_path / "clips.npy", 2, 3),
    without=("diffpose_jax", "jax", "flax", "onnx"),
    cwd=tmp_path,
  )
  wanted = live(clips[:1], np.zeros(1, np.uint32)).joints[0]
  np.testing.assert_allclose(found, wanted, atol=0.02)


@needs_onnx
def test_what_is_written_of_it(exported):
  folder, _, live = exported
  about = json.loads((folder / pack_file.ONNX).read_text())
  assert {path.name for path in folder.iterdir()} == FILES | {pack_file.ONNX}
  assert set(about["sha256"]) == FILES
  for name, digest in about["sha256"].items():
    assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == digest
  assert about["frames"] == [3, 32, 24, 3] and about["heatmaps"][-1] == 17
  assert about["opset"] == export_onnx.OPSET and about["dtype"] == "float32"
  assert about["weights_sha256"] == live.weights_hash
  with pytest.raises(ValueError, match="run.py in that folder runs; give the"):
    estimator_lib.Estimator.load(folder)


@needs_onnx
def test_parameters_lie_beside_where_they_are_many(
  exported, clips, tmp_path, monkeypatch
):
  folder, _, live = exported
  monkeypatch.setattr(export_onnx, "WITHIN", 1000)
  export_onnx.convert(live, tmp_path)
  beside = tmp_path / "encoder.onnx.data"
  within = (folder / "encoder.onnx").stat().st_size
  assert beside.stat().st_size > within / 2
  about = json.loads((tmp_path / pack_file.ONNX).read_text())
  assert beside.name in about["sha256"]
  runners = [run_onnx.Runner(place) for place in (tmp_path, folder)]
  for found, wanted in zip(*(one(clips) for one in runners), strict=True):
    np.testing.assert_array_equal(found, wanted)


def _changed(live, **changes):
  """An estimator of a network that differs, of random weights."""
  config = config_lib.copy(live.config)
  config.model.update(changes)
  init = lambda: network.init_params(config, live.skeleton, jax.random.key(0))  # noqa: E731
  rng = np.random.default_rng(0)
  params = jax.tree.map(
    lambda leaf: jax.numpy.asarray(
      rng.standard_normal(leaf.shape) / 10, leaf.dtype
    ),
    jax.eval_shape(init),
  )
  return estimator_lib.Estimator(
    config, live.skeleton, params, live.options, step=0
  )


@needs_onnx
@pytest.mark.parametrize(
  "changes", [{"lookup": False, "stem": "patch"}, {"diffusion": False}]
)
def test_ablations_can_be_exported(exported, tmp_path, changes):
  live = _changed(exported[2], **changes)
  export_onnx.convert(live, tmp_path)
  loss = export_onnx.drift(live, run_onnx.Runner(tmp_path))
  assert loss.joints <= 0.01 and loss.scores <= 1e-4


def test_a_network_conditioned_on_itself_is_refused(tiny_run, tmp_path):
  live = _changed(estimator_lib.Estimator.load(tiny_run), self_condition=True)
  with pytest.raises(ValueError, match="it cannot be exported"):
    export_onnx.convert(live, tmp_path)
  assert list(tmp_path.iterdir()) == []


def test_the_extra_is_asked_for(tiny_run, tmp_path, monkeypatch, capfd):
  monkeypatch.setitem(sys.modules, "jax2onnx", None)
  out = tmp_path / "out"
  code = command.main(
    ["export", f"--weights={tiny_run}", f"--out={out}", "--onnx"]
  )
  assert code == 2
  told = capfd.readouterr().err
  assert "pip install 'diffpose-jax[onnx]'" in told
  assert list(tmp_path.iterdir()) == []


def test_the_runner_is_short():
  text = pathlib.Path(run_onnx.__file__).read_text()
  assert len(text.splitlines()) < 100


@pytest.mark.parametrize("schedule", ["cosine", "linear"])
def test_alpha_bar_of_sums_is_alpha_bar(schedule):
  for time in np.linspace(0, 1, 23, dtype=np.float32):
    found, wanted = (
      f(jax.numpy.asarray(time), schedule=schedule, steps=1000)
      for f in (process.alpha_bar_of_sums, process.alpha_bar)
    )
    np.testing.assert_allclose(found, wanted, atol=2e-6)
