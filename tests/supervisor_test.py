"""How a worker ended is said, and it ends with its parent."""

import os
import pathlib
import signal
import subprocess
import sys
import time

import pytest

from diffpose_jax import supervisor

REPO = pathlib.Path(__file__).resolve().parent.parent
# Stands for the command: what `run` starts as `-m diffpose_jax.main`.
WORKER = """
import os, signal, sys, time
from diffpose_jax import supervisor
assert supervisor.is_worker()
supervisor.work()
assert not supervisor.is_worker()
print("up", *sys.argv[1:], os.getpid(), flush=True)
exec(sys.argv[1])
"""


@pytest.fixture
def package(tmp_path):
  """A folder in which `diffpose_jax.main` is the worker above."""
  folder = tmp_path / "diffpose_jax"
  folder.mkdir()
  (folder / "__init__.py").write_text("")
  (folder / "main.py").write_text(WORKER)
  text = (REPO / "diffpose_jax" / "supervisor.py").read_text()
  (folder / "supervisor.py").write_text(text)
  return tmp_path


def _start(package, what):
  code = (
    "import sys; from diffpose_jax import supervisor;"
    "sys.exit(supervisor.run(sys.argv[1:]))"
  )
  return subprocess.Popen(
    [sys.executable, "-c", code, what],
    cwd=package,
    stdout=subprocess.PIPE,
    stderr=subprocess.PIPE,
    text=True,
  )


@pytest.mark.parametrize(
  ("what", "code", "line"),
  [
    ("pass", 0, ""),
    ("sys.exit(2)", 2, ""),
    ("supervisor.leave(3)", 3, ""),
    ("os.abort()", 75, supervisor.LOST_LINE + " (what JAX says is above)"),
    (
      "os.kill(os.getpid(), signal.SIGKILL)",
      137,
      "the worker was ended by SIGKILL, as where memory runs out",
    ),
    (
      "os.kill(os.getpid(), signal.SIGSEGV)",
      139,
      "the worker was ended by SIGSEGV",
    ),
  ],
)
def test_how_a_worker_ended_is_passed_on(package, what, code, line):
  run = _start(package, what)
  out, error = run.communicate(timeout=60)
  assert out.startswith(f"up {what} ")
  assert run.returncode == code
  assert error == (f"diffpose_jax: error: {line}\n" if line else "")


READY = (
  "came, told = [], []\n"
  "signal.signal(signal.SIGTERM, lambda n, _: came.append(n))\n"
)


def _ready(package, what):
  """The supervisor of a worker that is about to wait for signals."""
  run = _start(package, READY + what)
  assert run.stdout is not None
  while run.stdout.readline() != "ready\n":
    pass
  return run


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signals_reach_the_worker_once(package, number):
  """As SIGTERM, which JAX listens to; and by its number who asked for it."""
  what = (
    "with supervisor.signals_to(told.append):\n"
    "  print('ready', flush=True)\n"
    "  while not came or not told: time.sleep(0.01)\n"
    "  time.sleep(0.3)\n"
    "print(came, told, flush=True)\n"
    "sys.exit(3)"
  )
  run = _ready(package, what)
  run.send_signal(number)
  out, _ = run.communicate(timeout=60)
  assert out == f"[15] [{number.value}]\n"
  assert run.returncode == 3


def test_a_second_signal_ends_the_worker_at_once(package):
  what = (
    "with supervisor.signals_to(lambda n: print('told', flush=True)):\n"
    "  print('ready', flush=True)\n"
    "  time.sleep(100)"
  )
  run = _ready(package, what)
  run.send_signal(signal.SIGTERM)
  assert run.stdout is not None and run.stdout.readline() == "told\n"
  run.send_signal(signal.SIGINT)
  _, error = run.communicate(timeout=60)
  assert run.returncode == 128 + signal.SIGINT
  assert error.startswith("diffpose_jax: error: stopped at once; ")


def test_a_worker_that_does_not_listen_ends(package):
  run = _ready(package, "print('ready', flush=True)\ntime.sleep(100)")
  run.send_signal(signal.SIGINT)
  run.communicate(timeout=60)
  assert run.returncode == 128 + signal.SIGINT


def test_a_worker_ends_with_its_parent(package):
  run = _start(package, "time.sleep(100)")
  assert run.stdout is not None
  pid = int(run.stdout.readline().split()[-1])
  run.kill()
  run.communicate(timeout=60)
  for _ in range(500):
    if not _is_running(pid):
      return
    time.sleep(0.01)
  os.kill(pid, signal.SIGKILL)
  pytest.fail("the worker goes on")


def _is_running(pid: int) -> bool:
  """True for a process that is there and no zombie."""
  try:
    stat = pathlib.Path(f"/proc/{pid}/stat").read_text()
  except OSError:
    return False
  return stat.rpartition(")")[2].split()[0] != "Z"
