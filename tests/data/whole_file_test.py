import os
import stat

import pytest

from diffpose_jax.data import whole_file


def test_a_file_is_there_once_the_block_is_left(tmp_path):
  path = tmp_path / "new" / "a.bin"
  with whole_file.place(path) as name:
    name.write_bytes(b"\x00\x01")
    assert not path.exists()
    assert name.parent == path.parent and name.name.startswith(".")
  assert path.read_bytes() == b"\x00\x01"
  assert os.listdir(path.parent) == ["a.bin"]
  umask = os.umask(0)
  os.umask(umask)
  assert stat.S_IMODE(path.stat().st_mode) == 0o666 & ~umask


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError, OSError])
def test_what_raises_leaves_the_older_file(tmp_path, error):
  path = tmp_path / "a.txt"
  path.write_text("old")

  def write():
    with whole_file.text(path) as file:
      file.write("new")
      raise error

  with pytest.raises(error):
    write()
  assert path.read_text() == "old"
  assert os.listdir(tmp_path) == ["a.txt"]


def test_text_is_written_as_it_is(tmp_path):
  with whole_file.text(tmp_path / "a") as file:
    file.write("é\n\r\n")
  assert (tmp_path / "a").read_bytes() == b"\xc3\xa9\n\r\n"


def test_what_does_not_fit_on_the_disk_leaves_nothing(tmp_path, small_disk):
  def write():
    with whole_file.text(tmp_path / "a") as file:
      file.write("x" * 100_000)

  with small_disk(20_000), pytest.raises(OSError):
    write()
  assert os.listdir(tmp_path) == []
