"""Archives: every kind that must be refused whole, and those that unpack."""

import io
import lzma
import os
import pathlib
import shutil
import stat
import struct
import subprocess
import sys
import tarfile
import tracemalloc
import warnings
import zipfile
from typing import Any

import numpy as np
import pytest

from diffpose_jax import main
from diffpose_jax.data import archive_members, archives

GOOD = {
  "sub/one.txt": b"one\n",
  "sub/deep/two.bin": bytes(range(256)) * 13,
  "three": b"",
}
TARS = ("tar", "tar.gz", "tar.bz2", "tar.xz")


def member(name, kind=tarfile.REGTYPE, data=b"x", **fields):
  info = tarfile.TarInfo(name)
  info.type, info.size = kind, len(data) if kind == tarfile.REGTYPE else 0
  for key, value in fields.items():
    setattr(info, key, value)
  return info, io.BytesIO(data)


def tar(path, *extra, files=GOOD):
  """A tar with the files, and the members after the first of these."""
  mode: Any = {".gz": "w:gz", ".bz2": "w:bz2", ".xz": "w:xz"}.get(
    path.suffix, "w"
  )
  members = [member(name, data=data) for name, data in files.items()]
  with tarfile.open(path, mode) as file:
    for info, data in [*members[:1], *extra, *members[1:]]:
      file.addfile(info, data)
  return path


def make_zip(path, *extra, files=GOOD, **options):
  """A zip; `extra` are pairs of ZipInfo, or name, and bytes."""
  with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, **options) as file:
    for name, data in [*list(files.items())[:1], *extra]:
      file.writestr(name, data)
    for name, data in list(files.items())[1:]:
      file.writestr(name, data)
  return path


def make(path, files=GOOD):
  return (
    make_zip(path, files=files)
    if path.suffix == ".zip"
    else tar(path, files=files)
  )


def contents(folder):
  return {
    str(path.relative_to(folder)): path.read_bytes()
    for path in folder.rglob("*")
    if path.is_file()
  }


def refused(path, match, out=None):
  """Unpacks, and checks that it says one line and leaves no trace."""
  out = out or path.parent / "out"
  before = contents(path.parent)
  with pytest.raises(ValueError, match=match) as caught:
    archives.unpack(path, out)
  assert "\n" not in str(caught.value)
  assert str(path) in str(caught.value)
  assert contents(path.parent) == before
  assert not list(path.parent.rglob(".unpack-*"))
  return str(caught.value)


@pytest.mark.parametrize("kind", [*TARS, "zip"])
def test_unpacks(tmp_path, kind):
  path = make(tmp_path / f"set.{kind}")
  digest = subprocess.run(
    ["sha256sum", path], capture_output=True, text=True, check=True
  ).stdout.split()[0]
  for text in ("3 files, 3332 bytes in", "3 of them were there"):
    said = archives.unpack(path, tmp_path / "new" / "out")
    assert text in said
    assert said.endswith(f"SHA-256 {digest}")
    assert contents(tmp_path / "new" / "out") == GOOD
  folders = sorted(p.name for p in (tmp_path / "new/out").iterdir())
  assert folders == ["sub", "three"]


def test_program_made_archives(tmp_path):
  """Those of the system's own tar: ./ before names, folders, long names."""
  files = {f"{'long' * 30}/{'name' * 40}.txt": b"far", "a b/ü.txt": b"ue"}
  for name, data in files.items():
    target = tmp_path / "tree" / name
    target.parent.mkdir(parents=True)
    target.write_bytes(data)
  (tmp_path / "tree/empty").mkdir()
  for form in ("gnu", "pax"):
    path = tmp_path / f"{form}.tgz"
    command = ["tar", f"--format={form}", "-czf", path, "-C", tmp_path / "tree"]
    subprocess.run([*command, "."], check=True)
    archives.unpack(path, tmp_path / form)
    assert contents(tmp_path / form) == files
    assert (tmp_path / form / "empty").is_dir()


