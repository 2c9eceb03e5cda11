"""One process at a time, and the next as soon as that one ends, however."""

import multiprocessing
import os
import signal
import threading

import pytest

from diffpose_jax.inference import claims


def _hold(path, held):
  with claims.claimed(path) as mine:
    held.send(mine)
    signal.pause()


@pytest.fixture
def other(tmp_path):
  """Another process that has it."""
  here, there = multiprocessing.Pipe()
  context = multiprocessing.get_context("spawn")
  process = context.Process(target=_hold, args=(tmp_path / "c", there))
  process.start()
  assert here.poll(60) and here.recv() is True
  yield process
  process.kill()
  process.join()


def test_alone_it_is_there_as_long_as_it_is_held(tmp_path):
  path = tmp_path / "c"
  for _ in range(2):
    with claims.claimed(path) as mine:
      assert mine and path.exists()
    assert os.listdir(tmp_path) == []
  with pytest.raises(ZeroDivisionError), claims.claimed(path) as mine:
    raise ZeroDivisionError
  assert os.listdir(tmp_path) == []


def test_another_process_has_it_until_it_is_killed(tmp_path, other, capsys):
  path = tmp_path / "c"
  with claims.claimed(path) as mine:
    assert not mine
  assert path.exists()
  kill = threading.Timer(1.0, other.kill)
  kill.start()
  with claims.claimed(path, wait=True) as mine:
    assert mine and kill.finished.is_set()
  assert os.listdir(tmp_path) == []
  said = capsys.readouterr().out
  assert f"process {other.pid} on " in said and "waits for it" in said


def test_a_file_that_a_dead_process_left_is_nobodys(tmp_path):
  path = tmp_path / "c"
  path.write_text("no JSON")
  with claims.claimed(path) as mine:
    assert mine


def test_a_lock_whose_file_was_removed_meanwhile_is_not_taken(
  tmp_path, monkeypatch
):
  """As where its holder ends between the opening and the locking of it."""
  path, real, count = tmp_path / "c", claims.fcntl.flock, 0

  def late(file, how):
    nonlocal count
    count += 1
    if count == 1:
      path.unlink()
    real(file, how)

  monkeypatch.setattr(claims.fcntl, "flock", late)
  with claims.claimed(path) as mine, claims.claimed(path) as second:
    assert mine and not second
  assert count == 3


def test_without_locks_it_says_so_and_goes_on(tmp_path, monkeypatch, caplog):
  def none(file, how):
    raise OSError(95, "Operation not supported")

  monkeypatch.setattr(claims.fcntl, "flock", none)
  with claims.claimed(tmp_path / "c") as mine:
    assert mine
  assert "cannot be locked (Operation not supported)" in caplog.text
