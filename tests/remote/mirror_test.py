"""Workdirs and prepared data in a bucket: fsspec's own in memory stands for it."""

import base64
import hashlib
import json
import pathlib
import threading
import time

import fsspec
import pytest

from diffpose_jax.remote import fetch, mirror, places

RUN = "memory://bucket/runs/a"


@pytest.fixture(autouse=True)
def bucket(tmp_path, monkeypatch):
  """An empty one, and a machine that has nothing of it yet."""
  found = fsspec.filesystem("memory")
  found.store.clear()
  found.pseudo_dirs[:] = [""]
  machine(monkeypatch, tmp_path / "one")
  monkeypatch.setattr(mirror, "_PAUSES", (0.0, 0.0))
  yield found
  found.store.clear()


def machine(monkeypatch, folder):
  monkeypatch.setenv("XDG_CACHE_HOME", str(folder))


def names(bucket, root="/bucket/runs/a"):
  return sorted(name.removeprefix(f"{root}/") for name in bucket.find(root))


def write(folder: pathlib.Path, step: int, content: bytes = b"w") -> None:
  place = folder / "checkpoints" / str(step)
  (place / "state").mkdir(parents=True)
  (place / "state" / "0").write_bytes(content)
  (place / "manifest.json").write_text(f"sum of {content!r}")


def test_a_run_goes_on_on_another_machine(bucket, tmp_path, monkeypatch):
  with mirror.mirrored(RUN) as here:
    assert here.is_relative_to(tmp_path / "one")
    write(here, 10, b"ten")
    (here / "metrics.jsonl").write_text("1\n")
    (here / "data").mkdir()
    (here / "data" / "large").write_text("made anew")
    (here / "train.lock").write_text("mine")
    (here / "checkpoints" / "20.diffpose-writing").mkdir()
    (here / "checkpoints" / "20.diffpose-writing" / "part").write_text("half")
  assert names(bucket) == [
    "checkpoints/10/manifest.json",
    "checkpoints/10/state/0",
    "metrics.jsonl",
    "mirror.id",
  ]
  machine(monkeypatch, tmp_path / "two")
  with mirror.mirrored(RUN) as there:
    assert there != here
    assert (there / "checkpoints/10/state/0").read_bytes() == b"ten"
    assert (there / "metrics.jsonl").read_text() == "1\n"
    (there / "metrics.jsonl").write_text("1\n2\n")
    write(there, 30)
  # The first one sees that it is behind, and keeps what it has.
  machine(monkeypatch, tmp_path / "one")
  with mirror.mirrored(RUN) as again:
    assert again == here
    assert (again / "metrics.jsonl").read_text() == "1\n2\n"
    assert (again / "checkpoints/30/manifest.json").exists()
  [aside] = here.parent.glob("a.older-*")
  assert (aside / "data/large").exists()


def test_a_workdir_that_is_ahead_of_its_copy_stays(bucket):
  with mirror.mirrored(RUN) as here:
    write(here, 1)
  write(here, 2)  # and the machine was lost before the update
  with mirror.mirrored(RUN):
    assert (here / "checkpoints/2").is_dir()
  assert "checkpoints/2/manifest.json" in names(bucket)
  assert not list(here.parent.glob("a.older-*"))


def test_steps_that_go_here_go_there_once_the_newer_ones_are(bucket):
  with mirror.mirrored(RUN) as here:
    write(here, 1)
    copy = mirror._Copy(RUN, here)
    copy.update()
    for path in sorted((here / "checkpoints/1").rglob("*"), reverse=True):
      path.rmdir() if path.is_dir() else path.unlink()
    (here / "checkpoints/1").rmdir()
    write(here, 2)
    put = copy._put
    seen = []

    def noted(name):
      seen.append((name, "checkpoints/1/manifest.json" in names(bucket)))
      put(name)

    copy._put = noted
    copy.update()
  assert all(old for name, old in seen if name.startswith("checkpoints/2"))
  steps = [name for name in seen if name[0].startswith("checkpoints/2")]
  assert steps[-1][0].endswith("manifest.json")  # the seal comes last
  assert "checkpoints/1/manifest.json" not in names(bucket)


def test_a_step_that_was_written_again_is_sent_again(bucket):
  with mirror.mirrored(RUN) as here:
    write(here, 1, b"old")
  (here / "checkpoints/1/state/0").write_bytes(b"new")
  (here / "checkpoints/1/manifest.json").write_text("another")
  with mirror.mirrored(RUN):
    pass
  assert bucket.cat("/bucket/runs/a/checkpoints/1/state/0") == b"new"


def test_what_is_sent_already_is_not_sent_again(bucket, monkeypatch):
  with mirror.mirrored(RUN) as here:
    write(here, 1)
    (here / "log").write_text("a")
  sent = []
  put = mirror._Copy._put
  monkeypatch.setattr(
    mirror._Copy,
    "_put",
    lambda self, name: (sent.append(name), put(self, name)),
  )
  with mirror.mirrored(RUN):
    pass
  assert not [name for name in sent if name.startswith("checkpoints")]