def test_parts_are_joined(tmp_path):
  whole = tar(tmp_path / "whole.tar").read_bytes()
  cuts = [whole[:700], whole[700:701], whole[701:]]
  for end, cut in zip(("aa", "ab", "ac"), cuts, strict=True):
    (tmp_path / f"set.tar.{end}").write_bytes(cut)
  said = archives.unpack(tmp_path / "set.tar.aa", tmp_path / "out")
  assert said.endswith("of its 3 parts joined")
  assert contents(tmp_path / "out") == GOOD
  with pytest.raises(ValueError, match="give the first part, .*set.tar.aa"):
    archives.unpack(tmp_path / "set.tar.ab", tmp_path / "out")
  (tmp_path / "set.tar.ac").rename(tmp_path / "set.tar.ad")
  with pytest.raises(ValueError, match="set.tar.ac is missing"):
    archives.unpack(tmp_path / "set.tar.aa", tmp_path / "out")
  (tmp_path / "set.tar.ad").unlink()
  refused(tmp_path / "set.tar.aa", "cut off", tmp_path / "new")


def test_tars_joined_with_cat(tmp_path):
  first = tar(tmp_path / "1.tar", files={"a": b"1"}).read_bytes()
  second = tar(tmp_path / "2.tar", files={"b": b"2"}).read_bytes()
  path = tmp_path / "both.tar"
  path.write_bytes(first + second)
  archives.unpack(path, tmp_path / "out")
  assert contents(tmp_path / "out") == {"a": b"1", "b": b"2"}
  path.write_bytes(first + b"\xff" * 512)
  refused(path, "both.tar.*damaged", tmp_path / "new")


@pytest.mark.parametrize("kind", ["tar", "tar.gz", "zip"])
@pytest.mark.parametrize(
  ("name", "match"),
  [
    ("../out.txt", "'../out.txt' climbs out"),
    ("sub/../../out.txt", "climbs out"),
    ("..", "climbs out"),
    ("/etc/x", "is an absolute path"),
    ("C:/x", "backslash or a drive"),
    ("c:x", "backslash or a drive"),
    ("sub\\x", "backslash or a drive"),
    ("..\\x", "backslash or a drive"),
    ("sub/a\nb", r"'sub/a\\nb' has characters"),
    ("sub/\x1b[2J", "has characters"),
    ("sub/a\u202egpj.exe", "has characters"),
    ("sub/a\0b", "has characters"),
    ("SUB/one.txt", "differs from 'sub' only by case"),
    ("sub/ONE.txt", "differs from 'sub/one.txt' only by case"),
    ("sub/one.txt", "is there twice"),
    ("sub//./one.txt", "is there twice"),
    ("sub/one.txt/x", "a file and a folder"),
    ("sub", "a file and a folder"),
    (".", "has no name"),
    (".unpack-x/y", "begins with .unpack-"),
    ("x" * 256, "has too long a name"),
    ("/".join(["y" * 200] * 6), "has too long a name"),
    ("z/" * 33 + "z", "lies in more than 32 folders"),
  ],
)
def test_bad_names(tmp_path, kind, name, match):
  path = tmp_path / f"set.{kind}"
  if kind == "zip":
    # ZipInfo cuts the name at a zero byte, so it is put there afterwards.
    info = zipfile.ZipInfo(name.replace("\0", "\1"))
    with warnings.catch_warnings(action="ignore"):  # of names given twice
      make_zip(path, (info, b"x"))
    if "\0" in name:
      path.write_bytes(path.read_bytes().replace(b"a\1b", b"a\0b"))
  else:
    full = {"path": name} if "\0" in name else {}
    tar(path, member(name.replace("\0", "0"), pax_headers=full))
  refused(path, match)


def test_names_that_differ_by_accents_alone(tmp_path):
  files = {"caf\u00e9": b"1", "cafe\u0301": b"2"}
  refused(make(tmp_path / "set.tar", files), "only by case or accents")


def test_bytes_that_are_no_text_in_a_name(tmp_path):
  refused(tar(tmp_path / "set.tar", member("\udcff")), "has characters")


