"""A workdir's copy in a bucket, which is a folder here."""

import os
import signal

import pytest

COPY = "gs://bucket/runs/a"
# A run that writes step $1 and removes step $2, and leaves what is not copied.
TRAIN = """
cd "$HOME/../local" && mkdir -p "checkpoints/$1/state" data source \
  checkpoints/9.diffpose-writing
echo "$1" >"checkpoints/$1/state/leaf"; rm -rf "checkpoints/$2"
echo "step $1" >>metrics.jsonl; echo '{}' >config.json
touch data/big source/big train.lock checkpoints/9.diffpose-writing/half
exit "${3:-0}"
"""


@pytest.fixture
def work(shell, buckets):
  shell.stand_in("train", TRAIN)
  shell.stand_in("python", 'echo "jax==1.2.3"')
  shell.environment["DIFFPOSE_PYTHON"] = str(shell.folder / "bin" / "python")
  return shell.folder / "local"


def _mirror(shell, *words, workdir="local", **more):
  return shell.run(
    "mirror.sh",
    f"--workdir={workdir}",
    f"--bucket={COPY}",
    "--",
    *words,
    **more,
  )


def _files(folder):
  found = {
    p.relative_to(folder).as_posix(): p.read_text()
    for p in folder.rglob("*")
    if p.is_file()
  }
  for name in ("launches.txt", "lock.txt"):
    assert found.pop(name)
  return found


def test_the_copy_holds_the_run_and_no_more(shell, work, buckets):
  done = _mirror(shell, "train", "1", "0")
  assert done.returncode == 0, done.stderr
  copy = buckets / "bucket" / "runs" / "a"
  assert _files(copy) == {
    "mirror.id": (work / "mirror.id").read_text(),
    "config.json": "{}\n",
    "metrics.jsonl": "step 1\n",
    "checkpoints/1/state/leaf": "1\n",
  }
  assert len((work / "mirror.id").read_text()) == 32
  assert _mirror(shell, "train", "2", "1").returncode == 0
  found = _files(copy)
  assert found["checkpoints/2/state/leaf"] == "2\n"
  assert "checkpoints/1/state/leaf" not in found
  assert found["metrics.jsonl"] == "step 1\nstep 2\n"
  assert sorted(p.name for p in shell.folder.iterdir()) == [
    *("bin", "buckets", "calls", "home", "local")
  ]


def test_a_new_machine_goes_on_from_the_copy(shell, work, buckets):
  assert _mirror(shell, "train", "3", "0").returncode == 0
  os.rename(work, shell.folder / "lost")
  done = _mirror(shell, "train", "4", "3")
  assert done.returncode == 0
  assert "fetching gs://bucket/runs/a" in done.stderr
  assert (work / "metrics.jsonl").read_text() == "step 3\nstep 4\n"
  assert not (work / "data" / "big").read_text()  # made anew, not copied
  assert (work / "launches.txt").read_text().count("command: train") == 2


def test_exit_codes(shell, work, buckets):
  assert _mirror(shell, "train", "1", "0", "75").returncode == 75
  copy = buckets / "bucket" / "runs" / "a"
  assert _files(copy)["checkpoints/1/state/leaf"] == "1\n"


def test_a_copy_that_cannot_be_updated_is_said(shell, work, buckets):
  """By its own exit code, unless the command has one."""
  fails = shell.folder / "fails"
  environment = {"FAILS": str(fails)}
  shell.stand_in("sleep")
  shell.stand_in("cut", f'touch {fails}; exit "$1"')
  for code, expected in ((0, 74), (2, 2)):
    fails.unlink(missing_ok=True)
    done = _mirror(shell, "cut", str(code), env=environment)
    assert done.returncode == expected
    assert done.stderr.splitlines()[-1] == (
      f"mirror.sh: the copy in {COPY} is older than local"
    )


def test_without_an_answer_nothing_is_started(shell, work, buckets):
  """Whether a run is in the bucket is not known then."""
  fails = shell.folder / "fails"
  fails.touch()
  done = _mirror(shell, "train", "1", "0", env={"FAILS": str(fails)})
  assert done.returncode == 2
  assert "no network" in done.stderr
  assert "cannot be read; whether it holds this run" in done.stderr
  assert not any(line.startswith("train") for line in shell.calls())
  assert not work.exists()


