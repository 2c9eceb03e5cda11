import sys

import numpy as np
import pytest

from diffpose_jax.data import result_hdf5


@pytest.fixture
def h5py():
  return pytest.importorskip("h5py", reason="the extra `hdf5` is not installed")


@pytest.mark.parametrize("samples", [False, True])
def test_poses_come_back(h5py, tmp_path, recorded, samples):
  path = tmp_path / "new" / "walk.h5"
  result_hdf5.write(path, recorded.head, recorded.frames, samples=samples)
  head, frames = result_hdf5.read(path)
  assert head == recorded.head
  recorded.check(frames, samples=samples)


def test_arrays_tell_what_they_are(h5py, tmp_path, recorded):
  path = tmp_path / "walk.h5"
  result_hdf5.write(path, recorded.head, recorded.frames)
  with h5py.File(path) as file:
    assert dict(file.attrs) == {"format": "diffpose_jax poses", "version": 1}
    joints = file["joints_px"]
    assert (joints.shape, joints.dtype) == ((7, 17, 2), np.float32)
    assert joints.attrs["unit"] == "pixel"
    assert "NaN: never learned" in joints.attrs["about"]
    assert file["covariance_px2"].attrs["unit"] == "pixel^2"
    assert file["time_s"].attrs["unit"] == "second"
    assert file["file_name"].asstr()[1] == "000001.jpg"


def test_a_file_that_is_none_is_refused(h5py, tmp_path):
  path = tmp_path / "walk.h5"
  with pytest.raises(ValueError, match="walk.h5: no such file"):
    result_hdf5.read(path)
  path.write_bytes(b"nothing")
  with pytest.raises(ValueError, match="walk.h5: no HDF5 file, or damaged"):
    result_hdf5.read(path)
  with h5py.File(path, "w") as file:
    file["joints"] = np.zeros(3)
  with pytest.raises(ValueError, match="walk.h5: no 'head' in it"):
    result_hdf5.read(path)


def test_without_the_package_there_is_a_remedy(tmp_path, recorded, monkeypatch):
  monkeypatch.setitem(sys.modules, "h5py", None)
  for run in (
    lambda: result_hdf5.write(tmp_path / "a.h5", recorded.head, ()),
    lambda: result_hdf5.read(tmp_path / "a.h5"),
  ):
    with pytest.raises(ValueError, match=r"install 'diffpose-jax\[hdf5\]'"):
      run()
  assert list(tmp_path.iterdir()) == []
