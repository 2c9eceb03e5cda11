"""Files of arrays: what comes back, and damaged or strange ones."""

import json
import random
import struct
import zipfile

import ml_dtypes
import numpy as np
import pytest
import safetensors.numpy

from diffpose_jax.weights import tensors

ARRAYS = {
  "a/kernel": np.arange(6, dtype=np.float32).reshape(2, 3) / 7,
  "b": np.arange(5, dtype=np.float16),
  "c": np.array(3, np.int64),
}


def same(read, wanted):
  assert read.keys() == wanted.keys()
  for name, array in wanted.items():
    assert read[name].dtype == array.dtype
    np.testing.assert_array_equal(read[name], array)


def refused(path, says="."):
  with pytest.raises(ValueError, match=says) as caught:
    tensors.read(path)
  assert str(caught.value).startswith(f"{path}: ")


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_npz(tmp_path, save):
  path = tmp_path / "a.npz"
  save(path, **ARRAYS, by_column=np.asfortranarray(ARRAYS["a/kernel"]))
  same(tensors.read(path), ARRAYS | {"by_column": ARRAYS["a/kernel"]})


def test_npz_of_bfloat16(tmp_path):
  """NumPy does not know the type and writes two bytes without a meaning."""
  array = np.arange(5).astype(ml_dtypes.bfloat16)
  np.savez(tmp_path / "a.npz", b=array.view("V2"))
  same(tensors.read(tmp_path / "a.npz"), {"b": array})


def test_safetensors(tmp_path):
  path = tmp_path / "a.safetensors"
  arrays = ARRAYS | {"d": np.arange(5).astype(ml_dtypes.bfloat16)}
  safetensors.numpy.save_file(arrays, path)
  same(tensors.read(path), arrays)


class Canary:
  """Writes a file where it is unpickled."""

  def __init__(self, path):
    self.path = path

  def __reduce__(self):
    return open, (str(self.path), "w")


def test_npz_with_pickles(tmp_path):
  path, canary = tmp_path / "a.npz", tmp_path / "canary"
  objects = np.empty(1, object)
  objects[0] = Canary(canary)
  np.savez(path, allow_pickle=True, good=np.ones(3), bad=objects)
  refused(path, "'bad.npy' holds pickled objects, which are not read")
  assert not canary.exists()
  np.load(path, allow_pickle=True)["bad"][0].close()  # It would have been.
  assert canary.exists()


def npy(shape, content, dtype="<f4"):
  """An .npy that states any shape."""
  header = f"{{'descr': '{dtype}', 'fortran_order': False, 'shape': {shape}}}"
  header = header.encode().ljust(117) + b"\n"
  return (
    b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + content
  )


@pytest.mark.parametrize(
  ("name", "content", "says"),
  [
    ("a.npy", npy((1 << 50,), b""), "has not the size it states"),
    ("a.npy", npy((2,), bytes(4)), "has not the size it states"),
    ("a.npy", npy((2,), bytes(12)), "has not the size it states"),
    ("a.npy", npy((-1, -2), bytes(8)), "has not the size it states"),
    ("a.npy", npy((2, "x"), bytes(8)), "damaged"),
    ("a.npy", npy((2,), bytes(8), "O"), "pickled objects"),
    ("a.npy", npy((2,), bytes(8), "wrong"), "damaged"),
    ("a.npy", b"\x93NUMPY\x09\x00", "unknown version"),
    ("a.npy", b"", "damaged"),
    ("a.txt", npy((1,), bytes(4)), "'a.txt' does not belong"),
  ],
)
def test_npz_by_hand(tmp_path, name, content, says):
  path = tmp_path / "a.npz"
  with zipfile.ZipFile(path, "w") as file:
    file.writestr(name, content)
  refused(path, says)


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_npz_with_a_name_twice(tmp_path):
  path = tmp_path / "a.npz"
  with zipfile.ZipFile(path, "w") as file:
    for _ in range(2):
      file.writestr("a.npy", npy((1,), bytes(4)))
  refused(path, "does not belong")


def test_npz_that_unpacks_to_too_much(tmp_path, monkeypatch):
  path = tmp_path / "a.npz"
  np.savez_compressed(path, a=np.zeros(10_000))
  monkeypatch.setattr(tensors, "MAX_BYTES", 50_000)
  refused(path, "bytes unpacked, more than 50000")


def header(content, data=b""):
  text = content if isinstance(content, bytes) else json.dumps(content).encode()
  return struct.pack("<Q", len(text)) + text + data


@pytest.mark.parametrize(
  "content",
  [
    b"",
    b"1234567",
    b"\xff" * 40,
    header(b"not json"),
    header([1]),
    header({"a": {"dtype": "F32", "shape": [3], "data_offsets": [0, 12]}}),
    header(
      {"a": {"dtype": "F32", "shape": [3], "data_offsets": [0, 8]}}, bytes(8)
    ),
    header(
      {"a": {"dtype": "F99", "shape": [3], "data_offsets": [0, 12]}}, bytes(12)
    ),
    header(
      {"a": {"dtype": "F32", "shape": [3], "data_offsets": [4, 16]}}, bytes(16)
    ),
    header(
      {
        name: {"dtype": "F32", "shape": [3], "data_offsets": [0, 12]}
        for name in "ab"
      },
      bytes(12),
    ),
    struct.pack("<Q", 1 << 62) + b"{}",
    b"<html>not found</html>",
  ],
)
def test_safetensors_by_hand(tmp_path, content):
  path = tmp_path / "a.safetensors"
  path.write_bytes(content)
  refused(path, "damaged, or not a safetensors file")


@pytest.mark.parametrize("suffix", [".npz", ".safetensors"])
def test_truncated_and_flipped(tmp_path, suffix):
  """Nothing but ValueError; NumPy's has checksums, so all is as it was."""
  path = tmp_path / f"a{suffix}"
  if suffix == ".npz":
    np.savez(path, **ARRAYS)
  else:
    safetensors.numpy.save_file(ARRAYS, path)
  data = path.read_bytes()
  for length in [*range(0, len(data), 7), len(data) - 1]:
    path.write_bytes(data[:length])
    refused(path)
  rng = random.Random(3)
  refusals = 0
  for _ in range(600):
    damaged = bytearray(data)
    damaged[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    path.write_bytes(damaged)
    try:
      read = tensors.read(path)
    except ValueError:
      refusals += 1
    else:
      if suffix == ".npz":
        assert (
          next(iter(read.values())).tobytes() == ARRAYS["a/kernel"].tobytes()
        )
  assert refusals > 200


def test_another_name(tmp_path):
  path = tmp_path / "a.ckpt"
  path.touch()
  refused(path, "not a file of weights by its name; known are .safetensors")


@pytest.mark.parametrize("suffix", tensors.SUFFIXES)
def test_no_such_file(tmp_path, suffix):
  with pytest.raises(OSError, match=f"a{suffix}"):
    tensors.read(tmp_path / f"a{suffix}")
