"""Weights in one file: what comes back, and every way not to be that file."""

import hashlib
import json
import struct

import jax
import numpy as np
import pytest
import safetensors.numpy

from diffpose_jax.model import sharding
from diffpose_jax.weights import packed

LEAVES = {
  "vit/norm/scale": np.arange(5, dtype=np.float16) / 7,
  "a/kernel": np.arange(6, dtype=np.float16).reshape(2, 3) - 3,
  "empty": np.zeros((0, 3), np.float16),
}
TEXTS = {"step": "7", "config": '{"a": "ü"}'}


@pytest.fixture
def path(tmp_path):
  packed.write(tmp_path / "a.safetensors", LEAVES, TEXTS)
  return tmp_path / "a.safetensors"


def refused(path, message):
  with pytest.raises(ValueError, match=message) as caught:
    packed.read(path)
  assert str(caught.value).startswith(f"{path}: ")
  assert "\n" not in str(caught.value)


def header(raw):
  """The header's JSON and where the tensors begin."""
  (length,) = struct.unpack("<Q", raw[:8])
  return json.loads(raw[8 : 8 + length]), 8 + length


def remade(path, content, data):
  """The file with another header."""
  text = json.dumps(content).encode()
  path.write_bytes(struct.pack("<Q", len(text)) + text + data)


def test_it_comes_back(path):
  leaves, texts = packed.read(path)
  assert texts == TEXTS
  assert leaves.keys() == LEAVES.keys()
  for name, leaf in LEAVES.items():
    assert leaves[name].dtype == leaf.dtype
    np.testing.assert_array_equal(leaves[name], leaf)
  (path.parent / "b").touch()
  assert path.stat().st_mode == (path.parent / "b").stat().st_mode


def test_same_weights_are_the_same_bytes(path, tmp_path):
  backwards = dict(reversed(LEAVES.items())), dict(reversed(TEXTS.items()))
  packed.write(tmp_path / "b.safetensors", *backwards)
  assert (tmp_path / "b.safetensors").read_bytes() == path.read_bytes()
  assert sorted(p.name for p in tmp_path.iterdir()) == [
    "a.safetensors",
    "b.safetensors",
  ]


def test_the_digest_by_hand(path):
  raw = path.read_bytes()
  content, start = header(raw)
  texts = content["__metadata__"]
  assert texts.keys() == {*TEXTS, "program", "format_version", "sha256"}
  said = b"text 6 11 config{" + '"a": "ü"}'.encode()
  said += b"text 14 1 format_version1text 7 12 programdiffpose_jax"
  said += b"text 4 1 step7"
  said += b"leaf 8 a/kernel float16 (2, 3) " + raw[start : start + 12]
  said += b"leaf 5 empty float16 (0, 3) "
  said += b"leaf 14 vit/norm/scale float16 (5,) " + raw[start + 12 :]
  assert texts["sha256"] == hashlib.sha256(said).hexdigest()


def test_every_damaged_byte_is_found(path):
  good = path.read_bytes()
  for place in range(len(good)):
    path.write_bytes(
      good[:place] + bytes([good[place] ^ 1]) + good[place + 1 :]
    )
    with pytest.raises(ValueError) as caught:
      packed.read(path)
    assert str(caught.value).startswith(f"{path}: "), place


@pytest.mark.parametrize("length", [0, 5, 8, 40, -20, -1])
def test_a_truncated_file(path, length):
  path.write_bytes(path.read_bytes()[:length])
  refused(path, "truncated, damaged, or not a safetensors file")


def test_a_file_with_something_behind_it(path):
  path.write_bytes(path.read_bytes() + b"x")
  refused(path, "truncated, damaged")


def test_a_newer_format(path):
  content, start = header(path.read_bytes())
  content["__metadata__"]["format_version"] = "2"
  remade(path, content, path.read_bytes()[start:])
  refused(path, "of format 2, this version reads 1: update")


