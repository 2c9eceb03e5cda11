"""Steps of a real run computed again: the same, drift, a fault, a mistake."""

import hashlib
import json
import pathlib
import shutil

import numpy as np
import pytest
import tiny

from diffpose_jax import config as config_lib
from diffpose_jax import main
from diffpose_jax.evaluation import evaluate
from diffpose_jax.training import ledger, log, replay, train
from diffpose_jax.training import step as step_lib
from diffpose_jax.weights import seal, steps

TINY = tiny.RUN | {  # with all that is random in training
  "model.drop_path": 0.1,
  "augment.colour": 0.3,
  "augment.shift": 0.05,
  "augment.erase_probability": 0.5,
  "train.log_every": 2,
  "train.self_aligned": 0.5,
  "train.evaluate_every": 100,
  "train.checkpoint_every": 3,
  "evaluate.steps": 1,
  "evaluate.samples": 1,
}


def _train(root, folder, **changes):
  config = config_lib.default()
  config.update_from_flattened_dict(
    {"data.root": str(root)}
    | TINY
    | {key.replace("__", "."): value for key, value in changes.items()}
  )
  with pytest.MonkeyPatch.context() as monkeypatch:
    monkeypatch.setattr(evaluate, "finish", lambda *_: {})
    # Nothing is removed, so that there are checkpoints between.
    monkeypatch.setattr(steps, "drop_unneeded", lambda _: None)
    train.train(config=config, workdir=str(folder))


@pytest.fixture(scope="module")
def whole(root, tmp_path_factory):
  """A run of five steps that went on to eight, with all its checkpoints."""
  folder = tmp_path_factory.mktemp("whole") / "run"
  _train(root, folder, train__steps=5)
  _train(root, folder, train__steps=8)
  assert steps.usable(folder / "checkpoints") == [3, 5, 6, 8]
  return folder


@pytest.fixture
def run(whole, compiled_once, tmp_path):
  """A copy of it that a test may change."""
  return shutil.copytree(whole, tmp_path / "run")


def _content(folder: pathlib.Path):
  """Every file with its bytes and time."""
  return {
    path: (hashlib.sha256(path.read_bytes()).digest(), path.stat().st_mtime_ns)
    for path in folder.rglob("*")
    if path.is_file()
  }


def _replayed(capsys, folder, *flags) -> tuple[int, list[str]]:
  """Exit code of the command, and its last lines."""
  code = main.main(["replay", f"--workdir={folder}", *flags])
  captured = capsys.readouterr()
  text = captured.err if code == 2 else captured.out
  return code, [line for line in text.splitlines() if line]


def test_every_step_is_kept_though_every_second_is_logged(whole):
  sessions, kept = ledger.read(whole)
  assert list(kept) == list(range(1, 9))
  assert [s.start for s in sessions] == [0, 5]
  assert [s.keys["train.steps"] for s in sessions] == [5, 8]
  records = [r for r in log.read(whole / "metrics.jsonl") if "loss" in r]
  assert [r["step"] for r in records] == [2, 4, 5, 6, 8]
  for record in records:
    values = np.array([record["loss"], record["gradient_norm"]])
    assert (values == values.astype(np.float32)).all()  # written exactly
    words = values.astype(np.float32).view(np.uint32)
    assert kept[record["step"]] == tuple(words.tolist())


class _Kill(Exception):  # noqa: N818
  pass


def test_a_step_is_in_the_ledger_before_its_checkpoint(
  root, compiled_once, tmp_path, monkeypatch
):
  """A run that is killed right after a save goes on after that step."""
  real = train.pipeline.train_batches

  def batches(*args, start_step, **kwargs):
    made = real(*args, start_step=start_step, **kwargs)
    for number, batch in enumerate(made, start=start_step + 1):
      if number == 4:
        raise _Kill
      yield batch

  with monkeypatch.context() as context:
    context.setattr(train.pipeline, "train_batches", batches)
    # Nothing is written on the way out.
    context.setattr(ledger.Ledger, "close", lambda self: self._file.close())
    with pytest.raises(_Kill):
      _train(root, tmp_path, train__steps=5)
  assert steps.usable(tmp_path / "checkpoints") == [3]
  assert list(ledger.read(tmp_path)[1]) == [1, 2, 3]


