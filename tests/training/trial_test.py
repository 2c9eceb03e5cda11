"""A dry run: refuses what training would, says the rest, changes nothing."""

import pathlib

import numpy as np
import pytest
import tiny

from diffpose_jax import main
from diffpose_jax.training import lock, train, trial

TINY = tiny.RUN | {
  "train.steps": 9,
  "train.log_every": 2,
  "train.evaluate_every": 4,
  "train.checkpoint_every": 3,
}


def _flags(folder, *more, **changes):
  changes = TINY | {k.replace("__", "."): v for k, v in changes.items()}
  keys = [f"--config.{key}={value}" for key, value in changes.items()]
  return ["--config=configs/pt18.py", f"--workdir={folder}", *keys, *more]


def _content(folder: pathlib.Path):
  """All that is in a folder: names, bytes and times."""
  return {
    str(path.relative_to(folder)): (
      path.stat().st_mtime_ns,
      path.read_bytes() if path.is_file() else None,
    )
    for path in [folder, *folder.rglob("*")]
  }


class _Stop(Exception):  # noqa: N818
  pass


@pytest.fixture(scope="module")
def data(root, tmp_path_factory):
  """A prepared folder of its own."""
  folder = tmp_path_factory.mktemp("data") / "prepared"
  arguments = ["prepare", "--dataset=posetrack18", f"--source={root}"]
  assert main.main([*arguments, f"--out={folder}"]) == 0
  return folder


@pytest.fixture(scope="module")
def stopped(data, tmp_path_factory):
  """A workdir whose run broke off in step 5, after its checkpoint of step 4."""
  folder = tmp_path_factory.mktemp("runs") / "stopped"
  real = train.pipeline.train_batches

  def batches(*args, **kwargs):
    made = real(*args, **kwargs)
    for _ in range(4):
      yield next(made)
    made.close()
    raise _Stop

  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(train.pipeline, "train_batches", batches)
    with pytest.raises(_Stop):
      main.main(_flags(folder, f"--config.data.prepared={data}"))
  return folder


def test_a_dry_run_of_a_new_workdir_leaves_nothing(data, tmp_path, capsys):
  flags = _flags(tmp_path / "new", f"--config.data.prepared={data}")
  assert main.main([*flags, "--dry_run"]) == 0
  assert list(tmp_path.iterdir()) == []
  lines = capsys.readouterr().out.splitlines()
  text = "\n".join(lines)
  # 12 people, of whom 8 a step: 9 steps are 6 epochs. Steps 4, 8 and 9 are
  # validated; 3 and 6 are saved, too.
  assert "plan: steps 1 to 9, 6.0 epochs of 12 people in all" in lines
  assert "batch: 8 clips, 1 a device, in 1 parts" in lines
  # Two thirds of 9 are 6, five sixths 7: after so many steps it drops.
  assert (
    "learning rate: 0.0002 after 2 steps of warm-up, 2e-05 from step 7 on, "
    "2e-06 from step 8 on"
  ) in lines
  assert (
    "validation: every 4 steps, 3 times, on about 6 of 6 people; checkpoints: 5"
  ) in lines
  assert "first batch: 8 clips of 3 frames of 32x24" in text
  assert "train step: compiled in" in text and "GB on each device" in text
  assert lines[-1] == "dry run: no step was done and no checkpoint written"
  assert any(line.startswith("all ") for line in lines)  # the table


def test_a_dry_run_leaves_a_run_as_it_is(stopped, data, capsys):
  before = _content(stopped)
  assert "goodput.json" in before and "checkpoints/4/manifest.json" in before
  flags = _flags(stopped, f"--config.data.prepared={data}", "--dry_run")
  assert main.main(flags) == 0
  assert _content(stopped) == before
  out = capsys.readouterr().out
  assert "resuming from step 4" in out
  assert (
    "plan: steps 5 to 9, 6.0 epochs of 12 people in all; it goes on after step 4"
  ) in out
  assert "validation: every 4 steps, 2 times" in out


