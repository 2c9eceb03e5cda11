"""Two processes that save and restore together come to the same end."""

import json
import pathlib
import socket
import subprocess
import sys

import pytest

REPO = pathlib.Path(__file__).resolve().parent.parent.parent
PATIENCE = 120  # seconds
# Each process runs this, with its number, a port, a case and a folder.
SCRIPT = """
import json, os, pathlib, sys, threading, traceback

import jax
import numpy as np

from diffpose_jax.model import hosts, sharding
from diffpose_jax.weights import checkpoint, seal, steps

jax.config.update("jax_num_cpu_devices", 2)
process, port, case, folder = int(sys.argv[1]), *sys.argv[2:]
workdir = pathlib.Path(folder)
said = {}
try:
  with hosts.joined(
    coordinator=f"localhost:{port}", processes=2, process=process, heartbeat=10
  ):
    place = sharding.split(sharding.mesh())

    def state(step):
      whole = np.arange(12, dtype=np.float32).reshape(4, 3) + step
      return {"w": jax.make_array_from_callback((4, 3), place, whole.__getitem__)}

    like = {"w": jax.ShapeDtypeStruct((4, 3), np.float32, sharding=place)}
    checkpoints = checkpoint.Checkpoints(workdir)
    checkpoints.save(state(1), 1, 0.5, wait=True)
    if case == "one cannot write" and process == 1:
      wait = checkpoints._writer.wait_until_finished
      def fail():
        wait()
        if threading.current_thread() is not threading.main_thread():
          raise OSError(5, "no such luck")
      checkpoints._writer.wait_until_finished = fail
    if case == "the first cannot seal" and process == 0:
      def refuse(*args, **kwargs):
        raise OSError(28, "disk full")
      seal.write = refuse
    try:
      checkpoints.save(state(2), 2, 0.4, wait=True)
    except ValueError as error:
      said["error"] = str(error)
    hosts.barrier("saved")
    files = workdir / steps.FOLDER
    if case == "damaged" and process == 0:
      written = [path for path in (files / "2").rglob("*") if path.is_file()]
      largest = max(written, key=lambda path: path.stat().st_size)
      data = bytearray(largest.read_bytes())
      data[len(data) // 2] ^= 16
      largest.write_bytes(data)
    hosts.barrier("damaged")
    if case == "one reads badly" and process == 1:
      check = seal.check_files
      def bad(place, manifest, **kwargs):
        if place.name == "2":
          raise seal.Damaged("this host's memory")
        check(place, manifest, **kwargs)
      seal.check_files = bad
    found, said["step"] = checkpoints.restore_newest(like)
    said["values"] = sharding.to_host(found["w"]).tolist()
    hosts.barrier("restored")
    said["there"] = sorted(path.name for path in files.iterdir())
    checkpoints.close()
except BaseException:
  traceback.print_exc()
  os._exit(1)  # An orderly end waits for the other one.
print("SAID", json.dumps(said), file=sys.stderr)
"""


@pytest.fixture
def said(tmp_path):
  """What the two processes say at the end of a case."""

  def run(case):
    (tmp_path / "script.py").write_text(SCRIPT)
    with socket.create_server(("", 0)) as server:
      port = server.getsockname()[1]
    processes = [
      subprocess.Popen(
        [
          *(sys.executable, str(tmp_path / "script.py"), str(process)),
          *(str(port), case, str(tmp_path / "run")),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={"PYTHONPATH": str(REPO), "JAX_PLATFORMS": "cpu"},
      )
      for process in range(2)
    ]
    try:
      errors = [p.communicate(timeout=PATIENCE)[1] for p in processes]
    finally:
      for process in processes:
        process.kill()
    lines = [e.rstrip().splitlines()[-1:] for e in errors]
    assert all(line and line[0].startswith("SAID") for line in lines), errors
    return [json.loads(line[0].removeprefix("SAID")) for line in lines]

  return run


def _values(step):
  return [[3 * row + column + step for column in range(3)] for row in range(4)]


def test_both_have_what_they_saved(said):
  for one in said("nothing"):
    assert one == {"step": 2, "values": _values(2), "there": ["1", "2"]}


@pytest.mark.parametrize("case", ["damaged", "one reads badly"])
def test_both_go_back_where_one_finds_damage(said, case):
  for one in said(case):
    assert one == {
      "step": 1,
      "values": _values(1),
      "there": ["1", "quarantine"],
    }


@pytest.mark.parametrize(
  ("case", "reason"),
  [
    ("one cannot write", "no such luck"),
    ("the first cannot seal", "disk full"),
  ],
)
def test_a_save_that_fails_on_one_fails_on_both(said, case, reason):
  for one in said(case):
    assert "checkpoint 2 could not be written" in one["error"]
    assert reason in one["error"]
    assert (one["step"], one["values"]) == (1, _values(1))
    assert one["there"] == ["1"]