@pytest.mark.parametrize(
  ("flags", "told"),
  [
    (["--step=1"], "1 steps after 0, up to 1, are bit for bit as logged"),
    (["--step=4"], "1 steps after 3, up to 4, are bit for bit as logged"),
    (["--step=8"], "2 steps after 6, up to 8, are bit for bit as logged; so"),
    # Over the end of the first start, after which the rate falls later.
    (["--step=8", "--since=1"], "8 steps after 0, up to 8, are bit for bit"),
  ],
)
def test_a_run_is_repeated_bit_for_bit(
  whole, compiled_once, capsys, flags, told
):
  before = _content(whole)
  code, lines = _replayed(capsys, whole, *flags)
  assert code == 0, lines
  assert lines[-1].startswith(f"{whole}: {told}")
  assert _content(whole) == before
  leaves = len(seal.read(whole / "checkpoints" / "8")["leaves"])
  shown = [s for s in (3, 5, 6, 8) if f"leaves of checkpoint {s}" in lines[-1]]
  assert leaves > 100
  if "--step=8" in flags:
    assert f"so are the {leaves} leaves of checkpoint 8" in lines[-1]
    assert shown == ([3, 5, 6, 8] if len(flags) == 2 else [8])
  else:
    assert shown == []


def test_without_checkpoints_it_begins_as_the_run_did(run, capsys):
  shutil.rmtree(run / "checkpoints")
  code, lines = _replayed(capsys, run, "--step=2")
  assert code == 0
  assert "2 steps after 0, up to 2, are bit for bit as logged" in lines[-1]


def _flip(run, step, word, bit):
  """Changes a bit of what the ledger says of a step; the old and new word."""
  path = run / ledger.NAME
  lines = path.read_text().splitlines()
  (at,) = (i for i, line in enumerate(lines) if line.startswith(f"{step} "))
  words = lines[at].split()
  old = int(words[word], 16)
  words[word] = f"{old ^ (1 << bit):08x}"
  lines[at] = " ".join(words)
  path.write_text("\n".join(lines) + "\n")
  return words[word], f"{old:08x}"


@pytest.mark.parametrize(
  ("word", "name", "bit"), [(1, "loss", 0), (2, "gradient_norm", 3)]
)
def test_one_bit_of_what_was_logged_is_found(run, capsys, word, name, bit):
  logged, now = _flip(run, 5, word, bit)
  code, lines = _replayed(capsys, run, "--step=6", "--since=4")
  assert code == 1
  assert lines[-2].startswith(f"{run}: step 5: {name} is ")
  assert lines[-2].endswith(f"({logged} and {now}, {1 << bit} ulps apart)")
  assert lines[-1].startswith("a second replay agrees with the first: drift of")
  assert "jax" in lines[-1] and "8 x cpu are those of then" in lines[-1]


def test_one_bit_of_the_metrics_is_found(run, capsys):
  path = run / "metrics.jsonl"
  records = [json.loads(line) for line in path.read_text().splitlines()]
  (record,) = (r for r in records if r["step"] == 4 and "loss" in r)
  word = np.float32(record["loss"]).view(np.uint32) ^ np.uint32(1)
  record["loss"] = float(word.view(np.float32))
  path.write_text("".join(json.dumps(r) + "\n" for r in records))
  code, lines = _replayed(capsys, run, "--step=4")
  assert code == 1
  assert lines[-2].startswith(
    f"{run}: step 4: loss is {word.view(np.float32)!s} "
  )
  assert "in metrics.jsonl" in lines[-2] and "1 ulps apart" in lines[-2]


def test_other_code_is_found_and_called_drift(
  run, compiled_once, capsys, monkeypatch
):
  real = step_lib.loss_sum
  monkeypatch.setattr(train, "compiled_step", compiled_once)
  monkeypatch.setattr(
    step_lib, "loss_sum", lambda *given: real(*given) * np.float32(1 + 1e-7)
  )
  path = run / ledger.NAME
  version = ledger.made_by()["jax"]
  text = path.read_text().replace(f'"jax": "{version}"', '"jax": "0.1.2"')
  path.write_text(text)
  code, lines = _replayed(capsys, run, "--step=4")
  assert code == 1
  assert lines[-2].startswith(f"{run}: step 4: loss is ")
  assert "(jax was 0.1.2, is " + version in lines[-1]
  assert "drift of code or libraries" in lines[-1]


