"""Compilations: how long they take, how many there are, what they plan."""

import contextlib
import dataclasses
import time
from collections.abc import Callable, Iterator
from typing import Any

import jax
from jax import monitoring
from jax.experimental.compilation_cache import compilation_cache

_COMPILED = "/jax/core/compile/backend_compile_duration"


@contextlib.contextmanager
def no_cache() -> Iterator[None]:
  """A context in which nothing comes from, or goes to, a compile cache."""
  before = jax.config.values["jax_enable_compilation_cache"]
  try:
    jax.config.update("jax_enable_compilation_cache", False)
    compilation_cache.reset_cache()  # What JAX found at its first compilation.
    yield
  finally:
    jax.config.update("jax_enable_compilation_cache", before)
    compilation_cache.reset_cache()


def seconds(function: Callable[..., Any], *arguments: Any) -> float:
  """Time from a function to its compiled program, no cache used."""
  with no_cache():
    began = time.perf_counter()
    jax.jit(function).lower(*arguments).compile()
    return time.perf_counter() - began


@contextlib.contextmanager
def counted() -> Iterator[list[str]]:
  """A context with the list of what is compiled in it, or read from a cache."""
  names: list[str] = []

  def listen(event: str, duration_secs: float, **kwargs: Any) -> None:
    del duration_secs
    if event == _COMPILED:
      names.append(str(kwargs.get("fun_name", "?")))

  monitoring.register_event_duration_secs_listener(listen)
  try:
    yield names
  finally:
    monitoring.unregister_event_duration_listener(listen)


@dataclasses.dataclass(frozen=True)
class Memory:
  """Bytes of a compiled program."""

  arguments: int
  outputs: int  # that do not take an argument's place
  temporary: int

  @property
  def peak(self) -> int:
    """All that is there at once, at most."""
    return self.arguments + self.outputs + self.temporary


def memory(compiled: Any) -> Memory:
  """What XLA plans for a compiled program on its device."""
  found = compiled.memory_analysis()
  return Memory(
    found.argument_size_in_bytes,
    found.output_size_in_bytes - found.alias_size_in_bytes,
    found.temp_size_in_bytes,
  )
