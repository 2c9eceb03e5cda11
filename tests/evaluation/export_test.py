"""A bundle gives the poses of its network, in its own runner and in ours."""

import hashlib
import importlib.util
import json
import pathlib

import alone
import numpy as np
import pytest

from diffpose_jax.evaluation import export
from diffpose_jax.inference import bundle, calibration, pack_file
from diffpose_jax.inference import estimator as estimator_lib
from diffpose_jax.inference import workdir as run_folder

SIZE = (4, 3, 32, 24, 3)


@pytest.fixture(scope="module")
def exported(tiny_run, tmp_path_factory):
  """A bundle, what `export` found, and the network that it is of."""
  out = tmp_path_factory.mktemp("export") / "small.bundle"
  loss = export.main(weights=tiny_run, out=out)
  return out, loss, estimator_lib.Estimator.load(tiny_run)


@pytest.fixture(scope="module")
def clips():
  return np.random.default_rng(0).integers(0, 256, SIZE, np.uint8)


def _runner(folder):
  spec = importlib.util.spec_from_file_location("run", folder / bundle.RUNNER)
  assert spec is not None and spec.loader is not None
  module = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(module)
  return module


def test_the_drift_is_told_and_small(exported):
  _, loss, _ = exported
  assert loss.people > 10 and loss.joints <= 0.01 and loss.scores < 1e-4


@pytest.mark.parametrize(("steps", "flip"), [(1, False), (3, True)])
def test_poses_are_those_of_the_network(exported, tiny_run, clips, steps, flip):
  folder, *_ = exported
  load = estimator_lib.Estimator.load
  live, other = (
    load(weights, steps=steps, flip=flip) for weights in (tiny_run, folder)
  )
  noise = np.arange(4, dtype=np.uint32)
  found, wanted = other(clips, noise), live(clips, noise)
  assert found.samples.shape == (3, 4, 17, 2)
  for name in ("joints", "score", "samples", "shape"):
    np.testing.assert_allclose(
      getattr(found, name), getattr(wanted, name), atol=0.005
    )
  assert other.weights_hash == live.weights_hash
  assert other.protocol()["weights"] == "small.bundle"


def test_the_runner_gives_the_same(exported, clips):
  folder, _, live = exported
  joints, scores, samples = _runner(folder).Runner(folder)(clips)
  wanted = live(clips, np.zeros(4, np.uint32))
  np.testing.assert_allclose(joints, wanted.joints, atol=0.005)
  np.testing.assert_allclose(scores, wanted.score, atol=1e-5)
  np.testing.assert_allclose(samples, wanted.samples, atol=0.005)


def test_the_runner_needs_jax_and_numpy_alone(exported, clips, tmp_path):
  """As a program, where nothing of ours can be imported."""
  folder, _, live = exported
  np.save(tmp_path / "clips.npy", clips[:1])
  found = alone.joints(
    folder / bundle.RUNNER,
    *(tmp_path / "clips.npy", 2, 3),
    without=("diffpose_jax", "flax", "cv2", "safetensors"),
    cwd=tmp_path,
  )
  wanted = live(clips[:1], np.zeros(1, np.uint32)).joints[0]
  np.testing.assert_allclose(found, wanted, atol=0.02)
  text = (folder / bundle.RUNNER).read_text()
  assert len(text.splitlines()) < 100


def test_what_is_written_of_it(exported, tiny_run):
  folder, _, live = exported
  about = json.loads((folder / pack_file.BUNDLE).read_text())
  names = {path.name for path in folder.iterdir()}
  assert names == {
    *("bundle.json", "run.py", "weights.safetensors"),
    *("encode.stablehlo", "step.stablehlo", "read.stablehlo"),
  }
  for name, digest in about["sha256"].items():
    assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == digest
  # What `calibrate` may change has its own hash within.
  assert names - set(about["sha256"]) == {"bundle.json", "weights.safetensors"}
  assert about["frames"] == [3, 32, 24, 3] and about["heatmaps"][-1] == 17
  assert about["platforms"] == ["cpu", "cuda", "tpu"]
  assert about["weights_sha256"] == live.weights_hash
  assert about["box_enlarged"] == 1.25 and about["stride"] == 2
  assert pack_file.is_one(folder)
  assert run_folder.place(folder) == pathlib.Path("runs/small")
  assert calibration.read(folder) is None


@pytest.mark.parametrize("name", ["encode", "step"])
def test_one_changed_byte_is_found(exported, tmp_path, name):
  folder = tmp_path / "copy"
  folder.mkdir()
  for path in exported[0].iterdir():
    (folder / path.name).write_bytes(path.read_bytes())
  path = bundle.file(folder, name)
  content = bytearray(path.read_bytes())
  content[len(content) // 2] ^= 1
  path.write_bytes(content)
  with pytest.raises(ValueError, match=f"{name}.stablehlo: damaged"):
    estimator_lib.Estimator.load(folder)
  path.unlink()
  with pytest.raises(ValueError, match=f"{name}.stablehlo: no such file"):
    estimator_lib.Estimator.load(folder)


def test_what_cannot_be_done_is_told(exported, tiny_run, tmp_path):
  folder, *_ = exported
  with pytest.raises(ValueError, match="is there already; give another --out"):
    export.main(weights=tiny_run, out=folder)
  with pytest.raises(ValueError, match="is a bundle already"):
    export.main(weights=folder, out=tmp_path / "again")
  with pytest.raises(ValueError, match="no weights here"):
    export.main(weights=tmp_path / "none", out=tmp_path / "out")
  assert list(tmp_path.iterdir()) == []
