"""A workdir with a copy in a bucket, which outlives this machine.

A bucket renames no folder, locks no file and lets none grow, on which checkpoints,
the lock of a trainer and records rest. So a run is on this machine's disk, and
its copy is brought up to date while it goes on: records as they are, a step
with its seal last, so that one that is not whole is known by that.
"""

import contextlib
import fcntl
import json
import os
import pathlib
import secrets
import signal
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from typing import Any

from absl import logging

from diffpose_jax.remote import fetch, places
from diffpose_jax.weights import seal, steps

ID = "mirror.id"  # of workdir and copy: that they belong together
LEASE = "mirror.lease"  # in the copy: who brings it up to date
_LEFT = {"data", "source", "train.lock", LEASE}  # what a run makes anew
_EVERY = 300.0  # seconds between two updates
_BEAT = 60.0  # and between two signs of life
_PATIENCE = 240.0  # seconds without one after which a machine counts as gone
_PAUSES = (1.0, 10.0)  # seconds before another try, at the end


@contextlib.contextmanager
def mirrored(address: str, *, every: float = _EVERY) -> Iterator[pathlib.Path]:
  """A context with a workdir on this machine, that of the address.

  A new workdir begins with the copy, if there is one; at the end the copy is
  brought up to date, whatever ended the block.

  Args:
    address: of the copy; a folder of its own in a bucket.
    every: seconds between two updates.

  Raises:
    ValueError: the address cannot be reached, holds something else, or another
      machine is at this run; or, at the end, the copy could not be brought up
      to date.
  """
  place = places.kept(address, "workdirs")
  with _alone(place):
    copy = _Copy(address, place)
    copy.begin()
    done = threading.Event()
    beside = threading.Thread(
      target=_keep, args=(copy, done, every), name="mirror", daemon=True
    )
    beside.start()

    def end() -> ValueError | None:
      done.set()
      beside.join()
      return _end(copy)

    try:
      yield place
    except BaseException:
      failure = end()
      if failure:
        logging.error("%s", failure)
      raise
    failure = end()
    if failure:
      raise failure


@contextlib.contextmanager
def _alone(place: pathlib.Path) -> Iterator[None]:
  """A context in which no other process of this machine is at the workdir.

  The operating system frees it of a process that ends in any way.
  """
  place.parent.mkdir(parents=True, exist_ok=True)
  with open(place.with_name(f".{place.name}.mirror"), "w") as file:
    try:
      fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
      raise ValueError(
        f"{place}: another process of this machine is at this run; wait for its "
        "end, or stop it"
      ) from error
    yield


def _machine(folder: pathlib.Path) -> str:
  """What this machine is known by, also to a process after this one."""
  path = folder / "machine.id"
  if not path.exists():
    draft = folder / f".machine.{secrets.token_hex(4)}"
    draft.write_text(secrets.token_hex(8))
    with contextlib.suppress(FileExistsError):
      os.link(draft, path)
    draft.unlink()
  return path.read_text()


def _keep(copy: "_Copy", done: threading.Event, every: float) -> None:
  """Updates the copy until `done`, and shows that this machine is there."""
  updated = time.monotonic()
  while not done.wait(min(_BEAT, every)):
    try:
      copy.beat()
      if time.monotonic() - updated >= every:
        copy.update()
        updated = time.monotonic()
    except TakenError as error:
      logging.error("%s; this run is stopped", error)
      os.kill(os.getpid(), signal.SIGTERM)
      return
    except ValueError as error:
      logging.warning("%s; trying again", error)


def _end(copy: "_Copy") -> ValueError | None:
  """The last update; what went wrong, if it did."""
  for pause in (*_PAUSES, None):
    try:
      copy.update()
      copy.leave()
      return None
    except ValueError as error:
      if pause is None or isinstance(error, TakenError):
        return ValueError(
          f"{error}; the copy is older than {copy.place}: the same command on "
          "this machine brings it up to date"
        )
      time.sleep(pause)
  return None


