"""Real processes that are killed, raise, hang, or lose their parent."""

import contextlib
import os
import pathlib
import signal
import subprocess
import sys
import time

import pytest

REPO = pathlib.Path(__file__).resolve().parent.parent.parent

# Workers import what they do, so it stands in a file.
SCRIPT = """
import os, pathlib, signal, sys, time
from diffpose_jax.data import processes

class Odd(Exception):
  def __init__(self, one, two):  # cannot be made again from its args
    super().__init__("odd")

def work(job, beat):
  folder, kind, number = job
  (folder / f"{number}.pid").write_text(str(os.getpid()))
  beat()
  if number == 3:
    if kind == "kill":
      os.kill(os.getpid(), signal.SIGKILL)
    elif kind == "segfault":
      os.kill(os.getpid(), signal.SIGSEGV)
    elif kind == "exit":
      os._exit(7)
    elif kind == "memory":
      raise MemoryError
    elif kind == "raise":
      raise ValueError("record 3 is broken")
    elif kind == "odd":
      raise Odd(1, 2)
    elif kind == "hang":
      time.sleep(1000)
    elif kind == "long":
      for _ in range(12):
        time.sleep(0.3)
        beat()
  if kind == "wait":
    for _ in range(1000):
      time.sleep(0.1)
      beat()
  (folder / f"{number}.done").touch()

if __name__ == "__main__":
  folder, kind = pathlib.Path(sys.argv[1]), sys.argv[2]
  jobs = [(folder, kind, i) for i in range(7)]
  try:
    for i in processes.run(work, jobs, count=2, seconds=2.0, name="job"):
      print(i, flush=True)
  except (Exception, KeyboardInterrupt) as error:
    print(type(error).__name__, *str(error).splitlines()[:1], flush=True)
    print(*getattr(error, "__notes__", []), file=sys.stderr)
"""


@pytest.fixture
def script(tmp_path):
  path = tmp_path / "script.py"
  path.write_text(SCRIPT)
  return path


def start(script, kind):
  return subprocess.Popen(
    [sys.executable, script, script.parent, kind],
    env={**os.environ, "PYTHONPATH": str(REPO)},
    stdout=subprocess.PIPE,
    stderr=subprocess.PIPE,
    text=True,
    start_new_session=True,
  )


def pids(folder):
  return {int(p.read_text() or 0) for p in folder.glob("*.pid")} - {0}


def alive(pid):
  """Whether a process runs; a zombie does not."""
  with contextlib.suppress(OSError):
    stat = pathlib.Path(f"/proc/{pid}/stat").read_text()
    return stat.rpartition(")")[2].split()[0] != "Z"
  return False


def wait_until(condition, seconds):
  end = time.monotonic() + seconds
  while not condition() and time.monotonic() < end:
    time.sleep(0.02)
  return condition()


@pytest.mark.parametrize("kind", ["good", "long"])
def test_all_jobs_are_done(script, kind):
  out, errors = start(script, kind).communicate(timeout=60)
  assert errors == ""
  assert sorted(map(int, out.split())) == list(range(7))
  assert len(list(script.parent.glob("*.done"))) == 7
  assert len(pids(script.parent)) <= 2


@pytest.mark.parametrize(
  ("kind", "says", "note"),
  [
    ("kill", "ChildProcessError worker process {} was killed by SIGKILL", ""),
    (
      "segfault",
      "ChildProcessError worker process {} was killed by SIGS",
      "",
    ),
    ("exit", "ChildProcessError worker process {} ended by itself, with", ""),
    ("memory", "ChildProcessError a worker process ran out of memory at", ""),
    ("raise", "ValueError record 3 is broken", "in work"),
    ("odd", "RuntimeError a worker process failed:", ""),
    ("hang", "TimeoutError worker process {} hangs: at job", "in work"),
  ],
)
def test_an_error_within_seconds_and_nobody_left(script, kind, says, note):
  process = start(script, kind)
  begun = script.parent / "3.pid"
  assert wait_until(lambda: begun.exists() and begun.read_text(), 60)
  begin = time.monotonic()
  out, errors = process.communicate(timeout=60)
  assert time.monotonic() - begin < 10
  line = out.splitlines()[-1]
  assert line.startswith(says.format(begun.read_text())), line
  assert note in errors
  if kind not in ("raise", "odd"):
    assert "run the command again" in line
  assert not any(alive(pid) for pid in pids(script.parent))


@pytest.mark.parametrize("to_all", [False, True])
def test_ctrl_c_ends_all(script, to_all):
  process = start(script, "wait")
  assert wait_until(lambda: len(pids(script.parent)) == 2, 60)
  (os.killpg if to_all else os.kill)(process.pid, signal.SIGINT)
  out, errors = process.communicate(timeout=60)
  assert out == "KeyboardInterrupt\n"
  assert errors.strip() == ""
  assert not any(alive(pid) for pid in pids(script.parent))


def test_no_orphans_when_the_parent_is_killed(script):
  process = start(script, "wait")
  assert wait_until(lambda: len(pids(script.parent)) == 2, 60)
  assert all(alive(pid) for pid in pids(script.parent))
  process.kill()
  process.communicate(timeout=60)
  assert wait_until(
    lambda: not any(alive(pid) for pid in pids(script.parent)), 5
  )


def test_a_stopped_parent_is_no_hang(script):
  """Ctrl-Z of all processes for longer than a job may be silent."""
  process = start(script, "wait")
  assert wait_until(lambda: len(pids(script.parent)) == 2, 60)
  os.killpg(process.pid, signal.SIGSTOP)
  time.sleep(3)
  os.killpg(process.pid, signal.SIGCONT)
  time.sleep(0.5)
  assert process.poll() is None
  process.send_signal(signal.SIGINT)
  assert process.communicate(timeout=60)[0] == "KeyboardInterrupt\n"


def test_rendering_tells_of_a_killed_worker(tmp_path):
  """The whole command: one line, exit code 2, and what is done stays."""
  (tmp_path / "c.py").write_text(
    "from diffpose_jax import config\n"
    "def get_config():\n"
    "  c = config.default()\n"
    "  c.data.name = 'synthetic'\n"
    "  c.data.synthetic.train_videos = 500\n"
    "  return c\n"
  )
  process = subprocess.Popen(
    [
      *(sys.executable, "-m", "diffpose_jax.main", "prepare"),
      *("--dataset=synthetic", f"--config={tmp_path / 'c.py'}"),
      f"--out={tmp_path / 'out'}",
    ],
    cwd=REPO,
    stdout=subprocess.PIPE,
    stderr=subprocess.PIPE,
    text=True,
  )
  pictures = tmp_path / "out-source" / "images"
  assert wait_until(lambda: len(list(pictures.rglob("*.jpg"))) > 5, 90)
  children = pathlib.Path(f"/proc/{process.pid}/task/{process.pid}/children")
  workers = [
    pid
    for pid in map(int, children.read_text().split())
    if b"spawn_main" in pathlib.Path(f"/proc/{pid}/cmdline").read_bytes()
  ]
  assert len(workers) == 2
  os.kill(workers[0], signal.SIGKILL)
  _, errors = process.communicate(timeout=60)
  assert process.returncode == 2
  line = errors.splitlines()[-1]
  assert line.startswith(
    f"diffpose_jax: error: worker process {workers[0]} was"
  )
  assert "SIGKILL" in line and "run the command again" in line
  assert not alive(workers[1])
