"""What a real server answers to those who do not come from its page."""

import json
import os
import pathlib
import socket
import stat
import urllib.error
import urllib.request
import uuid

import numpy as np
import pytest

pytestmark = pytest.mark.slow
API = "/gradio_api/"


def ask(served, path, data=None, **headers):
  """(status, body) of a request."""
  if isinstance(data, dict):
    data, kind = json.dumps(data).encode(), "application/json"
    headers = {"content_type": kind} | headers
  request = urllib.request.Request(
    served.address + path,
    data,
    {name.replace("_", "-"): value for name, value in headers.items()},
  )
  try:
    with urllib.request.urlopen(request, timeout=60) as answer:
      return answer.status, answer.read()
  except urllib.error.HTTPError as error:
    return error.code, error.read()
  except urllib.error.URLError as error:
    if not isinstance(error.reason, ConnectionError):
      raise
    return 413, b""  # it was refused before all of it was sent


def upload(served, content, name="walk.webm"):
  """(status, answer) of a file that is sent as the page does."""
  edge = uuid.uuid4().hex
  head = f'--{edge}\r\nContent-Disposition: form-data; name="files"; filename='
  body = f'{head}"{name}"\r\n\r\n'.encode() + content
  body += f"\r\n--{edge}--\r\n".encode()
  kind = f"multipart/form-data; boundary={edge}"
  return ask(served, f"{API}upload", body, content_type=kind)


def call(served, element, data, session="s"):
  """What comes back from a call of the page, as its events."""
  config = json.loads(ask(served, "/config")[1])
  places = {
    one["props"].get("elem_id"): one["id"] for one in config["components"]
  }
  [number] = [
    one["id"]
    for one in config["dependencies"]
    if any(target[0] == places[element] for target in one["targets"])
  ]
  asked = {"data": data, "fn_index": number, "session_hash": session}
  status, body = ask(served, f"{API}queue/join", asked)
  if status != 200:
    return [{"status": status, "body": body}]
  _, body = ask(served, f"{API}queue/data?session_hash={session}")
  lines = body.decode().split("\n\n")
  return [json.loads(line.removeprefix("data: ")) for line in lines if line]


def answer(events):
  """The output of the call, as text."""
  [done] = [one for one in events if one.get("msg") == "process_completed"]
  return json.dumps(done["output"])


def given(path):
  """A file as the page names it."""
  return {"path": str(path), "meta": {"_type": "gradio.FileData"}}


def alive(served):
  return ask(served, "/")[0] == 200


def test_it_listens_on_this_machine_alone(served):
  port = int(served.address.rsplit(":", 1)[1])
  with socket.create_connection(("127.0.0.1", port), timeout=5):
    pass
  others = {
    str(info[4][0])
    for info in socket.getaddrinfo(socket.gethostname(), port, socket.AF_INET)
  }
  for other in others - {"127.0.0.1"}:
    if not other.startswith("127."):
      with pytest.raises(OSError):
        socket.create_connection((other, port), timeout=5)


def test_the_page_names_no_other_host(served):
  status, body = ask(served, "/config")
  config = json.loads(body)
  assert status == 200 and config["analytics_enabled"] is False
  assert not config.get("share") and config["enable_queue"]
  text = ask(served, "/")[1].decode()
  assert "googleapis" not in text and "cdnjs" not in text
  theme = ask(served, "/theme.css")[1].decode()
  theme = theme.replace("http://www.w3.org/2000/svg", "")  # fetches nothing
  assert "http" not in theme and "@font-face" not in theme


def test_folders_are_this_users_own(served):
  [root] = served.folder.glob("diffpose-webdemo-*")
  for folder in (root, *(p for p in root.iterdir() if p.is_dir())):
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


@pytest.mark.parametrize(
  "place",
  ["/etc/hostname", "{tests}/server_test.py", "{root}", "{root}/visits", "~"],
)
def test_no_file_of_this_machine_is_served(served, place):
  [root] = served.folder.glob("diffpose-webdemo-*")
  tests = pathlib.Path(__file__).parent
  path = os.path.expanduser(place.format(root=root, tests=tests))
  assert ask(served, f"{API}file={path}")[0] == 403
  assert ask(served, f"{API}file={root}/uploads/../../../../../../..{path}")[
    0
  ] in (403, 404)
  assert ask(served, f"/made/..{path}")[0] == 404
  assert alive(served)


