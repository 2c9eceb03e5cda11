"""Data sets into a bucket and out of it; the bucket is a folder here."""

import pytest

PUT = ("put", "--dataset=posetrack18", "--source=raw", "--out=data/p")
COPY = "gs://bucket/sets/p"
# The verb `prepare`: makes a set, or reads it through.
PREPARE = """
case "$*" in
  *--check*) [[ -f data/p/prepared.json ]] || exit 2 ;;
  *) mkdir -p data/p; echo records >data/p/train-0; echo {} >data/p/prepared.json ;;
esac
"""


@pytest.fixture
def machine(shell, buckets):
  """A machine on which `prepare` works at once."""
  shell.stand_in("python3", PREPARE)
  shell.environment["DIFFPOSE_PYTHON"] = "/nowhere/python"  # take python3
  return shell


def _verbs(shell):
  return [" ".join(words[1:4]) for words in shell.words()]


def test_put_checks_first_and_copies_the_manifest_last(machine, buckets):
  calls = machine.same_dry(
    "prepare_data.sh", *PUT, f"--bucket={COPY}/", "--", "--boxes=b.json"
  )
  assert [call.split()[0] for call in calls] == [
    *("python3", "python3", "gcloud", "gcloud")
  ]
  assert calls[0].endswith(
    "prepare --dataset=posetrack18 --source=raw --out=data/p --boxes=b.json"
  )
  assert calls[1].endswith("prepare --check --out=data/p")
  assert calls[3] == (
    f"gcloud storage cp data/p/prepared.json {COPY}/prepared.json"
  )
  there = sorted(p.name for p in (buckets / "bucket/sets/p").iterdir())
  assert there == ["prepared.json", "train-0"]


def test_a_set_that_is_not_sound_is_not_copied(machine, buckets):
  machine.stand_in("python3", '[[ "$*" != *--check* ]]')
  done = machine.run("prepare_data.sh", *PUT, f"--bucket={COPY}")
  assert done.returncode != 0
  assert not any(line.startswith("gcloud") for line in machine.calls())


def test_a_copy_that_was_cut_short_has_no_manifest(machine, buckets):
  machine.stand_in("gcloud", '[[ "$*" != *rsync* ]]')
  done = machine.run("prepare_data.sh", *PUT, f"--bucket={COPY}")
  assert done.returncode == 1
  assert _verbs(machine)[-1].startswith("storage rsync")


def test_get_brings_it_back_and_reads_it_through(machine, buckets):
  assert (
    machine.run("prepare_data.sh", *PUT, f"--bucket={COPY}").returncode == 0
  )
  (machine.folder / "data").rename(machine.folder / "before")
  machine.calls_file.unlink()
  words = ("get", "--out=data/p", f"--bucket={COPY}")
  calls = machine.same_dry("prepare_data.sh", *words)
  assert calls[-1].endswith("prepare --check --out=data/p")
  assert (machine.folder / "data/p/train-0").read_text() == "records\n"


def test_rendered_people_need_no_source(machine, buckets):
  words = ("put", "--dataset=synthetic", "--out=data/p", f"--bucket={COPY}")
  calls = machine.same_dry("prepare_data.sh", *words)
  assert calls[0].endswith("prepare --dataset=synthetic --out=data/p")


@pytest.mark.parametrize(
  ("words", "message"),
  [
    (("put", *PUT[2:], f"--bucket={COPY}"), "--dataset is missing"),
    ((*PUT[:2], PUT[3], f"--bucket={COPY}"), "--source is missing: the folder"),
    ((*PUT[:3], f"--bucket={COPY}"), "--out is missing: the prepared folder"),
    (PUT, "--bucket is missing: gs://BUCKET/PATH"),
    ((*PUT, "--bucket=sets"), "--bucket=sets is not gs://BUCKET/PATH"),
    ((*PUT, "--bucket=gs://bucket"), "has no path; give the set a folder of"),
    (("get", "--out=a"), "--bucket is missing"),
  ],
)
def test_refusals(machine, words, message):
  assert message in machine.refused("prepare_data.sh", *words)
