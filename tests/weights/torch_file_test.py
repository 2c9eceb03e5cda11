"""PyTorch files without PyTorch: the true form, and files that are neither.

`make_torch_files.py` wrote the files by PyTorch itself.
"""

import collections
import os
import pathlib
import pickle
import random
import shutil
import struct
import subprocess
import sys
import zipfile

import ml_dtypes
import numpy as np
import pytest

from diffpose_jax.weights import tensors, torch_file

FILES = pathlib.Path(__file__).with_name("torch_files")


def expected():
  """What make_torch_files.py saved, said with NumPy."""
  whole = np.arange(30, dtype=np.float32).reshape(5, 6) / 8
  row = np.arange(7)
  return {
    "whole": whole,
    "transposed": whole.T,
    "part": whole[1:4, 2:5],
    "parameter": -whole,
    "half": (row / 4).astype(np.float16),
    "bfloat16": (row / 4).astype(ml_dtypes.bfloat16),
    "double": row / 3,
    "int64": row - 3,
    "int32": (row - 3).astype(np.int32),
    "int16": (row - 3).astype(np.int16),
    "int8": (row - 3).astype(np.int8),
    "uint8": row.astype(np.uint8),
    "bool": row % 2 == 0,
    "scalar": np.array(11),
    "empty": np.zeros((0, 3), np.float32),
    "every_third": np.arange(20, dtype=np.float32)[1::3],
  }


def same(read, wanted):
  assert read.keys() == wanted.keys()
  for name, array in wanted.items():
    assert read[name].dtype == array.dtype, name
    np.testing.assert_array_equal(read[name], array, err_msg=name)


@pytest.mark.parametrize("name", ["training", "training_old", "protocol4"])
def test_a_training_state(name):
  wrapper, read = torch_file.read(FILES / f"{name}.pth")
  assert wrapper == "state_dict"
  same(read, expected())


@pytest.mark.parametrize("name", ["module", "module_old"])
def test_a_state_dict_with_attributes(name):
  wrapper, read = torch_file.read(FILES / f"{name}.pth")
  assert wrapper == ""
  full = lambda shape, value: np.full(shape, value, np.float32)  # noqa: E731
  wanted = {
    "0.weight": full((2, 3), 1),
    "0.bias": full(2, 2),
    "1.weight": full(2, 3),
    "1.bias": full(2, 4),
    "1.running_mean": full(2, 5),
    "1.running_var": full(2, 6),
    "1.num_batches_tracked": np.array(7),
  }
  same(read, wanted)


@pytest.mark.filterwarnings("default")  # PyTorch may warn
def test_with_pytorch_itself(tmp_path):
  """Files that the installed PyTorch writes now, not a year ago."""
  torch = pytest.importorskip("torch", reason="needs PyTorch")
  script = pathlib.Path(__file__).with_name("make_torch_files.py")
  subprocess.run([sys.executable, script, tmp_path], check=True)
  files = sorted(tmp_path.glob("*.pth"))
  assert len(files) == 5
  for path in files:
    # PyTorch's own restricted reader does not know protocol 4.
    content = torch.load(path, weights_only=path.stem != "protocol4")
    content = content.get("state_dict", content)
    _, read = torch_file.read(path)
    assert read.keys() == content.keys()
    for name, tensor in content.items():
      values = tensor.detach()
      if values.dtype == torch.bfloat16:
        array = values.view(torch.int16).numpy().view(ml_dtypes.bfloat16)
      else:
        array = values.numpy()
      assert read[name].dtype == array.dtype
      assert read[name].shape == array.shape
      assert read[name].tobytes() == array.tobytes()


# --- Files made by hand: what PyTorch writes, and what it does not.


def text(value):
  """The instructions of a pickle for a text, or a number below 256."""
  if isinstance(value, int):
    return b"K" + bytes([value])
  return b"X" + struct.pack("<I", len(value)) + value.encode()


def pickled(key="0", count=6, kind="FloatStorage", form=b"", extra=b""):
  """A pickle of a tensor "w" of 2x3, the whole of a storage."""
  storage = text("storage") + f"ctorch\n{kind}\n".encode() + text(key)
  storage = b"(" + storage + text("cpu") + text(count) + form + b"tQ"
  shape = b"K\x00" + b"K\x02K\x03\x86" + b"K\x03K\x01\x86"
  call = b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage + shape
  return b"\x80\x02}" + text("w") + call + b"\x89}tRs" + extra + b"."


