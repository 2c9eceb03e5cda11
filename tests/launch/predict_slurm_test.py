"""A job of an array from its batch script, with stand-ins for Slurm and Python."""

import shlex
import signal

import pytest
import sbatch

RUN = ("--shards=4", "--input=my videos", "--out=poses")
MORE = ("--", "--boxes=whole", "--formats=json,csv")
# Predicts, ending with the codes of the file, one a start.
PYTHON = """
[[ $* == *" predict "* ]] || {{ echo "jax==1.2.3"; exit; }}
n=$(cat "$HOME/n" 2>/dev/null || echo 0); echo $((n + 1)) >"$HOME/n"
codes=({codes}); exit "${{codes[$n]}}"
"""


@pytest.fixture
def job(shell):
  """The third job of an array in the checkout, which sleeps for no time."""
  shell.stand_in("sleep")
  shell.stand_in("scontrol")
  python = str(shell.folder / "bin" / "python")
  shell.environment |= {
    "SLURM_ARRAY_JOB_ID": "7",
    "SLURM_ARRAY_TASK_ID": "2",
    "SLURM_JOB_ID": "9",
    "DIFFPOSE_PYTHON": python,
  }
  return shell


def _predicts(job) -> list[list[str]]:
  return [words for words in job.words() if "predict" in words]


@pytest.mark.parametrize(
  ("codes", "starts", "code"),
  [
    ("0", 1, 0),
    ("2", 1, 2),  # a video that cannot be done cannot be done again
    ("1", 1, 1),
    ("137 139 0", 3, 0),
    ("137 137 137 0", 3, 137),
    ("143", 1, 143),
  ],
)
def test_it_starts_again_where_it_was_killed(job, codes, starts, code):
  job.stand_in("python", PYTHON.format(codes=codes))
  done = job.run("predict_slurm.sbatch", *RUN, *MORE)
  assert done.returncode == code, done.stderr
  predict = [
    *("python", "-m", "diffpose_jax.main", "predict", "--input=my videos"),
    *("--out=poses", "--shard=2/4", "--boxes=whole", "--formats=json,csv"),
  ]
  assert _predicts(job) == [predict] * starts
  assert "scontrol" not in {words[0] for words in job.words()}


def test_the_first_job_writes_down_what_is_started(job):
  job.stand_in("python", PYTHON.format(codes="0 0"))
  launches = job.folder / "poses" / "launches.txt"
  assert job.run("predict_slurm.sbatch", *RUN).returncode == 0
  assert not launches.exists()
  first = {"SLURM_ARRAY_TASK_ID": "0"}
  assert job.run("predict_slurm.sbatch", *RUN, env=first).returncode == 0
  assert "--shard=0/4" in launches.read_text()


# Works until it is stopped.
WORKS = """
[[ $* == *" predict "* ]] || exit 0
trap 'exit {code}' TERM; echo up
for i in {{1..600}}; do /bin/sleep 0.05; done
"""


@pytest.mark.parametrize(
  ("code", "back"), [(143, True), (0, False), (2, False)]
)
def test_before_the_time_is_over_the_job_comes_back(job, code, back):
  """By its own number, not by that of the whole array."""
  job.stand_in("python", WORKS.format(code=code))
  run = job.start("predict_slurm.sbatch", *RUN)
  assert run.stdout.readline() == "up\n"
  run.send_signal(signal.SIGUSR1)
  _, error = run.communicate(timeout=30)
  assert run.returncode == code
  assert ("the job goes back into the queue" in error) == back
  requeued = [words for words in job.words() if words[0] == "scontrol"]
  assert requeued == ([["scontrol", "requeue", "7_2"]] if back else [])


def test_a_job_that_is_cancelled_stays_away(job):
  job.stand_in("python", WORKS.format(code=137))
  run = job.start("predict_slurm.sbatch", *RUN)
  assert run.stdout.readline() == "up\n"
  run.send_signal(signal.SIGTERM)
  run.communicate(timeout=30)
  assert run.returncode == 137
  assert len(_predicts(job)) == 1
  assert "scontrol" not in {words[0] for words in job.words()}


def test_dry_run(shell):
  done = shell.run("predict_slurm.sbatch", *RUN, "--dry-run", *MORE)
  assert done.returncode == 0
  first, second = done.stdout.splitlines()
  assert shlex.split(first)[1:] == [
    *("-m", "diffpose_jax.main", "predict", "--input=my videos"),
    *("--out=poses", "--shard=I/4", "--boxes=whole", "--formats=json,csv"),
  ]
  assert second == "scontrol requeue JOB_I"


@pytest.mark.parametrize(
  ("words", "message"),
  [
    (RUN[1:], "--shards is missing: a number of parts"),
    (("--shards=0", *RUN[1:]), "--shards=0 is not a number of parts"),
    (("--shards=2", *RUN[1:]), "job 2 of the array is not one of --shards=2"),
    ((RUN[0], RUN[2]), "--input is missing: the videos"),
    (RUN[:2], "--out is missing: a folder"),
    ((*RUN, "--times=no"), "--times=no is not a number of starts"),
  ],
)
def test_refusals(job, words, message):
  assert message in job.refused("predict_slurm.sbatch", *words)


def test_without_an_array_it_says_how_to_submit(shell):
  line = shell.refused("predict_slurm.sbatch", *RUN)
  assert line.startswith(
    "no job of an array; submit it with sbatch --array=0-3"
  )


def test_a_copy_outside_of_the_checkout_says_where_to_submit(job):
  copy = job.folder / "slurm_script"  # as Slurm makes it
  copy.write_text(sbatch.text("predict_slurm.sbatch"))
  line = job.refused(str(copy), *RUN)
  assert line.startswith("submit it in the checkout: cd diffpose_jax")


def test_what_slurm_is_asked_for():
  """A GPU, a signal in time, back into the queue, a log of its own."""
  asked = sbatch.asked("predict_slurm.sbatch")
  assert asked["gpus"] == asked["ntasks"] == asked["nodes"] == "1"
  assert asked["signal"] == "B:USR1@60"
  assert "requeue" in asked and asked["open-mode"] == "append"
  assert "array" not in asked  # how many is for the user to say
  assert "%A_%a" in asked["output"]
