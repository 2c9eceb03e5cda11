"""Unpacking the archives that data sets are published as: whole, or not at all.

The whole list of members is read and judged before anything is written, and
one bad member refuses the archive: an archive that holds one cannot be trusted
with the others. Files are written to a hidden folder in the target and moved
from there when all are, so that no name ever stands for half a file.
Archives within the archive stay packed.
"""

import contextlib
import dataclasses
import fcntl
import hashlib
import os
import pathlib
import re
import shutil
import stat
import tempfile
import unicodedata
from collections.abc import Iterator

import tqdm

from diffpose_jax.data import archive_files, archive_members

MAX_BYTES = 1 << 40  # unpacked; all of PoseTrack18 is about a tenth
MAX_DEPTH = 32  # folders within folders
MAX_NAME = 255  # bytes of one name, as file systems have it
MAX_PATH = 1024  # bytes of all names of a path

_STAGE = ".unpack-"
_CLUSTER = 4096  # a file takes a whole number of these from the disk
_DEBRIS = (".DS_Store", "__MACOSX")  # of macOS, as is all that begins with ._


@dataclasses.dataclass
class Plan:
  """What an archive will become: the list of a whole, sound archive."""

  files: dict[str, int]  # path: bytes
  folders: set[str]
  debris: int  # members that macOS left and that are left out
  sha256: str  # of the archive


def main(*, source: str | os.PathLike, out: str | os.PathLike) -> None:
  """Unpacks, as `unpack --source=FILE --out=DIR`, and prints a line about it."""
  print(unpack(source, out))


def unpack(source: str | os.PathLike, out: str | os.PathLike) -> str:
  """A line that says what was unpacked, with the archive's SHA-256.

  Files that are there already, with the same bytes, stay. Nothing is written
  outside of `out`, and nothing is left behind where the archive is refused or
  the process is interrupted; what a killed process left hidden in `out`, the
  next one removes.

  Args:
    source: zip, tar, tar.gz, tar.bz2, tar.xz, or the first part, `.aa`, of one
      that is cut up. By content, not by name.
    out: folder to unpack into; made if need be.

  Raises:
    ValueError: the archive is not sound or not safe, a file with other content
      is there, or the disk is too full. Names archive and member.
  """
  parts = archive_files.parts_of(pathlib.Path(source))
  out = pathlib.Path(out).resolve()
  plan = scan(parts)
  there = _check_targets(plan, out, parts[0])
  _check_space(plan, there, out)
  with _stage(out) as stage:
    for folder in sorted(plan.folders):
      (stage / folder).mkdir(parents=True, exist_ok=True)
    _extract(parts, plan, stage, out)
    _move(stage, out)
  extra = [f"{len(there)} of them were there"] if there else []
  extra += [f"{plan.debris} of macOS left out"] if plan.debris else []
  return (
    f"{parts[0]}: {len(plan.files)} files, {sum(plan.files.values())} bytes in "
    f"{out}{''.join(f', {text}' for text in extra)}; SHA-256 {plan.sha256}"
    + (f" of its {len(parts)} parts joined" if len(parts) > 1 else "")
  )


def scan(parts: list[pathlib.Path]) -> Plan:
  """Reads the archive to its end, writing nothing.

  Raises ValueError for the first member that is refused, naming it.
  """
  digest, names = hashlib.sha256(), _Names()
  files: dict[str, int] = {}
  count = debris = total = 0
  packed = sum(part.stat().st_size for part in parts)
  bar = tqdm.tqdm(total=packed, desc="check", unit="B", unit_scale=True)

  def meter(data: bytes) -> None:
    digest.update(data)
    bar.update(len(data))

  with bar:
    if archive_files.kind_of(parts[0]) == "zip":
      with open(parts[0], "rb") as file:
        while data := file.read(archive_members.CHUNK):
          meter(data)
    for member, _ in archive_files.walk(parts, meter):
      count, total = count + 1, total + member.size
      path, fault = _judge(member)
      fault = fault or names.add(path, member.folder)
      fault = fault or _amount(count, total, packed)
      if fault:
        raise _refusal(parts[0], member, fault)
      if _is_debris(path):
        debris += 1
      elif not member.folder:
        files[path] = member.size
  if not files:
    raise ValueError(f"{parts[0]}: holds no files; download it again")
  folders = {p for p in names.folders if p and not _is_debris(p)}
  return Plan(files, folders, debris, digest.hexdigest())


