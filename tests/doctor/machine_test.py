"""What is told of the machine, and of the environment no more than that."""

import collections

import pytest

from diffpose_jax import compile_cache
from diffpose_jax.doctor import finding, machine


def _all(found):
  return "\n".join(map(str, found))


def test_secrets_are_not_told(monkeypatch, tmp_path):
  for name in ("GITHUB_TOKEN", "AWS_SECRET_ACCESS_KEY", "WANDB_API_KEY"):
    monkeypatch.setenv(name, "hunter2")
  monkeypatch.setenv("HTTPS_PROXY", "http://me:hunter2@proxy")
  monkeypatch.setenv("DIFFPOSE_DATA_ROOT", "https://me:hunter2@host/data")
  monkeypatch.setenv("XLA_FLAGS", "--xla_some=1")
  monkeypatch.setenv("HOME", str(tmp_path))
  monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
  text = _all(machine.check())
  assert "hunter2" not in text and "TOKEN" not in text
  assert "DIFFPOSE_DATA_ROOT: https://…@host/data" in text
  assert "XLA_FLAGS: --xla_some=1" in text
  assert "XDG_CACHE_HOME: ~/cache" in text
  words = {word for name in machine.VARIABLES for word in name.split("_")}
  assert not words & {"TOKEN", "KEY", "SECRET", "PASSWORD", "PROXY", "AUTH"}


def test_huge_pages(monkeypatch):
  monkeypatch.setenv("GLIBC_TUNABLES", "glibc.malloc.hugetlb=1")
  assert machine.huge_pages().state == finding.OK
  monkeypatch.setenv("GLIBC_TUNABLES", "glibc.malloc.arena_max=1")
  monkeypatch.setattr(machine, "_libc", lambda: "glibc 2.36")
  note = machine.huge_pages()
  assert note.state == finding.NOTE
  assert "export GLIBC_TUNABLES=glibc.malloc.hugetlb=1" in note.remedy
  monkeypatch.setattr(machine, "_libc", lambda: "musl")
  assert machine.huge_pages().state == finding.OK


def test_memory(monkeypatch, tmp_path):
  file = tmp_path / "meminfo"
  monkeypatch.setattr(machine, "_MEMINFO", file)
  assert machine.memory().value == "not told by this system"
  file.write_text("MemTotal:  16000000 kB\nMemAvailable: 7000000 kB\nX:\n")
  found = machine.memory()
  assert (found.value, found.state) == ("16.4 GB, 7.2 GB free", finding.OK)
  file.write_text("MemTotal:  16000000 kB\nMemAvailable: 700000 kB\n")
  assert machine.memory().state == finding.NOTE


def test_the_cache(monkeypatch, tmp_path):
  folder = tmp_path / "xla"
  folder.mkdir(mode=0o700)
  (folder / "a").write_bytes(bytes(3_000_000))
  (folder / "b").write_bytes(bytes(2_000_000))
  monkeypatch.setenv(compile_cache.VARIABLE, str(folder))
  assert machine.cache().value.endswith("/xla, 2 files, 5 MB")
  monkeypatch.delenv(compile_cache.VARIABLE)
  assert machine.cache().state == finding.NOTE


@pytest.mark.parametrize(
  ("free", "state"), [(1e9, finding.NOTE), (3e9, finding.OK)]
)
def test_disk(monkeypatch, tmp_path, free, state):
  usage = collections.namedtuple("usage", "free")
  monkeypatch.setattr(machine.shutil, "disk_usage", lambda _: usage(free))
  assert machine.disk(tmp_path).state == state
