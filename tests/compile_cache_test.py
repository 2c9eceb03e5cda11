"""Compiled programs are kept, and only where nobody else can write."""

import os
import pathlib
import stat
import subprocess
import sys

import pytest

from diffpose_jax import compile_cache


@pytest.fixture(autouse=True)
def _environment(monkeypatch, tmp_path):
  """None of the variables set, and a home of its own."""
  for name in (
    compile_cache.VARIABLE,
    "JAX_ENABLE_COMPILATION_CACHE",
    "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS",
    "XDG_CACHE_HOME",
  ):
    monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv(name, "")  # so that what `use` sets is taken back
    monkeypatch.delenv(name)
  monkeypatch.setenv("HOME", str(tmp_path))


def test_the_default_is_a_private_folder_at_home(tmp_path):
  path = compile_cache.use()
  assert (
    path is not None and path == tmp_path / ".cache" / "diffpose_jax" / "xla"
  )
  assert stat.S_IMODE(path.stat().st_mode) == 0o700
  assert os.environ[compile_cache.VARIABLE] == str(path)
  assert compile_cache.folder() == path
  assert compile_cache.use() == path  # it may be there already


def test_the_standard_variable_for_caches_is_followed(tmp_path, monkeypatch):
  monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "other"))
  assert compile_cache.use() == tmp_path / "other" / "diffpose_jax" / "xla"


def test_jax_s_own_variable_is_followed(tmp_path, monkeypatch):
  monkeypatch.setenv(compile_cache.VARIABLE, str(tmp_path / "mine"))
  assert compile_cache.use() == tmp_path / "mine"


@pytest.mark.parametrize("value", ["0", "false", "OFF"])
def test_it_can_be_switched_off(tmp_path, monkeypatch, value):
  monkeypatch.setenv("JAX_ENABLE_COMPILATION_CACHE", value)
  assert compile_cache.use() is None
  assert compile_cache.folder() is None
  assert list(tmp_path.iterdir()) == []


def test_an_address_is_left_to_jax(monkeypatch):
  monkeypatch.setenv(compile_cache.VARIABLE, "gs://bucket/cache")
  assert compile_cache.use() is None
  assert os.environ[compile_cache.VARIABLE] == "gs://bucket/cache"
  assert compile_cache.folder() is None


def _open_to_others(path: pathlib.Path) -> None:
  path.mkdir()
  path.chmod(0o777)


def _open_to_the_group(path: pathlib.Path) -> None:
  path.mkdir()
  path.chmod(0o770)


def _link(path: pathlib.Path) -> None:
  path.with_name("elsewhere").mkdir()
  path.symlink_to(path.with_name("elsewhere"))


def _in_an_open_folder(path: pathlib.Path) -> None:
  path.mkdir()
  path.chmod(0o700)
  path.parent.chmod(0o777)


@pytest.mark.parametrize(
  ("make", "problem"),
  [
    (_open_to_others, "can be written by others"),
    (_open_to_the_group, "can be written by others"),
    (_link, "is not a folder"),
    (_in_an_open_folder, "is in a folder that others can write"),
    (pathlib.Path.touch, "cannot be made"),
  ],
)
def test_an_unsafe_folder_is_not_used(
  tmp_path, monkeypatch, capsys, make, problem
):
  path = tmp_path / "place" / "cache"
  path.parent.mkdir()
  make(path)
  monkeypatch.setenv(compile_cache.VARIABLE, str(path))
  assert compile_cache.use() is None
  assert compile_cache.VARIABLE not in os.environ
  (line,) = capsys.readouterr().err.splitlines()
  assert str(path) in line and problem in line and "set JAX_" in line


def test_another_user_s_folder_is_not_used(tmp_path, monkeypatch, capsys):
  monkeypatch.setattr(os, "getuid", lambda: tmp_path.stat().st_uid + 1)
  monkeypatch.setenv(compile_cache.VARIABLE, str(tmp_path))
  assert compile_cache.use() is None
  assert "belongs to another user" in capsys.readouterr().err


def test_a_folder_opened_later_is_no_longer_trusted():
  path = compile_cache.use()
  assert path is not None
  path.chmod(0o777)
  assert compile_cache.folder() is None


def test_jax_finds_its_programs_there():
  """In a process of its own, as the command does it."""
  code = (
    "from diffpose_jax import compile_cache; print(compile_cache.use())\n"
    "import jax, jax.numpy as jnp\n"
    "jax.jit(lambda x: jnp.sin(x) @ x)(jnp.ones((3, 3)))\n"
  )
  environment = os.environ | {"JAX_PLATFORMS": "cpu"}
  run = subprocess.run(
    [sys.executable, "-c", code],
    env=environment,
    cwd=pathlib.Path(compile_cache.__file__).parent.parent,
    capture_output=True,
    text=True,
    check=True,
  )
  kept = list(pathlib.Path(run.stdout.strip()).iterdir())
  assert any("jit__lambda" in path.name for path in kept)
