"""One trainer per workdir: a lock file that says who has it."""

import contextlib
import fcntl
import json
import os
import pathlib
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import jax
from absl import logging

_NAME = "train.lock"
_BEAT = 20.0  # seconds from one sign of life to the next
_PATIENCE = 90.0  # seconds without one after which a trainer counts as gone
_BOOT = pathlib.Path("/proc/sys/kernel/random/boot_id")


@contextlib.contextmanager
def held(folder: pathlib.Path) -> Iterator[Callable[[], None]]:
  """A context in which this process alone may train in `folder`.

  It gives a function that raises ValueError once the lock was taken away. The
  operating system frees the lock of a process that ends in any way. On another
  machine, where that may not be seen, a process counts as gone when its lock
  was not touched for a minute and a half. Process 0 holds it for all processes
  of a run.

  Raises ValueError, saying who, where another process trains there.
  """
  if jax.process_index() != 0:
    yield lambda: None
    return
  path = folder / _NAME
  file = _take(path)
  done = threading.Event()
  beating = threading.Thread(target=_beat, args=(file, done), daemon=True)
  beating.start()
  try:
    yield lambda: _check(path, file)
  finally:
    done.set()
    beating.join()
    if _is_at(path, file):
      path.unlink()
    os.close(file)


def check(folder: pathlib.Path) -> None:
  """Raises ValueError, saying who, where another process trains in `folder`.

  Nothing is changed there.
  """
  path = folder / _NAME
  if jax.process_index() != 0 or not path.exists():
    return
  file = os.open(path, os.O_RDWR)
  try:
    alone = _lock(file)
    holder = _holder(file)
    if not alone or _lives(holder, path, file):
      raise ValueError(_refusal(path, holder))
  finally:
    os.close(file)


def _take(path: pathlib.Path) -> int:
  """The lock file, open, locked and saying that it is ours."""
  while True:
    file = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    try:
      alone = _lock(file)
      holder = _holder(file)
      if not alone or _lives(holder, path, file):
        raise ValueError(_refusal(path, holder))
      if not holder and _is_at(path, file):
        _sign(file)
        return file
      if _is_at(path, file):  # A new file, so that the old holder can see it.
        path.unlink()
        logging.warning(
          "%s: left by %s, which is gone; taken over", path, _told(holder)
        )
    except BaseException:
      os.close(file)
      raise
    os.close(file)


def _lock(file: int) -> bool:
  """False where another process has it; True, too, where locks do not work."""
  try:
    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
  except BlockingIOError:
    return False
  except OSError as error:
    logging.warning("files cannot be locked here (%s)", error.strerror)
  return True


def _lives(holder: dict[str, Any], path: pathlib.Path, file: int) -> bool:
  """True where a holder whose lock we could get still trains.

  It may have it on a machine that does not tell ours, or without locks.
  """
  if not holder:
    return False
  if holder.get("boot") == _boot():
    started = _started(holder.get("pid"))
    return started is not None and started == holder.get("started")
  touched = os.fstat(file).st_mtime_ns
  # Both times by the clock of the disk: no machine's own matters.
  with tempfile.TemporaryFile(dir=path.parent) as now:
    age = os.fstat(now.fileno()).st_mtime - touched / 1e9
  if age < _PATIENCE:
    logging.warning(
      "%s: %s may train here; waiting %g s for a sign of it",
      path,
      _told(holder),
      _PATIENCE,
    )
    end = time.monotonic() + _PATIENCE
    while time.monotonic() < end:
      time.sleep(min(1.0, _PATIENCE / 9))
      if not _is_at(path, file) or os.fstat(file).st_mtime_ns != touched:
        return True
  return False


def _boot() -> str | None:
  """What tells a running machine from all others, whatever it is called."""
  try:
    return _BOOT.read_text().strip()
  except OSError:
    return None


def _started(pid: Any) -> str | None:
  """What tells a process from others that had its number; None: no process."""
  try:
    fields = pathlib.Path(f"/proc/{int(pid)}/stat").read_text()
    return fields.rpartition(")")[2].split()[19]  # of the 22, in ticks
  except (OSError, ValueError, TypeError, IndexError):
    return None


def _sign(file: int) -> None:
  pid = os.getpid()
  text = json.dumps(
    {
      "pid": pid,
      "host": socket.gethostname(),
      "boot": _boot(),
      "started": _started(pid),
      "since": time.strftime("%Y-%m-%d %H:%M:%S"),
    }
  )
  os.ftruncate(file, 0)
  os.pwrite(file, text.encode(), 0)


def _holder(file: int) -> dict[str, Any]:
  """Who the lock file says has it; empty where it does not say."""
  try:
    holder = json.loads(os.pread(file, 1 << 12, 0))
  except ValueError:
    return {}
  return holder if isinstance(holder, dict) else {}


def _told(holder: dict[str, Any]) -> str:
  return (
    f"process {holder.get('pid', '?')} on {holder.get('host', '?')} "
    f"since {holder.get('since', '?')}"
  )


def _refusal(path: pathlib.Path, holder: dict[str, Any]) -> str:
  return (
    f"{path.parent}: {_told(holder)} trains here; wait for it or stop it, or "
    f"use another --workdir (if it is gone for certain, remove {path})"
  )


def _is_at(path: pathlib.Path, file: int) -> bool:
  try:
    return os.path.samestat(path.stat(), os.fstat(file))
  except OSError:
    return False


def _check(path: pathlib.Path, file: int) -> None:
  if not _is_at(path, file):
    raise ValueError(
      f"{path} is no longer this run's: the folder was moved or removed, or "
      "another run was let in; this one stops without writing more"
    )


def _beat(file: int, done: threading.Event) -> None:
  while not done.wait(_BEAT):
    with contextlib.suppress(OSError):
      os.utime(file)
