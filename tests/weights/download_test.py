"""Files come from a server of this test, whole and checked, or not at all."""

import hashlib
import http.server
import io
import threading
import zipfile
from typing import ClassVar

import pytest

from diffpose_jax.weights import download

DATA = bytes(range(256)) * 1021
SHA256 = hashlib.sha256(DATA).hexdigest()


def zipped(**files):
  out = io.BytesIO()
  with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
    for name, content in files.items():
      archive.writestr(name.replace("__", "/") + ".onnx", content)
  return out.getvalue()


def marked(body, offset, value):
  """A zip of one file, with a byte of both its headers changed."""
  made = bytearray(body)
  made[offset] = made[body.index(b"PK\1\2") + offset + 2] = value
  return bytes(made)


class Handler(http.server.BaseHTTPRequestHandler):
  pages: ClassVar[dict] = {}

  def do_GET(self):
    status, headers, body = self.pages.get(self.path, (404, {}, b"gone"))
    self.send_response(status)
    for name, value in {"Content-Length": len(body), **headers}.items():
      self.send_header(name, str(value))
    self.end_headers()
    self.wfile.write(body)

  def log_message(self, format, *args):
    pass


@pytest.fixture
def server(monkeypatch):
  """Address of a server, and the pages that it shows."""
  monkeypatch.setenv("no_proxy", "*")
  pages = {}
  handler = type("Own", (Handler,), {"pages": pages})
  served = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
  thread = threading.Thread(
    target=served.serve_forever, args=(0.01,), daemon=True
  )
  thread.start()
  yield f"http://127.0.0.1:{served.server_port}", pages
  served.shutdown()
  thread.join()
  served.server_close()


@pytest.fixture
def target(tmp_path):
  """A place for a file; nothing else may be left beside it."""
  return tmp_path / "new" / "weights.onnx"


def fetch(url, target, **options):
  options = {"sha256": SHA256, "most": len(DATA), **options}
  download.download(url, target, schemes=("http",), **options)


def left(target):
  return [path.name for path in target.parent.iterdir()]


def test_a_file(server, target):
  address, pages = server
  pages["/file"] = (200, {}, DATA)
  fetch(f"{address}/file", target)
  assert target.read_bytes() == DATA
  assert left(target) == ["weights.onnx"]


def test_after_a_redirection(server, target):
  address, pages = server
  pages["/file"] = (302, {"Location": f"{address}/other"}, b"")
  pages["/other"] = (200, {}, DATA)
  fetch(f"{address}/file", target)
  assert target.read_bytes() == DATA


def test_a_member_of_a_zip(server, target):
  address, pages = server
  body = zipped(folder__end2end=DATA, other=b"1")
  pages["/zip"] = (200, {}, body)
  fetch(f"{address}/zip", target, member="end2end.onnx")
  assert target.read_bytes() == DATA
  assert left(target) == ["weights.onnx"]


def test_it_takes_the_place_of_another_file(server, target):
  address, pages = server
  pages["/file"] = (200, {}, DATA)
  target.parent.mkdir()
  target.write_bytes(b"old")
  fetch(f"{address}/file", target)
  assert target.read_bytes() == DATA


@pytest.mark.parametrize(
  ("page", "options", "match"),
  [
    ((404, {}, b""), {}, "cannot be fetched .*404"),
    ((200, {}, DATA[:-1]), {}, f"SHA-256 is [0-9a-f]{{64}}, not {SHA256}"),
    ((200, {}, DATA + b"x"), {}, f"above {len(DATA)} bytes"),
    (
      (200, {"Content-Length": len(DATA)}, DATA[:-7]),
      {},
      f"ends after {len(DATA) - 7} of {len(DATA)} bytes; try it again",
    ),
    ((200, {}, b""), {}, "SHA-256"),
    (
      (302, {"Location": "file:///etc/passwd"}, b""),
      {},
      "to url 'file:///etc/passwd' is not allowed",
    ),
    ((302, {"Location": "ftp://127.0.0.1/x"}, b""), {}, "only http is fetched"),
    ((200, {}, DATA[:99]), {"member": "a.onnx"}, "no zip as expected"),
    (
      (200, {}, marked(zipped(a=DATA), 6, 1)),
      {"member": "a.onnx"},
      "no zip as expected .*encrypted",
    ),
    (
      (200, {}, marked(zipped(a=DATA), 8, 99)),
      {"member": "a.onnx"},
      "no zip as expected .*compression",
    ),
    ((200, {}, zipped(b=DATA)), {"member": "a.onnx"}, "0 files a.onnx"),
    (
      (200, {}, zipped(a=DATA, c__a=DATA)),
      {"member": "a.onnx"},
      "2 files a.onnx",
    ),
    ((200, {}, zipped(a=DATA + b"x")), {"member": "a.onnx"}, "1 files a.onnx"),
    ((200, {}, zipped(a=DATA[1:])), {"member": "a.onnx"}, "SHA-256 is"),
  ],
)
def test_anything_else_leaves_nothing(server, target, page, options, match):
  address, pages = server
  pages["/file"] = page
  with pytest.raises(ValueError, match=match) as caught:
    fetch(f"{address}/file", target, **options)
  assert address in str(caught.value) or "only http" in match
  assert "\n" not in str(caught.value)
  assert left(target) == []


def test_what_was_there_stays(server, target):
  address, pages = server
  pages["/file"] = (200, {}, DATA[::-1])
  target.parent.mkdir()
  target.write_bytes(b"old")
  with pytest.raises(ValueError, match="SHA-256"):
    fetch(f"{address}/file", target)
  assert target.read_bytes() == b"old"
  assert left(target) == ["weights.onnx"]


def test_nobody_answers(server, target):
  with pytest.raises(ValueError, match="cannot be fetched"):
    fetch("http://127.0.0.1:1/file", target)
  assert left(target) == []


@pytest.mark.parametrize("url", ["http://x/y", "file:///etc/passwd", "y.onnx"])
def test_https_only_by_itself(target, url):
  with pytest.raises(ValueError, match="only https is fetched"):
    download.download(url, target, sha256=SHA256, most=1)