@pytest.mark.parametrize(
  ("kind", "fields", "match"),
  [
    (tarfile.SYMTYPE, {"linkname": "/etc"}, "'bad' is a symbolic link"),
    (tarfile.SYMTYPE, {"linkname": "three"}, "symbolic link"),
    (tarfile.LNKTYPE, {"linkname": "sub/one.txt"}, "is a hard link"),
    (tarfile.CHRTYPE, {"devmajor": 1, "devminor": 3}, "is a device"),
    (tarfile.BLKTYPE, {}, "is a device"),
    (tarfile.FIFOTYPE, {}, "is a pipe"),
    (tarfile.CONTTYPE, {}, "unknown type b'7'"),
    (b"Z", {}, "unknown type b'Z'"),
    (
      tarfile.REGTYPE,
      {
        "pax_headers": {
          "GNU.sparse.map": "0,1",
          "GNU.sparse.size": "9",
          "GNU.sparse.major": "0",
        }
      },
      "sparse",
    ),
    (tarfile.REGTYPE, {"pax_headers": {"size": "-1024"}}, "bytes|damaged"),
    (tarfile.REGTYPE, {"pax_headers": {"x": "y" * 70000}}, "damaged"),
  ],
)
def test_bad_tar_members(tmp_path, kind, fields, match):
  path = tar(tmp_path / "set.tar.gz", member("bad", kind, **fields))
  refused(path, match)


@pytest.mark.parametrize(
  ("mode", "match"),
  [
    (stat.S_IFLNK, "'bad' is a symbolic link"),
    (stat.S_IFCHR, "neither file nor folder"),
    (stat.S_IFIFO, "neither file nor folder"),
    (stat.S_IFDIR, "neither file nor folder"),
  ],
)
def test_bad_zip_members(tmp_path, mode, match):
  info = zipfile.ZipInfo("bad")
  info.external_attr = (mode | 0o777) << 16
  refused(make_zip(tmp_path / "set.zip", (info, b"/etc")), match)


def directory_entry(data, name):
  """Where the entry of a member begins in the directory of a zip."""
  return data.rindex(name) - 46


def test_encrypted_and_foreign_packing(tmp_path):
  path = make_zip(tmp_path / "set.zip")
  data = bytearray(path.read_bytes())
  data[directory_entry(data, b"three") + 8] |= 1
  path.write_bytes(data)
  refused(path, "'three' is encrypted")
  for method in (zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA):
    with zipfile.ZipFile(path, "w", method) as file:
      file.writestr("packed", b"x" * 1000)
    refused(path, f"'packed' is packed by method {method}")


def test_members_that_share_bytes(tmp_path):
  path = make_zip(tmp_path / "set.zip")
  data = bytearray(path.read_bytes())
  at = directory_entry(data, b"three") + 42
  data[at : at + 4] = struct.pack("<I", 1)
  path.write_bytes(data)
  refused(path, "'sub/one.txt' shares|'three' shares")


@pytest.mark.parametrize("shift", [-1, 1])
def test_a_zip_that_lies_about_a_size(tmp_path, shift):
  path = make_zip(tmp_path / "set.zip")
  data = bytearray(path.read_bytes())
  at = directory_entry(data, b"sub/deep/two.bin") + 24
  data[at : at + 4] = struct.pack("<I", 3328 + shift)
  path.write_bytes(data)
  refused(path, "two.bin' *(has not as many bytes|.*damaged)")


@pytest.mark.parametrize("kind", [*TARS, "zip"])
def test_cut_off_archives(tmp_path, kind):
  whole = make(tmp_path / f"set.{kind}").read_bytes()
  path = tmp_path / f"cut.{kind}"
  cuts = np.linspace(1, len(whole) - 1, 23).astype(int)
  # A plain tar ends with 10 KB of zeros; of these a part may be missing.
  end = len(whole.rstrip(b"\0")) if kind == "tar" else len(whole)
  for cut in [cut for cut in cuts if cut < end]:
    path.write_bytes(whole[:cut])
    refused(path, "cut")


