"""What the release check and the audit would do; both need the network."""

import pytest


def test_the_release_check_tries_the_wheel_of_each_python(shell):
  words = ("--pythons=python3.11 /opt/python3.12", "--dry-run")
  done = shell.run("release_check.sh", *words)
  assert done.returncode == 0, done.stderr
  assert shell.calls() == []
  lines = done.stdout.splitlines()
  built = [i for i, line in enumerate(lines) if " -m build --outdir " in line]
  assert len(built) == 1
  for name in ("python3.11", "python3.12"):
    mine = [line for line in lines[built[0] :] if f"/release/{name}" in line]
    assert len(mine) == 10
    assert "-m venv" in mine[0] and "install" in mine[1]
    assert mine[1].endswith("diffpose_jax-VERSION-py3-none-any.whl")
    assert mine[2].startswith("env --chdir=") and mine[2].endswith(" doctor")
    assert "--config=configs/synthetic.py" in mine[3]
    assert "--dry_run" in mine[3] and mine[3].startswith("env --chdir=")
    assert mine[4].endswith(r"whl\[cpu\,video\,detect\,hdf5\]")
    extras = ("cuda", "tpu", "ray", "webdemo", "onnx")
    for line, extra in zip(mine[5:], extras, strict=True):
      assert "uv pip install --quiet --dry-run --python " in line
      assert line.endswith(rf"whl\[{extra}\]")


@pytest.mark.parametrize(
  ("script", "words", "message"),
  [
    (
      "release_check.sh",
      ["--pythons=python3.99"],
      "python3.99 is not installed",
    ),
    ("audit.sh", ["--locks=rocm-py311"], "there is no lock "),
  ],
)
def test_refusals(shell, script, words, message):
  assert message in shell.refused(script, *words)


def test_the_audit_looks_up_each_lock(shell):
  done = shell.run("audit.sh", "--dry-run", env={"DIFFPOSE_PYTHON": "python3"})
  assert done.returncode == 0 and shell.calls() == []
  last = done.stdout.splitlines()[-1]
  assert "pip-audit --strict --disable-pip --no-deps " in last
  for extra in ("cpu", "cuda", "tpu"):
    for python in ("py311", "py312"):
      assert f"/launch/locks/{extra}-{python}.txt" in last
  done = shell.run("audit.sh", "--locks=tpu-py311", "--dry-run")
  assert done.stdout.splitlines()[-1].count("--requirement") == 1
