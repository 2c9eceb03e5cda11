"""A command is run again where it says so, and signals reach it once."""

import os
import re
import signal
import time

import pytest

FAILS = """
n=$(cat "$HOME/n" 2>/dev/null || echo 0); echo $((n + 1)) >"$HOME/n"
codes=({codes}); exit "${{codes[$n]}}"
"""


@pytest.mark.parametrize(
  ("codes", "starts", "code"),
  [
    ("0", 1, 0),
    ("2", 1, 2),
    ("143", 1, 143),
    ("75 0", 2, 0),
    ("75 75 3", 3, 3),
    ("137 139 134 130", 4, 130),
    ("75 75 75 75 0", 4, 75),
  ],
)
def test_only_a_lost_process_is_a_reason(shell, codes, starts, code):
  shell.stand_in("train", FAILS.format(codes=codes))
  done = shell.run("again.sh", "--times=4", "--pause=0", "--", "train", "x")
  assert done.returncode == code
  assert shell.calls() == ["train x"] * starts
  lines = done.stderr.splitlines()
  assert lines[: starts - 1] == [
    "again.sh: a process was lost; starting again in 0 s"
  ] * (starts - 1)
  assert (lines[starts - 1 :] == []) == (code != 75)


# Says what it hears, and how often.
LISTENS = """
trap 'echo heard; end=1' TERM; trap 'echo interrupted' INT
echo up
for i in {1..600}; do
  sleep 0.05
  [[ -z ${end:-} ]] || ((++late < 10)) || exit 143
done
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_reaches_the_command_once_and_ends_it(shell, number):
  shell.stand_in("train", LISTENS)
  run = shell.start("again.sh", "--", "train")
  assert run.stdout.readline() == "up\n"
  run.send_signal(number)
  out, _ = run.communicate(timeout=30)
  assert out == "heard\n"
  assert run.returncode == 143
  assert shell.calls() == ["train"]


def test_what_a_terminal_sends_to_all_is_heard_once(shell):
  """Ctrl-C goes to the whole group of processes."""
  shell.stand_in("train", LISTENS)
  run = shell.start("again.sh", "--", "train", process_group=0)
  assert run.stdout.readline() == "up\n"

  os.killpg(run.pid, signal.SIGINT)
  out, _ = run.communicate(timeout=30)
  assert out == "heard\n"
  assert run.returncode == 143


def test_a_signal_in_a_pause_ends_it(shell):
  shell.stand_in("train", "exit 75")
  run = shell.start("again.sh", "--pause=100", "--", "train")
  while not re.search("starting again in 100 s", run.stderr.readline()):
    pass
  begun = time.monotonic()
  run.terminate()
  run.communicate(timeout=30)
  assert time.monotonic() - begun < 20
  assert run.returncode == 143
  assert shell.calls() == ["train"]


@pytest.mark.parametrize(
  ("words", "message"),
  [
    ([], "no command; it follows --"),
    (["--"], "no command; it follows --"),
    (["--times=0", "--", "a"], "--times=0 is not a number of starts"),
    (["--times=x", "--", "a"], "--times=x is not a number of starts"),
    (["--pause=-1", "--", "a"], "--pause=-1 is not a number of seconds"),
  ],
)
def test_refusals(shell, words, message):
  assert message in shell.refused("again.sh", *words)
