"""The verb `convert`: public weights into a folder of our own form."""

import pathlib

from diffpose_jax.weights import account, converted
from diffpose_jax.weights import source as sources


def main(*, source: pathlib.Path, out: pathlib.Path) -> None:
  """Converts, as `convert --source=FILE --out=DIR`, and prints the account."""
  print(convert(source, out).table())


def convert(path: pathlib.Path, out: pathlib.Path) -> account.Account:
  """The account of what became of a file's keys, after writing the folder.

  The folder holds `weights.safetensors`, by the names of `vitpose.ViTPose`, and
  `convert.json`. Nothing is changed where the file is refused.

  Args:
    path: file of public weights.
    out: folder to write; made if need be. One that `convert` wrote before is
      written anew.

  Raises:
    ValueError: the file is not such weights, or the folder holds other things.
  """
  weights = sources.read(path)
  converted.write(out, weights)
  return account.Account(
    format=weights.format,
    source=str(path),
    sha256=weights.sha256,
    size=weights.size,
    used=weights.used,
    unused=weights.unused,
    resized=None,
    notes=weights.notes,
  )
