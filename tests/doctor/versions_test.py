"""Which version fits which limits, and what is said of one that does not."""

import importlib.metadata

import pytest

from diffpose_jax.doctor import finding, versions


@pytest.mark.parametrize(
  ("there", "limits", "wanted"),
  [
    ("0.10.2", ">=0.10", True),
    ("0.9.9", ">=0.10", False),
    ("0.10", ">=0.10.0", True),
    ("4.12.0.88", ">=4.12,<5", True),
    ("5.0.0", ">=4.12,<5", False),
    ("4.11.9", ">=4.12,<5", False),
    ("5.0", "<5", False),
    ("1.2.dev3", ">=1.2", True),
    ("1.0", "", True),
  ],
)
def test_limits(there, limits, wanted):
  assert versions.fits(there, limits) is wanted


def test_what_is_needed_is_what_the_project_says():
  wanted = versions.needed()
  names = {versions._PARTS.fullmatch(line)[1] for line in wanted}  # pyright: ignore[reportOptionalSubscript]
  assert {"jax", "flax", "numpy", "opencv-python-headless"} <= names
  assert len(wanted) == len(names) > 20


def test_of_an_installed_package_its_own_metadata_say_it(tmp_path, monkeypatch):
  monkeypatch.setattr(versions, "PACKAGE", tmp_path / "package")
  lines = ["jax>=99", "ruff==1; extra == 'dev'"]
  monkeypatch.setattr(importlib.metadata, "requires", lambda name: lines)
  assert versions.needed() == ["jax>=99"]
  found = {one.name: one for one in versions.check()}
  assert found["jax"].state == finding.PROBLEM
  assert "needed is >=99" in found["jax"].value
  assert found["jax"].remedy.startswith("pip install 'jax>=99'")
  assert found["python"].state == finding.OK
  assert "ruff" not in found


def test_what_is_missing(monkeypatch):
  monkeypatch.setattr(versions, "needed", lambda: ["no_such[x] >=1.0", "jax"])
  found = {one.name: one for one in versions.check()}
  assert found["no_such"].state == finding.PROBLEM
  assert found["no_such"].value == "not installed"
  assert found["jax"].state == finding.OK


def test_packages_that_lie_on_top_of_each_other(monkeypatch):
  known = versions.version

  def version(name):
    return "4.12.0" if name == "opencv-python" else known(name)

  assert versions._opencvs() == []
  monkeypatch.setattr(versions, "version", version)
  [note] = versions._opencvs()
  assert note.state == finding.NOTE and "opencv-python beside" in note.value


def test_optional_packages_are_no_problem(monkeypatch):
  monkeypatch.setattr(versions, "version", lambda name: None)
  monkeypatch.setattr(versions, "needed", lambda: [])
  found = {one.name: one for one in versions.check()}
  assert {one.state for one in found.values()} == {finding.OK}
  assert "not installed (optional)" in found["av"].value