TENSOR = {"w": np.arange(6, dtype=np.float32).reshape(2, 3)}


def archive(path, data, storages=None, compression=zipfile.ZIP_STORED):
  """A zip in PyTorch's form around a pickle."""
  values = np.arange(6, dtype=np.float32).tobytes()
  storages = {"0": values} if storages is None else storages
  with zipfile.ZipFile(path, "w", compression) as file:
    file.writestr("archive/data.pkl", data)
    file.writestr("archive/byteorder", "little")
    for key, content in storages.items():
      file.writestr(f"archive/data/{key}", content)
    file.writestr("archive/version", "3\n")
  return path


def refused(path, says):
  with pytest.raises(ValueError, match=says) as caught:
    torch_file.read(path)
  message = str(caught.value)
  assert message.startswith(f"{path}: ")
  assert "\n" not in message
  return message


def test_the_hand_made_form_is_read(tmp_path):
  same(torch_file.read(archive(tmp_path / "a.pth", pickled()))[1], TENSOR)


@pytest.mark.parametrize(
  ("storage", "says"),
  [
    (dict(count=7), "storage '0' is not there, or not of the bytes stated"),
    (dict(kind="HalfStorage"), "not of the bytes stated"),
    (dict(key="1"), "storage '1' is not there"),
    (dict(key="../data/0"), "storage '../data/0' is not there"),
    (dict(form=text("view")), "no storage"),
  ],
)
def test_a_storage_that_cannot_be(tmp_path, storage, says):
  refused(archive(tmp_path / "a.pth", pickled(**storage)), says)


def test_things_beside_the_weights(tmp_path):
  """Plain ones are left out; in a state dict they do not belong."""
  extra = text("epoch") + b"K\x03s" + text("config") + b"]s"
  path = archive(tmp_path / "a.pth", pickled(extra=extra))
  same(torch_file.read(path)[1], TENSOR)
  inner = pickled(extra=extra).removeprefix(b"\x80\x02").removesuffix(b".")
  data = b"\x80\x02}" + text("state_dict") + inner + b"s."
  refused(archive(path, data), "state_dict holds 'epoch', which is not a ten")


def test_no_tensors(tmp_path):
  refused(archive(tmp_path / "a.pth", b"\x80\x02}."), "no tensors by name")
  refused(archive(tmp_path / "a.pth", b"\x80\x02]."), "one list, no tensors")


def system(command):
  """Instructions that call a program, put beside the tensor."""
  return text("x") + b"cos\nsystem\n" + text(command) + b"\x85Rs"


@pytest.mark.parametrize("old", [False, True])
def test_code_is_never_run(tmp_path, old):
  path, canary = tmp_path / "a.pth", tmp_path / "canary"
  form = b"N" if old else b""
  data = pickled(form=form, extra=system(f"touch {canary}"))
  if old:
    path.write_bytes(rows(data))
  else:
    archive(path, data)
  says = "holds os.system, which is not a tensor; nothing of it was run"
  refused(path, says)
  assert not canary.exists()


class Bomb:
  """What a real attack looks like: pickled by Python itself."""

  def __init__(self, command):
    self.command = command

  def __reduce__(self):
    return os.system, (self.command,)


@pytest.mark.parametrize("protocol", [0, 1, 2, 3, 4, 5])
def test_a_real_attack(tmp_path, protocol):
  canary = tmp_path / "canary"
  data = pickle.dumps({"w": Bomb(f"touch {canary}")}, protocol)
  says = "posix.system|instruction" if protocol < 2 else "holds posix.system"
  refused(archive(tmp_path / "a.pth", data), says)
  (tmp_path / "b.pth").write_bytes(data)
  with pytest.raises(ValueError):
    torch_file.read(tmp_path / "b.pth")
  assert not canary.exists()
  pickle.loads(data)  # The attack is one.
  assert canary.exists()


# --- The zip around it.


def test_a_packed_member(tmp_path):
  path = archive(
    tmp_path / "a.pth",
    pickled(),
    compression=zipfile.ZIP_DEFLATED,
  )
  refused(path, "is packed or encrypted")


def test_a_big_endian_file(tmp_path):
  path = archive(tmp_path / "a.pth", pickled())
  path.write_bytes(path.read_bytes().replace(b"little", b"biggie"))
  refused(path, "damaged|big-endian")