def _refusal(
  source: pathlib.Path, member: archive_members.Member, fault: str
) -> ValueError:
  return ValueError(
    f"{source}: member {archive_members.shown(member.name)} {fault}; nothing "
    "was unpacked: get the archive from its publisher and compare its SHA-256"
  )


def _amount(count: int, total: int, packed: int) -> str:
  """What is wrong with so many members and bytes, or nothing."""
  most = archive_members.MAX_MEMBERS
  if count > most:
    return f"is one of more than {most}, too many"
  if total > MAX_BYTES:
    return f"makes it {total} bytes unpacked, more than {MAX_BYTES}"
  ratio = archive_members.MAX_RATIO
  if total > max(archive_members.RATIO_FROM, ratio * packed):
    return f"makes it {total} bytes out of {packed}, more than {ratio} times"
  return ""


def _judge(member: archive_members.Member) -> tuple[str, str]:
  """The member's path below the target, and what is wrong with it."""
  name = member.name
  parts = [part for part in name.split("/") if part not in ("", ".")]
  path, size = "/".join(parts), len(os.fsencode(name))
  if member.fault:
    fault = member.fault
  elif not name.isprintable():
    fault = "has characters in its name that cannot be printed"
  elif "\\" in name or re.match("[A-Za-z]:", name):
    fault = "has a backslash or a drive in its name"
  elif name.startswith("/"):
    fault = "is an absolute path"
  elif ".." in parts:
    fault = "climbs out of the folder"
  elif not parts and not member.folder:
    fault = "has no name"
  elif parts and parts[0].startswith(_STAGE):
    fault = f"begins with {_STAGE}, as what is half unpacked does"
  elif size > MAX_PATH or any(len(p.encode()) > MAX_NAME for p in parts):
    fault = "has too long a name"
  elif len(parts) > MAX_DEPTH:
    fault = f"lies in more than {MAX_DEPTH} folders"
  else:
    fault = ""
  return path, fault


class _Names:
  """All paths so far, as a disk sees them that knows no upper and lower case."""

  def __init__(self):
    self.folders: set[str] = {""}
    self._spelt: dict[str, str] = {"": ""}

  def add(self, path: str, folder: bool) -> str:
    """Adds a path and the folders above it; what is wrong with it, if so."""
    names = [] if folder else [path]
    upper = path if folder else path.rpartition("/")[0]
    while upper not in self.folders:
      names.append(upper)
      upper = upper.rpartition("/")[0]
    for name in reversed(names):
      key = unicodedata.normalize("NFC", name).casefold()
      if key not in self._spelt:
        self._spelt[key] = name
      elif self._spelt[key] != name:
        other = archive_members.shown(self._spelt[key])
        return f"differs from {other} only by case or accents"
      else:
        return "is there twice, or is a file and a folder"
      if name != path or folder:
        self.folders.add(name)
    return ""


def _is_debris(path: str) -> bool:
  name = path.rpartition("/")[2]
  return path.split("/")[0] in _DEBRIS or name in _DEBRIS or name[:2] == "._"


def _check_targets(
  plan: Plan, out: pathlib.Path, source: pathlib.Path
) -> set[str]:
  """The files that are in the target already, by their sizes the same ones."""
  for folder in sorted(plan.folders):
    mode = _mode(out / folder)
    if mode and not stat.S_ISDIR(mode):
      raise ValueError(
        f"{out / folder} is a file or a link, but a folder in {source}; move it "
        "away or give another --out"
      )
  there = {path for path in plan.files if _mode(out / path)}
  for path in sorted(there):
    if (
      not stat.S_ISREG(_mode(out / path))
      or os.path.getsize(out / path) != plan.files[path]
    ):
      raise _different(out / path, source)
  return there


def _mode(path: pathlib.Path) -> int:
  """Mode of what is there, links not followed; 0 for nothing."""
  try:
    return os.lstat(path).st_mode
  except FileNotFoundError:
    return 0


def _different(path: pathlib.Path, source: pathlib.Path) -> ValueError:
  return ValueError(
    f"{path} is there already and is not what {source} holds; nothing was "
    "unpacked: move it away or give another --out"
  )