def test_a_damaged_checkpoint_stays_where_it_is(
  stopped, data, tmp_path, capsys
):
  state = stopped / "checkpoints" / "4" / "state"
  files = [path for path in state.rglob("*") if path.is_file()]
  path = max(files, key=lambda path: path.stat().st_size)
  whole = path.read_bytes()
  path.write_bytes(bytes([whole[0] ^ 1]) + whole[1:])
  before = _content(stopped)
  try:
    flags = _flags(stopped, f"--config.data.prepared={data}", "--dry_run")
    assert main.main(flags) == 2  # It was the only one.
    assert _content(stopped) == before
  finally:
    path.write_bytes(whole)


def _refused(capsys, *flags):
  assert main.main(list(flags)) == 2
  error = capsys.readouterr().err.splitlines()[-1]
  return error.removeprefix("diffpose_jax: error: ")


def test_what_training_refuses_a_dry_run_does(
  stopped, data, tmp_path, capsys, monkeypatch
):
  before = _content(stopped)
  own = f"--config.data.prepared={data}"
  line = _refused(capsys, *_flags(stopped, own, "--dry_run", train__warmup=3))
  assert "belongs to another config (train.warmup was 2, now 3)" in line
  line = _refused(capsys, *_flags(stopped, "--dry_run"))
  assert line.startswith(f"{stopped / 'data'}: no prepared data, and a dry run")
  with lock.held(stopped):
    line = _refused(capsys, *_flags(stopped, own, "--dry_run"))
    assert "trains here; wait for it or stop it" in line
  # Nothing but the time of the folder, in which the lock came and went.
  now = _content(stopped)
  assert now | {".": before["."]} == before
  before = now
  new = _flags(tmp_path / "new", own, "--dry_run")
  line = _refused(capsys, *new, "--profile_steps=8:10")
  assert line.startswith("--profile_steps=8:10: the steps of the run that are")
  line = _refused(capsys, *new, "--profile_steps=8")
  assert line.startswith("--profile_steps=8: give A:B")
  (tmp_path / "file").write_text("")
  line = _refused(capsys, *_flags(tmp_path / "file" / "run", own, "--dry_run"))
  assert line.startswith(f"{tmp_path / 'file'}: no folder that can be written")
  usage = trial.shutil._ntuple_diskusage(10**12, 10**12, 10**6)
  monkeypatch.setattr(trial.shutil, "disk_usage", lambda _: usage)
  assert "make room or choose another --workdir" in _refused(capsys, *new)
  assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_finished_run_would_be_evaluated(stopped, data, capsys):
  before = _content(stopped)
  own = f"--config.data.prepared={data}"
  flags = _flags(stopped, own, "--dry_run", train__steps=4)
  assert main.main(flags) == 0
  assert "all 4 steps are done; the command would evaluate" in (
    capsys.readouterr().out
  )
  assert _content(stopped) == before


def _batch(count=3):
  rng = np.random.default_rng(0)
  return {
    "frames": rng.integers(0, 256, (count, 3, 32, 24, 3), np.uint8),
    "joints": np.ones((count, 17, 2), np.float32),
    "labelled": np.ones((count, 17), bool),
  }


def test_a_batch_is_checked(stopped):
  config = train.config_lib.load(stopped / "config.json")
  skeleton = train.run_folder.load_skeleton(stopped)
  describe = lambda **new: trial._describe(_batch() | new, config, skeleton)  # noqa: E731
  assert describe().startswith(
    "first batch: 3 clips of 3 frames of 32x24, mean"
  )
  assert describe().endswith("17.0 labelled joints a clip")
  batch = _batch()
  for new, words in (
    (dict(frames=batch["frames"][:, :2]), "the network takes uint8"),
    (dict(labelled=batch["labelled"] & False), "no labelled joint"),
    (dict(joints=batch["joints"] * np.nan), "at no finite place"),
    (
      dict(frames=batch["frames"] * 0),
      "3 of 3 clips of the first batch are of",
    ),
  ):
    with pytest.raises(ValueError, match=words):
      describe(**new)
