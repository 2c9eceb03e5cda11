"""One trainer per workdir: who is let in, who is refused, and when."""

import json
import os
import pathlib
import signal
import subprocess
import sys
import threading
import time

import pytest
from absl import logging

from diffpose_jax.training import lock

REPO = pathlib.Path(__file__).resolve().parents[2]
HOLDER = """
import pathlib, sys, time
from diffpose_jax.training import lock
with lock.held(pathlib.Path(sys.argv[1])):
  print("held", flush=True)
  time.sleep(60)
"""


@pytest.fixture
def said(monkeypatch):
  """The warnings."""
  lines = []
  monkeypatch.setattr(
    logging, "warning", lambda text, *values: lines.append(text % values)
  )
  return lines


@pytest.fixture
def impatient(monkeypatch):
  """Signs of life every 0.05 s, waited for half a second."""
  monkeypatch.setattr(lock, "_BEAT", 0.05)
  monkeypatch.setattr(lock, "_PATIENCE", 0.5)


def _refused(folder) -> str:
  with pytest.raises(ValueError) as caught, lock.held(folder):
    raise AssertionError("let in")
  assert "\n" not in str(caught.value)
  return str(caught.value)


def test_it_is_there_while_it_is_held(tmp_path):
  path = tmp_path / "train.lock"
  for _ in range(2):
    with lock.held(tmp_path) as still_held:
      still_held()
      content = json.loads(path.read_text())
      assert content["pid"] == os.getpid() and content["host"]
    assert list(tmp_path.iterdir()) == []
  with pytest.raises(KeyError), lock.held(tmp_path):
    raise KeyError
  assert list(tmp_path.iterdir()) == []


def test_a_second_one_is_refused_by_name(tmp_path):
  with lock.held(tmp_path) as still_held:
    line = _refused(tmp_path)
    assert line.startswith(f"{tmp_path}: process {os.getpid()} on ")
    assert "trains here; wait for it" in line
    still_held()


def test_looking_changes_nothing(tmp_path):
  lock.check(tmp_path)
  with lock.held(tmp_path) as still_held:
    with pytest.raises(ValueError, match="trains here; wait for it"):
      lock.check(tmp_path)
    still_held()
  (tmp_path / "train.lock").write_text('{"pid": 1, "boot": "another"}')
  os.utime(tmp_path / "train.lock", (0, 0))
  lock.check(tmp_path)  # Its machine is gone; who trains takes it over.
  assert [path.name for path in tmp_path.iterdir()] == ["train.lock"]


def test_a_killed_one_is_no_hindrance(tmp_path, said):
  """Whatever its number is used for now."""
  holder = subprocess.Popen(
    [sys.executable, "-c", HOLDER, str(tmp_path)],
    cwd=REPO,
    stdout=subprocess.PIPE,
  )
  assert holder.stdout is not None and holder.stdout.readline() == b"held\n"
  assert f"process {holder.pid} on" in _refused(tmp_path)
  holder.send_signal(signal.SIGKILL)
  holder.communicate()
  path = tmp_path / "train.lock"
  left = json.loads(path.read_text()) | {"pid": os.getpid()}
  path.write_text(json.dumps(left))
  with lock.held(tmp_path) as still_held:
    still_held()
    assert len(said) == 1 and "which is gone; taken over" in said[0]
  assert not path.exists()


def test_without_file_locks_the_process_is_looked_for(tmp_path, monkeypatch):
  def flock(*_):
    raise OSError(95, "not supported")

  with lock.held(tmp_path):
    monkeypatch.setattr(lock.fcntl, "flock", flock)
    assert f"process {os.getpid()} on" in _refused(tmp_path)
    # Another process that has the number is not the holder.
    path = tmp_path / "train.lock"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"started": "1"}))
    with lock.held(tmp_path):
      pass


def _of_another_machine(path):
  """A lock that nobody holds by this machine's account."""
  content = {"pid": 7, "host": "far", "boot": "?", "started": "1", "since": "?"}
  path.write_text(json.dumps(content))


@pytest.mark.usefixtures("impatient")
def test_another_machine_s_is_taken_over_without_a_sign_of_life(tmp_path, said):
  path = tmp_path / "train.lock"
  _of_another_machine(path)
  began = time.monotonic()
  with lock.held(tmp_path):
    assert time.monotonic() - began > 0.4
  assert "process 7 on far" in said[0] and "waiting 0.5 s" in said[0]
  # An old one is not waited for.
  _of_another_machine(path)
  os.utime(path, (time.time() - 60, time.time() - 60))
  said.clear()
  with lock.held(tmp_path):
    pass
  assert len(said) == 1 and "gone; taken over" in said[0]


@pytest.mark.usefixtures("impatient")
def test_another_machine_s_is_respected_with_one(tmp_path):
  path = tmp_path / "train.lock"
  _of_another_machine(path)
  done = threading.Event()

  def beat():
    while not done.wait(0.1):
      os.utime(path)

  beating = threading.Thread(target=beat)
  beating.start()
  try:
    assert "process 7 on far since ? trains here" in _refused(tmp_path)
  finally:
    done.set()
    beating.join()
  assert json.loads(path.read_text())["pid"] == 7


@pytest.mark.usefixtures("impatient")
def test_it_shows_that_it_lives(tmp_path):
  with lock.held(tmp_path):
    path = tmp_path / "train.lock"
    before = path.stat().st_mtime_ns
    end = time.monotonic() + 10
    while path.stat().st_mtime_ns == before:
      assert time.monotonic() < end
      time.sleep(0.01)


def test_one_that_was_taken_away_is_noticed(tmp_path):
  path = tmp_path / "train.lock"
  with lock.held(tmp_path) as still_held:
    path.unlink()
    with pytest.raises(ValueError, match="train.lock is no longer this run's"):
      still_held()
    _of_another_machine(path)
    with pytest.raises(ValueError, match="no longer this run's"):
      still_held()
  # What is another's stays.
  assert json.loads(path.read_text())["pid"] == 7


def test_a_changed_host_name_is_the_same_machine(tmp_path, said, monkeypatch):
  if lock._boot() is None:
    pytest.skip("this system does not tell machines apart")
  with lock.held(tmp_path):
    left = (tmp_path / "train.lock").read_text()
  (tmp_path / "train.lock").write_text(
    json.dumps(json.loads(left) | {"pid": 2**22 + 1})
  )
  monkeypatch.setattr(lock.socket, "gethostname", lambda: "renamed")
  with lock.held(tmp_path):
    assert len(said) == 1 and "gone; taken over" in said[0]


def test_a_lock_that_says_nothing_is_free(tmp_path):
  for text in ("", "torn {", "[]"):
    (tmp_path / "train.lock").write_text(text)
    with lock.held(tmp_path) as still_held:
      still_held()


def test_other_processes_of_a_run_do_not_ask(tmp_path, monkeypatch):
  monkeypatch.setattr(lock.jax, "process_index", lambda: 1)
  with lock.held(tmp_path) as still_held:
    still_held()
    assert list(tmp_path.iterdir()) == []
