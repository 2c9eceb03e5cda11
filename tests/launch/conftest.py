"""Scripts of launch/ run for real, with stand-ins for the programs they call."""

import os
import pathlib
import shlex
import shutil
import subprocess
import sys

import pytest

REPO = pathlib.Path(__file__).resolve().parent.parent.parent
LAUNCH = REPO / "launch"
# Writes down how it was called, as a dry run would print it; then does what the
# test gave it to do.
STAND_IN = """#!/bin/bash
printf -v line ' %q' "${0##*/}" "$@"
# In one piece: several may be called at once.
printf '%s\n' "${line:1}" >>"$CALLS"
"""
# `gcloud storage` on a folder in the place of Google's buckets.
STORAGE = r"""
place() { realpath -m "${1/#gs:\/\//$BUCKETS/}"; }
none() {
  echo "ERROR: (gcloud.storage) One or more URLs matched no objects." >&2
  exit 1
}
[[ $1 == storage ]] || exit 0
[[ -z ${FAILS:-} || ! -e $FAILS ]] || { echo "ERROR: no network" >&2; exit 1; }
verb=$2 remove='' exclude='^$' paths=()
for word in "${@:3}"; do
  case $word in
    --delete-unmatched-destination-objects) remove=1 ;;
    --exclude=*) exclude=${word#*=} ;;
    --*) ;;
    *) paths+=("$(place "$word")") ;;
  esac
done
from=${paths[0]} to=${paths[1]:-}
case $verb in
  cat) [[ -f $from ]] || none; cat "$from" ;;
  ls) [[ -n $(find "$from" -type f 2>/dev/null) ]] || none; find "$from" -type f ;;
  cp) [[ -f $from ]] || none; mkdir -p "$(dirname "$to")"; cp "$from" "$to" ;;
  rsync)
    [[ -d $from ]] || none
    cd "$from" && mkdir -p "$to" || exit
    find . -type f | sed 's#^\./##' | while IFS= read -r file; do
      [[ ! $file =~ $exclude ]] || continue
      mkdir -p "$to/$(dirname "$file")" && cp "$file" "$to/$file" || exit
    done
    [[ -n $remove ]] || exit 0
    cd "$to" && find . -type f | while IFS= read -r file; do
      [[ -f $from/$file ]] || rm "$file"
    done
    find "$to" -mindepth 1 -type d -empty -delete
    ;;
esac
"""


class Shell:
  """A place to run scripts in: a home, a path of stand-ins, a bucket."""

  def __init__(self, folder: pathlib.Path):
    self.folder = folder
    self.calls_file = folder / "calls"
    self.buckets = folder / "buckets"
    self._bin = folder / "bin"
    for place in (self.buckets, self._bin, folder / "home"):
      place.mkdir()
    self.environment = {
      "PATH": f"{self._bin}:/usr/bin:/bin",
      "HOME": str(folder / "home"),
      "CALLS": str(self.calls_file),
      "BUCKETS": str(self.buckets),
      "LANG": "C.UTF-8",
    }

  def stand_in(self, name: str, does: str = "") -> None:
    """Puts a program on the path that only records, or `does` more."""
    path = self._bin / name
    path.write_text(STAND_IN + does)
    path.chmod(0o755)

  def start(self, script: str, *words: str, **more) -> subprocess.Popen:
    """Starts a script of launch/, or another by its path."""
    return subprocess.Popen(
      ["/bin/bash", str(LAUNCH / script), *words],
      cwd=self.folder,
      env=self.environment | more.pop("env", {}),
      stdin=subprocess.DEVNULL,
      stdout=subprocess.PIPE,
      stderr=subprocess.PIPE,
      text=True,
      **more,
    )

  def run(
    self, script: str, *words: str, **more
  ) -> subprocess.CompletedProcess:
    """How a script ended."""
    process = self.start(script, *words, **more)
    try:
      out, error = process.communicate(timeout=60)
    finally:
      process.kill()
    return subprocess.CompletedProcess(words, process.returncode, out, error)

  def refused(self, script: str, *words: str, **more) -> str:
    """The one line with which a script refused, which called nothing."""
    done = self.run(script, *words, **more)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.count("\n") == 1, done.stderr
    assert self.calls() == []
    return done.stderr.rstrip("\n").partition(": ")[2]

  def calls(self) -> list[str]:
    """What was called, a line each."""
    if not self.calls_file.exists():
      return []
    return self.calls_file.read_text().splitlines()

  def words(self) -> list[list[str]]:
    """What was called, as words."""
    return [shlex.split(line) for line in self.calls()]

  def same_dry(self, script: str, *words: str, **more) -> list[str]:
    """Calls of a real run, once a dry run printed the same and called none."""
    at = words.index("--") if "--" in words else len(words)
    dry = self.run(script, *words[:at], "--dry-run", *words[at:], **more)
    assert dry.returncode == 0, dry.stderr
    assert self.calls() == []
    done = self.run(script, *words, **more)
    assert done.returncode == 0, done.stderr
    assert self.calls() == dry.stdout.splitlines()
    return self.calls()


@pytest.fixture
def shell(tmp_path):
  """A `Shell` of this test's own."""
  return Shell(tmp_path)


@pytest.fixture
def buckets(shell):
  """The folder that stands for all buckets of `gcloud storage`."""
  shell.stand_in("gcloud", STORAGE)
  return shell.buckets


@pytest.fixture
def kubectl(shell):
  """A stand-in for it that keeps what it is given."""
  shell.stand_in("kubectl", '[[ $* != *--filename=- ]] || cat >"$HOME/sent"')
  return shell


@pytest.fixture(scope="session")
def program():
  """The function from a program's name to its path; it skips without it."""

  def find(name: str) -> str:
    folders = [str(pathlib.Path(sys.executable).parent), os.environ["PATH"]]
    found = shutil.which(name, path=os.pathsep.join(folders))
    if not found:
      pytest.skip(f"{name} is not installed")
    return found

  return find
