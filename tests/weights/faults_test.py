"""Saving and going on under faults: kills, full disks, damage, lost folders."""

import errno
import os
import pathlib
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from typing import Any

import jax
import numpy as np
import pytest
from absl import logging

from diffpose_jax.weights import checkpoint, restore, seal, steps

REPO = pathlib.Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def two(states, tmp_path_factory):
  """A workdir with steps 1, the best, and 2, the newest."""
  workdir = tmp_path_factory.mktemp("two")
  states.save(workdir, [5.0, 1.0])
  return workdir


@pytest.fixture
def run(two, tmp_path):
  """A copy of it for each test."""
  shutil.copytree(two, tmp_path / "run")
  return tmp_path / "run"


@pytest.fixture
def said(monkeypatch):
  """The warnings."""
  lines = []
  monkeypatch.setattr(
    logging, "warning", lambda text, *values: lines.append(text % values)
  )
  return lines


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch):
  monkeypatch.setattr(checkpoint, "_PAUSES", (0.0, 0.0))


def _names(run):
  return sorted(path.name for path in (run / "checkpoints").iterdir())


def _newest(run, states, **options) -> Any:
  """What a new start goes on from."""
  checkpoints = checkpoint.Checkpoints(run)
  try:
    like = states.like(states.state(0.0))
    return checkpoints.restore_newest(like, **options)
  finally:
    checkpoints.close()


class _Killed(OSError):  # noqa: N818
  pass


class _Death:
  """Ends all changes of files below a folder at the n-th of them."""

  def __init__(self):
    self.folder, self.left, self.count = "", 0, 0
    self._lock = threading.Lock()
    sys.addaudithook(self._hook)

  def _hook(self, event, args):
    if not self.folder or not self._changes(event, args):
      return
    with self._lock:
      self.count += 1
      if self.count > self.left:
        raise _Killed(errno.EIO, "killed", str(args[0]))

  def _changes(self, event, args):
    if event == "open":
      path, _, flags = args
      if not flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
        return False
    elif event in ("os.rename", "os.mkdir", "os.rmdir", "os.remove"):
      path = args[0]
      if event in ("os.rmdir", "os.remove") and args[-1] != -1:
        return True  # Relative to an open folder, as rmtree does it.
    else:
      return False
    return str(path).startswith(self.folder)


@pytest.fixture(scope="session")
def death():
  """A hook that cannot be taken back; off unless it has a folder."""
  return _Death()


@pytest.mark.filterwarnings(
  "ignore::pytest.PytestUnhandledThreadExceptionWarning"
)
def test_killed_at_every_change_of_a_file(two, states, tmp_path, death):
  """A save that also removes a superseded step, ended at every point."""
  found = []
  for left in range(1000):
    run = tmp_path / str(left)
    shutil.copytree(two, run)
    checkpoints = checkpoint.Checkpoints(run)
    death.left, death.count, death.folder = left, 0, str(run)
    try:
      with pytest.MonkeyPatch.context() as patch:
        patch.setattr(checkpoint, "_PAUSES", ())
        checkpoints.save(states.state(3.0), 3, 0.5, wait=True)
      killed = False
    except ValueError:
      killed = True
    finally:
      death.folder = ""
    state, step = _newest(run, states)
    states.equal(state, states.state(float(step)))
    assert not [name for name in _names(run) if "diffpose" in name]
    assert {"1", str(step)} <= set(_names(run))
    found.append(step)
    shutil.rmtree(run)
    if not killed:
      break
  assert set(found) == {2, 3} and found == sorted(found)
  assert len(found) > 20


SAVER = """
import os, pathlib, sys
import jax, jax.numpy as jnp
from diffpose_jax.weights import checkpoint
folder = pathlib.Path(sys.argv[1])
like = {"a": jax.ShapeDtypeStruct((1 << 20,), jnp.float32,
  sharding=jax.sharding.SingleDeviceSharding(jax.devices()[0]))}
checkpoints = checkpoint.Checkpoints(folder)
found = checkpoints.restore_newest(like)
step = found[1] if found else 0
if found:
  assert (found[0]["a"] == step).all(), found
for step in range(step + 1, step + 1000):
  print(step, flush=True)
  checkpoints.save({"a": jnp.full(1 << 20, float(step))}, step, -float(step))
"""


