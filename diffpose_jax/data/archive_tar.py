"""The members of a tar, compressed or not, and their bytes."""

import bz2
import contextlib
import gzip
import lzma
import pathlib
import tarfile
from collections.abc import Callable, Iterator
from typing import IO

from diffpose_jax.data import archive_members

_BLOCK = 512
_KINDS = {
  tarfile.SYMTYPE: "is a symbolic link",
  tarfile.LNKTYPE: "is a hard link",
  tarfile.CHRTYPE: "is a device",
  tarfile.BLKTYPE: "is a device",
  tarfile.FIFOTYPE: "is a pipe",
  tarfile.GNUTYPE_SPARSE: "is a sparse file",
}


class _Parts:
  """Files one after another as one, read from beginning to end."""

  def __init__(self, paths: list[pathlib.Path], meter: archive_members.Meter):
    self.position = 0
    self._paths = list(paths)
    self._meter = meter
    self._file: IO[bytes] | None = None

  def read(self, size: int, /) -> bytes:
    pieces = []
    while size > 0:
      if self._file is None:
        if not self._paths:
          break
        self._file = open(self._paths.pop(0), "rb")  # noqa: SIM115
      data = self._file.read(size)
      if not data:
        self.close()
        continue
      self._meter(data)
      pieces.append(data)
      size -= len(data)
      self.position += len(data)
    return b"".join(pieces)

  def close(self) -> None:
    if self._file is not None:
      self._file.close()
      self._file = None


class _Stream:
  """What tarfile reads headers from: forward only, and in small pieces."""

  def __init__(self, read: Callable[[int], bytes], packed: _Parts):
    self.header = b""  # what tarfile read last
    self._read = read
    self._packed = packed
    self._position = 0
    self._returned = b""

  def tell(self) -> int:
    return self._position

  def seek(self, position: int) -> None:
    if position < self._position:
      raise EOFError("a size below zero")
    while self._position < position:
      if not self.take(min(archive_members.CHUNK, position - self._position)):
        raise EOFError("it ends within a member")

  def read(self, size: int) -> bytes:
    if not 0 <= size <= archive_members.MAX_HEADER:
      raise EOFError(f"a header of {size} bytes")
    self.header = self.take(size)
    return self.header

  def take(self, size: int) -> bytes:
    """As many bytes as asked for, fewer only at the end."""
    data, self._returned = self._returned[:size], self._returned[size:]
    while len(data) < size and (more := self._read(size - len(data))):
      data += more
    self._position += len(data)
    if (
      self._position
      > archive_members.RATIO_FROM
      + archive_members.MAX_RATIO * self._packed.position
    ):
      raise archive_members.ArchiveError(
        f"it grows to more than {archive_members.MAX_RATIO} times its size, as no data set "
        "does; nothing was unpacked"
      )
    return data

  def chunks(self, size: int, place: str) -> Iterator[bytes]:
    """The bytes of the member whose header was just read."""
    while size > 0:
      with archive_members.reading(place):
        data = self.take(min(size, archive_members.CHUNK))
        if not data:
          raise EOFError("it ends within a member")
      size -= len(data)
      yield data

  def another(self) -> bool:
    """Whether something but zeros follows; goes to where it begins."""
    while block := self.take(_BLOCK):
      if block.strip(b"\0"):
        self._returned = block
        self._position -= len(block)
        return True
    return False


def members(
  parts: list[pathlib.Path], kind: str, meter: archive_members.Meter
) -> Iterator[tuple[archive_members.Member, Iterator[bytes]]]:
  """See `archive_files.walk`; `kind` is how the tar is compressed."""
  with contextlib.closing(_Parts(parts, meter)) as packed:
    stream = _Stream(_unpacked(kind, packed), packed)
    place, more = f"{parts[0]}", True
    while more:  # Tars joined with cat are read like one.
      with archive_members.reading(place):
        tar = tarfile.TarFile(
          fileobj=stream,  # type: ignore[arg-type]
          encoding="utf-8",
          errors="surrogateescape",
        )
      while info := _next(tar, place):
        place = f"{parts[0]}: member {archive_members.shown(info.name)}"
        yield _member(info), stream.chunks(info.size, place)
      with archive_members.reading(
        f"{parts[0]}: after the last member read, {place}"
      ):
        # tarfile takes a header that makes no sense for the end.
        if len(stream.header) != _BLOCK or stream.header.strip(b"\0"):
          raise EOFError("no end mark; is a part missing?")
        more = stream.another()
    while packed.read(archive_members.CHUNK):
      pass


def _next(tar: tarfile.TarFile, place: str) -> tarfile.TarInfo | None:
  with archive_members.reading(f"{place}, or the one after it"):
    info = tar.next()
  vars(tar)["members"].clear()  # They would fill the memory.
  return info


def _member(info: tarfile.TarInfo) -> archive_members.Member:
  folder = info.isdir()
  fault = _KINDS.get(info.type, "")
  if info.issparse():
    fault = _KINDS[tarfile.GNUTYPE_SPARSE]
  elif info.type not in (tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.DIRTYPE):
    fault = fault or f"is of the unknown type {info.type!r}"
  elif info.size < 0 or (folder and info.size):
    fault = f"says that it has {info.size} bytes"
  return archive_members.Member(info.name, info.size, folder, fault)


def _unpacked(kind: str, packed: _Parts) -> Callable[[int], bytes]:
  """Reads what is in a compressed file, and checks its checksums."""
  source: IO[bytes] = packed  # type: ignore[assignment]
  if kind == "gz":
    return gzip.GzipFile(fileobj=source, mode="rb").read
  if kind == "bz2":
    return bz2.BZ2File(source).read
  return lzma.LZMAFile(source).read if kind == "xz" else packed.read