@pytest.mark.parametrize("kind", ["here", "http", "relative", "visit"])
def test_no_file_of_this_machine_is_taken_for_an_upload(
  served, clip_file, kind
):
  [root] = served.folder.glob("diffpose-webdemo-*")
  visit = root / "visits" / "walk.webm"
  visit.write_bytes(clip_file.read_bytes())
  # Nobody listens there, and nobody must ask.
  with socket.create_server(("127.0.0.1", 0)) as other:
    other.settimeout(0.5)
    port = other.getsockname()[1]
    path = {
      "here": clip_file,
      "http": f"http://127.0.0.1:{port}/walk.webm",
      "relative": os.path.relpath(clip_file, served.folder),
      "visit": visit,
    }[kind]
    found = answer(call(served, "clip", [given(path), None, "drawn"]))
    with pytest.raises(TimeoutError):
      other.accept()
  assert "9 frames" not in found and "webp" not in found
  assert visit.exists() and clip_file.exists()
  visit.unlink()
  assert alive(served)


def test_an_upload_leaves_gradios_folder(served, clip_file):
  status, body = upload(served, clip_file.read_bytes())
  assert status == 200
  [path] = json.loads(body)
  found = answer(call(served, "clip", [given(path), None, "drawn"], "left"))
  assert "9 frames of 160" in found
  assert ask(served, f"{API}file={path}")[0] == 403
  assert not pathlib.Path(path).exists()


def test_steps_above_the_limit_are_refused(served, clip_file):
  _, body = upload(served, clip_file.read_bytes())
  [path] = json.loads(body)
  call(served, "clip", [given(path), None, "drawn"], "steps")
  found = answer(call(served, "go", [None, "whole", 17, 4], "steps"))
  assert "17" in found and "dp-result" not in found
  found = answer(call(served, "go", [None, "whole", 1, 10**9], "steps"))
  assert "dp-result" not in found
  found = answer(call(served, "go", [None, "nonsense", 1, 1], "steps"))
  assert "dp-result" not in found and "Traceback" not in found
  assert alive(served)


def test_too_much_is_refused(served):
  status, _ = upload(served, bytes(1_000_001))
  assert status == 413
  status, _ = upload(served, bytes(1_200_000))
  assert status == 413
  status, _ = ask(served, f"{API}queue/join", {"data": ["x" * 1_000_001]})
  assert status == 413
  assert alive(served)


def test_other_pages_and_names_get_nothing(served):
  assert ask(served, "/config", host="evil.example")[0] == 403
  assert ask(served, "/config", origin="http://evil.example")[0] == 403
  assert ask(served, f"{API}info")[0] == 404
  assert ask(served, f"{API}run/predict", {"data": []})[0] == 404
  assert ask(served, "/monitoring")[0] == 404


def _raw(served, request):
  port = int(served.address.rsplit(":", 1)[1])
  with socket.create_connection(("127.0.0.1", port), timeout=10) as link:
    link.sendall(request)
    link.shutdown(socket.SHUT_WR)
    while link.recv(65536):
      pass


def test_noise_ends_nothing(served):
  rng = np.random.default_rng(0)
  before = len(served.said)
  paths = ["", "/", f"{API}queue/join", f"{API}upload", f"{API}queue/data"]
  for number in range(300):
    noise = rng.integers(0, 256, rng.integers(0, 300), np.uint8).tobytes()
    path = paths[number % len(paths)].encode()
    head = b"POST " + path + b" HTTP/1.1\r\nHost: 127.0.0.1\r\n"
    kind = (b"application/json", b"multipart/form-data; boundary=x")[number % 2]
    head += b"Content-Type: " + kind + b"\r\n"
    head += b"Content-Length: %d\r\n\r\n" % len(noise)
    try:
      _raw(served, noise if number % 3 == 0 else head + noise)
    except ConnectionError:
      continue
  assert alive(served)
  assert "Traceback" not in "".join(served.said[before:])
