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
  "pictures": {"val": "ab12"},
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


def _cut(shard):
  shard.write_bytes(shard.read_bytes()[:-100])


def _shard_of_train(shard):
  """As many bytes, of another number of sound records."""
  other = next(shard.parent.glob("*train.array_record*")).read_bytes()
  assert shard.stat().st_size == len(other)  # ArrayRecord fills blocks
  shard.write_bytes(other)


def _extra(shard):
  name = shard.name.replace("-00000-of-00001", "-00001-of-00002")
  shard.with_name(name).write_bytes(shard.read_bytes())


SHARD = r"posetrack-val\.array_record-0000[01]-of-0000[12]: "


@pytest.mark.parametrize("there", [True, False], ids=["manifest", "without"])
@pytest.mark.parametrize(
  ("spoil", "message", "bare"),
  [
    (_cut, "has .* bytes instead of", "is damaged"),
    (lambda shard: shard.write_bytes(b""), "has 0 bytes", "is damaged"),
    (lambda shard: shard.unlink(), "is missing", "is damaged .*No such file"),
    (_shard_of_train, "has 3 records instead of 2", "has 3 records instead of"),
    (_extra, "does not belong", None),
  ],
)
def test_a_wrong_shard_is_named_when_opening(
  tmp_path, scene, spoil, message, bare, there
):
  """And by `--check`; a set without a manifest is one that TFDS made."""
  scene.write(tmp_path / "source", "train", videos=1, frames=3)
  scene.write(tmp_path / "source", "val", videos=1, frames=2)
  out = prepare.prepare(
    dataset="posetrack18", source=tmp_path / "source", out=tmp_path / "out"
  )
  spoil(next(out.glob("*val.array_record*")))
  if not there:
    (out / "prepared.json").unlink()
  expected = message if there else bare
  if expected:
    with pytest.raises(ValueError, match=SHARD + expected) as caught:
      prepared.open_split(out, "val")
    assert "\n" not in str(caught.value)
  if there:
    with pytest.raises(ValueError, match=SHARD):
      prepare.main(out=out, check=True)


def test_a_wrong_count_of_records_is_named(tmp_path, scene):
  """The file that says how many there are is as long as it was."""
  scene.write(tmp_path / "source", "val", videos=1, frames=2)
  out = prepare.prepare(
    dataset="posetrack18", source=tmp_path / "source", out=tmp_path / "out"
  )
  info = out / "dataset_info.json"
  content = json.loads(info.read_text())
  assert content["splits"][0]["shardLengths"] == ["2"]
  info.write_text(info.read_text().replace('"2"\n', '"3"\n'))
  with pytest.raises(ValueError, match=SHARD + "has 2 records instead of 3"):
    prepared.open_split(out, "val")
  with pytest.raises(
    ValueError, match=r"dataset_info\.json: its bytes changed"
  ):
    prepare.main(out=out, check=True)


def test_a_flipped_bit_is_named_when_its_record_is_read(tmp_path, scene):
  """Opening reads no record; each has a sum of its own."""
  scene.write(tmp_path / "source", "val", videos=1, frames=2)
  out = prepare.prepare(
    dataset="posetrack18", source=tmp_path / "source", out=tmp_path / "out"
  )
  shard = next(out.glob("*val.array_record*"))
  whole = shard.read_bytes()
  named = set()
  for at in range(997, 9 * 997, 997):  # about 4000 bytes a record
    shard.write_bytes(whole[:at] + bytes([whole[at] ^ 8]) + whole[at + 1 :])
    split = prepared.open_split(out, "val")
    for row in (0, 1):
      try:
        split.jpeg(row)
      except ValueError as error:
        named.add(str(error).partition(" (Corrupted")[0])
  assert named == {
    f"record of {out} val: images/val/000000_val/00000{i}.jpg: is damaged"
    for i in (0, 1)
  }


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
