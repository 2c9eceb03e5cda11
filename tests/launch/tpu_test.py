"""From a queued resource to its deletion, with a stand-in for gcloud."""

import os
import pathlib
import re
import shlex
import shutil
import subprocess
import tarfile

import pytest

REPO = pathlib.Path(__file__).resolve().parents[2]
WHERE = ("--name=pose", "--zone=us-west4-a", "--project=mine")
CREATE = ("--type=v5litepod-16", "--spot")
RUN = ("--workdir=/mnt/diffpose/runs/a", "--", "--config=configs/pt18.py")


@pytest.fixture
def checkout(shell):
  """A checkout with this project's launch/, all of it committed."""
  folder = shell.folder / "checkout"
  shutil.copytree(REPO / "launch", folder / "launch")
  names = ["-c", "user.name=me", "-c", "user.email=me@host.org"]
  for words in (["init", "-q"], ["add", "."], ["commit", "-qm", "all"]):
    subprocess.run(["git", *names, *words], cwd=folder, check=True)
  shell.stand_in("gcloud")
  shell.stand_in("sleep")
  return folder


def _commit(folder) -> str:
  done = subprocess.run(
    ["git", "rev-parse", "HEAD"],
    cwd=folder,
    check=True,
    capture_output=True,
    text=True,
  )
  return done.stdout.strip()


def _script(checkout) -> str:
  return str(checkout / "launch" / "tpu.sh")


AT = "pose --zone=us-west4-a --project=mine"


@pytest.mark.parametrize(
  ("words", "version", "more"),
  [
    (("--type=v5litepod-8",), "v2-alpha-tpuv5-lite", ""),
    (("--type=v6e-16", "--spot"), "v2-alpha-tpuv6e", " --spot"),
    (("--type=v5p-8", "--reserved"), "v2-alpha-tpuv5", " --reserved"),
    (("--type=v4-8", "--network=own"), "tpu-ubuntu2204-base", " --network=own"),
    (("--type=v6e-8", "--version=other-1"), "other-1", ""),
  ],
)
def test_create(shell, checkout, words, version, more):
  calls = shell.same_dry(_script(checkout), "create", *WHERE, *words)
  assert calls == [
    f"gcloud compute tpus queued-resources create {AT} --node-id=pose "
    f"--accelerator-type={words[0].partition('=')[2]} "
    f"--runtime-version={version}{more}"
  ]


def test_setup_copies_the_commit_and_installs_it(shell, checkout):
  shell.stand_in("gcloud", '[[ $4 != scp ]] || cp "$5" "$HOME/sent.tar.gz"')
  done = shell.run(
    _script(checkout),
    "setup",
    *WHERE,
    "--disk=10.0.0.2:/share",
    "--data=gs://bkt/set",
  )
  assert done.returncode == 0, done.stderr
  commit = _commit(checkout)
  folder = f"diffpose_jax-{commit[:12]}"
  scp, ssh = shell.words()
  assert scp[1:5] == ["compute", "tpus", "tpu-vm", "scp"]
  assert scp[6:] == [f"pose:{folder}.tar.gz", *WHERE[1:], "--worker=all"]
  assert ssh[1:-1] == [
    *("compute", "tpus", "tpu-vm", "ssh", "pose", *WHERE[1:]),
    "--worker=all",
  ]
  assert ssh[-1] == (
    f"--command=tar -xzf {folder}.tar.gz && echo {commit} > {folder}/COMMIT && "
    f"cd {folder} && launch/host.sh setup --disk=10.0.0.2:/share "
    "--data=gs://bkt/set"
  )
  with tarfile.open(shell.folder / "home" / "sent.tar.gz") as sent:
    names = sent.getnames()
  assert f"{folder}/launch/host.sh" in names
  assert all(name.split("/")[0] == folder for name in names)
  assert not os.path.exists(scp[5])  # the archive was for the way


def test_setup_tells_of_changes_that_would_stay_here(shell, checkout):
  (checkout / "new.py").touch()
  line = shell.refused(_script(checkout), "setup", *WHERE)
  assert "changes that are not committed and would not be copied" in line
  calls = shell.run(
    _script(checkout), "setup", *WHERE, "--committed-only", "--dry-run"
  ).stdout.splitlines()
  folder = f"diffpose_jax-{_commit(checkout)[:12]}"
  assert calls[0].endswith(
    f" archive --format=tar.gz --prefix={folder}/ --output={folder}.tar.gz HEAD"
  )
  assert [shlex.split(line)[4] for line in calls[1:]] == ["scp", "ssh"]
  assert shell.calls() == []


