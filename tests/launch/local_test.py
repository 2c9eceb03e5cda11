"""Several processes on one machine: once for real, else with a stand-in."""

import json
import os
import pathlib
import re
import signal
import subprocess
import sys

import jax
import pytest

REPO = pathlib.Path(__file__).resolve().parents[2]
LAUNCH = REPO / "launch"
PATIENCE = 500  # seconds; a busy machine compiles slowly
# What every Python of the test runs first: there is one more size.
START = """
from diffpose_jax.model import diffpose

diffpose.SIZES["tiny"] = diffpose.Size(width=16, depth=1, heads=2)
"""
CONFIG = """
from diffpose_jax import config as defaults


def get_config():
  config = defaults.default()
  config.update_from_flattened_dict(dict([
    ("data.name", "synthetic"),
    ("data.size", (32, 24)),
    ("data.span", 1),
    ("data.threads", 1),
    ("data.synthetic.difficulty", "simple"),
    ("data.synthetic.size", (48, 64)),
    ("data.synthetic.frames", 4),
    ("data.synthetic.train_videos", 1),
    ("data.synthetic.val_videos", 1),
    ("data.synthetic.workers", 1),
    ("model.size", "tiny"),
    ("model.patch", 8),
    ("model.strl_depth", 1),
    ("model.decoder_width", 8),
    ("model.heatmap_width", 8),
    ("model.scales", 1),
    ("train.batch", 2),
    ("train.steps", 2),
    ("train.warmup", 1),
    ("train.log_every", 1),
    ("train.pictures", 0),
    ("evaluate.batch", 2),
    ("evaluate.steps", 1),
    ("evaluate.samples", 1),
  ]))
  return config
"""
_CACHE = "jax_compilation_cache_dir"  # the tests' own


@pytest.mark.slow
@pytest.mark.timeout(PATIENCE + 60)
def test_two_processes_train_as_one(tmp_path):
  (tmp_path / "tiny.py").write_text(CONFIG)
  (tmp_path / "sitecustomize.py").write_text(START)
  workdir = tmp_path / "run"
  run = subprocess.Popen(
    [
      *(str(LAUNCH / "local.sh"), f"--config={tmp_path / 'tiny.py'}"),
      *(f"--workdir={workdir}", "--times=1"),
    ],
    env=os.environ
    | {
      "DIFFPOSE_PYTHON": sys.executable,
      "DIFFPOSE_COMMIT": "abc123",
      "JAX_COMPILATION_CACHE_DIR": str(getattr(jax.config, _CACHE)),
      "PYTHONPATH": f"{tmp_path}:{REPO}",
      # How to compile fast, without the tests' own number of devices.
      "XLA_FLAGS": re.sub(r"\S+device_count=\S+", "", os.environ["XLA_FLAGS"]),
    },
    cwd=tmp_path,
    stdout=subprocess.PIPE,
    stderr=subprocess.PIPE,
    text=True,
  )
  try:
    out, error = run.communicate(timeout=PATIENCE)
  finally:
    run.terminate()  # which ends all of them; a kill would not
  assert run.returncode == 0, (out + error)[-3000:]
  assert "2 processes run as one" in out
  assert "on each of 2 devices (data 2)" in out
  records = (workdir / "metrics.jsonl").read_text().splitlines()
  steps = [r["step"] for r in map(json.loads, records) if "loss" in r]
  assert steps == [1, 2]
  assert (workdir / "checkpoints" / "2" / "manifest.json").is_file()
  people = json.loads((workdir / "evaluation.json").read_text())["protocol"]
  assert people["people"] == 4
  launches = (workdir / "launches.txt").read_text()
  assert "commit: abc123\n" in launches and "local.sh --config=" in launches
  assert "jax==" in (workdir / "lock.txt").read_text()
  assert (workdir / "process-1.log").is_file()


# A process that says who it is and ends with the code of its number.
PYTHON = """
case "$*" in
  "-c import socket"*) echo 4711; exit ;;
  *freeze*) exit ;;
esac
who=${@: -1}; who=${who#--process=}
"""
RUN = ("--config=a.py", "--workdir=runs/a", "--processes=3")