def test_a_zip_without_a_pickle(tmp_path):
  path = tmp_path / "a.pth"
  with zipfile.ZipFile(path, "w") as file:
    file.writestr("archive/data/0", b"1234")
  refused(path, "a zip without one data.pkl")


def test_a_zip_with_two_pickles(tmp_path):
  path = tmp_path / "a.pth"
  with zipfile.ZipFile(path, "w") as file:
    file.writestr("a/data.pkl", pickled())
    file.writestr("b/data.pkl", pickled())
  refused(path, "a zip without one data.pkl")


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_member_twice(tmp_path):
  path = tmp_path / "a.pth"
  with zipfile.ZipFile(path, "w") as file:
    for _ in range(2):
      file.writestr("a/data.pkl", pickled())
  refused(path, "there twice")


def test_other_files(tmp_path):
  for i, data in enumerate((b"", b"P", b"<html>", b"PK\x03\x04", b"\x80\x02")):
    path = tmp_path / f"{i}.pth"
    path.write_bytes(data)
    refused(path, ".")


def test_a_file_that_is_not_there(tmp_path):
  with pytest.raises(OSError, match="a.pth"):
    torch_file.read(tmp_path / "a.pth")


def rows(data, keys=("0",)):
  """The older form around a pickle."""
  system = {"protocol_version": 1001, "little_endian": True, "type_sizes": {}}
  parts = [pickle.dumps(x, 2) for x in (torch_file.MAGIC, 1001, system)]
  parts += [data, pickle.dumps(list(keys), 2)]
  for _ in keys:
    parts += [struct.pack("<q", 6), TENSOR["w"].tobytes()]
  return b"".join(parts)


def test_the_older_form_by_hand(tmp_path):
  path = tmp_path / "a.pth"
  for form in (b"", b"N"):
    path.write_bytes(rows(pickled(form=form)))
    same(torch_file.read(path)[1], TENSOR)


@pytest.mark.parametrize(
  ("data", "says"),
  [
    (rows(pickled(), keys=()), "list of storages"),
    (rows(pickled(), keys=("0", "1")), "list of storages"),
    (rows(pickled(count=7)), "ends early, or is damaged"),
    (rows(pickled(count=250)), "larger than the file"),
    (rows(pickled())[:-1], "ends early"),
    (pickle.dumps(7, 2) + rows(pickled()), "a pickle of something else"),
    (pickle.dumps(torch_file.MAGIC, 2), "pickle exhausted"),
  ],
)
def test_the_older_form_damaged(tmp_path, data, says):
  path = tmp_path / "a.pth"
  path.write_bytes(data)
  refused(path, says)


def test_the_older_form_of_another_machine(tmp_path):
  path = tmp_path / "a.pth"
  data = rows(pickled())
  key = b"little_endian"
  value = data.index(key) + len(key) + 2  # a memo, then True
  assert data[value : value + 1] == b"\x88"
  path.write_bytes(data[:value] + b"\x89" + data[value + 1 :])
  refused(path, "big-endian")


# --- Damage anywhere: one clear error, or what was saved.


@pytest.mark.parametrize("name", ["training", "training_old", "protocol4"])
def test_truncated_anywhere(tmp_path, name):
  data = (FILES / f"{name}.pth").read_bytes()
  path = tmp_path / "a.pth"
  for length in [*range(0, len(data), 61), len(data) - 1]:
    path.write_bytes(data[:length])
    refused(path, ".")


@pytest.mark.parametrize("name", ["training", "training_old", "module"])
def test_flipped_bits_raise_nothing_else(tmp_path, name):
  """The older form has no checksums: there, other numbers may come back."""
  path = tmp_path / "a.pth"
  data = (FILES / f"{name}.pth").read_bytes()
  rng = random.Random(name)
  wanted = torch_file.read(FILES / f"{name}.pth")[1]
  seen = collections.Counter()
  for _ in range(600):
    damaged = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 5))):
      damaged[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    path.write_bytes(damaged)
    try:
      read = torch_file.read(path)[1]
    except ValueError:
      seen["refused"] += 1
      continue
    seen["read"] += 1
    if name != "training_old":  # Bytes between the members mean nothing.
      same(read, wanted)
  assert seen["refused"] > 120


def test_names_of_files(tmp_path):
  for suffix in (".pt", ".bin"):
    path = tmp_path / f"a{suffix}"
    shutil.copy(FILES / "module.pth", path)
    assert "0.weight" in tensors.read(path)
