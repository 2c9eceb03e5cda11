"""Counts, times and memory of compilations."""

import jax
import jax.numpy as jnp

from diffpose_jax.benchmark import compiling


def test_compilations_are_counted_and_others_are_not():
  function = jax.jit(lambda x: 3 * x + 1)
  small, large = jnp.zeros(3), jnp.zeros(5)
  with compiling.counted() as found:
    for x in (small, small, large, small):
      function(x)
  assert len(found) == 2 and "lambda" in found[0]
  function(jnp.zeros(7))
  assert len(found) == 2


def test_memory_of_a_product():
  n, m, k = 31, 37, 41
  shapes = [
    jax.ShapeDtypeStruct(shape, jnp.float32) for shape in ((n, m), (m, k))
  ]
  found = compiling.memory(jax.jit(jnp.matmul).lower(*shapes).compile())
  assert found.arguments == 4 * (n * m + m * k)
  assert found.outputs == 4 * n * k
  assert found.peak == found.arguments + found.outputs + found.temporary


def test_donated_memory_is_not_counted_twice():
  x = jax.ShapeDtypeStruct((1009,), jnp.float32)
  add = jax.jit(lambda x: x + 1, donate_argnums=0)
  found = compiling.memory(add.lower(x).compile())
  assert (found.arguments, found.outputs) == (4 * 1009, 0)


def test_the_cache_is_not_used_for_times(tmp_path):
  names = [
    "jax_compilation_cache_dir",
    "jax_persistent_cache_min_compile_time_secs",
    "jax_persistent_cache_min_entry_size_bytes",
  ]
  before = {name: getattr(jax.config, name) for name in names}
  for name, value in zip(names, (str(tmp_path), 0.0, -1), strict=True):
    jax.config.update(name, value)
  x = jnp.ones((2, 3))
  try:
    with compiling.no_cache():
      pass  # It forgets the folder that was used until now.
    assert compiling.seconds(lambda x: jnp.sin(x) * 5, x) > 0
    assert not list(tmp_path.iterdir())
    jax.jit(lambda x: jnp.sin(x) * 7)(x)
    assert list(tmp_path.iterdir())  # Afterwards it is used again.
  finally:
    for name, value in before.items():
      jax.config.update(name, value)
    with compiling.no_cache():
      pass