@pytest.fixture
def machine(shell):
  """Processes are those of the stand-in `python`."""
  shell.stand_in("sleep")
  shell.environment["DIFFPOSE_PYTHON"] = str(shell.folder / "bin" / "python")
  return shell


def _trained(shell) -> list[list[str]]:
  """Flags of the processes that were started, sorted in each round."""
  found = [words[4:] for words in shell.words() if words[-1:] != ["--all"]]
  return sorted(words for words in found if words and "process=" in words[-1])


def test_each_process_knows_who_it_is(machine):
  machine.stand_in("python", PYTHON + 'echo "$who $XLA_FLAGS $JAX_PLATFORMS"')
  words = (*RUN, "--devices=4", "--", "--config.data.size=(8, 6)")
  done = machine.run("local.sh", *words)
  assert done.returncode == 0, done.stderr
  assert _trained(machine) == [
    [
      *("--config=a.py", "--workdir=runs/a", "--config.data.size=(8, 6)"),
      *("--multihost", "--coordinator=localhost:4711", "--processes=3"),
      f"--process={i}",
    ]
    for i in range(3)
  ]
  flags = "--xla_force_host_platform_device_count=4  cpu\n"
  assert done.stdout == f"0 {flags}"
  for i in (1, 2):
    log = machine.folder / "runs" / "a" / f"process-{i}.log"
    assert log.read_text() == f"{i} {flags}"


def test_dry_run_prints_each_process(machine):
  machine.stand_in("python", PYTHON)
  words = ("--dry-run", "--", "--config.seed=1")
  done = machine.run("local.sh", *RUN, *words)
  lines = done.stdout.splitlines()
  assert len(lines) == 3 and machine.calls() == []
  for i, line in enumerate(lines):
    assert line.startswith("env JAX_PLATFORMS=cpu XLA_FLAGS=")
    assert line.endswith(
      "--config.seed=1 --multihost --coordinator=localhost:8476 --processes=3 "
      f"--process={i}"
    )


@pytest.mark.parametrize(
  ("codes", "code", "rounds"),
  [
    ("0 0 0", 0, 1),
    ("2 2 2", 2, 1),
    ("0 3 2", 3, 1),
    ("137 75 75", 75, 2),  # one was killed, the others say so
    ("143 143 143", 143, 1),
  ],
)
def test_exit_codes(machine, codes, code, rounds):
  does = f'codes=({codes}); exit "${{codes[$who]}}"'
  machine.stand_in("python", PYTHON + does)
  done = machine.run("local.sh", *RUN, "--times=2")
  assert done.returncode == code, done.stderr
  assert len(_trained(machine)) == 3 * rounds


LISTENS = """
trap 'echo heard; exit 143' TERM; echo up
for i in {1..600}; do /bin/sleep 0.05; done
"""


def test_a_signal_reaches_each_process_once(machine):
  machine.stand_in("python", PYTHON + LISTENS)
  run = machine.start("local.sh", *RUN, process_group=0)
  logs = [machine.folder / "runs" / "a" / f"process-{i}.log" for i in (1, 2)]
  assert run.stdout.readline() == "up\n"
  while any(not log.exists() or not log.read_text() for log in logs):
    assert run.poll() is None
  os.killpg(run.pid, signal.SIGINT)  # Ctrl-C
  out, _ = run.communicate(timeout=30)
  assert run.returncode == 143
  assert out == "heard\n"
  assert [log.read_text() for log in logs] == ["up\nheard\n"] * 2


@pytest.mark.parametrize(
  ("words", "message"),
  [
    (RUN[1:], "--config is missing: a config file"),
    (RUN[:1], "--workdir is missing: the run's folder"),
    ((*RUN, "--processes=0"), "--processes=0 is not a number of processes"),
    ((*RUN, "--devices=two"), "--devices=two is not a number of devices"),
    ((*RUN, "--port=x"), "--port=x is not a port"),
  ],
)
def test_refusals(shell, words, message):
  assert message in shell.refused("local.sh", *words)
