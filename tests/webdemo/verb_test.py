"""How the verb begins, and what it says where it cannot."""

import socket
import sys

import pytest

from diffpose_jax import main
from diffpose_jax.webdemo import server, toolkit, verb


def refused(capsys, *arguments):
  assert main.main(["webdemo", *arguments]) == 2
  [line] = capsys.readouterr().err.splitlines()
  return line


@pytest.mark.parametrize("name", ["gradio", "uvicorn", "fastapi"])
def test_without_the_packages_there_is_a_remedy(monkeypatch, name):
  monkeypatch.setitem(sys.modules, name, None)
  with pytest.raises(ValueError, match=r"install 'diffpose-jax\[webdemo\]'"):
    getattr(toolkit, name)()


def test_the_verb_says_it_in_a_line(monkeypatch, capsys):
  monkeypatch.setitem(sys.modules, "gradio", None)
  line = refused(capsys)
  assert line.startswith("diffpose_jax: error: webdemo needs gradio")
  assert line.endswith("pip install 'diffpose-jax[webdemo]'")


@pytest.fixture
def started(monkeypatch):
  """What the server is started with; it ends at once."""
  calls = []

  def run(place, *, ready, **given):
    ready()
    calls.append(given | {"address": server.address(place)})

  monkeypatch.setattr(server, "run", run)
  monkeypatch.setattr(toolkit, "gradio", lambda: None)
  return calls


def test_it_listens_on_this_machine_alone(started, capsys):
  assert main.main(["webdemo", "--port=0"]) == 0
  [given] = started
  assert given["host"] == "127.0.0.1" and given["limits"].megabytes == 100
  said = capsys.readouterr().out
  assert given["address"].startswith("http://127.0.0.1:")
  assert f"open {given['address']} in a browser" in said
  assert "warning" not in said


def test_others_are_let_in_with_a_warning(started, capsys):
  flags = ["--clip_megabytes=3", "--clip_seconds=7", "--clip_frames=9"]
  assert (
    main.main(
      ["webdemo", "--host=0.0.0.0", "--port=0", "--job_seconds=11", *flags]
    )
    == 0
  )
  [given] = started
  limits = given["limits"]
  assert (limits.megabytes, limits.seconds, limits.frames) == (3, 7, 9)
  assert limits.job_seconds == 11
  said = capsys.readouterr().out
  assert "warning: 0.0.0.0 lets other machines open this page" in said
  assert given["address"].startswith("http://127.0.0.1:")


def test_what_cannot_be_had_is_a_line(started, capsys, tmp_path):
  with socket.create_server(("127.0.0.1", 0)) as taken:
    port = taken.getsockname()[1]
    line = refused(capsys, f"--port={port}")
  assert f"cannot listen on 127.0.0.1, port {port}" in line
  assert "another --port" in line
  assert "cannot listen" in refused(capsys, "--host=no.such.host.invalid")
  assert "cannot listen" in refused(capsys, "--port=99999")
  assert "no such workdir" in refused(capsys, f"--weights={tmp_path / 'none'}")
  assert "no detector 'none'" in refused(capsys, "--detector=none")
  assert "--port=-1" in refused(capsys, "--port=-1")
  assert started == []


@pytest.mark.skipif(not socket.has_ipv6, reason="this machine has no IPv6")
def test_an_address_of_version_6():
  try:
    place = server.listening("::1", 0)
  except ValueError:
    pytest.skip("this machine has no IPv6")
  with place:
    assert server.address(place).startswith("http://[::1]:")


@pytest.mark.parametrize(
  ("given", "there"),
  [("127.0.0.1", True), ("127.9.9.9", True), ("::1", True), ("0.0.0.0", False)],
)
def test_what_is_loopback(given, there):
  assert verb._is_loopback(given) is there
