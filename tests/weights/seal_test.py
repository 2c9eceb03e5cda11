"""Checksums of leaves and files, and the manifest that holds them."""

import json
import zlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffpose_jax.model import sharding
from diffpose_jax.weights import seal

CHECK = 0xCBF43926  # CRC-32 of b"123456789", which defines the kind of CRC


def _sums(tree):
  return seal.leaf_sums(seal.views(tree))


@pytest.fixture
def place(tmp_path):
  """A folder with two files and their manifest."""
  (tmp_path / "state" / "d").mkdir(parents=True)
  (tmp_path / "state" / "d" / "data").write_bytes(b"123456789")
  (tmp_path / "state" / "_METADATA").write_bytes(bytes(range(200)) * 53)
  leaves = {"a/b": {"shape": [9], "dtype": "uint8", "crc32": CHECK}}
  about = {"config": "c0ffee", "data": ["one", "two"]}
  seal.write(tmp_path, step=7, quality=0.5, about=about, leaves=leaves)
  return tmp_path


def test_a_leaf_is_summed_as_its_bytes():
  values = jnp.asarray(np.frombuffer(b"123456789", np.uint8))
  assert _sums({"a": {"b": values}}) == {
    "a/b": {"shape": [9], "dtype": "uint8", "crc32": CHECK}
  }
  # Little-endian; a scalar; 16 bits; nothing at all.
  one = {"x": jnp.float32(1), "y": jnp.ones(3, jnp.bfloat16), "z": jnp.ones(0)}
  assert {k: v["crc32"] for k, v in _sums(one).items()} == {
    "x": zlib.crc32(b"\0\0\x80\x3f"),
    "y": zlib.crc32(b"\x80\x3f" * 3),
    "z": 0,
  }


def test_the_spread_over_devices_does_not_matter():
  values = np.random.default_rng(0).normal(size=(16, 7, 3)).astype(np.float32)
  expected = zlib.crc32(values.tobytes())
  mesh = jax.make_mesh((4, 2), ("data", "more"))
  spec = jax.sharding.PartitionSpec
  places = [
    jax.devices()[5],
    sharding.replicated(sharding.mesh()),
    sharding.split(sharding.mesh()),
    jax.sharding.NamedSharding(mesh, spec("more")),
    jax.sharding.NamedSharding(mesh, spec(("more", "data"))),
  ]
  for where in places:
    found = _sums({"a": jax.device_put(values, where)})["a"]
    assert found == {
      "shape": [16, 7, 3],
      "dtype": "float32",
      "crc32": expected,
    }


def test_what_becomes_of_an_array_later_does_not_matter():
  for where in (jax.devices()[0], sharding.split(sharding.mesh())):
    array = jax.device_put(np.arange(40, dtype=np.float32), where)
    expected = zlib.crc32(np.arange(40, dtype=np.float32).tobytes())
    seen = seal.views({"a": array})
    step = jax.jit(lambda v: v * 0 - 1, donate_argnums=0)
    jax.block_until_ready(step(array))
    assert seal.leaf_sums(seen)["a"]["crc32"] == expected


def test_the_manifest_says_all(place):
  content = seal.read(place)
  assert content["step"] == 7 and content["quality"] == 0.5
  assert content["format"] == 1 and content["code"]
  assert content["about"] == {"config": "c0ffee", "data": ["one", "two"]}
  assert content["leaves"]["a/b"]["crc32"] == CHECK
  assert content["files"] == {
    "state/_METADATA": {
      "bytes": 10600,
      "crc32": zlib.crc32(bytes(range(200)) * 53),
    },
    "state/d/data": {"bytes": 9, "crc32": CHECK},
  }
  seal.check_files(place, content)
  assert sorted(p.name for p in place.iterdir()) == ["manifest.json", "state"]


def test_every_flipped_bit_of_the_manifest_is_seen(place, states):
  path = place / seal.NAME
  size = path.stat().st_size
  for position in range(size):
    for bit in (position % 8, 5):  # 5: upper and lower case
      states.flip(path, position, bit)
      with pytest.raises(seal.Damaged, match="manifest.json"):
        seal.read(place)
      states.flip(path, position, bit)
  for cut in (0, 1, size // 2, size - 1):
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(seal.Damaged, match="manifest.json"):
      seal.read(place)
  path.unlink()
  with pytest.raises(seal.Damaged, match="manifest.json: missing"):
    seal.read(place)


def _hole(content):
  return content[:4] + bytes(len(content) - 4)


@pytest.mark.parametrize("name", ["state/_METADATA", "state/d/data"])
@pytest.mark.parametrize(
  ("change", "told"),
  [
    (lambda c: c[:-1] + bytes([c[-1] ^ 128]), "its bytes changed"),
    (_hole, "its bytes changed"),
    (lambda c: c[::-1], "its bytes changed"),
    (lambda c: c[:-1], "bytes instead of"),
    (lambda c: c + b"\0", "bytes instead of"),
    (lambda c: b"", "has 0 bytes instead of"),
    (lambda c: None, "No such file"),
  ],
)
def test_a_file_that_is_not_as_written_is_named(place, name, change, told):
  content = change((place / name).read_bytes())
  if content is None:
    (place / name).unlink()
  else:
    (place / name).write_bytes(content)
  with pytest.raises(seal.Damaged, match=f"{name}: .*{told}"):
    seal.check_files(place, seal.read(place))


def test_files_that_are_not_its_own_do_not_matter(place):
  (place / "state" / ".nfs0001").write_bytes(b"?")
  seal.check_files(place, seal.read(place))


def test_a_changed_leaf_is_named(place):
  values = np.frombuffer(b"123456789", np.uint8).copy()
  content = seal.read(place)
  seal.check_leaves(place, content, {"a": {"b": jnp.asarray(values)}})
  for position in range(9):
    for bit in range(8):
      values[position] ^= 1 << bit
      with pytest.raises(seal.Damaged, match="a/b is not what was saved"):
        seal.check_leaves(place, content, {"a": {"b": jnp.asarray(values)}})
      values[position] ^= 1 << bit


def _rewrite(place, **changes):
  """The manifest as a version would write it that has these keys."""
  content = seal.read(place) | changes
  (place / seal.NAME).write_text(seal._text(content))


def test_another_format_is_refused_as_such(place):
  _rewrite(place, format=2, code="9.0")
  with pytest.raises(ValueError, match="format 2 of version '9.0'") as caught:
    seal.read(place)
  assert not isinstance(caught.value, seal.Damaged)
  assert "\n" not in str(caught.value) and "use the version" in str(
    caught.value
  )


def test_fields_that_are_not_known_are_refused_as_such(place):
  _rewrite(place, shards=3)
  with pytest.raises(ValueError, match=r"with \['shards'\]") as caught:
    seal.read(place)
  assert not isinstance(caught.value, seal.Damaged)


def test_the_manifest_is_json(place):
  content = json.loads((place / seal.NAME).read_text())
  assert content["content"] == seal.read(place)
