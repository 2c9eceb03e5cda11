"""A file of the web under its name and checksum, whole or not at all."""

import hashlib
import http.client
import os
import pathlib
import shutil
import tempfile
import urllib.error
import urllib.parse
import urllib.request
import zipfile
import zlib
from collections.abc import Collection
from typing import Any

_BLOCK = 1 << 16  # bytes read at a time
_PATIENCE = 60.0  # seconds without a byte


class _SameSchemes(urllib.request.HTTPRedirectHandler):
  """Follows a redirection only to the schemes that the address may have."""

  def __init__(self, schemes: Collection[str]) -> None:
    self._schemes = schemes

  def redirect_request(self, req, fp, code, msg, headers, newurl) -> Any:
    """The request that follows."""
    try:
      _check_scheme(newurl, self._schemes)
    except ValueError:
      fp.close()
      raise
    return super().redirect_request(req, fp, code, msg, headers, newurl)


def download(
  url: str,
  target: pathlib.Path,
  *,
  sha256: str,
  most: int,
  member: str | None = None,
  schemes: Collection[str] = ("https",),
) -> None:
  """Fetches a file, and puts it in its place once its checksum is right.

  Args:
    url: its address; it may redirect, but to the same schemes only.
    target: where it is to be; its folder is made where it is missing.
    sha256: of the file, in hexadecimal; of the member, where there is one.
    most: bytes; more are not taken, neither of the answer nor of the member.
    member: name of the one file of a zip that is wanted, in whatever folder.
    schemes: that an address may have.

  Raises:
    ValueError: the address does not answer, or with something else; nothing is
      left of it.
  """
  target.parent.mkdir(parents=True, exist_ok=True)
  with tempfile.TemporaryDirectory(
    prefix=f".{target.name}.", dir=target.parent
  ) as folder:
    file = pathlib.Path(folder, "answer")
    try:
      _receive(url, file, most, schemes)
    except (OSError, http.client.HTTPException) as error:
      if isinstance(error, urllib.error.HTTPError):
        error.close()
      raise ValueError(
        f"{url}: cannot be fetched ({error}); try again, or bring the file "
        "here by other means and give its path"
      ) from error
    if member is not None:
      file = _extract(url, file, member, most)
    with file.open("rb") as stored:
      found = hashlib.file_digest(stored, "sha256").hexdigest()
      os.fsync(stored.fileno())
    if found != sha256:
      raise ValueError(
        f"{url}: SHA-256 is {found}, not {sha256} as known here; it is another "
        "file than the one that was looked at, and is not kept"
      )
    os.replace(file, target)


def _check_scheme(url: str, schemes: Collection[str]) -> None:
  if urllib.parse.urlsplit(url).scheme not in schemes:
    raise ValueError(f"{url}: only {' or '.join(schemes)} is fetched")


def _receive(
  url: str, file: pathlib.Path, most: int, schemes: Collection[str]
) -> None:
  """Writes what the address answers. Raises ValueError where it is too long."""
  _check_scheme(url, schemes)
  opener = urllib.request.build_opener(_SameSchemes(schemes))
  request = urllib.request.Request(url, headers={"User-Agent": "diffpose-jax"})
  taken = 0
  with (
    opener.open(request, timeout=_PATIENCE) as answer,
    file.open("wb") as out,
  ):
    while block := answer.read(_BLOCK):
      taken += len(block)
      if taken > most:
        raise ValueError(f"{url}: above {most} bytes; another file than meant")
      out.write(block)
    stated = answer.headers.get("Content-Length", "")
    if stated.isdecimal() and taken < int(stated):
      raise ValueError(
        f"{url}: ends after {taken} of {stated} bytes; try it again"
      )


def _extract(
  url: str, archive: pathlib.Path, member: str, most: int
) -> pathlib.Path:
  """The file beside the archive that has the member of that name."""
  target = archive.with_name("member")
  try:
    with zipfile.ZipFile(archive) as opened:
      found = [
        info
        for info in opened.infolist()
        if pathlib.PurePosixPath(info.filename).name == member
      ]
      if len(found) != 1 or found[0].file_size > most:
        raise ValueError(
          f"{url}: {len(found)} files {member} of up to {most} bytes in it, "
          "where there should be one"
        )
      with opened.open(found[0]) as inner, target.open("wb") as out:
        # `file_size` bounds what is read, whatever is stored.
        shutil.copyfileobj(inner, out)
  except (zipfile.BadZipFile, zlib.error, RuntimeError) as error:
    # The last is of what is encrypted or of unknown compression.
    raise ValueError(f"{url}: no zip as expected ({error})") from error
  return target
