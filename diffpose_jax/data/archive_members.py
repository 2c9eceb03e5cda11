"""What an archive's members are, whatever its format, and its upper limits.

Nothing that an archive says is believed: headers, the directory of a zip and
what a compressed stream grows to have limits, so that memory and time stay
small whatever the file holds.
"""

import contextlib
import dataclasses
import lzma
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator

CHUNK = 1 << 20  # bytes read at a time
MAX_MEMBERS = 500_000  # COCO's largest archive has 118 288
MAX_HEADER = 1 << 16  # bytes of one piece of a tar's header
MAX_DIRECTORY = 1 << 26  # bytes of the list at the end of a zip
# Deflate's most is 1032, which bombs come close to; bzip2 and xz go further.
MAX_RATIO = 250
RATIO_FROM = 1 << 26  # bytes; less harms nobody, however well it packs

# What the parsers of the standard library raise for bytes that make no sense.
_NONSENSE = (
  tarfile.TarError,
  zipfile.BadZipFile,
  zlib.error,
  lzma.LZMAError,
  struct.error,
  EOFError,
  RuntimeError,
  ValueError,
  LookupError,
  ArithmeticError,
  MemoryError,
)
Meter = Callable[[bytes], object]


@dataclasses.dataclass(frozen=True, slots=True)
class Member:
  """A member as the archive tells it; only `fault` was judged here."""

  name: str
  size: int  # bytes it says it has
  folder: bool
  fault: str = ""  # why it cannot be unpacked: "is a symbolic link"


class ArchiveError(ValueError):
  """An archive that cannot be read to its end."""


@contextlib.contextmanager
def reading(place: str) -> Iterator[None]:
  """Turns what parsers raise for nonsense into one line, and leaves the rest."""
  try:
    yield
  except ArchiveError as error:
    raise ArchiveError(f"{place}: {error}") from error
  except (OSError, *_NONSENSE) as error:
    if isinstance(error, OSError) and error.errno is not None:
      raise  # The disk's trouble, not the archive's.
    reason = " ".join(str(error).split()) or type(error).__name__
    raise ArchiveError(
      f"{place}: damaged or cut off ({reason}); download it again, and compare "
      "its SHA-256 with the publisher's"
    ) from error


def shown(name: str) -> str:
  """A member's name as it can be printed on one line."""
  return ascii(name if len(name) <= 120 else f"{name[:100]}...{name[-17:]}")
