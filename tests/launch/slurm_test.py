"""A Slurm job from its batch script, with stand-ins for Slurm's programs."""

import signal

import pytest
import sbatch

RUN = (
  "--config=pt18.py",
  "--workdir=runs/a",
  "--",
  "--config.data.size=(8, 6)",
)
# The tasks of a job: they end with the codes of the file, one a start.
SRUN = """
n=$(cat "$HOME/n" 2>/dev/null || echo 0); echo $((n + 1)) >"$HOME/n"
codes=({codes}); exit "${{codes[$n]}}"
"""


@pytest.fixture
def job(shell):
  """A job in the checkout, which sleeps for no time."""
  shell.stand_in("sleep")
  shell.stand_in("scontrol")
  shell.stand_in("scancel")
  shell.stand_in("python", 'echo "jax==1.2.3"')
  python = str(shell.folder / "bin" / "python")
  shell.environment |= {"SLURM_JOB_ID": "7", "DIFFPOSE_PYTHON": python}
  return shell


def _tasks(job) -> list[list[str]]:
  return [words for words in job.words() if words[0] in ("srun", "scontrol")]


@pytest.mark.parametrize(
  ("codes", "starts", "code"),
  [
    ("0", 1, 0),
    ("2", 1, 2),
    ("75 75 0", 3, 0),
    ("75 75 75", 2, 75),
    ("137 0", 2, 0),
  ],
)
def test_tasks_start_again_where_one_was_lost(job, codes, starts, code):
  job.stand_in("srun", SRUN.format(codes=codes))
  times = f"--times={max(starts, 2)}"
  done = job.run("slurm.sbatch", *RUN[:2], times, *RUN[2:])
  assert done.returncode == code, done.stderr
  srun = [
    *("srun", "--kill-on-bad-exit=0", "--gpu-bind=none"),
    *(job.environment["DIFFPOSE_PYTHON"], "-m", "diffpose_jax.main", "train"),
    *("--config=pt18.py", "--workdir=runs/a", "--config.data.size=(8, 6)"),
    "--multihost",
  ]
  assert _tasks(job) == [srun] * starts
  launches = (job.folder / "runs" / "a" / "launches.txt").read_text()
  assert launches.count("command: srun ") == 1


# Works until scancel, in the place of Slurm, ends it.
WORKS = """
echo $$ >"$HOME/task"; trap 'exit 143' TERM; echo up
for i in {1..600}; do /bin/sleep 0.05; done
"""


def test_before_the_time_is_over_the_run_saves_and_the_job_comes_back(job):
  job.stand_in("srun", WORKS)
  job.stand_in("scancel", 'kill -TERM "$(<"$HOME/task")"')
  run = job.start("slurm.sbatch", *RUN)
  assert run.stdout.readline() == "up\n"
  run.send_signal(signal.SIGUSR1)
  _, error = run.communicate(timeout=30)
  assert run.returncode == 143
  assert "out of time; the job goes back into the queue" in error
  assert job.words()[-2:] == [
    ["scancel", "--signal=TERM", "7"],
    ["scontrol", "requeue", "7"],
  ]


@pytest.mark.parametrize("late", ["", "; /bin/sleep 0.3"])
def test_a_run_that_was_done_just_then_does_not_come_back(job, late):
  """Also one that ends while the job still sees to the signal."""
  job.stand_in("srun", WORKS.replace("exit 143", "exit 0"))
  job.stand_in("scancel", 'kill -TERM "$(<"$HOME/task")"' + late)
  run = job.start("slurm.sbatch", *RUN)
  assert run.stdout.readline() == "up\n"
  run.send_signal(signal.SIGUSR1)
  run.communicate(timeout=30)
  assert run.returncode == 0
  assert "scontrol" not in {words[0] for words in job.words()}


def test_dry_run(shell):
  words = (*RUN[:2], "--dry-run", *RUN[2:])
  done = shell.run("slurm.sbatch", *words)
  assert done.returncode == 0
  first, *others = done.stdout.splitlines()
  assert first.startswith("srun --kill-on-bad-exit=0 --gpu-bind=none ")
  assert first.endswith(r"--config.data.size=\(8\,\ 6\) --multihost")
  assert others == ["scancel --signal=TERM JOB", "scontrol requeue JOB"]


@pytest.mark.parametrize(
  ("words", "message"),
  [
    (RUN[1:], "--config is missing: a config file"),
    ((RUN[0],), "--workdir is missing: the run's folder"),
    ((*RUN[:2], "--times=0"), "--times=0 is not a number of starts"),
    (RUN, "no job; submit it with sbatch, or add --dry-run"),
  ],
)
def test_refusals(shell, words, message):
  assert message in shell.refused("slurm.sbatch", *words)


def test_a_copy_outside_of_the_checkout_says_where_to_submit(job):
  copy = job.folder / "slurm_script"  # as Slurm makes it
  copy.write_text(sbatch.text("slurm.sbatch"))
  line = job.refused(str(copy), *RUN)
  assert line.startswith("submit it in the checkout: cd diffpose_jax")


def test_what_slurm_is_asked_for():
  """One task a GPU, a signal in time, and back into the queue."""
  asked = sbatch.asked("slurm.sbatch")
  assert asked["gpus-per-node"] == asked["ntasks-per-node"]
  assert asked["signal"] == "B:USR1@180"
  assert "requeue" in asked and asked["open-mode"] == "append"