def _check_space(plan: Plan, there: set[str], out: pathlib.Path) -> None:
  """Raises ValueError where the disk has less room than is needed."""
  needed = sum(
    -(-size // _CLUSTER) * _CLUSTER
    for path, size in plan.files.items()
    if path not in there
  )
  folder = next(p for p in (out, *out.parents) if p.is_dir())
  free = shutil.disk_usage(folder).free
  if needed > free:
    raise ValueError(
      f"{folder}: {needed / 1e9:.2f} GB are needed and {free / 1e9:.2f} GB are "
      "free; make room or give an --out on another disk"
    )


@contextlib.contextmanager
def _stage(out: pathlib.Path) -> Iterator[pathlib.Path]:
  """A hidden folder in `out`; goes in the end, as does `out` if left empty."""
  made = [path for path in (out, *out.parents) if not path.exists()]
  out.mkdir(parents=True, exist_ok=True)
  try:
    for left in out.glob(_STAGE + "*"):
      _remove_leftover(left)
    stage = pathlib.Path(tempfile.mkdtemp(prefix=_STAGE, dir=out))
    try:
      with _locked(stage):
        yield stage
    finally:
      shutil.rmtree(stage, ignore_errors=True)
  finally:
    with contextlib.suppress(OSError):  # It is not empty: so it should be.
      for path in made:
        path.rmdir()


@contextlib.contextmanager
def _locked(folder: pathlib.Path) -> Iterator[bool]:
  """Whether this process alone has the folder; never waits."""
  handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
  try:
    fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    locked = True
  except OSError:  # Another has it, or the disk has no locks.
    locked = False
  try:
    yield locked
  finally:
    os.close(handle)


def _remove_leftover(stage: pathlib.Path) -> None:
  """Removes what a killed process left; raises ValueError if one is at work."""
  with _locked(stage) as locked:
    if not locked:
      raise ValueError(
        f"{stage}: another process unpacks to this folder; wait for it, or, if "
        "there is none, remove this hidden folder"
      )
    shutil.rmtree(stage)


def _extract(
  parts: list[pathlib.Path],
  plan: Plan,
  stage: pathlib.Path,
  out: pathlib.Path,
) -> None:
  """Writes all files to the stage, except those that `out` has already.

  Sizes are counted, not believed. Raises ValueError where they are others than
  in the plan, and where a file in `out` is another.
  """
  total, left = sum(plan.files.values()), dict(plan.files)
  bar = tqdm.tqdm(total=total, desc="unpack", unit="B", unit_scale=True)
  with bar:
    for member, chunks in archive_files.walk(parts, len):
      path, fault = _judge(member)
      if fault:
        raise _refusal(parts[0], member, fault)
      if member.folder or _is_debris(path):
        continue
      size, target = left.pop(path, None), out / path
      if size is None:
        raise _refusal(parts[0], member, "was not there a moment ago")
      same = _mode(target) != 0
      name = target if same else stage / path
      with open(name, "rb" if same else "xb") as file:
        for chunk in chunks:
          size -= len(chunk)
          if size < 0:
            break
          if not same:
            file.write(chunk)
          elif file.read(len(chunk)) != chunk:
            raise _different(target, parts[0])
          bar.update(len(chunk))
      if size:
        raise _refusal(parts[0], member, "has not as many bytes as it says")
  if left:
    raise ValueError(f"{parts[0]} changed while it was read; try again")


def _move(stage: pathlib.Path, out: pathlib.Path) -> None:
  """Gives all files their names, or, if one cannot have it, none of them."""
  moves = list(_moves(stage, out))
  tried: list[tuple[pathlib.Path, pathlib.Path]] = []
  try:
    for source, target in moves:
      tried.append((source, target))
      if os.path.lexists(target):
        raise ValueError(
          f"{target} appeared while the archive was unpacked; nothing was "
          "unpacked: try again"
        )
      os.rename(source, target)
  except BaseException:
    for source, target in reversed(tried):
      if not os.path.lexists(source):
        os.rename(target, source)
    raise


def _moves(
  stage: pathlib.Path, out: pathlib.Path
) -> Iterator[tuple[pathlib.Path, pathlib.Path]]:
  """What to rename: whole folders where the target has none of that name."""
  for source in sorted(stage.iterdir()):
    target = out / source.name
    if source.is_dir() and stat.S_ISDIR(_mode(target)):
      yield from _moves(source, target)
    else:
      yield source, target
