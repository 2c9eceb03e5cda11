"""Two processes with 4 devices each do what one with 8 does, and end together."""

import collections
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from typing import Any

import jax
import numpy as np
import pytest

from diffpose_jax import supervisor
from diffpose_jax.model import sharding
from diffpose_jax.weights import checkpoint

pytestmark = pytest.mark.slow

REPO = pathlib.Path(__file__).resolve().parent.parent.parent
PATIENCE = 240  # seconds; a busy machine compiles slowly
HEARTBEAT = 10
# What every Python of a test runs first: there is one more size.
START = """
from diffpose_jax.model import diffpose

diffpose.SIZES["tiny"] = diffpose.Size(width=64, depth=1, heads=4)
"""
CONFIG = """
from diffpose_jax import config as defaults


def get_config():
  config = defaults.default()
  config.update_from_flattened_dict(dict([
    ("data.size", (32, 24)),
    ("data.span", 1),
    ("data.threads", 1),
    ("model.size", "tiny"),
    ("model.patch", 8),
    ("model.strl_depth", 1),
    ("model.decoder_width", 16),
    ("model.heatmap_width", 8),
    ("model.scales", 1),
    ("model.drop_path", 0.1),
    ("augment.colour", 0.3),
    ("train.batch", 8),
    ("train.steps", 4),
    ("train.evaluate_every", 2),
    ("train.warmup", 2),
    ("train.ema", 0.9),
    ("train.log_every", 1),
    ("evaluate.batch", 8),
    ("evaluate.steps", 1),
    ("evaluate.samples", 1),
  ]))
  return config
"""
FLAGS = os.environ["XLA_FLAGS"]  # 8 devices, and how to compile fast
_CACHE = "jax_compilation_cache_dir"  # the tests' own
Ended = collections.namedtuple("Ended", ["code", "out", "error"])


