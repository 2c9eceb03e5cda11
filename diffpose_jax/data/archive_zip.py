"""The members of a zip, and their bytes."""

import io
import os
import pathlib
import stat
import struct
import zipfile
from collections.abc import Iterator

from diffpose_jax.data import archive_members

_ENTRY = b"PK\x01\x02"  # begins each entry of a zip's directory
_END = b"PK\x05\x06"  # and this its end
_ENCRYPTED = 0x1 | 0x40 | 0x2000
_PACKING = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)


class _ZipFile(io.BufferedReader):
  """A file that is not read into memory whole because a zip says so."""

  def read(self, size: int | None = -1, /) -> bytes:
    wanted = -1 if size is None else size
    limit = archive_members.MAX_DIRECTORY
    if wanted > limit:
      raise archive_members.ArchiveError(
        f"its directory says it has {wanted} bytes, more than {limit}; "
        "nothing was unpacked"
      )
    data = super().read(wanted)
    # Only the directory is read in pieces larger than these.
    most = archive_members.MAX_MEMBERS
    if wanted > archive_members.CHUNK and data.count(_ENTRY) > most:
      raise archive_members.ArchiveError(
        f"it has more than {most} members; nothing was unpacked"
      )
    return data


def members(
  path: pathlib.Path,
) -> Iterator[tuple[archive_members.Member, Iterator[bytes]]]:
  """See `archive_files.walk`."""
  with _ZipFile(io.FileIO(path)) as raw:
    with archive_members.reading(str(path)):
      file = zipfile.ZipFile(raw)
      _check_directory(raw, file)
    shared = _overlapping(file.infolist())
    for info in file.infolist():
      fault = "shares bytes with another member" if info in shared else ""
      yield _member(info, fault), _chunks(path, file, info)


def _check_directory(raw: io.BufferedReader, file: zipfile.ZipFile) -> None:
  """Raises EOFError where members are lost, to which zipfile says nothing."""
  infos = file.infolist()
  if min((info.header_offset for info in infos), default=0):
    raise EOFError("its list of members begins too late")
  raw.seek(-len(file.comment) - 22, os.SEEK_END)
  end = raw.read(22)
  (count,) = struct.unpack("<H", end[10:12])
  # 65535 also says that the count is larger and stands elsewhere.
  if end[:4] != _END or count not in (len(infos) % 65536, 65535):
    raise EOFError(f"{len(infos)} members where {count} are announced")


def _member(info: zipfile.ZipInfo, fault: str) -> archive_members.Member:
  # zipfile cuts names at a zero byte; the full name shows it.
  name = info.orig_filename if "\0" in info.orig_filename else info.filename
  kind = stat.S_IFMT(info.external_attr >> 16)
  folder = name.endswith("/")
  if info.flag_bits & _ENCRYPTED:
    fault = "is encrypted (unpack it with its password by another program)"
  elif stat.S_ISLNK(kind):
    fault = "is a symbolic link"
  elif kind not in (0, stat.S_IFDIR if folder else stat.S_IFREG):
    fault = f"is neither file nor folder (mode {kind:o})"
  elif info.compress_type not in _PACKING:
    fault = f"is packed by method {info.compress_type}, not by deflate"
  elif folder and info.file_size:
    fault = "is a folder with bytes of its own"
  return archive_members.Member(name, info.file_size, folder, fault)


def _overlapping(infos: list[zipfile.ZipInfo]) -> set[zipfile.ZipInfo]:
  """Members whose bytes begin within another's: how one bomb is many."""
  ordered = sorted(infos, key=lambda info: info.header_offset)
  result, end = set(), 0
  for info in ordered:
    if info.header_offset < end:
      result.add(info)
    end = max(end, info.header_offset + 30 + info.compress_size)
  return result


def _chunks(
  path: pathlib.Path, file: zipfile.ZipFile, info: zipfile.ZipInfo
) -> Iterator[bytes]:
  with (
    archive_members.reading(
      f"{path}: member {archive_members.shown(info.filename)}"
    ),
    file.open(info) as f,
  ):
    while data := f.read(archive_members.CHUNK):
      yield data
