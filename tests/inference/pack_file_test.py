"""A run in one file: the same poses, and no file that is not as written."""

import dataclasses
import json
import math
import shutil
import struct

import jax
import numpy as np
import pytest
import safetensors.numpy

from diffpose_jax.evaluation import pack
from diffpose_jax.inference import calibration, pack_file, shipped
from diffpose_jax.inference import estimator as estimator_lib
from diffpose_jax.weights import packed


@pytest.fixture(scope="module")
def before(tiny_run):
  return estimator_lib.Estimator.load(tiny_run)


def _calibration(before):
  protocol = before.protocol()
  return calibration.Calibration(
    factors={"heatmap": calibration.Factors(0.0, 2.0, 0.01, math.inf)},
    best="heatmap",
    head=0.15,
    weights_sha256=protocol["weights_sha256"],
    sampling={key: protocol[key] for key in calibration.SAMPLING},
    fitted_on={"data": "x", "split": "val", "joints": 500},
  )


@pytest.fixture(scope="module")
def files(before, tiny_run, tmp_path_factory):
  """The run as both dtypes, with a calibration."""
  run = tmp_path_factory.mktemp("calibrated") / "run"
  shutil.copytree(tiny_run, run)
  _calibration(before).save(run)
  folder = tmp_path_factory.mktemp("packed")
  result = {}
  for dtype in packed.DTYPES:
    result[dtype] = folder / f"{dtype}.safetensors"
    pack_file.write(pack.pack(before, run, result[dtype], dtype))
  return result


@pytest.fixture(scope="module")
def clips():
  rng = np.random.default_rng(1)
  frames = rng.integers(0, 256, (5, 3, 32, 24, 3), np.uint8)
  return frames, np.arange(5, dtype=np.uint32)


def test_float32_gives_the_same_weights_and_poses(before, files, clips):
  after = estimator_lib.Estimator.load(files["float32"])
  assert after.weights_hash == before.weights_hash
  a, b = before(*clips), after(*clips)
  np.testing.assert_array_equal(a.joints, b.joints)
  np.testing.assert_array_equal(a.samples, b.samples)


def test_float16_is_the_run_rounded(before, files, clips):
  after = estimator_lib.Estimator.load(files["float16"])
  rounded = jax.tree.map(
    lambda leaf: leaf.astype(np.float16).astype(np.float32), before.params
  )
  for a, b in zip(
    jax.tree.leaves(rounded), jax.tree.leaves(after.params), strict=True
  ):
    assert b.dtype == np.float32
    np.testing.assert_array_equal(a, b)
  found = after(*clips)
  np.testing.assert_array_equal(
    found.joints, before.with_params(after.params)(*clips).joints
  )
  difference = np.abs(found.score - before(*clips).score)
  assert 0 < difference.max() < 0.02
  # Another half of the mantissa: 4 bytes a weight become 2.
  sizes = [files[dtype].stat().st_size for dtype in packed.DTYPES]
  assert 0.5 < sizes[0] / sizes[1] < 0.51


def test_the_protocol_names_the_file(before, files):
  protocol = estimator_lib.Estimator.load(files["float16"]).protocol()
  told = before.protocol()
  assert protocol["weights"] == "float16.safetensors"
  assert protocol["weights_dtype"] == "float16"
  assert protocol["packed_from_sha256"] == told["weights_sha256"]
  assert protocol["weights_sha256"] != told["weights_sha256"]
  assert protocol["training_step"] == told["training_step"] == 7
  assert "weights" not in told
  other = estimator_lib.Estimator.load(files["float16"])
  assert "weights" not in other.with_params(before.params).protocol()


def test_what_is_local_to_a_run_stays_behind(before, files):
  assert before.config.data.root == "/some/where"
  network = pack_file.read(files["float16"])
  assert network.config.data.root == ""
  assert b"/some/where" not in files["float16"].read_bytes()
  assert network.config.model == before.config.model
  assert network.config.evaluate == before.config.evaluate
  assert network.skeleton == before.skeleton


def test_a_frozen_run_started_from_weights_can_be_packed(before):
  config = before.config.copy_and_resolve_references()
  config.model.init_from = "/home/me/vit.npz"
  config.train.freeze_backbone = True
  config.data.mixture, config.data.shares = ("/data/a",), (0.25,)
  config.evaluate.boxes = "/data/boxes.json"
  told = pack_file.portable(config).to_json_best_effort()
  assert "/home" not in told and "/data" not in told
  assert pack_file.config_lib.parse(told, "x").train.freeze_backbone is False


def test_the_calibration_comes_along(before, files):
  for file in files.values():
    after = estimator_lib.Estimator.load(file)
    found, warnings = calibration.find(file, after.protocol())
    assert warnings == []
    wanted = dataclasses.replace(
      _calibration(before), weights_sha256=after.weights_hash
    )
    assert found == wanted
    # Of another way of sampling it says nothing.
    other = estimator_lib.Estimator.load(file, steps=1)
    found, [warning] = calibration.find(file, other.protocol())
    assert found is None
    assert f"{file}: was fitted with steps 2, not 1" in warning


