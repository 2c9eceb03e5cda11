"""Videos that one process has to itself while it is at work on them.

A job that is started twice, or again while a first try still lives, must not
write into the same journal. The operating system gives a lock back when its
process ends, however that happens.
"""

import contextlib
import fcntl
import json
import os
import pathlib
import socket
import time
from collections.abc import Iterator

from absl import logging

_NAP = 0.5  # seconds between two looks at a lock that another one has


@contextlib.contextmanager
def claimed(path: pathlib.Path, *, wait: bool = False) -> Iterator[bool]:
  """A context with whether `path` was locked, which is then for it alone.

  Args:
    path: file of the lock, there only while somebody has it.
    wait: whether it waits, until there is nobody else.
  """
  file = _take(path)
  if file is None and wait:
    print(f"{path}: {_holder(path)} is at it; waits for it", flush=True)
  while file is None and wait:
    time.sleep(_NAP)
    file = _take(path)
  if file is None:
    yield False
    return
  try:
    yield True
  finally:
    path.unlink(missing_ok=True)
    os.close(file)


def _take(path: pathlib.Path) -> int | None:
  """The file, open and locked; None where another process has it."""
  while True:
    file = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    try:
      fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
      os.close(file)
      return None
    except OSError as error:
      logging.warning("%s: cannot be locked (%s)", path, error.strerror)
    # Whoever had it before may have removed it meanwhile.
    with contextlib.suppress(FileNotFoundError):
      if os.path.samestat(path.stat(), os.fstat(file)):
        break
    os.close(file)
  holder = {"pid": os.getpid(), "host": socket.gethostname()}
  os.ftruncate(file, 0)
  os.pwrite(file, json.dumps(holder).encode(), 0)
  return file


def _holder(path: pathlib.Path) -> str:
  """Who says there to have it."""
  try:
    holder = json.loads(path.read_text())
    return f"process {holder['pid']} on {holder['host']}"
  except (OSError, ValueError, KeyError, TypeError):
    return "another process"