class TakenError(ValueError):
  """Another machine is at this run."""


class _Copy:
  """The copy of a workdir, and what of it is known to be there."""

  def __init__(self, address: str, place: pathlib.Path):
    self.address, self.place = address, place
    self._files, self._path = places.opened(address)
    self._sent: dict[str, tuple[int, int]] = {}  # records: size, time
    self._steps: set[int] = set()
    host = socket.gethostname()
    self._me = {"host": host, "id": f"{host} {_machine(place.parent)}"}
    self._beaten = 0.0

  def begin(self) -> None:
    """Makes sure that workdir and copy are one run, the newer of the two."""
    with places.told(self.address, "cannot be read"):
      theirs = self._read(ID)
      self._check_lease()
      there = set(fetch.listed(self._files, self._path))
    own = self.place / ID
    mine = own.read_bytes() if own.is_file() else None
    if theirs is None:
      if there:
        raise ValueError(
          f"{self.address} holds something else; a run needs a folder of its own"
        )
      self.place.mkdir(parents=True, exist_ok=True)
      if mine is None:
        own.write_text(secrets.token_hex(16))
      with places.told(self.address, "cannot be written"):
        self._put(ID)
    elif mine is not None and mine != theirs:
      raise ValueError(
        f"{self.place} and {self.address} hold different runs; move one of them "
        "away"
      )
    elif self._newest(there) > max(self._local(), default=-1) or mine is None:
      # Whole or not at all: a part of it must not pass for the run.
      draft = self.place.with_name(f"{self.place.name}.fetching")
      fetch.copy(self.address, draft, leave={LEASE})
      if self.place.exists():
        self._put_aside()
      os.replace(draft, self.place)
    self.beat()
    with places.told(self.address, "cannot be read"):
      self._steps = {step for step in self._local() if self._has(step)}

  def _has(self, step: int) -> bool:
    """Whether the copy holds the same step, by its seal."""
    name = f"{steps.FOLDER}/{step}/{seal.NAME}"
    return self._read(name) == (self.place / name).read_bytes()

  def _put_aside(self) -> None:
    """Keeps a workdir that is older than the copy."""
    aside = self.place.with_name(
      f"{self.place.name}.older-{time.strftime('%Y%m%d-%H%M%S')}"
    )
    os.replace(self.place, aside)
    logging.warning(
      "%s is older than %s, which is fetched; it is now %s",
      self.place,
      self.address,
      aside,
    )

  def _check_lease(self) -> None:
    """Raises ValueError where another machine is at this run."""
    lease = self._lease()
    if lease and lease["id"] != self._me["id"]:
      age = time.time() - lease["time"]
      if age < _PATIENCE:
        raise TakenError(
          f"{self.address}: {lease['host']} is at this run, or was "
          f"{max(age, 0):.0f} s ago; stop it there, or wait {_PATIENCE:.0f} s"
        )

  def _lease(self) -> dict | None:
    text = self._read(LEASE)
    try:
      return None if text is None else json.loads(text)
    except ValueError:
      return None

  def beat(self) -> None:
    """Shows that this machine is there. Raises ValueError where another is."""
    with places.told(self.address, "cannot be written"):
      self._check_lease()
      lease = self._me | {"time": time.time()}
      self._files.pipe_file(self._at(LEASE), json.dumps(lease).encode())
      self._beaten = time.monotonic()

  def leave(self) -> None:
    """Lets another machine go on at once."""
    with places.told(self.address, "cannot be written"):
      self._check_lease()
      self._remove(LEASE)

  def update(self) -> None:
    """Brings the copy up to date. Raises ValueError where that fails."""
    with places.told(self.address, "cannot be brought up to date"):
      self._check_lease()
      local = self._local()
      for step in sorted(local):
        if step not in self._steps:
          self._put_step(step)
      self._put_records()
      # A newer one that is damaged here may be whole there.
      local = self._local()
      for step in self._remote() - local:
        if step < max(local, default=-1):
          self._remove(f"{steps.FOLDER}/{step}")
          self._steps.discard(step)

  def _put_step(self, step: int) -> None:
    """A step, its seal last; one that is removed meanwhile is left."""
    folder = self.place / steps.FOLDER / str(step)
    files = [path for path in folder.rglob("*") if path.is_file()]
    self._remove(f"{steps.FOLDER}/{step}")  # another one, or a part
    names = [path.relative_to(self.place).as_posix() for path in files]
    last = f"{steps.FOLDER}/{step}/{seal.NAME}"
    try:
      for name in names:
        if name != last:
          self._put(name)
      there = fetch.listed(self._files, self._path)
      for name in names:
        if name != last:
          self._check(name, there)
      self._put(last)
    except FileNotFoundError:
      if folder.exists():
        raise
      return
    self._steps.add(step)

  def _put_records(self) -> None:
    """The records that have changed."""
    new: dict[str, tuple[int, int]] = {}
    for name in self._records():
      with contextlib.suppress(FileNotFoundError):
        now = self._now(name)
        if self._sent.get(name) != now:
          self._put(name)
          new[name] = now
    if not new:
      return
    there = fetch.listed(self._files, self._path)
    for name, then in new.items():
      with contextlib.suppress(FileNotFoundError):
        if self._now(name) == then:  # else it is another one by now
          self._check(name, there)
        self._sent[name] = then

  def _now(self, name: str) -> tuple[int, int]:
    found = (self.place / name).stat()
    return found.st_size, found.st_mtime_ns

  def _check(self, name: str, there: Mapping[str, Any]) -> None:
    """Raises OSError where an object is not the file that was sent."""
    if name not in there:
      raise OSError(f"{name} did not arrive")
    try:
      fetch.check(self.place / name, there[name])
    except FileNotFoundError:
      raise
    except OSError as error:
      raise OSError(f"{name} did not arrive as it is: {error}") from error

  def _records(self) -> list[str]:
    """All files of the workdir but for steps, and what a run makes anew."""
    found = []
    for top in self.place.iterdir():
      if top.name not in _LEFT | {steps.FOLDER}:
        found += top.rglob("*") if top.is_dir() else [top]
    names = [path.relative_to(self.place) for path in found if path.is_file()]
    return sorted(
      name.as_posix()
      for name in names
      if not any(part.startswith(".") for part in name.parts)
    )

  def _local(self) -> set[int]:
    """Sealed steps of the workdir."""
    return set(steps.usable(self.place / steps.FOLDER))

  def _remote(self) -> set[int]:
    """Steps of the copy, whole or not."""
    names = fetch.listed(self._files, self._path)
    parts = [name.split("/") for name in names]
    return {
      int(part[1])
      for part in parts
      if part[0] == steps.FOLDER and len(part) > 2 and part[1].isdecimal()
    }

  @staticmethod
  def _newest(names: set[str]) -> int:
    """The newest whole step among the files of a copy; -1: none."""
    parts = [name.split("/") for name in names]
    return max(
      (
        int(part[1])
        for part in parts
        if part[0] == steps.FOLDER
        and part[2:] == [seal.NAME]
        and part[1].isdecimal()
      ),
      default=-1,
    )

  def _at(self, name: str) -> str:
    return f"{self._path}/{name}"

  def _read(self, name: str) -> bytes | None:
    """An object's bytes; None where there is none."""
    self._files.invalidate_cache()
    try:
      return self._files.cat_file(self._at(name))
    except FileNotFoundError:
      return None

  def _put(self, name: str) -> None:
    if self._beaten and time.monotonic() - self._beaten > _BEAT:
      self.beat()  # many files take long
    self._files.put_file(str(self.place / name), self._at(name))

  def _remove(self, name: str) -> None:
    with contextlib.suppress(FileNotFoundError):
      self._files.rm(self._at(name), recursive=True)
