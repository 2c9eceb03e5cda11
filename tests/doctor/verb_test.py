"""Lines, exit codes and JSON; and what is never told."""

import json
import os
import subprocess
import sys

import pytest

from diffpose_jax.doctor import finding, selftest, verb, weights
from diffpose_jax.evaluation import pack
from diffpose_jax.inference import estimator as estimator_lib
from diffpose_jax.inference import pack_file, shipped


@pytest.fixture
def shipped_file(tiny_run, tmp_path, monkeypatch):
  path = tmp_path / f"{shipped.DEFAULT}.safetensors"
  before = estimator_lib.Estimator.load(tiny_run)
  pack_file.write(pack.pack(before, tiny_run, path, "float16"))
  monkeypatch.setattr(shipped, "FOLDER", tmp_path)
  return path


def test_all_is_well(shipped_file, capsys):
  assert verb.main() == 0
  text = capsys.readouterr().out
  for section in verb.SECTIONS:
    assert f"\n{section}\n" in f"\n{text}"
  assert "problem " not in text
  assert text.splitlines()[-1].startswith("no problem, ")
  for line in (
    f"python: {sys.version.split()[0]}",
    "jaxlib: ",
    "device 7: cpu",
    "WebM: written and read back",
    "H.264: read",
    "HOG: ",
    "17 joints; as its SHA-256 says",
    "network: encoded, sampled and decoded twice, with the same bits",
    "compiled step: ",
    "checksum: ",
  ):
    assert line in text


def test_json_says_the_same(shipped_file, capsys, monkeypatch):
  monkeypatch.setattr(verb, "SECTIONS", ("machine", "weights"))
  assert verb.main(json=True) == 0
  content = json.loads(capsys.readouterr().out)
  assert content["ok"] is True
  [file] = content["sections"]["weights"]
  assert file["state"] == "ok" and file["name"] == "weights"
  assert set(file) == {"name", "value", "state", "remedy"}


def test_damaged_weights_are_a_problem(shipped_file, capsys, monkeypatch):
  monkeypatch.setattr(verb, "SECTIONS", ("weights",))
  content = bytearray(shipped_file.read_bytes())
  content[-1000] ^= 1
  shipped_file.write_bytes(content)
  assert verb.main() == 2
  text = capsys.readouterr().out
  assert "not the bytes that its SHA-256 is of" in text
  assert "-> install the package again" in text
  assert text.splitlines()[-1] == "1 problem, 1 checks"
  assert verb.main(json=True) == 2
  assert json.loads(capsys.readouterr().out)["ok"] is False
  shipped_file.unlink()
  [absent] = weights.check()
  assert absent.state == finding.NOTE and "not there" in absent.value


def test_a_section_that_fails_is_a_problem(capsys, monkeypatch):
  """What cannot be imported stops nothing."""
  monkeypatch.setattr(verb, "SECTIONS", ("devices", "selftest"))
  monkeypatch.setitem(sys.modules, "diffpose_jax.doctor.devices", None)

  def check():
    raise RuntimeError("no\nsuch thing")

  monkeypatch.setattr(selftest, "check", check)
  assert verb.main() == 2
  lines = capsys.readouterr().out.splitlines()
  assert lines[0] == "devices" and "ModuleNotFoundError" in lines[1]
  assert lines[2] == "selftest" and "RuntimeError: no such thing" in lines[3]
  assert lines[4] == "2 problems, 2 checks"


def test_a_problem_has_a_remedy():
  with pytest.raises(ValueError, match="a: a problem needs its remedy"):
    finding.Finding("a", "b", finding.PROBLEM)
  one = finding.Finding("a", "b", finding.PROBLEM, "do\nthis")
  assert str(one) == "  problem a: b -> do this"


def test_it_tells_where_nothing_is_installed():
  """Started without site-packages, it ends with problems, not a traceback."""
  run = subprocess.run(
    [sys.executable, "-S", "-m", "diffpose_jax.doctor.verb"],
    capture_output=True,
    text=True,
    check=False,
    env={
      key: value for key, value in os.environ.items() if key != "PYTHONPATH"
    },
    cwd=verb.__file__.rsplit("/", 3)[0],
  )
  assert run.returncode == 2, run.stderr
  assert "problem jax: not installed -> pip install 'jax>=0.10'" in run.stdout
  assert "ModuleNotFoundError: No module named 'jax'" in run.stdout
  assert "Traceback" not in run.stderr