def _remote(line: str) -> list[str]:
  """What a call of ssh runs on a host, as words."""
  command = shlex.split(line)[-1].removeprefix("--command=")
  return shlex.split(command)


def test_run_starts_on_all_hosts(shell, checkout):
  words = (
    *("run", *WHERE, "--workdir=/mnt/diffpose/runs/a", "--times=3"),
    *("--", "--config=configs/pt18.py", "--config.data.size=(64, 48)"),
  )
  (call,) = shell.same_dry(_script(checkout), *words)
  assert call.startswith(
    f"gcloud compute tpus tpu-vm ssh {AT} --worker=all --command="
  )
  assert _remote(call) == [
    *("cd", f"diffpose_jax-{_commit(checkout)[:12]}", "&&", "launch/host.sh"),
    *("start", "--workdir=/mnt/diffpose/runs/a", "--times=3", "--"),
    *("--config=configs/pt18.py", "--config.data.size=(64, 48)"),
  ]


@pytest.mark.parametrize(
  ("verb", "worker", "remote"),
  [("logs", "0", "log"), ("stop", "all", "stop"), ("status", "all", "status")],
)
def test_what_hosts_are_asked(shell, checkout, verb, worker, remote):
  *before, call = shell.same_dry(_script(checkout), verb, *WHERE)
  assert f"--worker={worker} " in call
  assert _remote(call)[-2:] == ["launch/host.sh", remote]
  describe = f"gcloud compute tpus queued-resources describe {AT} "
  assert before == (
    [describe + r"--format=value\(state.state\)"] if verb == "status" else []
  )


def test_delete_asks_unless_told_otherwise(shell, checkout):
  delete = f"gcloud compute tpus queued-resources delete {AT} --force"
  assert shell.same_dry(_script(checkout), "delete", *WHERE) == [delete]
  shell.calls_file.unlink()
  calls = shell.same_dry(_script(checkout), "delete", *WHERE, "--yes")
  assert calls == [f"{delete} --quiet"]


# Answers of gcloud in order: states of the slice and of the run on its hosts.
KEEP = """
next() {
  local n; n=$(cat "$HOME/$1.n" 2>/dev/null || echo 1); echo $((n + 1)) >"$HOME/$1.n"
  sed -n "${n}p" "$HOME/$1"
}
case "$*" in
  *"queued-resources describe"*)
    state=$(next slice)
    [[ $state != none ]] || { echo "ERROR: NOT_FOUND: no such" >&2; exit 1; }
    [[ $state != broken ]] || { echo "ERROR: no rights" >&2; exit 1; }
    echo "$state" ;;
  *"host.sh status"*) next run | tr , '\n' ;;
esac
"""


def _keep(shell, checkout, slices, runs, *words):
  shell.stand_in("gcloud", KEEP)
  (shell.folder / "home" / "slice").write_text("\n".join(slices) + "\n")
  (shell.folder / "home" / "run").write_text("\n".join(runs) + "\n")
  done = shell.run(
    _script(checkout), "keep", *WHERE, *CREATE, *words, "--poll=1", *RUN
  )
  kinds = []
  for call in shell.calls():
    found = re.search(r"resources (create|delete)|host.sh\W+(\w+)", call)
    if found and (found[1] or found[2]) != "status":
      kinds.append(found[1] or found[2])
  return done, kinds


def test_keep_goes_from_nothing_to_the_end_through_a_preemption(
  shell, checkout
):
  slices = [
    *("none", "WAITING_FOR_RESOURCES", "PROVISIONING", "ACTIVE", "ACTIVE"),
    *("SUSPENDING", "SUSPENDED", "PROVISIONING", "ACTIVE", "ACTIVE", "ACTIVE"),
  ]
  # Two hosts; on the last day one of them has just been lost.
  runs = [
    *("not started,not started", "running,running"),
    *("not started,not started", "running,ended 137", "ended 0,ended 0"),
  ]
  done, kinds = _keep(shell, checkout, slices, runs, "--recreate")
  assert done.returncode == 0, done.stderr
  assert kinds == [
    *("create", "setup", "start", "delete", "create"),
    *("setup", "start", "setup", "start"),
  ]


