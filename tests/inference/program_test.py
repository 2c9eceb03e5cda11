"""What was traced once is read back, and only if it is the same and whole."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffpose_jax import compile_cache
from diffpose_jax.inference import program
from diffpose_jax.model import sharding

SHAPES = {
  "vit": {"kernel": jax.ShapeDtypeStruct((3, 5), jnp.float32)},
  "step": jax.ShapeDtypeStruct((), jnp.int32),
}


@pytest.fixture
def folder(tmp_path, monkeypatch):
  """A folder for programs, as the command sets it."""
  path = tmp_path / "cache"
  path.mkdir(mode=0o700)
  monkeypatch.setenv(compile_cache.VARIABLE, str(path))
  return path


def _never(*_):
  raise AssertionError("traced again")


def _arguments():
  """Weights on all devices, and a batch that they share."""
  mesh = sharding.mesh()
  weights = jnp.arange(15.0).reshape(5, 3)
  x = np.arange(mesh.size * 5.0, dtype=np.float32).reshape(mesh.size, 5)
  return (
    {"kernel": jax.device_put(weights, sharding.replicated(mesh))},
    jax.device_put(x, sharding.split(mesh)),
  )


def _function(params, x):
  return jnp.sin(x) @ params["kernel"]


def test_shapes_come_back_without_being_made(folder):
  assert program.shelf("a").shapes(lambda: SHAPES) == SHAPES
  assert program.shelf("a").shapes(_never) == SHAPES
  with pytest.raises(AssertionError, match="traced again"):
    program.shelf("b").shapes(_never)


def test_a_program_comes_back_without_being_traced(folder):
  arguments = _arguments()
  wanted = _function(*arguments)
  first = program.shelf("a").program("8", jax.jit(_function), arguments)
  np.testing.assert_array_equal(first(*arguments), wanted)
  second = program.shelf("a").program("8", jax.jit(_never), arguments)
  np.testing.assert_array_equal(second(*arguments), wanted)
  with pytest.raises(AssertionError, match="traced again"):
    program.shelf("a").program("16", jax.jit(_never), arguments)


def test_nothing_is_kept_without_a_folder(monkeypatch):
  monkeypatch.delenv(compile_cache.VARIABLE, raising=False)
  shelf = program.shelf("a")
  function = jax.jit(_function)
  assert shelf.program("8", function, _arguments()) is function
  assert shelf.shapes(lambda: SHAPES) is SHAPES


def test_nothing_is_read_from_a_folder_that_others_can_write(folder):
  program.shelf("a").shapes(lambda: SHAPES)
  folder.chmod(0o777)
  with pytest.raises(AssertionError, match="traced again"):
    program.shelf("a").shapes(_never)


def test_other_code_is_another_program(folder, monkeypatch):
  program.shelf("a").shapes(lambda: SHAPES)
  monkeypatch.setattr(program, "code", lambda: "changed")
  with pytest.raises(AssertionError, match="traced again"):
    program.shelf("a").shapes(_never)


def test_other_settings_of_jax_are_another_program(folder):
  program.shelf("a").shapes(lambda: SHAPES)
  with (
    jax.default_matmul_precision("highest"),
    pytest.raises(AssertionError, match="traced again"),
  ):
    program.shelf("a").shapes(_never)


def test_code_is_all_that_is_traced():
  files = {
    path.relative_to(program._PACKAGE).parts[0]
    for part in program._CODE
    for path in [program._PACKAGE / part]
    if path.exists()
  }
  assert files == {"config.py", "inference", "model", "diffusion", "pose"}


@pytest.mark.parametrize("damage", [b"", b"x", None])
def test_a_damaged_file_is_made_anew(folder, caplog, damage):
  program.shelf("a").shapes(lambda: SHAPES)
  (path,) = folder.iterdir()
  whole = path.read_bytes()
  flipped = whole[:-1] + bytes([whole[-1] ^ 1])
  path.write_bytes(flipped if damage is None else damage)
  made = []
  shelf = program.shelf("a")
  assert shelf.shapes(lambda: made.append(1) or SHAPES) == SHAPES
  assert made and "is damaged" in caplog.text
  assert path.read_bytes() == whole


def test_what_cannot_be_kept_runs_all_the_same(folder):
  """A call back into Python has no form on disk."""

  def ask(x):
    shape = jax.ShapeDtypeStruct(x.shape, x.dtype)
    return jax.pure_callback(lambda v: 2 * np.asarray(v), shape, x)

  x = jnp.arange(3.0)
  run = program.shelf("a").program("1", jax.jit(ask), (x,))
  np.testing.assert_array_equal(run(x), [0.0, 2.0, 4.0])
  assert list(folder.iterdir()) == []


def test_a_folder_that_cannot_be_written_is_no_error(
  folder, monkeypatch, caplog
):
  def full(**_):
    raise OSError(28, "No space left on device")

  monkeypatch.setattr(program.tempfile, "NamedTemporaryFile", full)
  run = program.shelf("a").program("8", jax.jit(_function), _arguments())
  np.testing.assert_array_equal(run(*_arguments()), _function(*_arguments()))
  assert "No space left" in caplog.text


def test_another_call_compiles_nothing(folder):

  arguments = _arguments()
  run = program.shelf("a").program("8", jax.jit(_function), arguments)
  run(*arguments)
  other = lambda v: jax.device_put(v + 1, v.sharding)  # noqa: E731
  run(*jax.tree.map(other, arguments))
  assert run._cache_size() == 1
