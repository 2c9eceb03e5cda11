"""What a host of a slice does, with stand-ins for sudo, systemd and Google."""

import shlex

import pytest

# systemd as it would answer for a unit in a state, which the test writes down.
SYSTEMCTL = """
[[ $1 == show ]] || exit 0
grep "^${3#--property=}=" "$HOME/unit" | cut -d= -f2-
"""
RUN = (
  "--workdir=runs/a",
  "--",
  "--config=pt18.py",
  "--config.data.size=(8, 6)",
)


@pytest.fixture
def host(shell):
  """A host of a slice of one."""
  shell.stand_in("sudo")
  shell.stand_in("systemctl", SYSTEMCTL)
  shell.stand_in("mountpoint", 'exit "${MOUNTED:-1}"')
  shell.stand_in("python", 'echo "jax==1.2.3"')
  shell.environment["DIFFPOSE_PYTHON"] = str(shell.folder / "bin" / "python")
  _slice(shell, "10.0.0.1")
  _unit(shell)
  return shell


def _slice(shell, endpoints, number=0):
  shell.stand_in(
    "curl",
    f"""case "$*" in
*endpoints) echo {endpoints} ;; *agent-worker-number) echo {number} ;; esac""",
  )


def _unit(shell, load="not-found", active="inactive", sub="dead", end=(0, 0)):
  (shell.folder / "home" / "unit").write_text(
    f"LoadState={load}\nActiveState={active}\nSubState={sub}\n"
    f"ExecMainCode={end[0]}\nExecMainStatus={end[1]}\n"
  )


def _sudo(shell):
  return [words[1:] for words in shell.words() if words[0] == "sudo"]


@pytest.mark.parametrize(
  ("unit", "word"),
  [
    ({}, "not started"),
    (dict(load="loaded", active="active", sub="running"), "running"),
    (dict(load="loaded", active="deactivating", sub="stop-sigterm"), "running"),
    (dict(load="loaded", active="active", sub="exited", end=(1, 0)), "ended 0"),
    (dict(load="loaded", active="failed", sub="failed", end=(1, 2)), "ended 2"),
    # Killed by signal 9.
    (
      dict(load="loaded", active="failed", sub="failed", end=(2, 9)),
      "ended 137",
    ),
  ],
)
def test_status(host, unit, word):
  _unit(host, **unit)
  done = host.run("host.sh", "status")
  assert done.stdout == f"{word}\n"


def test_start(host):
  done = host.run("host.sh", "start", "--times=3", *RUN)
  assert done.returncode == 0, done.stderr
  *_, start = _sudo(host)
  at = next(i for i, word in enumerate(start) if word.endswith("/again.sh"))
  assert start[0] == "systemd-run" and "--unit=diffpose" in start[:at]
  # Else systemd would signal the run itself, beside the script that does.
  assert "--property=KillMode=mixed" in start[:at]
  assert start[at + 1 :] == [
    *("--times=3", "--", host.environment["DIFFPOSE_PYTHON"], "-m"),
    *("diffpose_jax.main", "train", "--workdir=runs/a", "--config=pt18.py"),
    *("--config.data.size=(8, 6)", "--multihost"),
  ]
  launches = (host.folder / "runs" / "a" / "launches.txt").read_text()
  assert shlex.join(start[at:]).split("/again.sh")[1].split()[:2] == [
    "--times=3",
    "--",
  ]
  assert "again.sh --times=3 -- " in launches


def test_start_with_a_copy_in_a_bucket(host):
  words = ("start", "--bucket=gs://bkt/runs/a", "--every=9", *RUN)
  assert host.run("host.sh", *words).returncode == 0
  *_, start = _sudo(host)
  at = next(i for i, word in enumerate(start) if word.endswith("/mirror.sh"))
  assert start[at + 1 : at + 5] == [
    *("--workdir=runs/a", "--bucket=gs://bkt/runs/a", "--every=9", "--")
  ]
  assert start[at + 5].endswith("/again.sh")
  # mirror.sh writes it down, once it has fetched what was there.
  assert not (host.folder / "runs").exists()