def test_keep_deletes_nothing_unasked(shell, checkout):
  done, kinds = _keep(shell, checkout, ["SUSPENDED"], [])
  assert done.returncode == 2 and kinds == []
  assert "SUSPENDED, as after a preemption; delete it, or give --recreate" in (
    done.stderr
  )


def test_keep_stops_where_the_run_is_refused(shell, checkout):
  done, kinds = _keep(
    shell, checkout, ["ACTIVE"], ["ended 2,ended 2"], "--recreate"
  )
  assert done.returncode == 2 and kinds == []
  assert "the run was refused" in done.stderr


def test_keep_does_not_take_no_rights_for_no_slice(shell, checkout):
  done, kinds = _keep(shell, checkout, ["broken"], [], "--recreate")
  assert done.returncode == 2 and kinds == []
  assert "no rights" in done.stderr


def test_keep_prints_one_round_in_a_dry_run(shell, checkout):
  words = ("keep", *WHERE, *CREATE, "--dry-run", *RUN)
  done = shell.run(_script(checkout), *words)
  assert done.returncode == 0, done.stderr
  assert shell.calls() == []
  found = [
    re.search(r"describe|create|archive|scp|host.sh\W+(\w+)", line)
    for line in done.stdout.splitlines()
  ]
  assert [f and (f[1] or f[0]) for f in found] == [
    *("describe", "create", "archive", "scp", "setup", "start", "status")
  ]


@pytest.mark.parametrize(
  ("words", "message"),
  [
    (("create", *WHERE[1:], *CREATE), "--name is missing"),
    (
      ("create", "--name=Pose", *WHERE[1:], *CREATE),
      "--name=Pose is not lower",
    ),
    (("create", "--name=a", *CREATE), "--zone is missing: a zone, such as"),
    (
      ("create", "--name=a", "--zone=here", *CREATE),
      "--zone=here is not a zone",
    ),
    (("create", *WHERE), "--type is missing: an accelerator type"),
    (("create", *WHERE, "--type=tpu"), "--type=tpu is not an accelerator type"),
    (
      ("create", *WHERE, *CREATE, "--reserved"),
      "--spot or --reserved, not both",
    ),
    (("run", *WHERE, "--workdir=a"), "--config=FILE is missing; flags of the"),
    (("run", *WHERE, *RUN[1:]), "--workdir is missing"),
    (("run", *WHERE, "--workdir=a b", *RUN[1:]), "is not a folder, without"),
    (("run", *WHERE, "--bucket=b", *RUN), "--bucket=b is not gs://BUCKET/PATH"),
    (("setup", *WHERE, "--data=set"), "--data=set is not gs://BUCKET/PATH"),
    (("setup", *WHERE, "--disk=share"), "--disk=share is not HOST:/EXPORT"),
    (("keep", *WHERE, *RUN), "--type is missing"),
    (("keep", *WHERE, *CREATE, "--workdir=a"), "--config=FILE is missing"),
  ],
)
def test_refusals(shell, checkout, words, message):
  assert message in shell.refused(_script(checkout), *words)


@pytest.mark.slow
def test_gcloud_knows_the_flags(program):
  """Of the real one, where it is installed; it asks nobody."""
  gcloud = program("gcloud")
  for verb, given in {
    "queued-resources create": (
      *("--node-id", "--accelerator-type", "--runtime-version", "--spot"),
      *("--reserved", "--network", "--zone"),
    ),
    "queued-resources delete": ("--force", "--zone"),
    "queued-resources describe": ("--zone",),
    "tpu-vm ssh": ("--worker", "--command", "--zone"),
    "tpu-vm scp": ("--worker", "--zone"),
  }.items():
    done = subprocess.run(
      [gcloud, "compute", "tpus", *verb.split(), "--help"],
      env=os.environ | {"CLOUDSDK_CONFIG": "/nonexistent", "PAGER": "cat"},
      capture_output=True,
      text=True,
      check=True,
    )
    text = re.sub(r"\x1b\[[0-9;]*m|.\x08", "", done.stdout)
    missing = [flag for flag in given if flag not in text]
    assert not missing, (verb, missing)