def test_the_runs_of_others_are_left_alone(shell, work, buckets):
  assert _mirror(shell, "train", "1", "0").returncode == 0
  other = shell.folder / "other"
  other.mkdir()
  (other / "config.json").touch()
  done = _mirror(shell, "train", "2", "1", workdir="other")
  assert done.returncode == 2
  assert "other and gs://bucket/runs/a hold different runs" in done.stderr
  foreign = buckets / "bucket" / "foreign"
  foreign.mkdir()
  (foreign / "thesis.txt").write_text("mine")
  words = ("--workdir=new", "--bucket=gs://bucket/foreign", "--", "train")
  done = shell.run("mirror.sh", *words)
  assert done.returncode == 2
  assert "gs://bucket/foreign holds something else" in done.stderr
  assert [p.name for p in foreign.iterdir()] == ["thesis.txt"]


SLOW = """
mkdir -p "$HOME/../local/checkpoints/5" && cd "$HOME/../local"
echo 5 >checkpoints/5/leaf; echo up
trap 'rm -r checkpoints/5; mkdir checkpoints/6; echo 6 >checkpoints/6/leaf
exit 143' TERM
for i in {1..600}; do sleep 0.05; done
"""


def test_it_is_brought_up_to_date_meanwhile_and_after_a_signal(
  shell, work, buckets
):
  shell.stand_in("slow", SLOW)
  words = ("--workdir=local", f"--bucket={COPY}", "--every=1", "--", "slow")
  run = shell.start("mirror.sh", *words)
  assert run.stdout.readline() == "up\n"
  steps = buckets / "bucket" / "runs" / "a" / "checkpoints"
  while not (steps / "5" / "leaf").exists():
    assert run.poll() is None
  run.send_signal(signal.SIGTERM)
  run.communicate(timeout=30)
  assert run.returncode == 143
  assert [p.name for p in steps.iterdir()] == ["6"]


def test_dry_run(shell):
  words = ("--workdir=w", f"--bucket={COPY}", "--dry-run", "--", "train", "1")
  done = shell.run("mirror.sh", *words)
  assert done.returncode == 0
  quiet = "--no-user-output-enabled"
  assert done.stdout.splitlines() == [
    f"gcloud storage cat {COPY}/mirror.id",
    f"gcloud storage ls {COPY}",
    f"gcloud storage cp {quiet} w/mirror.id {COPY}/mirror.id",
    f"gcloud storage rsync {quiet} --recursive {COPY} w",
    "train 1",
    f"gcloud storage rsync {quiet} --recursive ./.w.mirror {COPY}",
    f"gcloud storage rsync {quiet} --recursive "
    "--delete-unmatched-destination-objects ./.w.mirror/checkpoints "
    f"{COPY}/checkpoints",
  ]
  assert shell.calls() == [] and not (shell.folder / "w").exists()


@pytest.mark.parametrize(
  ("words", "message"),
  [
    ([f"--bucket={COPY}", "--", "a"], "--workdir is missing: the run's folder"),
    (["--workdir=w", "--", "a"], "--bucket is missing: gs://BUCKET/PATH"),
    (["--workdir=w", "--bucket=s3://b/c", "--", "a"], "is not gs://BUCKET/PA"),
    (["--workdir=w", "--bucket=gs://b1/c d", "--", "a"], "is not gs://BUCKET"),
    (
      ["--workdir=w", "--bucket=gs://b12", "--", "a"],
      "has no path; a run need",
    ),
    (["--workdir=w", f"--bucket={COPY}"], "no command; it follows --"),
    (
      ["--workdir=w", f"--bucket={COPY}", "--every=0", "--", "a"],
      "--every=0 is not a number of seconds",
    ),
    (["--workdir=w", f"--bucket={COPY}", "--", "a"], "gcloud is not installed"),
  ],
)
def test_refusals(shell, words, message):
  shell.environment["PATH"] = _without_gcloud(shell)
  assert message in shell.refused("mirror.sh", *words)
  assert not (shell.folder / "w").exists()


def _without_gcloud(shell) -> str:
  """A path with what scripts need of the system, and no gcloud."""
  tools = shell.folder / "tools"
  tools.mkdir()
  for name in ("bash", "basename", "dirname", "sed", "env"):
    for folder in ("/usr/bin", "/bin"):
      if os.path.exists(f"{folder}/{name}") and not (tools / name).exists():
        (tools / name).symlink_to(f"{folder}/{name}")
  return str(tools)
