"""Where the weights lie that come with the package."""

import pathlib

FOLDER = pathlib.Path(__file__).resolve().parent.parent / "_weights"
SUFFIX = ".safetensors"
DEFAULT = "diffpose-small"


def names() -> list[str]:
  """What `find` knows by name."""
  return sorted(path.stem for path in FOLDER.glob(f"*{SUFFIX}"))


def place(given: str) -> pathlib.Path:
  """A path as given, or that of shipped weights whose name it is."""
  path = pathlib.Path(given)
  if given in names() and not path.exists():
    return find(given)
  return path


def find(weights: str | pathlib.Path | None = None) -> pathlib.Path:
  """Path of weights: a workdir's or a file's, a shipped one by name, or None.

  None stands for `DEFAULT`. A path that exists comes before a name.

  Raises ValueError where there is no such thing.
  """
  if weights is None:
    path = FOLDER / f"{DEFAULT}{SUFFIX}"
    if not path.is_file():
      raise ValueError(
        f"no weights come with this installation (looked for {path}); give "
        "--weights=PATH, a workdir of a training run or a file that `pack` "
        "wrote; from Python, a path"
      )
    return path
  given = pathlib.Path(weights)
  if given.exists():
    return given
  if str(weights) in names():
    return FOLDER / f"{weights}{SUFFIX}"
  known = ", ".join(names()) or "none"
  raise ValueError(
    f"{weights}: no such workdir or file of weights; shipped by name: {known}"
  )
