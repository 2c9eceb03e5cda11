"""Requests as a server gives them; what is behind the gate tells of them."""

import asyncio
import json

import pytest

from diffpose_jax.webdemo import gate

BIG = 1_100_000  # bytes that an upload of one megabyte may have


class Behind:
  """Answers with how much it was sent, and counts."""

  def __init__(self):
    self.seen = []

  async def __call__(self, scope, receive, send):
    self.seen.append(scope["type"])
    if scope["type"] != "http":
      return
    size, more = 0, True
    while more:
      message = await receive()
      size += len(message.get("body", b""))
      more = message.get("more_body", False)
    headers = [(b"x-own", b"yes")]
    if scope["path"].startswith("/made/"):
      headers.append((b"content-security-policy", b"sandbox"))
    await send(
      {"type": "http.response.start", "status": 200, "headers": headers}
    )
    await send({"type": "http.response.body", "body": str(size).encode()})


def ask(
  path="/",
  *,
  host="127.0.0.1:7860",
  parts=(b"",),
  server="127.0.0.1",
  **headers,
):
  """(status, headers, body) of a request, and what came behind the gate."""
  behind = Behind()
  application = gate.Gate(behind, megabytes=1, host=server)
  pairs = [(b"host", host.encode())] if host is not None else []
  pairs += [
    (k.replace("_", "-").encode(), v.encode()) for k, v in headers.items()
  ]
  scope = {"type": "http", "path": path, "headers": pairs}
  waiting = [
    {"type": "http.request", "body": part, "more_body": i + 1 < len(parts)}
    for i, part in enumerate(parts)
  ]
  sent = []

  async def receive():
    return waiting.pop(0)

  async def send(message):
    sent.append(message)

  asyncio.run(application(scope, receive, send))
  found = {k.decode(): v.decode() for k, v in sent[0]["headers"]}
  return sent[0]["status"], found, sent[1]["body"], behind.seen


@pytest.mark.parametrize(
  "host",
  [
    "127.0.0.1:7860",
    "localhost:7860",
    "LOCALHOST",
    "[::1]:7860",
    "10.1.2.3:80",
  ],
)
def test_own_hosts_pass(host):
  status, headers, body, _ = ask(host=host)
  assert (status, body, headers["x-own"]) == (200, b"0", "yes")


@pytest.mark.parametrize(
  "host",
  ["evil.example", "127.0.0.1.evil.example:7860", "", None, "[::1", "a@b"],
)
def test_other_names_of_this_host_do_not(host):
  status, _, body, seen = ask(host=host)
  assert status == 403 and seen == []
  assert "open the page by the address" in json.loads(body)["detail"]


def test_the_name_that_is_listened_on_passes():
  assert ask(host="pose.lan:7860", server="pose.lan")[0] == 200
  assert ask(host="pose.lan:7860")[0] == 403


@pytest.mark.parametrize(
  ("origin", "status"),
  [
    ("http://127.0.0.1:7860", 200),
    ("http://127.0.0.1:7861", 403),
    ("http://evil.example", 403),
    ("null", 403),
    ("", 403),
  ],
)
def test_a_page_of_another_origin_asks_for_nothing(origin, status):
  assert ask(origin=origin)[0] == status


@pytest.mark.parametrize(
  "path",
  [
    "/gradio_api/file=http://evil.example/x",
    "/gradio_api/file=https:/evil.example/x",
    "/gradio_api/file=relative",
    "/gradio_api/proxy=http://evil.example",
    "/gradio_api/run/predict",
    "/gradio_api/call/find",
    "/gradio_api/runs",
    "/gradio_api/vibe-edit",
    "/monitoring",
    "/docs",
    "//",
  ],
)
def test_there_is_no_more_than_the_page_needs(path):
  status, _, _, seen = ask(path)
  assert status == 404 and seen == []


@pytest.mark.parametrize(
  ("path", "most"),
  [(gate.UPLOAD, BIG), ("/gradio_api/queue/join", gate.TEXT_BYTES)],
)
def test_a_request_is_as_long_as_it_may_be(path, most):
  half = most // 2
  assert (
    ask(path, parts=(bytes(half), bytes(most - half)))[2] == str(most).encode()
  )
  status, _, body, seen = ask(path, parts=(bytes(half), bytes(most - half + 1)))
  assert status == 413 and f"more than {most} bytes" in body.decode()
  status, _, _, seen = ask(path, content_length=str(most + 1))
  assert status == 413 and seen == []
  assert ask(path, content_length="many")[0] == 200
  assert ask(path, content_length="-5")[0] == 200


def test_browsers_are_told_to_load_nothing_from_elsewhere():
  _, headers, _, _ = ask()
  policy = headers["content-security-policy"]
  assert policy.startswith("default-src 'self';")
  assert "http" not in policy and "*" not in policy and "eval" not in policy
  assert headers["x-content-type-options"] == "nosniff"
  # What is behind may say more.
  assert ask("/made/a/b.html")[1]["content-security-policy"] == "sandbox"


def test_what_is_no_request():
  behind, sent = Behind(), []
  application = gate.Gate(behind, megabytes=1, host="127.0.0.1")

  async def run(kind):
    async def send(message):
      sent.append(message)

    async def receive():
      return {}

    await application({"type": kind, "path": "/", "headers": []}, receive, send)

  asyncio.run(run("lifespan"))
  assert behind.seen == ["lifespan"] and sent == []
  asyncio.run(run("websocket"))
  assert behind.seen == ["lifespan"] and sent[0]["type"] == "websocket.close"