@pytest.mark.slow
def test_killed_at_random_times(tmp_path):
  """Ten processes that save without end; each goes on from the last."""
  rng = random.Random(0)
  before = 0
  for _ in range(10):
    saver = subprocess.Popen(
      [sys.executable, "-c", SAVER, str(tmp_path)],
      cwd=REPO,
      env=os.environ | {"XLA_FLAGS": ""},
      stdout=subprocess.PIPE,
      stderr=subprocess.PIPE,
      text=True,
    )
    assert saver.stdout and saver.stderr
    first = saver.stdout.readline()
    assert first, saver.stderr.read()
    time.sleep(rng.uniform(0.05, 1.0))
    saver.send_signal(signal.SIGKILL)
    last = int((first + saver.communicate()[0]).split()[-1])
    # The last that was begun need not be there, nor the one then on its way.
    assert int(first) >= before
    before = max(before, last - 1)


@pytest.fixture
def small_disk(tmp_path):
  """A file system of one megabyte; skips the test where none can be made."""
  folder = tmp_path / "disk"
  folder.mkdir()
  command = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
  if (
    os.name != "posix"
    or subprocess.run(command, capture_output=True).returncode
  ):
    pytest.skip("a small file system cannot be mounted here")
  yield folder
  subprocess.run(["umount", "-l", str(folder)], check=True)


def _large(states, value):
  """A state of which a megabyte holds two but not three."""
  rng = np.random.default_rng(value)
  noise = rng.normal(size=90_000).astype(np.float32)
  return states.state(float(value)) | {"noise": jax.numpy.asarray(noise)}


@pytest.mark.filterwarnings(
  # TensorStore's writes end after Orbax has stopped listening to them.
  "ignore::pytest.PytestUnraisableExceptionWarning"
)
def test_a_full_disk_leaves_the_old_and_recovers(small_disk, states, said):
  checkpoints = checkpoint.Checkpoints(small_disk)
  checkpoints.save(_large(states, 1), 1, 1.0, wait=True)
  filler = small_disk / "filler"
  free = shutil.disk_usage(small_disk).free
  filler.write_bytes(bytes(free - 100_000))
  checkpoints.save(_large(states, 2), 2, 0.0)
  while not checkpoints.failed():
    time.sleep(0.01)
  # Known before the next save; the space is free again.
  assert _names(small_disk) == ["1"] and checkpoints.latest() == 1
  assert shutil.disk_usage(small_disk).free > 90_000
  with pytest.raises(ValueError, match="checkpoint 3 could not be") as caught:
    checkpoints.save(_large(states, 3), 3, 0.0)
  line = str(caught.value)
  assert "the newest good one is of step 1: make room" in line
  assert "No space left" in line and "\n" not in line
  assert sum("step 3 is saved instead" in text for text in said) == 1
  assert sum("next try in 0 s" in text for text in said) == 2
  assert _names(small_disk) == ["1"]
  filler.unlink()
  checkpoints.save(_large(states, 4), 4, 0.0)
  checkpoints.close()
  assert _names(small_disk) == ["1", "4"]
  state, step = _newest_of(small_disk, states.like(_large(states, 0)))
  assert step == 4
  states.equal(state, _large(states, 4))


def _newest_of(run, like) -> Any:
  folder = run / "checkpoints"
  return restore.newest(folder, lambda place: restore.whole(place, like)[0])


def _fail(monkeypatch, times, number=errno.EIO):
  """Lets the next manifests fail to be written."""
  real, left = seal.write, [times]

  def write(place, **content):
    if left[0]:
      left[0] -= 1
      raise OSError(number, os.strerror(number), str(place))
    real(place, **content)

  monkeypatch.setattr(seal, "write", write)


@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC, errno.EROFS])
def test_a_failed_write_is_told_and_tried_again(
  run, states, monkeypatch, said, number
):
  _fail(monkeypatch, 2, number)
  checkpoints = checkpoint.Checkpoints(run)
  checkpoints.save(states.state(3.0), 3, 0.0)
  while not checkpoints.failed():
    time.sleep(0.01)
  assert _names(run) == ["1", "2"]
  checkpoints.save(states.state(4.0), 4, 0.0)
  assert not checkpoints.failed() and checkpoints.latest() == 4
  checkpoints.close()
  assert [os.strerror(number) in line for line in said] == [True, True]
  assert "step 4 is saved instead" in said[0] and "next try" in said[1]
  state, step = _newest(run, states)
  assert step == 4
  states.equal(state, states.state(4.0))


def test_the_last_failure_is_told_at_the_end(run, states, monkeypatch):
  _fail(monkeypatch, 1)
  checkpoints = checkpoint.Checkpoints(run)
  checkpoints.save(states.state(3.0), 3, 0.0)
  message = "the last checkpoint could not be written .* is of step 2: make"
  with pytest.raises(ValueError, match=message):
    checkpoints.close()
  assert _newest(run, states)[1] == 2


