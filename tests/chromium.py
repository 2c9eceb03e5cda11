"""A headless Chromium that tests talk to: real pictures, keys and pointers.

It speaks the DevTools protocol through two pipes, which needs no port and no
package: JSON, each message ended by a zero byte.
"""

import base64
import contextlib
import json
import os
import pathlib
import select
import shutil
import subprocess
import time
from collections.abc import Iterator
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome")
PATH = next(filter(None, map(shutil.which, NAMES)), None)
_PATIENCE = 60  # seconds, for the slowest machine
_KEYS = {
  " ": ("Space", 32),
  "ArrowLeft": ("ArrowLeft", 37),
  "ArrowRight": ("ArrowRight", 39),
  "Home": ("Home", 36),
  "End": ("End", 35),
  "Tab": ("Tab", 9),
}


class Browser:
  """Chromium under its own profile; `close` ends it."""

  def __init__(self, profile: pathlib.Path):
    """Starts it, without a page."""
    assert PATH is not None
    reads, self._to = os.pipe()
    self._from, writes = os.pipe()
    # The two pipes must be its file descriptors 3 and 4.
    start = f'exec "$@" 3<&{reads} 4>&{writes}'
    options = [
      *("--headless", "--no-sandbox", "--disable-gpu", "--mute-audio"),
      *("--no-first-run", "--disable-background-networking"),
      *("--autoplay-policy=no-user-gesture-required", "--hide-scrollbars"),
      f"--user-data-dir={profile}",
    ]
    self._process = subprocess.Popen(
      ["bash", "-c", start, "-", PATH, "--remote-debugging-pipe", *options],
      pass_fds=(reads, writes),
      stdout=subprocess.DEVNULL,
      stderr=subprocess.DEVNULL,
    )
    os.close(reads)
    os.close(writes)
    self._last = 0
    self._held = b""
    self.events: list[dict[str, Any]] = []

  def close(self) -> None:
    """Ends it and its helpers."""
    with contextlib.suppress(OSError):
      self.send("Browser.close")
    try:
      self._process.wait(10)
    except subprocess.TimeoutExpired:
      self._process.kill()
      self._process.wait()
    os.close(self._to)
    os.close(self._from)

  def send(self, method: str, session: str = "", **given: Any) -> dict:
    """The result of a command; what happens meanwhile goes to `events`."""
    self._last += 1
    message: dict[str, Any] = {
      "id": self._last,
      "method": method,
      "params": given,
    }
    if session:
      message["sessionId"] = session
    os.write(self._to, json.dumps(message).encode() + b"\0")
    while True:
      found = self._read()
      if found.get("id") == self._last:
        assert "error" not in found, (method, found["error"])
        return found["result"]
      self.events.append(found)

  def _read(self) -> dict[str, Any]:
    while b"\0" not in self._held:
      ready, _, _ = select.select([self._from], [], [], _PATIENCE)
      part = os.read(self._from, 1 << 20) if ready else b""
      if not part:
        raise OSError("Chromium says nothing any more")
      self._held += part
    message, _, self._held = self._held.partition(b"\0")
    return json.loads(message)

  @contextlib.contextmanager
  def page(
    self,
    address: str,
    *,
    width: int = 1280,
    height: int = 900,
    dark: bool = False,
  ) -> Iterator["Page"]:
    """A page that is loaded, in a window of that many pixels."""
    target = self.send("Target.createTarget", url="about:blank")["targetId"]
    session = self.send("Target.attachToTarget", targetId=target, flatten=True)
    page = Page(self, session["sessionId"])
    try:
      page.open(address, width, height, dark)
      yield page
    finally:
      self.send("Target.closeTarget", targetId=target)


