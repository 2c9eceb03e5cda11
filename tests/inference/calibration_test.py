import dataclasses
import json
import math

import numpy as np
import pytest

from diffpose_jax.inference import calibration
from diffpose_jax.inference.calibration import Factors, Joints

PROTOCOL = {
  "weights_sha256": "ab" * 32,
  "steps": 4,
  "samples": 3,
  "flip": False,
  "eta": 0.0,
  "solver": "ddim",
  "adaptive": 0.0,
  "decode": "refine",
}
TRUTH = Factors(2.0, 0.5, 0.0004, 5.0)


def test_likelihood_by_hand():
  joints = Joints(
    error=np.array([[3.0, 4.0]]),
    samples=None,
    heatmap=np.array([4 * np.eye(2)]),
    side=np.array([10.0]),
    peak=np.array([0.5]),
  )
  gauss = Factors(0.0, 1.0, 0.0, math.inf)
  # S = 4 I and error 5: density exp(-25 / 8) / (2 pi 4), times 10² as shares.
  want = 25 / 8 + math.log(2 * math.pi * 4) - 2 * math.log(10)
  assert calibration.nll(joints, gauss) == pytest.approx(want, abs=1e-6)
  # S = (4 + 0.05 * 100) I = 9 I.
  wide = Factors(0.0, 1.0, 0.05, math.inf)
  want = 25 / 18 + math.log(2 * math.pi * 9) - 2 * math.log(10)
  assert calibration.nll(joints, wide) == pytest.approx(want, abs=1e-6)
  # The same: a floor of 0.05 e, of which a peak of 0.5 leaves 0.05.
  high = Factors(0.0, 1.0, 0.05 * math.e, math.inf, peak=2.0)
  assert calibration.nll(joints, high) == pytest.approx(want, abs=1e-6)


@pytest.mark.parametrize("ensemble", [False, True])
def test_without_an_ensemble_only_the_heatmap_is_left(ensemble):
  shapes = np.ones((7, 2, 2))
  joints = Joints(
    np.ones((7, 2)),
    shapes if ensemble else None,
    shapes,
    np.ones(7),
    np.ones(7),
  )
  known = ("samples", "heatmap", "both")
  assert joints.methods == (known if ensemble else ("heatmap",))


def _calibration():
  return calibration.Calibration(
    factors={"samples": TRUTH, "heatmap": Factors(0.0, 1.0, 0.1, math.inf)},
    best="heatmap",
    head=0.15,
    weights_sha256=PROTOCOL["weights_sha256"],
    sampling={key: PROTOCOL[key] for key in calibration.SAMPLING},
    fitted_on={"data": "x", "split": "val", "joints": 500},
  )


def test_it_is_written_and_read_back(tmp_path):
  assert calibration.load(tmp_path, PROTOCOL) is None
  path = _calibration().save(tmp_path)
  assert path == tmp_path / "calibration.json"
  json.loads(path.read_text(), parse_constant=pytest.fail)
  assert calibration.load(tmp_path, PROTOCOL) == _calibration()


@pytest.mark.parametrize(
  ("change", "message"),
  [
    ({"weights_sha256": "cd" * 32}, "of other weights .*abababababab.*cdcdcd"),
    ({"steps": 1}, "fitted with steps 4, not 1"),
    ({"flip": True}, "fitted with flip False, not True"),
  ],
)
def test_another_run_or_way_of_sampling_is_refused(tmp_path, change, message):
  _calibration().save(tmp_path)
  with pytest.raises(ValueError, match=message):
    calibration.load(tmp_path, PROTOCOL | change)


def test_a_damaged_file_is_named(tmp_path):
  path = _calibration().save(tmp_path)
  content = json.loads(path.read_text())
  del content["factors"]["samples"]["tail"]
  path.write_text(json.dumps(content))
  with pytest.raises(ValueError, match="factors: samples: no key 'tail'"):
    calibration.load(tmp_path, PROTOCOL)
  path.write_text("{")
  with pytest.raises(ValueError, match=r"calibration\.json: not JSON"):
    calibration.load(tmp_path, PROTOCOL)


def test_what_is_stated_of_each_joint():
  shape = np.zeros((2, 3, 2, 2))
  shape[..., 0, 0], shape[..., 1, 1] = 4.0, 9.0
  shape[1, 2] = np.nan
  samples = np.zeros((5, 2, 3, 2))
  side = np.array([100.0, 50.0])
  peak = np.full((2, 3), 0.5)
  raw = calibration.state(samples, shape, side, peak, None)
  assert raw.within is None
  np.testing.assert_allclose(raw.scale[0, 0], np.diag([4, 9]), atol=1e-3)
  assert np.isnan(raw.scale[1, 2]).all()
  got = calibration.state(samples, shape, side, peak, _calibration())
  # heatmap + 0.1 side²: 1004 and 1009; 254 and 259.
  np.testing.assert_allclose(got.scale[0, 0], np.diag([1004, 1009]), rtol=1e-4)
  np.testing.assert_allclose(got.scale[1, 0], np.diag([254, 259]), rtol=1e-4)
  assert got.within is not None and np.isnan(got.within[1, 2])
  # Half a head of 15 pixels, and nearly a circle.
  want = 1 - math.exp(-(7.5**2) / (2 * math.sqrt(1004 * 1009)))
  assert got.within[0, 1] == pytest.approx(want, rel=1e-3)
  found = _calibration()
  bent = dataclasses.replace(
    found.factors["heatmap"], stated=(0.0, 0.5), observed=(0.2, 0.6)
  )
  found = dataclasses.replace(found, factors={"heatmap": bent})
  got = calibration.state(samples, shape, side, peak, found)
  assert got.within is not None
  assert got.within[0, 1] == pytest.approx(0.2 + 0.8 * want, rel=1e-3)
  assert calibration.describe(_calibration())["uncertainty"].endswith("heatmap")
  assert "not calibrated" in calibration.describe(None)["uncertainty"]


def test_one_of_an_older_version_knows_neither_peak_nor_curve(tmp_path):
  path = _calibration().save(tmp_path)
  content = json.loads(path.read_text())
  for factors in content["factors"].values():
    for name in ("peak", "stated", "observed"):
      del factors[name]
  for name in ("solver", "adaptive"):
    del content["sampling"][name]
  path.write_text(json.dumps(content))
  found = calibration.load(tmp_path, PROTOCOL)
  assert found is not None and found.factors == _calibration().factors
  with pytest.raises(ValueError, match="fitted with solver ddim, not dpm2m"):
    calibration.load(tmp_path, PROTOCOL | {"solver": "dpm2m"})


def test_an_unfit_calibration_is_told_and_not_used(tmp_path):
  assert calibration.find(tmp_path, PROTOCOL) == (None, [])
  _calibration().save(tmp_path)
  assert calibration.find(tmp_path, PROTOCOL) == (_calibration(), [])
  found, (warning,) = calibration.find(tmp_path, PROTOCOL | {"steps": 1})
  assert found is None and "not calibrated" in warning
