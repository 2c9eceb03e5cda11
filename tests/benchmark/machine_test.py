"""What is told of the machine."""

import json
import os
import platform

import jax

from diffpose_jax.benchmark import machine


def test_the_machine_is_described(monkeypatch):
  monkeypatch.setenv("GLIBC_TUNABLES", "glibc.malloc.hugetlb=1")
  monkeypatch.delenv("OPENBLAS_CORETYPE", raising=False)
  found = machine.describe(["pytest", "no-such-package"])
  assert json.loads(json.dumps(found)) == found
  assert found["platform"] == "cpu" and found["devices"] == 8
  assert found["versions"]["jax"] == jax.__version__
  assert found["versions"]["python"] == platform.python_version()
  assert found["versions"]["no-such-package"] == "not installed"
  assert found["settings"]["GLIBC_TUNABLES"] == "glibc.malloc.hugetlb=1"
  assert found["settings"]["OPENBLAS_CORETYPE"] == ""
  text = machine.line(found)
  assert f"jax {jax.__version__}" in text and found["date"] in text
  assert "GLIBC_TUNABLES=glibc.malloc.hugetlb=1" in text
  assert "OPENBLAS" not in text


def test_cores_are_those_that_may_be_used(monkeypatch):
  monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {3, 5, 7})
  assert machine.cores() == 3


def test_an_accelerator_is_named():
  found = machine.describe() | {"platform": "gpu", "device": "A", "devices": 2}
  assert "; 2 × A; " in machine.line(found)
  assert "A;" not in machine.line(found | {"platform": "cpu"})


def test_a_machine_without_git_or_proc(monkeypatch, tmp_path):
  monkeypatch.setenv("PATH", str(tmp_path))
  monkeypatch.setattr(machine, "_CPUINFO", tmp_path / "nothing")
  found = machine.describe()
  assert found["commit"] == "" and found["cpu"]
  assert "commit" not in machine.line(found)
