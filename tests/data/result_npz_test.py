import json

import numpy as np
import pytest

from diffpose_jax.data import result_npz


@pytest.mark.parametrize("samples", [False, True])
def test_poses_come_back(tmp_path, recorded, samples):
  path = tmp_path / "new" / "walk.npz"
  result_npz.write(path, recorded.head, recorded.frames, samples=samples)
  head, frames = result_npz.read(path)
  assert head == recorded.head
  recorded.check(frames, samples=samples)


def test_numpy_opens_it_without_pickle(tmp_path, recorded):
  path = tmp_path / "walk.npz"
  result_npz.write(path, recorded.head, recorded.frames)
  with np.load(path, allow_pickle=False) as file:
    found = {name: file[name] for name in file.files}
  assert "samples_px" not in found
  assert all(array.dtype.kind in "iufU" for array in found.values())
  assert found["joint_names"].tolist() == list(recorded.head.skeleton.joints)
  assert found["file_name"].tolist() == [f.file_name for f in recorded.frames]
  assert found["limbs"].tolist() == [
    list(limb) for limb in recorded.head.skeleton.limbs
  ]
  assert json.loads(str(found["head"]))["protocol"]["steps"] == 4


def test_a_file_that_is_none_is_refused(tmp_path, recorded):
  path = tmp_path / "walk.npz"
  with pytest.raises(ValueError, match="walk.npz: no such file"):
    result_npz.read(path)
  path.write_bytes(b"nothing")
  with pytest.raises(ValueError, match="walk.npz: no NPZ file, or damaged"):
    result_npz.read(path)
  result_npz.write(path, recorded.head, recorded.frames)
  data = bytearray(path.read_bytes())
  data[len(data) // 2] ^= 1  # of an array: the checksum of the member tells
  path.write_bytes(data)
  with pytest.raises(ValueError, match="walk.npz: no NPZ file, or damaged"):
    result_npz.read(path)
  np.savez(path, joints=np.zeros(3))
  with pytest.raises(ValueError, match="walk.npz: no 'head' in it"):
    result_npz.read(path)
