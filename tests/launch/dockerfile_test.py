"""launch/Dockerfile, read: no engine to build it with is at hand."""

import pathlib
import re
import subprocess
import tomllib

import pytest

REPO = pathlib.Path(__file__).resolve().parents[2]
FILE = REPO / "launch" / "Dockerfile"
TARGETS = ("cpu", "cuda", "tpu")


def _stages() -> dict[str, list[tuple[str, str]]]:
  """Instructions of each stage, (word, rest), by the stage's name."""
  text = re.sub(r"^#.*\n", "", FILE.read_text(), flags=re.M)
  lines = text.replace("\\\n", " ").splitlines()
  stages, name = {}, ""
  for line in filter(None, map(str.strip, lines)):
    word, _, rest = line.partition(" ")
    if word == "FROM":
      name = rest.split(" AS ")[1]
      stages[name] = []
    stages[name].append((word, " ".join(rest.split())))
  return stages


def test_hadolint_has_nothing_to_say(program):
  done = subprocess.run(
    [program("hadolint"), "--no-color", str(FILE)],
    capture_output=True,
    text=True,
    check=False,
  )
  assert done.returncode == 0, done.stdout + done.stderr


def test_there_is_a_target_for_each_kind_of_device():
  stages = _stages()
  assert tuple(stages) == ("base", *TARGETS)
  extras = tomllib.loads((REPO / "pyproject.toml").read_text())["project"][
    "optional-dependencies"
  ]
  for target in TARGETS:
    assert stages[target][0] == ("FROM", f"base AS {target}")
    (install,) = [rest for word, rest in stages[target] if word == "RUN"]
    assert target in extras and install.endswith(f"pip install '.[{target}]'")


@pytest.mark.parametrize("target", TARGETS)
def test_versions_are_those_of_the_lock(target):
  """Of the image's Python; the lock has all that the extra asks for."""
  stages = _stages()
  python = re.match(r"python:3\.(\d+)-slim-", stages["base"][0][1])
  assert python
  (install,) = [rest for word, rest in stages[target] if word == "RUN"]
  lock = re.match(r"PIP_CONSTRAINT=/src/(\S+) ", install)
  assert lock and lock[1] == f"launch/locks/{target}-py3{python[1]}.txt"
  assert re.search(r"^jax==", (REPO / lock[1]).read_text(), re.M)


@pytest.mark.parametrize("target", TARGETS)
def test_an_image_runs_the_command_without_rights(target):
  stages = _stages()
  assert ("ENTRYPOINT", '["python", "-m", "diffpose_jax.main"]') in (
    stages["base"]
  )
  assert stages[target][-1] == ("USER", "1000")
  assert ("ENV", "DIFFPOSE_COMMIT=$COMMIT") in stages[target]
  asked = [rest for word, rest in stages[target] if word == "ARG"]
  assert asked == ["COMMIT=unknown"]  # a secret would stay in the image


def test_what_is_copied_is_there_and_all_that_is_sent():
  copied = []
  for word, rest in _stages()["base"]:
    if word == "COPY":
      copied += rest.split()[:-1]
  assert all((REPO / name).exists() for name in copied)
  ignored = (REPO / ".dockerignore").read_text().splitlines()
  sent = sorted(line[1:] for line in ignored if line.startswith("!"))
  assert sent == sorted({name.split("/")[0] for name in copied})
  # What the wheel is built of, by pyproject.toml.
  assert {"README.md", "LICENSE", "diffpose_jax", "configs", "datasets"} <= (
    set(copied)
  )


def test_scripts_that_manifests_call_are_in_the_image():
  text = (REPO / "launch" / "gke.yaml").read_text()
  for name in re.findall(r"/src/([a-z_/.]+)", text):
    assert (REPO / name).is_file(), name
  assert ("WORKDIR", "/src") in _stages()["base"]
