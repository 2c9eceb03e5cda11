"""Folders of visitors, and which of their files can be fetched by whom.

A visit has a folder under a name that cannot be guessed, and so has each of its
results. A file is at `/made/<name of the result>/<file>`, and at no other
address; a visit keeps its last result alone. All folders lie in one that only
this user can read, and that is removed at the end.
"""

import collections
import pathlib
import secrets
import shutil
import threading
from collections.abc import Iterable

BASE = "/made"  # of the addresses
_BYTES = 24  # of a name: as hard to guess as a key


class Visits:
  """The visits of a server; threads may share it."""

  def __init__(self, root: pathlib.Path, *, most: int):
    """`root` is a folder of this user's own, which is there.

    The visit that has done nothing for the longest is over once there are more
    than `most`, so that there is an end to what is on the disk.
    """
    self._root, self._most = root, most
    self._lock = threading.RLock()
    self._visits: collections.OrderedDict[str, str] = collections.OrderedDict()
    self._results: dict[str, tuple[pathlib.Path, frozenset[str]]] = {}
    self._of: dict[str, str] = {}  # the result of a visit

  def of(self, session: str) -> str:
    """The name of the visit that a page calls its session; a new one, if new."""
    with self._lock:
      if session not in self._visits:
        name = secrets.token_urlsafe(_BYTES)
        self.folder(name).mkdir(mode=0o700)
        self._visits[session] = name
      self._visits.move_to_end(session)
      while len(self._visits) > self._most:
        self.leave(next(iter(self._visits)))
      return self._visits[session]

  def folder(self, visit: str) -> pathlib.Path:
    """Where the files of a visit are."""
    return self._root / visit

  def take(self, visit: str, upload: pathlib.Path, name: str) -> pathlib.Path:
    """Moves an upload to where nobody else knows it, in place of others.

    Raises ValueError where it is not there any more.
    """
    self.clear(visit)
    path = self.folder(visit) / name
    try:
      shutil.move(upload, path)
    except FileNotFoundError as error:
      raise ValueError("the upload is gone; upload it again") from error
    return path

  def clear(self, visit: str) -> None:
    """Removes all that there is of a visit, but for itself."""
    self._forget(visit)
    shutil.rmtree(self.folder(visit), ignore_errors=True)
    self.folder(visit).mkdir(mode=0o700)

  def begin(self, visit: str) -> pathlib.Path:
    """The folder of a new result, in place of the one before."""
    self._forget(visit)
    path = self.folder(visit) / secrets.token_urlsafe(_BYTES)
    path.mkdir(mode=0o700)
    with self._lock:
      self._of[visit] = path.name
      self._results[path.name] = path, frozenset()
    return path

  def publish(self, out: pathlib.Path, names: Iterable[str]) -> str:
    """Lets files of a result be fetched; the address that they are below."""
    with self._lock:
      if out.name in self._results:  # and no new one has taken its place
        self._results[out.name] = out, frozenset(names)
    return f"{BASE}/{out.name}"

  def find(self, result: str, name: str) -> pathlib.Path | None:
    """A file that can be fetched, or None: there is no such thing."""
    with self._lock:
      out, names = self._results.get(result, (self._root, frozenset()))
    return out / name if name in names else None

  def leave(self, session: str) -> str | None:
    """Removes a visit, and says which; None where there is none."""
    with self._lock:
      name = self._visits.pop(session, None)
    if name is not None:
      self._forget(name)
      shutil.rmtree(self.folder(name), ignore_errors=True)
    return name

  def _forget(self, visit: str) -> None:
    """Removes the result of a visit, if any."""
    with self._lock:
      result = self._of.pop(visit, None)
      found = self._results.pop(result, None) if result else None
    if found is not None:
      shutil.rmtree(found[0], ignore_errors=True)
