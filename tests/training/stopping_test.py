"""Asked to stop: once it waits for the step, twice or too late it does not."""

import pathlib
import signal
import subprocess
import sys
import threading

import pytest

from diffpose_jax.model import hosts
from diffpose_jax.training import stopping

REPO = pathlib.Path(__file__).resolve().parents[2]
# A loop whose steps are each one call of compiled code, in which Python runs no
# handler of signals.
LOOP = """
import hashlib, sys
from diffpose_jax.training import stopping

with stopping.held({grace}) as stop_if_asked:
  for number in range(1, 1000):
    print("step", number, flush=True)
    hashlib.pbkdf2_hmac("sha256", b"a", b"b", {work})
    print("done", number, flush=True)
    try:
      stop_if_asked()
    except KeyboardInterrupt as error:
      print("saved", *error.args, flush=True)
      sys.exit(7)
"""
SHORT, ENDLESS = 100_000, 1_000_000_000  # hundreds of seconds
TEXT = "; the same command goes on from the newest checkpoint\n"


@pytest.fixture
def loop():
  """Starts the loop and waits until it is in its first step."""
  made = []

  def start(grace, work):
    process = subprocess.Popen(
      [sys.executable, "-c", LOOP.format(grace=grace, work=work)],
      cwd=REPO,
      stdout=subprocess.PIPE,
      stderr=subprocess.PIPE,
      text=True,
    )
    made.append(process)
    assert process.stdout is not None
    assert process.stdout.readline() == "step 1\n"
    return process

  yield start
  for process in made:
    process.kill()
    process.communicate()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_once_it_stops_after_a_whole_step(loop, number):
  process = loop(grace=30, work=SHORT)
  process.send_signal(number)
  out, error = process.communicate(timeout=60)
  assert process.returncode == 7
  lines = out.splitlines()
  assert lines[-1] == f"saved {number.value}"
  assert lines[-2].startswith("done ")
  assert error == (
    f"\n{number.name}: stopping after this step within 30 s; again to stop at "
    "once\n"
  )


@pytest.mark.parametrize("second", [signal.SIGINT, signal.SIGTERM])
def test_twice_it_stops_in_the_middle_of_a_step(loop, second):
  process = loop(grace=0, work=ENDLESS)
  process.send_signal(signal.SIGTERM)
  assert process.stderr.readline() == "\n"
  line = process.stderr.readline()
  assert line == "SIGTERM: stopping after this step; again to stop at once\n"
  assert process.poll() is None
  process.send_signal(second)
  out, error = process.communicate(timeout=60)
  assert process.returncode == 128 + second
  assert out == ""
  assert error == f"diffpose_jax: error: stopped at once{TEXT}"


def test_too_late_it_stops_in_the_middle_of_a_step(loop):
  process = loop(grace=0.2, work=ENDLESS)
  process.send_signal(signal.SIGTERM)
  _, error = process.communicate(timeout=60)
  assert process.returncode == 128 + signal.SIGTERM
  assert error.endswith(
    f"diffpose_jax: error: not stopped within 0.2 s (train.grace){TEXT}"
  )


def test_in_time_nothing_ends_the_process(monkeypatch):
  """The context ends before the time does, and what was there is back."""
  left = []
  monkeypatch.setattr(stopping, "_leave", lambda *why: left.append(why))
  before = [signal.getsignal(number) for number in stopping.SIGNALS]
  with stopping.held(1000.0) as stop_if_asked:
    stop_if_asked()
    signal.raise_signal(signal.SIGTERM)
    with pytest.raises(KeyboardInterrupt) as raised:
      stop_if_asked()
    assert raised.value.args == (signal.SIGTERM,)
  for thread in threading.enumerate():
    if isinstance(thread, threading.Timer):
      thread.join(5)  # cancelled: it ends soon
      assert not thread.is_alive()
  assert [signal.getsignal(number) for number in stopping.SIGNALS] == before
  assert signal.set_wakeup_fd(-1) == -1
  assert not left


def test_in_another_thread_signals_are_not_held():
  """Python gives them to the main thread alone."""
  ended = []

  def work():
    with stopping.held(1.0) as stop_if_asked:
      stop_if_asked()
      ended.append(True)

  thread = threading.Thread(target=work)
  thread.start()
  thread.join()
  assert ended


def test_several_hosts_stop_where_they_agreed(monkeypatch):
  """At the call that JAX names, whichever host the signal came to."""
  monkeypatch.setattr(hosts, "count", lambda: 2)
  monkeypatch.setattr(hosts, "stop_agreed", lambda call: call == 3)
  with stopping.held(5.0) as stop_if_asked:
    stop_if_asked()
    stop_if_asked()
    with pytest.raises(KeyboardInterrupt):
      stop_if_asked()
