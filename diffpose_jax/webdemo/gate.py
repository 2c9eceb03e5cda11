"""What every request passes: who may ask, how much of it, and what browsers do.

A page on this machine can be reached by any page that its user looks at, in two
ways: by a request from there, and by a name that is made to point here (DNS
rebinding). So a request is refused that names another host, or that comes from
another page. What browsers are told keeps the page from loading anything from
elsewhere.
"""

import ipaddress
import json
import socket
import urllib.parse
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

API = "/gradio_api/"
UPLOAD = f"{API}upload"  # that files are sent to
# What the page asks for. There is more that Gradio would answer: files by the
# address of another host, a page that records runs, an editor of the program.
ADDRESSES = ("/", "/config", "/theme.css", "/favicon.ico", "/manifest.json")
ADDRESSES += (UPLOAD, f"{API}upload_progress", f"{API}startup-events")
ADDRESSES += (f"{API}queue/join", f"{API}queue/data", f"{API}cancel")
ADDRESSES += (f"{API}reset", f"{API}app_id")
FOLDERS = ("/assets/", "/static/", "/made/", f"{API}heartbeat/")
FILES = f"{API}file="
TEXT_BYTES = 1_000_000  # of any other request
_FORM_BYTES = 100_000  # of what is around a file in a request
_OWN = "default-src 'self'; script-src 'self' 'unsafe-inline'; "
_OWN += "style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; "
_OWN += "media-src 'self' blob:; font-src 'self' data:; connect-src 'self'; "
_OWN += "worker-src 'self' blob:; frame-src 'self'; object-src 'none'; "
_OWN += "base-uri 'self'; form-action 'self'; frame-ancestors 'self'"
HEADERS = {
  "content-security-policy": _OWN,
  "cross-origin-opener-policy": "same-origin",
  "referrer-policy": "no-referrer",
  "x-content-type-options": "nosniff",
}


class Gate:
  """An application behind these checks."""

  def __init__(self, app: App, *, megabytes: int, host: str):
    """`host` is the one that is listened on; `megabytes` those of an upload."""
    self._app = app
    self._upload_bytes = megabytes * 1_000_000 + _FORM_BYTES
    self._names = {"localhost", host.lower(), *_own_names()}

  async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
    """A request, or what is no request."""
    if scope["type"] == "websocket":  # nothing here talks by these
      await send({"type": "websocket.close", "code": 1008})
      return
    if scope["type"] != "http":
      await self._app(scope, receive, send)
      return
    given = {
      name.decode("latin-1").lower(): value.decode("latin-1")
      for name, value in scope["headers"]
    }
    why = self._refused(given)
    if why:
      await _answer(send, 403, why)
      return
    if not _is_there(scope["path"]):
      await _answer(send, 404, "there is no such page")
      return
    most = self._upload_bytes if scope["path"] == UPLOAD else TEXT_BYTES
    if _length(given) > most:
      await _answer(send, 413, f"more than {most} bytes")
      return
    counted = _Counted(receive, most)
    try:
      await self._app(scope, counted, _with_headers(send))
    except TooLargeError:
      if not counted.answered:
        await _answer(send, 413, f"more than {most} bytes")

  def _refused(self, given: dict[str, str]) -> str:
    """Why a request is none of a visitor's; empty: it is."""
    host = given.get("host", "")
    name = _name(f"//{host}")
    if not (name in self._names or _is_address(name)):
      return (
        f"the host is called {name!r} in this request; open the page by the "
        "address that was printed"
      )
    origin = given.get("origin")
    if origin is not None and urllib.parse.urlsplit(origin).netloc != host:
      return "the request comes from another page"
    return ""


def _is_there(path: str) -> bool:
  """Whether an address is one that the page asks for."""
  if path.startswith(FILES):
    return path.startswith(f"{FILES}/")  # a place here, on no other host
  return path in ADDRESSES or path.startswith(FOLDERS)


class TooLargeError(Exception):
  """A request goes on beyond what it may have."""


class _Counted:
  """What comes of a request, until it is too much."""

  def __init__(self, receive: Receive, most: int):
    self._receive, self._left = receive, most
    self.answered = False

  async def __call__(self) -> Message:
    message = await self._receive()
    self._left -= len(message.get("body", b""))
    if self._left < 0:
      raise TooLargeError
    return message


def _with_headers(send: Send) -> Send:
  """Sends answers with what browsers are told, where they do not say it."""

  async def sending(message: Message) -> None:
    if message["type"] == "http.response.start":
      there = list(message.get("headers", []))
      known = {name.lower() for name, _ in there}
      there += [
        (name.encode(), value.encode())
        for name, value in HEADERS.items()
        if name.encode() not in known
      ]
      message = {**message, "headers": there}
    await send(message)

  return sending


async def _answer(send: Send, status: int, words: str) -> None:
  body = json.dumps({"detail": words}).encode()
  headers = [
    (b"content-type", b"application/json"),
    (b"content-length", str(len(body)).encode()),
    (b"connection", b"close"),
  ]
  await send(
    {"type": "http.response.start", "status": status, "headers": headers}
  )
  await send({"type": "http.response.body", "body": body})


def _length(given: dict[str, str]) -> int:
  """What a request says of its size; 0 where it does not."""
  text = given.get("content-length", "0")
  return int(text) if text.isdecimal() and len(text) < 19 else 0


def _name(address: str) -> str:
  """The host of an address, without its port; empty where it is none."""
  try:
    return urllib.parse.urlsplit(address).hostname or ""
  except ValueError:
    return ""


def _is_address(name: str) -> bool:
  """Whether it is a number, which nobody can make point elsewhere."""
  try:
    ipaddress.ip_address(name)
  except ValueError:
    return False
  return True


def _own_names() -> set[str]:
  """What this machine calls itself."""
  name = socket.gethostname().lower()
  return {name, f"{name}.local"}