def test_another_machine_at_the_run_is_refused(bucket, tmp_path, monkeypatch):
  with mirror.mirrored(RUN):
    machine(monkeypatch, tmp_path / "two")
    with (
      pytest.raises(
        ValueError, match="is at this run, or was 0 s ago; stop it"
      ),
      mirror.mirrored(RUN),
    ):
      raise AssertionError("not reached")
    machine(monkeypatch, tmp_path / "one")
  # One that was lost without a word is waited for, not for ever.
  lease = {"host": "lost", "id": "x", "time": time.time() - 1000}
  bucket.pipe("/bucket/runs/a/mirror.lease", json.dumps(lease).encode())
  with mirror.mirrored(RUN):
    pass


def test_a_run_that_was_killed_goes_on_at_once(bucket, monkeypatch):
  """Its lease is this machine's own."""
  with mirror.mirrored(RUN) as here:
    lease = bucket.cat("/bucket/runs/a/mirror.lease")
    write(here, 4)
  bucket.pipe("/bucket/runs/a/mirror.lease", lease)
  with mirror.mirrored(RUN) as again:
    assert (again / "checkpoints/4").is_dir()


def test_another_process_of_the_machine_is_refused(bucket):
  with (
    mirror.mirrored(RUN),
    pytest.raises(ValueError, match="another process of this machine is at"),
    mirror.mirrored(RUN),
  ):
    raise AssertionError("not reached")


def test_an_update_that_takes_long_shows_that_it_lives(bucket, monkeypatch):
  with mirror.mirrored(RUN) as here:
    before = json.loads(bucket.cat("/bucket/runs/a/mirror.lease"))["time"]
    copy = mirror._Copy(RUN, here)
    copy._beaten = time.monotonic() - 100
    write(here, 1)
    copy.update()
    after = json.loads(bucket.cat("/bucket/runs/a/mirror.lease"))["time"]
  assert after > before


def test_a_run_whose_place_was_taken_is_stopped(bucket, monkeypatch):
  stopped = threading.Event()
  monkeypatch.setattr(mirror.os, "kill", lambda *_: stopped.set())
  monkeypatch.setattr(mirror, "_BEAT", 0.01)

  def run():
    with mirror.mirrored(RUN):
      lease = {"host": "other", "id": "x", "time": time.time()}
      bucket.pipe("/bucket/runs/a/mirror.lease", json.dumps(lease).encode())
      assert stopped.wait(10)

  with pytest.raises(ValueError, match="other is at this run"):
    run()


def test_a_folder_of_something_else_is_refused(bucket):
  bucket.pipe("/bucket/runs/a/thesis.pdf", b"%PDF")
  with (
    pytest.raises(ValueError, match="holds something else; a run needs a fold"),
    mirror.mirrored(RUN),
  ):
    raise AssertionError("not reached")
  assert names(bucket) == ["thesis.pdf"]


def test_another_run_is_refused(bucket):
  with mirror.mirrored(RUN):
    pass
  bucket.pipe("/bucket/runs/a/mirror.id", b"of another")
  with (
    pytest.raises(ValueError, match="hold different runs; move one of them"),
    mirror.mirrored(RUN),
  ):
    raise AssertionError("not reached")


def test_the_copy_is_brought_up_to_date_while_the_run_goes_on(bucket):
  with mirror.mirrored(RUN, every=0.02) as here:
    write(here, 5)
    for _ in range(500):
      if "checkpoints/5/manifest.json" in names(bucket):
        break
      time.sleep(0.02)
    assert "checkpoints/5/manifest.json" in names(bucket)


def test_an_interrupted_run_is_copied(bucket):
  def run():
    with mirror.mirrored(RUN) as here:
      write(here, 7)
      raise KeyboardInterrupt

  with pytest.raises(KeyboardInterrupt):
    run()
  assert "checkpoints/7/manifest.json" in names(bucket)
  assert "mirror.lease" not in names(bucket)


def run_with(bucket, monkeypatch, put):
  """A run of one step, at whose end the bucket takes files by `put`."""
  with mirror.mirrored(RUN) as here:
    write(here, 3)
    monkeypatch.setattr(bucket, "put_file", put)


def test_a_bucket_that_fails_costs_no_step(bucket, monkeypatch):
  def broken(*_, **__):
    raise OSError("no route")

  with pytest.raises(ValueError, match="brought up to date.*copy is older"):
    run_with(bucket, monkeypatch, broken)
  here = places.kept(RUN, "workdirs")
  assert (here / "checkpoints/3/manifest.json").exists()


def test_what_arrives_cut_short_is_not_sealed(bucket, monkeypatch):
  """As one emulator does with a file that ends in a carriage return."""
  put = bucket.put_file

  def cut(local, remote, **more):
    put(local, remote, **more)
    if "/state/" in remote:
      bucket.pipe(f"/{remote.strip('/')}", pathlib.Path(local).read_bytes()[1:])

  with pytest.raises(ValueError, match="state/0 did not arrive as it is: 1 by"):
    run_with(bucket, monkeypatch, cut)
  assert "checkpoints/3/manifest.json" not in names(bucket)