def test_other_hosts_write_nothing_down(host):
  _slice(host, "10.0.0.1,10.0.0.2", number=1)
  assert host.run("host.sh", "start", *RUN).returncode == 0
  assert _sudo(host)[-1][0] == "systemd-run"
  assert not (host.folder / "runs").exists()


def test_a_bucket_is_for_one_host(host):
  _slice(host, "10.0.0.1,10.0.0.2,10.0.0.3")
  done = host.run("host.sh", "start", "--bucket=gs://bkt/runs/a", *RUN)
  assert done.returncode == 2
  assert "--bucket is for one host, this slice has 3" in done.stderr
  assert _sudo(host) == []


def test_a_run_is_started_once(host):
  _unit(host, load="loaded", active="active", sub="running")
  done = host.run("host.sh", "start", *RUN)
  assert done.returncode == 2
  assert "a run is under way here" in done.stderr
  assert _sudo(host) == []


def test_stop(host):
  done = host.run("host.sh", "stop")
  assert done.returncode == 2 and "nothing runs here" in done.stderr
  _unit(host, load="loaded", active="active", sub="running")
  host.stand_in("sleep")
  ended = "LoadState=loaded\nActiveState=failed\nExecMainCode=1\n"
  host.stand_in("sudo", f"printf '{ended}ExecMainStatus=143\n' >\"$HOME/unit\"")
  done = host.run("host.sh", "stop")
  assert done.stdout == "ended 143\n"
  assert _sudo(host) == [
    ["systemctl", "kill", "--kill-who=main", "--signal=TERM", "diffpose"]
  ]


def test_setup_mounts_the_disk_once(host):
  words = ("setup", "--disk=10.0.0.2:/share", "--dry-run")
  lines = host.run("host.sh", *words).stdout.splitlines()
  assert (
    "sudo mount -t nfs -o hard\\,noatime 10.0.0.2:/share /mnt/diffpose"
    in (lines)
  )
  assert lines[-1].split()[0].endswith("/setup.sh")
  assert lines[-1].split()[-1] == "tpu"
  mounted = host.run("host.sh", *words, env={"MOUNTED": "0"})
  assert mounted.stdout.splitlines() == lines[-1:]


def test_setup_fetches_the_data_for_the_run(host):
  words = ("setup", "--data=gs://bkt/set", "--dry-run")
  lines = host.run("host.sh", *words).stdout.splitlines()
  home = host.environment["HOME"]
  assert lines[-1].split()[0].endswith("/prepare_data.sh")
  assert lines[-1].split()[1:] == [
    *("get", f"--out={home}/diffpose-data", "--bucket=gs://bkt/set")
  ]
  assert lines[-2].split()[0].endswith("/setup.sh")


OLD = """
[[ $1 != -c ]] || exit 1
[[ "$*" != "-m uv python find 3.12" ]] || echo /uv/python
"""


def test_setup_brings_a_python_where_there_is_none(host):
  for name in ("python3", "python3.11", "python3.12", "python3.13"):
    host.stand_in(name, OLD)
  lines = host.run("host.sh", "setup", "--dry-run").stdout.splitlines()
  assert lines[0].startswith("python3 -m pip install --quiet --user uv==")
  assert lines[1] == "python3 -m uv python install --quiet 3.12"
  assert lines[2].split()[1] == "python3.12"


@pytest.mark.parametrize(
  ("words", "message"),
  [
    (("start", *RUN[1:]), "--workdir is missing: the run's folder"),
    (("start", RUN[0]), "no flags for the command; they follow --"),
    (("start", "--bucket=x", *RUN), "--bucket=x is not gs://BUCKET/PATH"),
    (("start", "--times=0", *RUN), "--times=0 is not a number of starts"),
    (("setup", "--disk=share"), "--disk=share is not HOST:/EXPORT"),
    (("setup", "--extra=gpu"), "--extra=gpu is not cpu, cuda or tpu"),
  ],
)
def test_refusals(host, words, message):
  assert message in host.refused("host.sh", *words)
