"""What holds for every script of launch/."""

import os
import pathlib
import re
import subprocess

import pytest

REPO = pathlib.Path(__file__).resolve().parents[2]
LAUNCH = REPO / "launch"
SCRIPTS = sorted(
  p.name for p in LAUNCH.iterdir() if p.suffix in (".sh", ".sbatch")
)
# They take flags; lib.sh is read by them, setup.sh takes words.
COMMANDS = [s for s in SCRIPTS if s not in ("lib.sh", "setup.sh")]
# With which verb a script takes flags.
VERBS = {
  "tpu.sh": ["create"],
  "host.sh": ["setup"],
  "gke.sh": ["status"],
  "predict_gke.sh": ["status"],
  "prepare_data.sh": ["put"],
}


def test_shellcheck_has_nothing_to_say(program):
  done = subprocess.run(
    [program("shellcheck"), *SCRIPTS],
    cwd=LAUNCH,
    capture_output=True,
    text=True,
    check=False,
  )
  assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script_stops_at_the_first_mistake(name):
  text = (LAUNCH / name).read_text()
  if name == "lib.sh":
    assert "set -e" not in text
    return
  assert text.startswith("#!/usr/bin/env bash\n# ")
  assert "\nset -euo pipefail\n" in text
  assert os.access(LAUNCH / name, os.X_OK) or name.endswith(".sbatch")


@pytest.mark.parametrize("name", COMMANDS)
def test_help_is_the_comment_on_top(shell, name):
  done = shell.run(name, *VERBS.get(name, []), "--help")
  assert done.returncode == 0, done.stderr
  first = (LAUNCH / name).read_text().splitlines()[1]
  assert done.stdout.startswith(first.removeprefix("# "))
  assert f"launch/{name}" in done.stdout
  assert "set -euo" not in done.stdout
  for flag in _flags(name):
    assert f"--{flag}" in done.stdout, flag


def _flags(name: str) -> set[str]:
  """Names of the flags that a script takes, from how it reads them."""
  text = (LAUNCH / name).read_text().replace("\\\n", " ")
  valued, switches = re.findall(r'^flags "([^"]*)" "([^"]*)"', text, re.M)[0]
  # Of local.sh to itself.
  return {*valued.split(), *switches.split()} - {"once"}


@pytest.mark.parametrize("name", COMMANDS)
@pytest.mark.parametrize(
  ("word", "message"),
  [
    ("--nosuch=1", "unknown flag --nosuch=; see --help"),
    ("--nosuch", "unknown flag --nosuch; see --help"),
    ("word", "unexpected 'word'; what is for the command follows --"),
  ],
)
def test_what_a_script_does_not_know(shell, name, word, message):
  assert message in shell.refused(name, *VERBS.get(name, []), word)


@pytest.mark.parametrize("name", sorted(VERBS))
def test_an_unknown_verb_is_told_the_known_ones(shell, name):
  line = shell.refused(name, "dance")
  assert line.startswith("unknown verb 'dance': ")
  assert VERBS[name][0] in line
  assert shell.refused(name).startswith("unknown verb ''")


@pytest.mark.parametrize("name", COMMANDS)
def test_a_flag_without_its_value(shell, name):
  text = (LAUNCH / name).read_text().replace("\\\n", " ")
  first = re.findall(r'^flags "([a-z-]+)', text, re.M)[0]
  line = shell.refused(name, *VERBS.get(name, []), f"--{first}")
  assert line == f"--{first} needs a value: --{first}=..."


def test_no_script_holds_an_address_or_a_secret_of_its_own():
  for path in (*LAUNCH.glob("*.*"), LAUNCH / "Dockerfile"):
    text = path.read_text()
    found = re.findall(r"https?://[^\s\"'/]+", text)
    # What tells a Google machine about itself.
    assert set(found) <= {"http://metadata.google.internal"}, path
    assert not re.search(r"--(password|token|api-key|secret)", text), path


RECORD = """
source {launch}/lib.sh
root={root}
{what}
"""


def _lib(shell, what, root=REPO, **environment):
  script = shell.folder / "use.sh"
  script.write_text(RECORD.format(launch=LAUNCH, root=root, what=what))
  return shell.run(str(script), env=environment)


def test_where_the_project_is_from_shows_no_password(shell):
  done = _lib(shell, "address", DIFFPOSE_URL="https://me:word@host.org/a/b.git")
  assert done.stdout == "https://host.org/a/b.git"
  assert _lib(shell, "address", root=shell.folder).stdout == "unknown"


def _git(folder, *words):
  names = ["-c", "user.name=me", "-c", "user.email=me@host.org"]
  return subprocess.run(
    ["git", *names, *words],
    cwd=folder,
    check=True,
    capture_output=True,
    text=True,
  ).stdout.strip()


def test_the_commit_is_known_in_a_checkout_and_in_a_copy(shell):
  checkout = shell.folder / "checkout"
  checkout.mkdir()
  assert _lib(shell, "commit", root=checkout).stdout == "unknown"
  _git(checkout, "init", "--quiet")
  _git(checkout, "commit", "--quiet", "--allow-empty", "--message=first")
  head = _git(checkout, "rev-parse", "HEAD")
  assert _lib(shell, "commit", root=checkout).stdout == head
  (checkout / "new").touch()
  assert _lib(shell, "commit", root=checkout).stdout == f"{head}+changes"
  (checkout / "COMMIT").write_text("abc123\n")
  assert _lib(shell, "commit", root=checkout).stdout == "abc123"
  done = _lib(shell, "commit", root=checkout, DIFFPOSE_COMMIT="def456")
  assert done.stdout == "def456"


def test_words_stay_words(shell):
  """Flags with spaces, quotes and dollars reach the command as they are."""
  shell.stand_in("tell")
  words = ["--config.data.size=(64, 48)", "it's", "$HOME", "a;b", ""]
  calls = shell.same_dry("again.sh", "--", "tell", *words)
  assert len(calls) == 1
  assert shell.words() == [["tell", *words]]


def test_recorded_writes_down_commit_command_and_versions(shell):
  shell.stand_in("python", 'echo "jax==1.2.3"')
  shell.stand_in("train")
  interpreter = shell.folder / "bin" / "python"
  environment = {
    "DIFFPOSE_PYTHON": str(interpreter),
    "DIFFPOSE_COMMIT": "abc123",
    "DIFFPOSE_URL": "https://host.org/x",
  }
  words = ("--workdir=runs/a b", "--", "train", "--flag=1 2")
  for _ in range(2):
    assert shell.run("recorded.sh", *words, env=environment).returncode == 0
  workdir = shell.folder / "runs" / "a b"
  text = (workdir / "launches.txt").read_text()
  assert text.count("commit: abc123\nfrom: https://host.org/x\n") == 2
  assert text.count("command: train --flag=1\\ 2\n") == 2
  assert (workdir / "lock.txt").read_text() == "jax==1.2.3\n"
  assert shell.words()[-1] == ["train", "--flag=1 2"]
  again = shell.run(
    "recorded.sh", *words, env=environment | {"JOB_COMPLETION_INDEX": "1"}
  )
  assert again.returncode == 0
  assert (workdir / "launches.txt").read_text() == text
