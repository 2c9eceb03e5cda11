"""Addresses of folders in buckets (gs://...), and where they are kept here.

etils' paths reach buckets through fsspec, and so does this, which lists a folder
with all sizes at once. A scheme needs its package: gcsfs for `gs`.
"""

import contextlib
import os
import pathlib
from collections.abc import Iterator

import fsspec

_EXTRA = {"gs": "gcs"}  # of this package, that brings what a scheme needs


def opened(address: str) -> tuple[fsspec.AbstractFileSystem, str]:
  """What reads and writes there, and the path as that has it.

  Raises ValueError for an address that cannot be reached from here.
  """
  scheme, path = _split(address)
  try:
    with told(address, "cannot be reached"):
      return fsspec.filesystem(scheme), path
  except ValueError as error:
    if not isinstance(error.__cause__, ImportError | ValueError):
      raise
    extra = _EXTRA.get(scheme)
    remedy = (
      f"pip install 'diffpose-jax[{extra}]'"
      if extra
      else f"install fsspec's package for {scheme}://"
    )
    raise ValueError(f"{address}: {error.__cause__}; {remedy}") from error


def _split(address: str) -> tuple[str, str]:
  """Scheme and path. Raises ValueError for one without a folder of its own."""
  scheme, colon, path = address.partition("://")
  if not colon:
    raise ValueError(f"{address} is no address, as gs://BUCKET/PATH")
  scheme, path = scheme.lower(), path.strip("/")
  if scheme in ("file", "local"):
    raise ValueError(f"{address}: give the path alone")
  parts = path.split("/")
  if len(parts) < 2 or not all(parts) or {".", ".."} & set(parts):
    raise ValueError(
      f"{address}: give a folder in the bucket, as {scheme}://BUCKET/PATH"
    )
  return scheme, path


def kept(address: str, kind: str) -> pathlib.Path:
  """Where what is at an address is kept on this machine.

  In XDG_CACHE_HOME, or else ~/.cache; `kind` keeps what is only read apart from
  what is written.
  """
  scheme, path = _split(address)
  base = os.environ.get("XDG_CACHE_HOME")
  home = pathlib.Path(base) if base else pathlib.Path.home() / ".cache"
  return home / "diffpose_jax" / kind / scheme / path


@contextlib.contextmanager
def told(address: str, what: str) -> Iterator[None]:
  """A context whose errors, of whatever kind, are ValueErrors of one line.

  What already begins with the address passes.
  """
  try:
    yield
  except Exception as error:
    if str(error).startswith(f"{address}: "):
      raise
    reason = " ".join(str(error).split())[:200] or "no reason given"
    raise ValueError(
      f"{address} {what} ({type(error).__name__}: {reason})"
    ) from error
