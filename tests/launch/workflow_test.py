"""The public CI: pinned, with few rights, and the commands of this checkout."""

import pathlib
import re
import subprocess

import pytest
import yaml

REPO = pathlib.Path(__file__).resolve().parents[2]
FOLDER = REPO / ".github" / "workflows"
WORKFLOWS = sorted(FOLDER.glob("*.yml"))


def _read(path):
  # YAML takes the key `on` for a truth value.
  return yaml.load(path.read_text(), Loader=yaml.BaseLoader)


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda p: p.name)
def test_actions_are_pinned_by_their_commit(path):
  uses = re.findall(r"^.*\buses:.*$", path.read_text(), re.M)
  assert uses
  for line in uses:
    assert re.search(
      r"uses: [\w-]+/[\w-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+$", line
    )


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda p: p.name)
def test_rights_are_to_read(path):
  workflow = _read(path)
  assert workflow["permissions"] == {"contents": "read"}
  assert "cancel-in-progress" in workflow["concurrency"]
  assert set(workflow["on"]) == {"push", "pull_request"}
  for job in workflow["jobs"].values():
    assert "permissions" not in job
    assert int(job["timeout-minutes"]) <= 90
    checkouts = [
      step
      for step in job["steps"]
      if step.get("uses", "").startswith("actions/checkout@")
    ]
    assert [s["with"]["persist-credentials"] for s in checkouts] == ["false"]


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda p: p.name)
def test_its_commands_are_those_of_the_makefile(path):
  targets = re.findall(
    r"^\.PHONY: (.*)$", (REPO / "Makefile").read_text(), re.M
  )[0].split()
  commands = [
    step["run"]
    for job in _read(path)["jobs"].values()
    for step in job["steps"]
    if "run" in step
  ]
  assert commands
  for command in commands:
    make, *words = command.split()
    assert make == "make"
    assert {w for w in words if w.isidentifier() or "-" in w} <= set(targets)


def test_both_pythons_run_the_tests_and_one_of_them_the_slow_ones():
  job = _read(FOLDER / "ci.yml")["jobs"]["test"]
  rows = job["strategy"]["matrix"]["include"]
  assert [row["python"] for row in rows] == ["3.11", "3.12"]
  assert sorted(row["slow"] for row in rows) == ["", "1"]


@pytest.mark.parametrize(
  "tool", [("actionlint",), ("zizmor", "--offline", "--no-progress")]
)
def test_linters_have_nothing_to_say(program, tool):
  done = subprocess.run(
    [program(tool[0]), *tool[1:], *map(str, WORKFLOWS)],
    capture_output=True,
    text=True,
    check=False,
    cwd=REPO,
  )
  assert done.returncode == 0, done.stdout + done.stderr