def test_a_calibration_of_other_weights_is_not_packed(
  before, tiny_run, tmp_path
):
  run = tmp_path / "run"
  shutil.copytree(tiny_run, run)
  wrong = dataclasses.replace(_calibration(before), weights_sha256="ab" * 32)
  wrong.save(run)
  with pytest.raises(
    ValueError, match="calibration is of other weights .*abab"
  ):
    pack.pack(before, run, tmp_path / "a.safetensors", "float16")


def test_a_file_can_be_calibrated(before, tiny_run, tmp_path):
  file = tmp_path / "a.safetensors"
  pack_file.write(pack.pack(before, tiny_run, file, "float32"))
  assert calibration.read(file) is None
  assert _calibration(before).save(file) == file
  assert calibration.load(file, before.protocol()) == _calibration(before)
  after = estimator_lib.Estimator.load(file)
  assert after.weights_hash == before.weights_hash
  assert list(tmp_path.iterdir()) == [file]


def _rewritten(files, tmp_path, **texts):
  """The float16 file with other texts, its digest made anew."""
  leaves, told = packed.read(files["float16"])
  told = {k: v for k, v in (told | texts).items() if v is not None}
  path = tmp_path / "other.safetensors"
  packed.write(path, leaves, told)
  return path


@pytest.mark.parametrize(
  ("texts", "message"),
  [
    ({"step": None}, "missing or unknown in its header: step"),
    ({"step": "many"}, "header: step 'many'"),
    ({"more": "x"}, "missing or unknown in its header: more"),
    ({"dtype": "float32"}, "is not of float32"),
    ({"config": "{"}, "config: not a config of this version"),
    ({"config": '{"modle": 1}'}, "no such key: modle"),
    ({"skeleton": "[]"}, "skeleton: expected an object"),
    ({"calibration": '{"a": NaN}'}, "calibration: number NaN is not finite"),
  ],
)
def test_a_header_that_says_something_else(files, tmp_path, texts, message):
  path = _rewritten(files, tmp_path, **texts)
  with pytest.raises(ValueError, match=message) as caught:
    pack_file.read(path)
  assert str(caught.value).startswith(f"{path}: ")
  assert "\n" not in str(caught.value)


def test_a_config_of_another_network(files, tmp_path):
  config = json.loads(packed.read(files["float16"])[1]["config"])
  config["model"]["decoder_width"] = 24
  path = _rewritten(files, tmp_path, config=json.dumps(config))
  message = "not weights of the network that its header describes: decoder/"
  with pytest.raises(ValueError, match=message):
    estimator_lib.Estimator.load(path)
  skeleton = json.loads(packed.read(files["float16"])[1]["skeleton"])
  skeleton = {"name": "few", "joints": skeleton["joints"][:5], "pairs": []}
  skeleton["pairs"] = [["left_ear", "right_ear"]]
  text = json.dumps(skeleton | {"limbs": []})
  path = _rewritten(files, tmp_path, skeleton=text)
  with pytest.raises(ValueError, match=r"head/bias is \(17,\), .*\(5,\)"):
    estimator_lib.Estimator.load(path)


def test_no_such_file(tmp_path):
  with pytest.raises(ValueError, match=r"a\.safetensors: no such file"):
    estimator_lib.Estimator.load(tmp_path / "a.safetensors")
  (tmp_path / "a.json").write_text("{}")
  with pytest.raises(ValueError, match=r"packed weights are a file \*\.safe"):
    estimator_lib.Estimator.load(tmp_path / "a.json")


def test_shipped_weights_by_name(files, tiny_run, tmp_path, monkeypatch):
  monkeypatch.setattr(shipped, "FOLDER", tmp_path)
  with pytest.raises(ValueError, match="no weights come with this install"):
    shipped.find()
  with pytest.raises(ValueError, match="x: no such workdir .*by name: none"):
    shipped.find("x")
  for name in (shipped.DEFAULT, "large"):
    shutil.copy(files["float16"], tmp_path / f"{name}.safetensors")
  assert shipped.names() == [shipped.DEFAULT, "large"]
  assert shipped.find() == tmp_path / f"{shipped.DEFAULT}.safetensors"
  assert shipped.find("large") == tmp_path / "large.safetensors"
  assert shipped.find(str(tiny_run)) == tiny_run
  assert shipped.find(files["float32"]) == files["float32"]
  with pytest.raises(ValueError, match="../large: no such workdir"):
    shipped.find("../large")
  # What lies there comes before what is shipped.
  monkeypatch.chdir(tmp_path)
  (tmp_path / "large").mkdir()
  assert str(shipped.find("large")) == "large"
  assert estimator_lib.Estimator.load(shipped.find()).step == 7


def test_another_program_reads_the_file(before, files):
  content = safetensors.numpy.load_file(files["float32"])
  flat = packed.flat(before.params)
  assert content.keys() == flat.keys()
  for name, leaf in flat.items():
    np.testing.assert_array_equal(content[name], leaf)
  raw = files["float32"].read_bytes()
  (length,) = struct.unpack("<Q", raw[:8])
  assert length % 8 == 0
  assert json.loads(raw[8 : 8 + length])["__metadata__"]["step"] == "7"