def test_weights_of_others(path):
  safetensors.numpy.save_file(LEAVES, path)
  refused(path, "not weights that `pack` wrote; public weights .*init_from")


def test_a_leaf_of_another_dtype(path):
  leaves = LEAVES | {"a/kernel": np.arange(6)}
  texts = {"program": packed.PROGRAM, "format_version": "1"}
  told = texts | {"sha256": packed.digest(leaves, texts)}
  safetensors.numpy.save_file(leaves, path, metadata=told)
  refused(path, "a/kernel is of int64")


def test_names_that_cannot_be(path, tmp_path):
  with pytest.raises(ValueError, match="packed weights are a file"):
    packed.write(tmp_path / "a.npz", LEAVES, TEXTS)
  (tmp_path / "b.safetensors").mkdir()
  with pytest.raises(ValueError, match="is a folder"):
    packed.write(tmp_path / "b.safetensors", LEAVES, TEXTS)
  refused(tmp_path / "c.safetensors", "no such file")


def test_a_failed_write_leaves_the_old_file(path, monkeypatch):
  good = path.read_bytes()

  def full(*_):
    raise OSError(28, "No space left on device")

  monkeypatch.setattr(packed.converted.os, "fsync", full)
  with pytest.raises(OSError, match="No space"):
    packed.write(path, {"b": np.ones(3, np.float16)}, {})
  assert path.read_bytes() == good
  assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_rounding():
  values = np.array([1, 1 + 2**-11, 65504, 1e-9], np.float32)
  tree = {"a": {"b": values}, "c": np.array([[2]], np.float32)}
  leaves = packed.rounded(tree, "float16")
  # 1 + 2^-11 lies half-way to the next, and goes to the even one.
  np.testing.assert_array_equal(
    leaves["a/b"], np.array([1, 1, 65504, 0], np.float16)
  )
  assert leaves["c"].shape == (1, 1)
  np.testing.assert_array_equal(packed.rounded(tree, "float32")["a/b"], values)
  assert packed.size(leaves) == (5, 10)
  with pytest.raises(ValueError, match="dtype is 'int8', must be one of"):
    packed.rounded(tree, "int8")


@pytest.mark.parametrize(
  ("value", "message"),
  [
    (
      np.array([70000], np.float32),
      "a holds numbers that .* in float16; .*=float32",
    ),
    (
      np.array([np.nan], np.float32),
      "a holds numbers that are not finite; take an earl",
    ),
    (np.array([1], np.int32), "a is of int32; only float32 is packed"),
  ],
)
def test_what_cannot_be_rounded(value, message):
  with pytest.raises(ValueError, match=message):
    packed.rounded({"a": value}, "float16")


def _like(**shapes):
  place = sharding.replicated(sharding.mesh())
  return {
    "a": {
      name: jax.ShapeDtypeStruct(shape, np.float32, sharding=place)
      for name, shape in shapes.items()
    }
  }


def test_parameters_are_placed_in_float32(path):
  leaves = {"a/kernel": LEAVES["a/kernel"]}
  like = _like(kernel=(2, 3))
  found = packed.params(path, leaves, like)["a"]["kernel"]
  assert found.dtype == np.float32
  assert found.sharding == like["a"]["kernel"].sharding
  np.testing.assert_array_equal(found, [[-3, -2, -1], [0, 1, 2]])


@pytest.mark.parametrize(
  ("shapes", "message"),
  [
    ({"kernel": (3, 2)}, r"a/kernel is \(2, 3\), the network's is \(3, 2\)"),
    ({"kernel": (2, 3), "bias": (3,)}, "a/bias is absent, the network's"),
    ({}, r"a/kernel is \(2, 3\), the network's is absent"),
    ({f"b{i}": (1,) for i in range(6)}, r"a/b2 is .* and 4 more; pack it"),
  ],
)
def test_parameters_of_another_network(path, shapes, message):
  with pytest.raises(ValueError, match=message):
    packed.params(path, {"a/kernel": LEAVES["a/kernel"]}, _like(**shapes))