class Page:
  """What is done on a page, and what it did."""

  def __init__(self, browser: Browser, session: str):
    """See `Browser.page`."""
    self._browser = browser
    self._session = session
    self._pressed = False

  def _send(self, method: str, **given: Any) -> dict:
    return self._browser.send(method, self._session, **given)

  def open(self, address: str, width: int, height: int, dark: bool) -> None:
    """Loads an address."""
    self._browser.events.clear()
    for domain in ("Page", "Runtime", "Network", "Log"):
      self._send(f"{domain}.enable")
    size = {"width": width, "height": height, "deviceScaleFactor": 1}
    self._send("Emulation.setDeviceMetricsOverride", **size, mobile=width < 700)
    scheme = {
      "name": "prefers-color-scheme",
      "value": "dark" if dark else "light",
    }
    self._send("Emulation.setEmulatedMedia", features=[scheme])
    self._send("Page.navigate", url=address)
    self.wait(
      "location.href !== 'about:blank' && document.readyState === 'complete'"
    )

  def run(self, code: str) -> Any:
    """The value of an expression; a promise is waited for."""
    found = self._send(
      "Runtime.evaluate", expression=code, awaitPromise=True, returnByValue=True
    )
    assert "exceptionDetails" not in found, found["exceptionDetails"]
    return found["result"].get("value")

  def wait(self, code: str, seconds: float = _PATIENCE) -> None:
    """Returns once an expression is true."""
    end = time.monotonic() + seconds
    while not self.run(f"Boolean({code})"):
      assert time.monotonic() < end, f"not so after {seconds} s: {code}"
      time.sleep(0.02)

  def give_file(self, code: str, path: pathlib.Path) -> None:
    """Chooses a file in the input element that an expression gives."""
    found = self._send("Runtime.evaluate", expression=code)["result"]
    self._send(
      "DOM.setFileInputFiles",
      files=[str(path)],
      objectId=found["objectId"],
    )

  def key(self, name: str, *, shift: bool = False) -> None:
    """Presses a key."""
    code, number = _KEYS.get(name, (name, ord(name[0])))
    given: dict[str, Any] = {"key": name, "code": code}
    given |= {"windowsVirtualKeyCode": number, "modifiers": 8 if shift else 0}
    text = {"text": name} if len(name) == 1 else {}
    self._send("Input.dispatchKeyEvent", type="keyDown", **given, **text)
    self._send("Input.dispatchKeyEvent", type="keyUp", **given)

  def pointer(self, kind: str, x: float, y: float) -> None:
    """`move`, `down` or `up` at a place of the window."""
    name = {"move": "mouseMoved", "down": "mousePressed", "up": "mouseReleased"}
    self._pressed = kind == "down" or (self._pressed and kind == "move")
    given: dict[str, Any] = {"x": x, "y": y, "buttons": int(self._pressed)}
    if kind != "move" or self._pressed:
      given |= {"button": "left", "clickCount": int(kind != "move")}
    self._send("Input.dispatchMouseEvent", type=name[kind], **given)

  def click(self, x: float, y: float) -> None:
    """Moves there, presses and lets go."""
    for kind in ("move", "down", "up"):
      self.pointer(kind, x, y)

  def screenshot(self, path: pathlib.Path, *, whole: bool = True) -> None:
    """Writes a PNG of the page."""
    found = self._send("Page.captureScreenshot", captureBeyondViewport=whole)
    path.write_bytes(base64.b64decode(found["data"]))

  def faults(self) -> list[str]:
    """What went wrong so far: errors, and whatever the console was told."""
    found = []
    for event in self._events():
      given = event["params"]
      if event["method"] == "Runtime.exceptionThrown":
        found.append(json.dumps(given["exceptionDetails"]))
      elif event["method"] == "Runtime.consoleAPICalled":
        found.append(json.dumps(given["args"]))
      elif event["method"] == "Log.entryAdded":
        found.append(json.dumps(given["entry"]))
    return found

  def requests(self) -> list[str]:
    """All addresses that it asked for, its own and those within it left out."""
    asked = [
      event["params"]["request"]["url"]
      for event in self._events()
      if event["method"] == "Network.requestWillBeSent"
    ]
    return [a for a in asked[1:] if not a.startswith(("data:", "blob:"))]

  def _events(self) -> list[dict[str, Any]]:
    self.run("0")  # so that all that happened has come
    return [
      event
      for event in self._browser.events
      if event.get("sessionId") == self._session
    ]