class Command:
  """The project's command on some hosts, all of them this machine."""

  def __init__(self, hosts: int, arguments: list[str], logs: pathlib.Path):
    with socket.create_server(("", 0)) as server:
      port = server.getsockname()[1]
    logs.mkdir(exist_ok=True)
    (logs / "sitecustomize.py").write_text(START)
    self._logs = logs
    environment = os.environ | {
      "XLA_FLAGS": re.sub("(?<=device_count=)8", str(8 // hosts), FLAGS),
      "JAX_PLATFORMS": "cpu",
      "JAX_COMPILATION_CACHE_DIR": str(getattr(jax.config, _CACHE)),
      "PYTHONPATH": f"{logs}:{REPO}",
      "PYTHONUNBUFFERED": "1",
    }
    self.processes = []
    for i in range(hosts):
      flags = [
        *("--multihost", f"--coordinator=localhost:{port}"),
        *(f"--processes={hosts}", f"--process={i}"),
        f"--heartbeat={HEARTBEAT}",
      ]
      command = [
        *(sys.executable, "-m", "diffpose_jax.main", *arguments),
        *(flags if hosts > 1 else []),
      ]
      with (
        self._log("out", i).open("w") as out,
        self._log("error", i).open("w") as error,
      ):
        self.processes.append(
          subprocess.Popen(
            command, cwd=REPO, env=environment, stdout=out, stderr=error
          )
        )

  def _log(self, kind: str, host: int) -> pathlib.Path:
    return self._logs / f"{kind}{host}"

  def wait(self) -> list[Ended]:
    """How each host ended."""
    ended = []
    for i, process in enumerate(self.processes):
      code = process.wait(timeout=PATIENCE)
      texts = (self._log(kind, i).read_text() for kind in ("out", "error"))
      ended.append(Ended(code, *texts))
    return ended

  def until(self, met, what: str) -> None:
    """Waits until `met()` is true; fails where a host ends before."""
    end = time.monotonic() + PATIENCE
    while not met():
      codes = [process.poll() for process in self.processes]
      if any(code is not None for code in codes) or time.monotonic() > end:
        self.stop()
        errors = [result.error[-2000:] for result in self.wait()]
        pytest.fail(f"no {what}; exit codes {codes}; {errors}")
      time.sleep(0.05)

  def signal_worker(self, host: int, number: int = signal.SIGKILL) -> None:
    """A signal to the process that works, under its supervisor."""
    pid = self.processes[host].pid
    children = pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text()
    (worker,) = children.split()
    os.kill(int(worker), number)

  def stop(self) -> None:
    """Ends what still runs."""
    for process in self.processes:
      process.kill()
      process.wait()


@pytest.fixture
def start(tmp_path):
  """Starts commands, which end with the test at the latest."""
  made = []

  def run(hosts, *arguments):
    logs = tmp_path / f"logs{len(made)}"
    made.append(Command(hosts, list(arguments), logs))
    return made[-1]

  yield run
  for command in made:
    command.stop()


@pytest.fixture(scope="module")
def config(tmp_path_factory):
  path = tmp_path_factory.mktemp("config") / "tiny.py"
  path.write_text(CONFIG)
  return path


def _train(config, root, workdir, *more) -> list[str]:
  return [
    *("train", f"--config={config}", f"--workdir={workdir}"),
    f"--config.data.root={root}",
    *more,
  ]


def _finished(command: Command) -> list[Ended]:
  ended = command.wait()
  assert [result.code for result in ended] == [0] * len(ended), [
    result.error[-3000:] for result in ended
  ]
  return ended


Run = collections.namedtuple("Run", ["folder", "ended"])


def _run(hosts, config, root, folder, *more) -> Run:
  workdir = folder / "run"
  command = Command(hosts, _train(config, root, workdir, *more), folder / "log")
  try:
    return Run(workdir, _finished(command))
  finally:
    command.stop()


@pytest.fixture(scope="module")
def one(config, root, tmp_path_factory):
  """A run of 4 steps in one process."""
  return _run(1, config, root, tmp_path_factory.mktemp("one"))


@pytest.fixture(scope="module")
def two(config, root, tmp_path_factory):
  """The same run in two processes."""
  return _run(2, config, root, tmp_path_factory.mktemp("two"))


def _records(folder) -> list[dict]:
  text = (folder / "metrics.jsonl").read_text()
  return [json.loads(line) for line in text.splitlines()]


def _assert_same_records(found, expected, first=1):
  """Losses and validation, to the order of float32 sums."""
  keys = ("step", "loss", "gradient_norm", "learning_rate", "val/pck_0.1")
  pairs = [
    ([{k: r[k] for k in keys if k in r} for r in records if r["step"] >= first])
    for records in (found, expected)
  ]
  assert len(pairs[1]) >= 2
  for a, b in zip(*pairs, strict=True):
    assert a == pytest.approx(b, rel=1e-5)


def test_two_hosts_train_as_one_does(one, two):
  _assert_same_records(_records(two.folder), _records(one.folder))
  results = [
    json.loads((run.folder / "evaluation.json").read_text())
    for run in (one, two)
  ]
  for result in results:
    assert result["protocol"]["people"] == 6
    assert result["protocol"]["training_step"] == 4
  assert results[1]["pck_box"] == results[0]["pck_box"]
  assert results[1]["ap"] == pytest.approx(results[0]["ap"], rel=1e-6)


def test_only_the_first_host_prints_and_writes(two):
  first, second = two.ended
  assert "2 processes run as one" in first.out
  assert "DiffPose 1 steps x 1 samples" in first.out
  assert second.out == ""
  assert "train:" in first.error and "train:" not in second.error
  assert "poses:" not in second.error
  for name in ("config.json", "data.json", "report.html", "validation.webm"):
    assert (two.folder / name).is_file()
  assert sorted(p.name for p in (two.folder / "checkpoints").iterdir()) in (
    ["4"],
    ["2", "4"],
  )


def _weights(folder, mesh) -> Any:
  """The averaged weights of a run, restored to a mesh of 8 devices."""
  saved = folder / "checkpoints" / "4" / "state"
  metadata: Any = checkpoint.ocp.PyTreeCheckpointHandler().metadata(saved)
  shapes = jax.tree.map(
    lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype),
    metadata.tree["ema"],
  )
  like = sharding.placed(shapes, sharding.places(shapes, mesh))
  return checkpoint.load_averaged(folder, like)[0]


def test_a_checkpoint_is_restored_to_any_mesh_bit_for_bit(one, two):
  """Saved by two processes, restored by one."""
  whole = _weights(two.folder, sharding.mesh())
  split = _weights(two.folder, sharding.mesh(1, 8))
  of_one = _weights(one.folder, sharding.mesh())
  kernel = split["vit"]["block_00"]["mlp"]["hidden"]["kernel"]
  assert kernel.addressable_shards[0].data.size == 64 * 256 // 8
  for a, b, c in zip(
    *(jax.tree.leaves(tree) for tree in (whole, split, of_one)), strict=True
  ):
    assert np.asarray(a).tobytes() == np.asarray(b).tobytes()
    np.testing.assert_allclose(a, c, rtol=1e-3, atol=1e-5)


def test_another_number_of_hosts_goes_on(one, two, config, root, tmp_path):
  """Two hosts go on where one stopped, with other shards; and one after two."""
  folders = []
  for run, hosts, fsdp in ((one, 2, 4), (two, 1, 1)):
    folder = tmp_path / f"on{hosts}"
    shutil.copytree(run.folder, folder / "run")
    mesh = f"--config.train.mesh.fsdp={fsdp}"
    again = _run(hosts, config, root, folder, "--config.train.steps=6", mesh)
    assert "resuming from step 4" in again.ended[0].out
    folders.append(again.folder)
  records = [_records(folder) for folder in folders]
  assert [r["step"] for r in records[0] if "loss" in r] == [1, 2, 3, 4, 5, 6]
  _assert_same_records(*records, first=5)


def test_hosts_share_an_evaluation_and_nobody_is_counted_twice(
  one, start, tmp_path
):
  dumps = []
  for hosts in (1, 2):
    dump, out = tmp_path / f"dump{hosts}", tmp_path / f"{hosts}.json"
    _finished(
      start(
        hosts,
        *("evaluate", f"--weights={one.folder}", f"--dump={dump}"),
        *(f"--out={out}", "--samples=3"),
      )
    )
    people = [
      person
      for path in sorted(dump.glob("*.json"))
      for person in json.loads(path.read_text())["annotations"]
    ]
    dumps.append((people, json.loads(out.read_text())))
  (alone, result), (shared, of_two) = dumps
  assert len(alone) == len(shared) == 6
  for a, b in zip(alone, shared, strict=True):
    assert a["image_id"] == b["image_id"] and a["track_id"] == b["track_id"]
    np.testing.assert_allclose(a["keypoints"], b["keypoints"], atol=1e-3)
  assert of_two["pck_box"] == result["pck_box"]
  hashes = [r["protocol"]["weights_sha256"] for r in (result, of_two)]
  assert hashes[0] == hashes[1]


def _latest(folder) -> int:
  steps = [p.name for p in (folder / "checkpoints").glob("*")]
  return max((int(name) for name in steps if name.isdigit()), default=0)


def test_the_others_end_with_a_clear_line_and_the_next_start_resumes(
  two, config, root, start, tmp_path
):
  folder = tmp_path / "run"
  shutil.copytree(two.folder, folder)
  arguments = _train(
    *(config, root, folder, "--config.train.steps=100000"),
    *("--config.train.evaluate_every=100000",),
    "--config.train.checkpoint_every=5",
  )
  for victim, survivor in ((1, 0), (0, 1)):
    before = _latest(folder)
    command = start(2, *arguments)
    command.until(lambda: _latest(folder) > before, "checkpoint")  # noqa: B023
    command.signal_worker(victim)
    killed = time.monotonic()
    ended = command.wait()
    assert time.monotonic() - killed < 3 * HEARTBEAT
    assert f"resuming from step {before}" in ended[0].out
    assert ended[victim].code == 128 + signal.SIGKILL
    assert ended[survivor].code == supervisor.LOST
    last = ended[survivor].error.rstrip().splitlines()[-1]
    assert last.startswith(f"diffpose_jax: error: {supervisor.LOST_LINE}")


def test_one_of_four_is_killed_while_all_save(
  two, config, root, start, tmp_path
):
  """Before, it is slow for a while, which ends nobody."""
  folder = tmp_path / "run"
  shutil.copytree(two.folder, folder)
  arguments = _train(
    *(config, root, folder, "--config.train.steps=100000"),
    *("--config.train.evaluate_every=100000",),
    "--config.train.checkpoint_every=1",
  )
  command = start(4, *arguments)
  command.until(lambda: _latest(folder) > 4, "checkpoint")
  command.signal_worker(2, signal.SIGSTOP)
  time.sleep(0.4 * HEARTBEAT)
  slow = _latest(folder)
  command.signal_worker(2, signal.SIGCONT)
  command.until(lambda: _latest(folder) > slow + 2, "checkpoint after that")
  writing = (folder / "checkpoints").glob
  command.until(lambda: any(writing("*writing")), "save")
  command.signal_worker(2)
  ended = command.wait()
  codes = [result.code for result in ended]
  assert codes == [supervisor.LOST] * 2 + [137, supervisor.LOST]
  latest = _latest(folder)
  steps = f"--config.train.steps={latest + 2}"
  again = _run(2, config, root, folder.parent, steps)
  assert f"resuming from step {latest}" in again.ended[0].out
  assert _latest(folder) == latest + 2
  assert not any(writing("*writing")) and not any(writing("quarantine"))


def test_a_signal_to_one_host_stops_all_after_the_same_step(
  two, config, root, start, tmp_path
):
  folder = tmp_path / "run"
  shutil.copytree(two.folder, folder)
  arguments = _train(
    *(config, root, folder, "--config.train.steps=100000"),
    *("--config.train.evaluate_every=100000",),
    "--config.train.checkpoint_every=5",
  )
  for victim in (1, 0):
    before = _latest(folder)
    command = start(2, *arguments)
    command.until(lambda: _latest(folder) > before, "checkpoint")  # noqa: B023
    command.processes[victim].send_signal(signal.SIGTERM)
    ended = command.wait()
    assert [result.code for result in ended] == [128 + signal.SIGTERM] * 2
    assert f"resuming from step {before}" in ended[0].out
    stopped = _latest(folder)
    assert f"stopped after step {stopped}" in ended[0].out
    assert _records(folder)[-1]["step"] == stopped
    assert "SIGTERM: stopping after this step" in ended[victim].error


def test_a_mistake_ends_all_hosts_with_its_line(config, root, start, tmp_path):
  arguments = _train(config, root, tmp_path / "run", "--config.train.batch=9")
  for result in start(2, *arguments).wait():
    assert result.code == 2
    lines = result.error.rstrip().splitlines()
    assert lines[-1].startswith("diffpose_jax: error: train.batch")
    assert "batch of 9 clips is not divisible by 8 devices" in lines[-1]


def test_a_cluster_that_nobody_names_is_asked_for():
  command = subprocess.run(
    [
      *(sys.executable, "-m", "diffpose_jax.main", "evaluate"),
      *("--weights=runs/none", "--multihost"),
    ],
    cwd=REPO,
    capture_output=True,
    text=True,
    timeout=PATIENCE,
    check=False,
  )
  assert command.returncode == 2
  line = command.stderr.rstrip().splitlines()[-1]
  assert "--coordinator=HOST:PORT --processes=N --process=I" in line
