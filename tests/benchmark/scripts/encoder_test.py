"""The encoder beside other libraries: rows, threads, equal weights."""

import os

import numpy as np
import pytest

from diffpose_jax.benchmark import measure
from diffpose_jax.benchmark.result import Bar


class Fake:
  """Contenders without any library."""

  def ours(self):
    return lambda: np.array([1.0, 2.0])


def _raises(_):
  raise ImportError("No module named 'onnx'\nand more")


def test_rows_of_equal_different_and_missing_contenders(script, monkeypatch):
  encoder = script("encoder")
  near, far = np.array([1.0, 2.00001]), np.array([1.0, 2.1])
  bar = Bar("at least", 1.8)
  monkeypatch.setattr(
    encoder,
    "OTHERS",
    (
      ("missing", "P1", _raises, bar, 1e-4),
      ("near", "P1", lambda c: lambda: near, bar, 1e-4),
      ("far", "P1", lambda c: lambda: far, bar, 1e-4),
      ("loose", "P2", lambda c: lambda: far, None, 0.1),
      ("unwanted", "P2", lambda c: lambda: far, None, 0.1),
    ),
  )
  names = ["missing", "near", "far", "loose"]
  missing, same, other, loose = encoder.compare(Fake(), names, 3, measure.WALL)
  assert missing.note == ("not measured: ImportError: No module named 'onnx'")
  assert same.bar == bar and same.error == pytest.approx(5e-6)
  assert set(same.figures) == {"near ms", "ours ms"}
  assert "outputs differ by 0.05 " in other.refused and other.ratio is None
  assert loose.id == "P2" and loose.verdict == "" and loose.ratio is not None


def test_the_process_starts_anew_with_so_many_threads(script, monkeypatch):
  encoder = script("encoder")
  calls = []
  monkeypatch.delenv(encoder._FIXED, raising=False)
  monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {2, 4, 7})
  monkeypatch.setattr(
    os, "sched_setaffinity", lambda pid, cpus: calls.append(cpus)
  )
  monkeypatch.setattr(os, "execve", lambda *given: calls.append(given))
  encoder.fix_threads("2")
  cpus, (_, arguments, environment) = calls
  assert cpus == {2, 4} and arguments == encoder.sys.orig_argv
  for name in ("OMP_NUM_THREADS", "PJRT_NPROC", encoder._FIXED):
    assert environment[name] == "2"
  encoder.fix_threads("all")
  assert calls[2] == {2, 4, 7} and calls[3][2]["OMP_NUM_THREADS"] == "3"
  with pytest.raises(SystemExit, match="has 3 cores"):
    encoder.fix_threads("4")
  monkeypatch.setenv(encoder._FIXED, "2")
  assert encoder.fix_threads("all") == 2


@pytest.mark.filterwarnings("ignore")
def test_weights_of_torch_give_the_same_features(script):
  for package in ("torch", "transformers"):
    pytest.importorskip(package, reason="it is not among the locks")
  encoder = script("encoder")
  contenders = encoder.Contenders("cpu", (2, 32, 48), 1)
  found, wanted = contenders.ours()(), contenders.torch_eager()()
  assert found.shape == (2, 6, 128)
  assert measure.relative_error(found, wanted) < 1e-5
