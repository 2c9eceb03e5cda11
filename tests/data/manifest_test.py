"""A prepared folder that changed is found, and the file is named."""

import hashlib
import json

import pytest

from diffpose_jax.data import manifest, prepare, prepared

ABOUT = {
  "dataset": "posetrack18",
  "source": "f00d",
  "labels": {"val": "as given"},
  "missing": {"val": 3},
  "skipped": [],
}


@pytest.fixture
def folder(tmp_path):
  (tmp_path / "a.bin").write_bytes(b"12345")
  (tmp_path / "b.txt").write_bytes(b"")
  manifest.write(tmp_path, **ABOUT)
  return tmp_path


def test_the_manifest_says_what_was_written(folder):
  content = manifest.read(folder)
  assert content == ABOUT | {
    "files": {
      "a.bin": {"bytes": 5, "sha256": hashlib.sha256(b"12345").hexdigest()},
      "b.txt": {"bytes": 0, "sha256": hashlib.sha256(b"").hexdigest()},
    }
  }
  manifest.check_sizes(folder)
  seen = []
  manifest.check(folder, progress=seen.append)
  assert seen == ["a.bin", "b.txt"]


@pytest.mark.parametrize(
  ("spoil", "message"),
  [
    (lambda f: (f / "a.bin").write_bytes(b"1234"), "a.bin: has 4 bytes"),
    (lambda f: (f / "a.bin").write_bytes(b"123456"), "a.bin: has 6 bytes"),
    (lambda f: (f / "b.txt").unlink(), "b.txt: is missing"),
    (lambda f: (f / "c").write_bytes(b""), "c: does not belong"),
    (lambda f: (f / "prepared.json").write_text("{"), "prepared.json"),
    (lambda f: (f / "prepared.json").write_text("{}"), "prepare the data"),
  ],
)
def test_lost_cut_and_added_files_are_named(folder, spoil, message):
  spoil(folder)
  for examine in (manifest.check_sizes, manifest.check):
    with pytest.raises(ValueError, match=message):
      examine(folder)


def test_a_changed_byte_is_found_by_reading(folder):
  (folder / "a.bin").write_bytes(b"12645")
  manifest.check_sizes(folder)
  with pytest.raises(ValueError, match=r"a\.bin: its bytes changed"):
    manifest.check(folder)


def test_a_folder_without_a_manifest(tmp_path):
  assert manifest.read(tmp_path) is None
  manifest.check_sizes(tmp_path)
  with pytest.raises(ValueError, match="no prepared.json"):
    manifest.check(tmp_path)


@pytest.mark.parametrize("kind", ["array_record", "npz"])
def test_every_flipped_bit_of_a_prepared_set_is_found(tmp_path, scene, kind):
  scene.write(tmp_path / "source", "val", videos=1, frames=2)
  out = prepare.prepare(
    dataset="posetrack18", source=tmp_path / "source", out=tmp_path / "out"
  )
  prepare.verify(out)
  path = next(p for p in out.iterdir() if kind in p.name)
  whole = path.read_bytes()
  for at in range(0, len(whole), len(whole) // 20):
    path.write_bytes(
      whole[:at] + bytes([whole[at] ^ 1 << at % 8]) + whole[at + 1 :]
    )
    with pytest.raises(ValueError, match=path.name):
      manifest.check(out)


def test_opening_a_cut_shard_fails_before_any_reading(tmp_path, scene):
  scene.write(tmp_path / "source", "val", videos=1, frames=2)
  out = prepare.prepare(
    dataset="posetrack18", source=tmp_path / "source", out=tmp_path / "out"
  )
  shard = next(p for p in out.iterdir() if "array_record" in p.name)
  shard.write_bytes(shard.read_bytes()[:-100])
  with pytest.raises(ValueError, match=f"{shard.name}: has .* bytes instead"):
    prepared.open_split(out, "val")


def test_a_damaged_set_is_prepared_again(tmp_path, scene, capsys):
  scene.write(tmp_path / "source", "val", videos=1, frames=2)
  where = {"source": tmp_path / "source", "out": tmp_path / "out"}
  out = prepare.prepare(dataset="posetrack18", **where)
  before = json.loads((out / "prepared.json").read_text())
  next(p for p in out.iterdir() if "array_record" in p.name).unlink()
  prepare.prepare(dataset="posetrack18", **where)
  assert "is missing" in capsys.readouterr().out
  after = json.loads((out / "prepared.json").read_text())
  assert after["source"] == before["source"]
  prepare.verify(out)