@pytest.mark.parametrize("kind", ["tar.gz", "tar.bz2", "tar.xz", "zip"])
def test_flipped_bits_are_found_or_do_no_harm(tmp_path, kind):
  """Whatever is flipped: either refused in one line, or the bytes are right."""
  whole = make(tmp_path / f"set.{kind}").read_bytes()
  path, found = tmp_path / f"bad.{kind}", 0
  rng = np.random.default_rng(7)
  for at in range(0, len(whole), max(1, len(whole) // 97)):
    data = bytearray(whole)
    data[at] ^= 1 << int(rng.integers(8))
    path.write_bytes(data)
    out = tmp_path / f"out{at}"
    try:
      archives.unpack(path, out)
    except ValueError as error:
      found += 1
      lines = str(error).count("\n")
      assert lines == 0 and not out.exists()
    else:
      assert contents(out) == GOOD
  assert found > 20


def test_no_archive_at_all(tmp_path):
  for data in (
    b"",
    b"PK",
    b"<html>" * 200,
    b"\0" * 2048,
    b"\x1f\x8b\x08" + b"a" * 99,
  ):
    path = tmp_path / "set.zip"
    path.write_bytes(data)
    refused(path, "damaged|holds no files")
  refused(make_zip(path, files={}), "holds no files")
  with pytest.raises(ValueError, match="no.zip does not exist"):
    archives.unpack(tmp_path / "no.zip", tmp_path / "out")
  with pytest.raises(ValueError, match="is a folder; give an archive"):
    archives.unpack(tmp_path, tmp_path / "out")


def test_too_many_members(tmp_path, monkeypatch):
  monkeypatch.setattr(archive_members, "MAX_MEMBERS", 20)
  files = {f"{i}": b"" for i in range(21)}
  for kind in ("tar.gz", "zip"):
    path = make(tmp_path / f"set.{kind}", files)
    assert "'20'" in refused(path, "more than 20, too many")
  # A long directory is counted before it is parsed.
  monkeypatch.setattr(archive_members, "CHUNK", 100)
  refused(path, "more than 20 members")
  monkeypatch.setattr(archive_members, "MAX_DIRECTORY", 990)
  refused(path, "its directory says it has [0-9]+ bytes")


def test_too_many_bytes(tmp_path, monkeypatch):
  path = make(tmp_path / "set.tar")
  monkeypatch.setattr(archives, "MAX_BYTES", 3331)
  refused(path, "makes it 3332 bytes unpacked, more than 3331")
  monkeypatch.setattr(archives, "MAX_BYTES", 3332)
  free = shutil.disk_usage(tmp_path)._replace(free=8191)
  monkeypatch.setattr(shutil, "disk_usage", lambda folder: free)
  with pytest.raises(ValueError, match="8191|0.00 GB are free"):
    archives.unpack(path, tmp_path / "out")
  assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("kind", ["tar.bz2", "tar.xz", "zip"])
def test_bombs_take_no_memory(tmp_path, kind):
  """300 MB of zeros are refused before they are made."""
  path = tmp_path / f"set.{kind}"
  zeros = b"\0" * 300_000_000
  make(path, {"bomb": zeros})
  del zeros
  assert path.stat().st_size < 400_000
  tracemalloc.start()
  refused(path, "'bomb' makes it 300000000 bytes out of")
  assert tracemalloc.get_traced_memory()[1] < 20e6
  tracemalloc.stop()


def test_zeros_behind_the_end_are_a_bomb_too(tmp_path, monkeypatch):
  monkeypatch.setattr(archive_members, "RATIO_FROM", 1 << 20)
  path = tmp_path / "set.tar.xz"
  with lzma.open(path, "wb") as file:
    file.write(tar(tmp_path / "in.tar").read_bytes() + bytes(20_000_000))
  refused(path, "grows to more than 250 times")


def test_memory_stays_small(tmp_path):
  """20 MB in a file, and 500 files: a few MB of memory."""
  data = np.random.default_rng(3).bytes(20_000_000)
  files = {"big": data} | {f"{i:05}": b"x" for i in range(500)}
  for kind in ("tar.gz", "zip"):
    path = make(tmp_path / f"set.{kind}", files)
    tracemalloc.start()
    archives.unpack(path, tmp_path / kind)
    assert tracemalloc.get_traced_memory()[1] < 8e6
    tracemalloc.stop()
  assert contents(tmp_path / "zip") == contents(tmp_path / "tar.gz") == files


def test_debris_of_macos_is_left_out(tmp_path):
  debris = {"__MACOSX/sub/._one.txt": b"", "sub/.DS_Store": b"", "._x": b""}
  path = make(tmp_path / "set.zip", GOOD | debris)
  assert "3 of macOS left out" in archives.unpack(path, tmp_path / "out")
  assert contents(tmp_path / "out") == GOOD
  assert not (tmp_path / "out/__MACOSX").exists()
  link = member("__MACOSX/._l", tarfile.SYMTYPE, linkname="/etc")
  refused(tar(tmp_path / "set.tar", link), "symbolic link", tmp_path / "new")


def test_existing_files_are_kept_or_refused(tmp_path):
  path = make(tmp_path / "set.tar.gz")
  out = tmp_path / "out"
  (out / "sub").mkdir(parents=True)
  (out / "sub/own.txt").write_bytes(b"own")
  (out / "sub/one.txt").write_bytes(b"one\n")
  before = (out / "sub/one.txt").stat()
  assert "1 of them were there" in archives.unpack(path, out)
  assert contents(out) == GOOD | {"sub/own.txt": b"own"}
  assert (out / "sub/one.txt").stat().st_ino == before.st_ino
  for other in (b"One\n", b"longer"):
    (out / "three").unlink()
    (out / "sub/one.txt").write_bytes(other)
    refused(path, "sub/one.txt is there already and is not what", out)
    (out / "three").touch()
  shutil.rmtree(out / "sub")
  (out / "sub").write_bytes(b"")
  refused(path, "out/sub is a file or a link, but a folder", out)


def test_links_in_the_target_are_not_followed(tmp_path):
  elsewhere, out = tmp_path / "elsewhere", tmp_path / "out"
  elsewhere.mkdir()
  out.mkdir()
  (out / "sub").symlink_to(elsewhere)
  path = make(tmp_path / "set.zip")
  refused(path, "out/sub is a file or a link", out)
  (out / "sub").unlink()
  (out / "three").symlink_to(elsewhere / "gone")
  refused(path, "out/three is there already", out)
  assert not list(elsewhere.iterdir())


def test_a_full_disk_and_an_interruption_leave_nothing(tmp_path, monkeypatch):
  path = make(tmp_path / "set.zip")
  for error in (OSError(28, "No space left"), KeyboardInterrupt()):
    real, renamed = os.rename, []

    def rename(source, target, error=error, real=real, renamed=renamed):
      if renamed:
        monkeypatch.setattr(os, "rename", real)
        raise error
      renamed.append(target)
      real(source, target)

    monkeypatch.setattr(os, "rename", rename)
    with pytest.raises(type(error)):
      archives.unpack(path, tmp_path / "a/out")
    assert renamed
    assert not (tmp_path / "a").exists()


def test_a_killed_process_leaves_a_hidden_folder_that_goes(tmp_path):
  path = make(tmp_path / "set.tar.gz")
  code = (
    "import os, sys; from diffpose_jax.data import archives;"
    "archives._move = lambda *a: os.kill(os.getpid(), 9);"
    "archives.unpack(sys.argv[1], sys.argv[2])"
  )
  command = [sys.executable, "-c", code, path, tmp_path / "out"]
  cwd = pathlib.Path(main.PACKAGE).parent
  run = subprocess.run(command, cwd=cwd, capture_output=True, check=False)
  assert run.returncode == -9, run.stderr
  (left,) = (tmp_path / "out").iterdir()
  assert left.name.startswith(".unpack-")
  with archives._locked(left), pytest.raises(ValueError, match="another proc"):
    archives.unpack(path, tmp_path / "out")
  archives.unpack(path, tmp_path / "out")
  assert contents(tmp_path / "out") == GOOD
  assert not left.exists()


def test_an_archive_that_changes_meanwhile(tmp_path, monkeypatch):
  path = make(tmp_path / "set.tar")
  other = make(tmp_path / "other.tar", GOOD | {"four": b"4"}).read_bytes()
  check = archives._check_space

  def swap(*arguments):
    path.write_bytes(other)
    check(*arguments)

  monkeypatch.setattr(archives, "_check_space", swap)
  with pytest.raises(ValueError, match="'four' was not there a moment ago"):
    archives.unpack(path, tmp_path / "out")
  assert not (tmp_path / "out").exists()


def test_the_command(tmp_path, capsys):
  path = make(tmp_path / "set.zip")
  flags = [f"--source={path}", f"--out={tmp_path / 'out'}"]
  assert main.main(["unpack", *flags]) == 0
  assert "3 files, 3332 bytes" in capsys.readouterr().out
  assert contents(tmp_path / "out") == GOOD