def test_a_copy_that_was_fetched_in_part_is_not_the_run(
  bucket, tmp_path, monkeypatch
):
  """Else a seal without its files would pass, and the whole step be removed."""
  with mirror.mirrored(RUN) as here:
    write(here, 3)
  machine(monkeypatch, tmp_path / "two")
  get = bucket.get_file

  def lost(remote, local, **more):
    if "/state/" in remote:
      raise OSError("no route")
    get(remote, local, **more)

  with monkeypatch.context() as broken:
    broken.setattr(bucket, "get_file", lost)
    with pytest.raises(ValueError, match="no route"):
      mirror.mirrored(RUN).__enter__()
  assert not places.kept(RUN, "workdirs").exists()
  with mirror.mirrored(RUN) as there:
    assert (there / "checkpoints/3/state/0").read_bytes() == b"w"
  assert "checkpoints/3/state/0" in names(bucket)


def test_a_step_that_is_damaged_here_stays_there(bucket):
  with mirror.mirrored(RUN) as here:
    write(here, 3)
    write(here, 6)
  with mirror.mirrored(RUN):
    quarantine = here / "checkpoints/quarantine"
    quarantine.mkdir()
    (here / "checkpoints/6").rename(quarantine / "6-0")
  assert "checkpoints/6/manifest.json" in names(bucket)


def test_one_failure_at_the_end_is_tried_again(bucket, monkeypatch):
  put = bucket.put_file
  failed = []

  def once(local, remote, **more):
    if not failed:
      failed.append(remote)
      raise OSError("reset by peer")
    put(local, remote, **more)

  with mirror.mirrored(RUN) as here:
    write(here, 3)
    monkeypatch.setattr(bucket, "put_file", once)
  assert failed and "checkpoints/3/manifest.json" in names(bucket)


def test_a_folder_is_fetched_once_and_again_where_it_changed(
  bucket, monkeypatch
):
  bucket.pipe("/bucket/data/prepared.json", b"{}")
  bucket.pipe("/bucket/data/train/shard-0", b"0123")
  place = fetch.fetched("memory://bucket/data")
  assert (place / "train/shard-0").read_bytes() == b"0123"
  got = []
  get = bucket.get_file
  monkeypatch.setattr(
    bucket, "get_file", lambda a, b, **k: (got.append(a), get(a, b, **k))
  )
  assert fetch.fetched("memory://bucket/data") == place and not got
  bucket.pipe("/bucket/data/train/shard-0", b"4567")
  bucket.rm("/bucket/data/prepared.json")
  fetch.fetched("memory://bucket/data")
  assert got == ["bucket/data/train/shard-0"]
  assert (place / "train/shard-0").read_bytes() == b"4567"
  assert not (place / "prepared.json").exists()
  (place / "train/shard-0").write_bytes(b"45")  # cut short
  fetch.fetched("memory://bucket/data")
  assert (place / "train/shard-0").read_bytes() == b"4567"


def test_a_file_is_fetched(bucket):
  bucket.pipe("/bucket/w/small.safetensors", b"weights")
  place = fetch.fetched("memory://bucket/w/small.safetensors")
  assert place.name == "small.safetensors"
  assert place.read_bytes() == b"weights"


def test_a_file_that_comes_short_is_not_taken(bucket, monkeypatch):
  bucket.pipe("/bucket/data/a", b"0123")

  def short(_, local, **__):
    pathlib.Path(local).write_bytes(b"01")

  monkeypatch.setattr(bucket, "get_file", short)
  with pytest.raises(
    ValueError, match=r"data/a cannot be read.*2 bytes here, 4 there"
  ):
    fetch.fetched("memory://bucket/data")
  place = places.kept("memory://bucket/data", "fetched")
  assert not [path for path in place.rglob("*") if path.is_file()]


def test_a_file_with_other_bytes_is_not_taken(tmp_path):
  path = tmp_path / "a"
  path.write_bytes(b"0123")
  digest = base64.b64encode(hashlib.md5(b"0123").digest()).decode()
  fetch.check(path, {"size": 4, "md5Hash": digest})
  path.write_bytes(b"0124")
  with pytest.raises(OSError, match="the bytes here are not those there"):
    fetch.check(path, {"size": 4, "md5Hash": digest})


@pytest.mark.parametrize(
  ("address", "message"),
  [
    ("memory://bucket/none", "nothing is there"),
    ("memory://bucket", "give a folder in the bucket, as memory://BUCKET/PATH"),
    ("memory://bucket/../x", "give a folder in the bucket"),
    ("file:///run", "give the path alone"),
    ("nosuch://bucket/a", "install fsspec's package for nosuch://"),
  ],
)
def test_addresses_that_do_not_work(address, message):
  with pytest.raises(ValueError, match=message):
    fetch.fetched(address)


def test_the_package_that_a_scheme_needs_is_named(monkeypatch):
  def missing(scheme):
    raise ImportError("Please install gcsfs")

  monkeypatch.setattr(fsspec, "filesystem", missing)
  with pytest.raises(ValueError, match=r"gcsfs; pip install .*\[gcs\]"):
    fetch.fetched("gs://bucket/a")
