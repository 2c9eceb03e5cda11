"""Archives as files: of which format, in how many parts, with what in them.

Read are zip, and tar: plain, gzip, bzip2 or xz, whole or cut into parts whose
names end in `.aa`, `.ab` and so on, as the pictures of PoseTrack18 are. Nothing
is written here.
"""

import pathlib
import string
from collections.abc import Iterator

from diffpose_jax.data import archive_members, archive_tar, archive_zip

_STARTS = {
  b"PK\x03\x04": "zip",
  b"PK\x05\x06": "zip",  # without members
  b"\x1f\x8b": "gz",
  b"BZh": "bz2",
  b"\xfd7zXZ\x00": "xz",
}


def walk(
  parts: list[pathlib.Path], meter: archive_members.Meter
) -> Iterator[tuple[archive_members.Member, Iterator[bytes]]]:
  """Members in the order of the archive, each with its bytes in chunks.

  The chunks are read, and checked against the archive's own checksums, only as
  far as they are asked for. A tar's bytes all pass through `meter`, in order,
  by the time the last member is followed by the end; a zip's do not.

  Args:
    parts: from `parts_of`.
    meter: called with each piece of a tar, as it lies on the disk.

  Raises:
    ArchiveError: the archive cannot be read; names it and the member.
  """
  kind = kind_of(parts[0])
  if kind == "zip":
    if len(parts) > 1:
      raise archive_members.ArchiveError(
        f"{parts[0]}: a zip in parts is not read; join them with cat first"
      )
    return archive_zip.members(parts[0])
  return archive_tar.members(parts, kind, meter)


def parts_of(path: pathlib.Path) -> list[pathlib.Path]:
  """The files that make up an archive: itself, or `x.aa`, `x.ab`, … in order.

  Raises:
    ValueError: there is no such file, it is a later part, or one is missing.
  """
  if path.is_dir():
    raise ValueError(
      f"{path} is a folder; give an archive, or take the folder as it is for "
      "prepare --source"
    )
  if not path.is_file():
    raise ValueError(f"archive {path} does not exist; give --source=FILE")
  letters = string.ascii_lowercase
  ends = [f".{a}{b}" for a in letters for b in letters]
  if path.suffix not in ends or not path.with_suffix(".aa").is_file():
    return [path]
  if path.suffix != ".aa":
    raise ValueError(
      f"{path} is a later part of an archive; give the first part, "
      f"{path.with_suffix('.aa')}, and the others are found beside it"
    )
  there = [path.with_suffix(end).is_file() for end in ends]
  count = there.index(False)
  if any(there[count:]):
    raise ValueError(
      f"{path.with_suffix(ends[count])} is missing, but later parts are there; "
      "download it too"
    )
  return [path.with_suffix(end) for end in ends[:count]]


def kind_of(path: pathlib.Path) -> str:
  """`zip`, `gz`, `bz2`, `xz` or `tar`, from the file's first bytes alone."""
  with open(path, "rb") as file:
    start = file.read(8)
  for magic, kind in _STARTS.items():
    if start.startswith(magic):
      return kind
  return "tar"