def test_a_fault_is_told_from_drift(run, capsys, monkeypatch):
  """A step that gives something else each time it is computed."""
  real, calls = train.compiled_step, []

  def faulty(*given):
    step = real(*given)

    def once(state, batch):
      state, values = step(state, batch)
      calls.append(1)
      return state, values | {"loss": values["loss"] * (1 + len(calls))}

    return once

  monkeypatch.setattr(train, "compiled_step", faulty)
  code, lines = _replayed(capsys, run, "--step=4")
  assert code == 1 and len(calls) == 2
  assert lines[-1].startswith("two replays differ, too: a silent fault of this")
  assert "step 4: loss is" in lines[-1] and "in a first replay" in lines[-1]


def test_a_leaf_of_a_checkpoint_that_differs_is_named(run, capsys):
  """As where memory was wrong when it was saved: the seal itself is whole."""
  path = run / "checkpoints" / "5" / seal.NAME
  content = seal.read(path.parent)
  name = next(n for n in content["leaves"] if n.startswith("params/strl/"))
  content["leaves"][name]["crc32"] ^= 1
  path.write_text(seal._text(content))
  code, lines = _replayed(capsys, run, "--step=5")
  assert code == 1
  leaves = len(content["leaves"])
  assert lines[-2] == (
    f"{run}: step 5: 1 of {leaves} leaves are not those of its checkpoint: "
    f"{name}"
  )


def test_a_damaged_checkpoint_is_passed_over(run, capsys):
  files = (run / "checkpoints" / "3").rglob("*")
  data = max(files, key=lambda path: path.stat().st_size)
  content = bytearray(data.read_bytes())
  content[len(content) // 3] ^= 4
  data.write_bytes(bytes(content))
  before = _content(run)
  code, lines = _replayed(capsys, run, "--step=4")
  assert code == 0
  assert "4 steps after 0, up to 4, are bit for bit as logged" in lines[-1]
  assert _content(run) == before


@pytest.mark.parametrize(
  ("flags", "message"),
  [
    (["--step=9"], "{run}/ledger.txt: step 9 is not logged; there are 1 to 8"),
    (["--step=4", "--since=5"], "--since=5 is not from 1 to --step=4"),
    (["--step=0"], "replay: flag --step=0: "),
    ([], "replay needs --step: see `help replay`"),
  ],
)
def test_what_cannot_be_asked_for(whole, capsys, flags, message):
  code, lines = _replayed(capsys, whole, *flags)
  assert code == 2 and len(lines) == 1
  start = "diffpose_jax: error: " + message.format(run=whole)
  assert lines[0].startswith(start)


def test_a_folder_that_is_no_run(tmp_path, capsys):
  code, lines = _replayed(capsys, tmp_path, "--step=1")
  assert code == 2 and len(lines) == 1
  assert f"{tmp_path}: no weights here" in lines[0]


def _change_session(run, **changes):
  path = run / ledger.NAME
  lines = path.read_text().splitlines()
  lines[0] = json.dumps(json.loads(lines[0]) | changes)
  path.write_text("\n".join(lines) + "\n")


@pytest.mark.parametrize(
  ("changes", "message"),
  [
    (
      dict(mesh={"data": 3, "fsdp": 1, "tensor": 1}),
      "steps from 1 on were computed on 8 x cpu, here are 8; replay on 3 devi",
    ),
    (dict(data=["another"]), "data train: not the data that the steps from 1 "),
    (dict(start=-3), "began at step -3, and train.resume now gives step 0"),
    (
      dict(keys={"train.steps": 5, "model.init_from": "/nowhere/vit.pth"}),
      "no checkpoint before that step, and what the run began with cannot be "
      "had again (",
    ),
  ],
)
def test_what_cannot_be_repeated_here_is_refused(run, capsys, changes, message):
  _change_session(run, **changes)
  code, lines = _replayed(capsys, run, "--step=2")
  assert code == 2
  assert message in lines[-1]


def test_ulps_are_counted_over_zero():
  one = np.float32(1).view(np.uint32)
  assert replay._apart(int(one), int(one) + 5) == 5
  # The smallest number below zero and that above are two apart.
  assert replay._apart(1, 0x80000001) == 2
  assert replay._apart(0, 0x80000000) == 0
