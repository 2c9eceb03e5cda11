"""Where compiled programs are kept between runs: a folder of the user's own.

JAX runs what it finds there as it is, so nobody else may be able to write into
it. `use` sets JAX's environment variables and so comes before JAX is imported;
processes that are started from this one share the folder.
"""

import os
import pathlib
import stat
import sys

VARIABLE = "JAX_COMPILATION_CACHE_DIR"
_NAME = "diffpose_jax"


def use() -> pathlib.Path | None:
  """Lets JAX keep its programs, and returns where; None where it must not.

  The folder is JAX_COMPILATION_CACHE_DIR where that is set, else
  `diffpose_jax/xla` in XDG_CACHE_HOME or ~/.cache. One that others may write
  into is not used, and a warning says so; JAX_ENABLE_COMPILATION_CACHE=0 goes
  without. An address (gs://...) is taken as it is.
  """
  if os.environ.get("JAX_ENABLE_COMPILATION_CACHE", "1").lower() in (
    *("0", "false", "no", "off"),
  ):
    return None
  given = os.environ.get(VARIABLE)
  if given and "://" in given:
    return None
  path = pathlib.Path(given) if given else _default()
  problem = _prepare(path)
  if problem:
    print(
      f"diffpose_jax: warning: compiled programs are not kept: {path} "
      f"{problem}; set {VARIABLE} to a folder of your own",
      file=sys.stderr,
    )
    os.environ.pop(VARIABLE, None)
    return None
  os.environ[VARIABLE] = str(path)
  # Also the many small ones, which take a second together.
  os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
  return path


def folder() -> pathlib.Path | None:
  """The folder that `use` found fit; None where there is none."""
  path = os.environ.get(VARIABLE, "")
  if not path or "://" in path or _problem(pathlib.Path(path)):
    return None
  return pathlib.Path(path)


def _default() -> pathlib.Path:
  base = os.environ.get("XDG_CACHE_HOME")
  home = pathlib.Path(base) if base else pathlib.Path.home() / ".cache"
  return home / _NAME / "xla"


def _prepare(path: pathlib.Path) -> str:
  """Makes the folder where it is missing; what is wrong with it, or ''."""
  try:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.mkdir(mode=0o700, exist_ok=True)
  except OSError as error:
    return f"cannot be made ({error.strerror})"
  return _problem(path)


def _problem(path: pathlib.Path) -> str:
  """Why others might write into the folder, or this user cannot; or ''."""
  try:
    found = path.lstat()
    above = path.absolute().parent.stat()
  except OSError as error:
    return f"cannot be read ({error.strerror})"
  if not stat.S_ISDIR(found.st_mode):
    return "is not a folder"
  if found.st_uid != os.getuid():
    return "belongs to another user"
  if found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
    return "can be written by others"
  # In a folder that anybody may write, only the sticky bit keeps others from
  # putting another one in its place.
  if above.st_mode & stat.S_IWOTH and not above.st_mode & stat.S_ISVTX:
    return "is in a folder that others can write"
  if not os.access(path, os.W_OK | os.X_OK):
    return "cannot be written"
  return ""