def test_a_folder_that_is_gone_is_not_made_again(run, states):
  checkpoints = checkpoint.Checkpoints(run)
  shutil.rmtree(run)
  with pytest.raises(
    ValueError, match="checkpoint 3 could not be written .*No"
  ):
    checkpoints.save(states.state(3.0), 3, 0.0)
  checkpoints.close()
  assert not run.exists()


def test_what_the_guard_says_stops_the_save(run, states):
  def guard():
    raise ValueError("not yours")

  checkpoints = checkpoint.Checkpoints(run, guard=guard)
  with pytest.raises(ValueError, match="not yours"):
    checkpoints.save(states.state(3.0), 3, 0.0)
  checkpoints.close()
  assert _names(run) == ["1", "2"]


def test_training_does_not_wait_for_the_disk(run, states, monkeypatch):
  go, real = threading.Event(), seal.write

  def write(place, **content):
    assert go.wait(30)
    real(place, **content)

  monkeypatch.setattr(seal, "write", write)
  checkpoints = checkpoint.Checkpoints(run)
  checkpoints.save(states.state(3.0), 3, 0.0)
  assert checkpoints.latest() == 3 and not checkpoints.failed()
  assert steps.usable(run / "checkpoints") == [1, 2]
  go.set()
  checkpoints.close()
  assert steps.usable(run / "checkpoints") == [1, 3]


def test_the_damaged_goes_to_quarantine_and_training_goes_on(run, states, said):
  path = run / "checkpoints" / "2" / "state" / "_METADATA"
  states.flip(path, 3)
  damaged = path.read_bytes()
  state, step = _newest(run, states)
  assert step == 1
  states.equal(state, states.state(1.0))
  moved = run / "checkpoints" / "quarantine" / "2-0"
  assert (moved / "state" / "_METADATA").read_bytes() == damaged
  assert str(path) in said[0] and str(moved) in said[0]
  checkpoints = checkpoint.Checkpoints(run)
  checkpoints.save(states.state(2.0), 2, 0.0)
  checkpoints.close()
  assert _names(run) == ["1", "2", "quarantine"]
  assert _newest(run, states)[1] == 2


def test_where_all_are_damaged_it_does_not_start_over_unasked(run, states):
  for step in ("1", "2"):
    (run / "checkpoints" / step / "state" / "manifest.ocdbt").write_bytes(b"")
  for message in ("no good checkpoint is left", "1-0, 2-0 in quarantine"):
    with pytest.raises(ValueError, match=message) as caught:
      _newest(run, states)
    assert "--config.train.start_over=true" in str(caught.value)
    assert "\n" not in str(caught.value)
  assert _names(run) == ["quarantine"]
  assert _newest(run, states, start_over=True) is None
  states.save_one(run, states.state(1.0))
  assert _newest(run, states)[1] == 1


def test_read_only_finds_the_same_and_moves_nothing(run, states, tmp_path):
  def newest(folder):
    reader = checkpoint.Checkpoints(folder, read_only=True)
    try:
      return reader.restore_newest(states.like(states.state(0.0)))
    finally:
      reader.close()

  assert newest(tmp_path / "new") is None
  assert not (tmp_path / "new").exists()
  states.flip(run / "checkpoints" / "2" / "state" / "_METADATA", 3)
  before = _names(run)
  found = newest(run)
  assert found is not None and found[1] == 1
  assert _names(run) == before
  for step in ("1", "2"):
    (run / "checkpoints" / step / "manifest.json").unlink()
  with pytest.raises(ValueError, match="good checkpoint, but 1, 2 incomplete"):
    newest(run)
  assert _names(run) == before


def test_start_over_keeps_what_is_good(run, states):
  assert _newest(run, states, start_over=True)[1] == 2


def test_a_new_run_starts_from_nothing(tmp_path, states):
  assert _newest(tmp_path, states) is None


def test_it_is_told_what_the_run_was(run, states, said):
  checkpoints = checkpoint.Checkpoints(
    run, about={"config": "a", "data": ["d"]}
  )
  checkpoints.save(states.state(3.0), 3, 0.0)
  checkpoints.close()
  said.clear()
  for about, told in (
    ({"config": "a", "data": ["d"]}, []),
    ({"config": "a", "data": ["e"]}, ["checkpoint 3 was made with other data"]),
  ):
    checkpoints = checkpoint.Checkpoints(run, about=about)
    checkpoints.restore_newest(states.like(states.state(0.0)))
    checkpoints.close()
    assert said == told
