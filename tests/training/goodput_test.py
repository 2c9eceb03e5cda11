"""Where time goes, by a clock that the tests turn."""

import json

import jax
import pytest

from diffpose_jax.training import goodput


class _Clock:
  """Seconds that pass when told so; begins anywhere."""

  def __init__(self, now=7919.0):
    self.now = now

  def __call__(self):
    return self.now

  def passes(self, seconds):
    self.now += seconds


@pytest.fixture
def clock():
  return _Clock()


def _stored(folder):
  text = (folder / goodput.NAME).read_text()
  return json.loads(text, parse_constant=lambda name: pytest.fail(name))


def _known(**seconds):
  return dict.fromkeys(goodput.BUCKETS, 0.0) | seconds


def test_time_is_counted_once_by_what_is_innermost(clock):
  account = goodput.Account(clock=clock)
  clock.passes(2)
  with account.phase("step"):
    clock.passes(3)
    with account.phase("data"):
      clock.passes(5)
    clock.passes(7)
    with account.phase("evaluation"):
      clock.passes(11)
      with account.phase("checkpoint"):
        clock.passes(13)
      clock.passes(17)
    clock.passes(19)
  clock.passes(23)
  assert account.seconds() == _known(
    start=2 + 23, step=3 + 7 + 19, data=5, evaluation=11 + 17, checkpoint=13
  )


def test_a_phase_ends_where_an_error_does(clock):
  account = goodput.Account(at="step", clock=clock)

  def fail():
    with account.phase("checkpoint"):
      clock.passes(3)
      raise RuntimeError

  with pytest.raises(RuntimeError):
    fail()
  clock.passes(5)
  assert account.seconds() == _known(checkpoint=3, step=5)


def test_time_has_no_other_bucket():
  with pytest.raises(ValueError, match="no bucket 'sleep'; there are start,"):
    goodput.Account().turn("sleep")


def test_training_s_time_grows_with_steps_and_data_alone(clock):
  account = goodput.Account(at="step", clock=clock)
  clock.passes(2)
  assert account.training() == 2
  with account.phase("data"):
    clock.passes(3)
    assert account.training() == 5
  with account.phase("compile"):
    clock.passes(100)
    assert account.training() == 5
  with account.phase("evaluation"):
    clock.passes(100)
  clock.passes(7)
  assert account.training() == 12


def _start(folder, clock, start, *, seconds=1):
  """The account of a start that took so long until its loop."""
  account = goodput.Account(clock=clock)
  clock.passes(seconds)
  account.open(folder, start)
  account.turn("step")
  return account


def _steps(account, clock, steps, *, data, step):
  for number in steps:
    with account.phase("data"):
      clock.passes(data)
    account.begun(number)
    clock.passes(step)


def test_an_account_is_what_is_on_the_disk(tmp_path, clock):
  account = _start(tmp_path, clock, 0, seconds=4)
  with account.phase("compile"):
    clock.passes(6)
  _steps(account, clock, range(1, 4), data=0.5, step=10)
  account.write()
  stored = _stored(tmp_path)
  assert stored["seconds"] == _known(start=4, compile=6, data=1.5, step=30)
  assert stored["goodput"] == round(30 / 41.5, 4)
  assert stored["wasted_steps"] == 0
  (session,) = stored["sessions"]
  assert session["seconds"] == stored["seconds"]
  assert (session["from"], session["to"]) == (0, 3)
  assert session["hosts"] == 1 and session["devices"] == jax.device_count()
  assert [path.name for path in tmp_path.iterdir()] == [goodput.NAME]


def test_steps_that_a_kill_lost_are_wasted(tmp_path, clock):
  account = _start(tmp_path, clock, 0)
  _steps(account, clock, range(1, 5), data=1, step=10)
  with account.phase("checkpoint"):
    clock.passes(2)
  account.saved(4)
  # Slower ones, which are lost.
  _steps(account, clock, range(5, 8), data=3, step=20)
  account.write()
  # Killed here: what came after the file was written is not known.
  clock.passes(500)
  account = _start(tmp_path, clock, 4)
  _steps(account, clock, range(5, 8), data=1, step=10)
  account.close()
  stored = _stored(tmp_path)
  assert stored["wasted_steps"] == 3
  assert stored["seconds"] == _known(
    start=2, data=4 + 3, step=40 + 30, checkpoint=2, wasted=3 * 23
  )
  first, second = stored["sessions"]
  assert (first["from"], first["to"], first["wasted_steps"]) == (0, 4, 3)
  assert (second["from"], second["to"], second["wasted_steps"]) == (4, 7, 0)
  assert stored["goodput"] == round(70 / 150, 4)


def test_a_start_that_falls_back_further_wastes_more(tmp_path, clock):
  """To a step between two checkpoints, in proportion; then to before it."""
  account = _start(tmp_path, clock, 0)
  _steps(account, clock, range(1, 9), data=0, step=10)
  account.saved(8)
  _steps(account, clock, range(9, 11), data=0, step=10)
  account.write()
  account = _start(tmp_path, clock, 6)
  _steps(account, clock, range(7, 10), data=0, step=10)
  account.write()
  stored = _stored(tmp_path)
  assert [s["wasted_steps"] for s in stored["sessions"]] == [4, 0]
  assert stored["seconds"] == _known(start=2, step=60 + 30, wasted=40)
  # Its newest checkpoints are damaged: from the first one's third step on.
  account = _start(tmp_path, clock, 3)
  account.write()
  stored = _stored(tmp_path)
  assert [s["wasted_steps"] for s in stored["sessions"]] == [4 + 3, 3, 0]
  assert stored["seconds"] == _known(start=3, step=30, wasted=40 + 30 + 30)


def test_a_start_without_losses_wastes_nothing(tmp_path, clock):
  account = _start(tmp_path, clock, 0)
  _steps(account, clock, range(1, 4), data=0, step=1)
  account.saved(3)
  account.close()
  account = _start(tmp_path, clock, 3)
  account.close()
  assert _stored(tmp_path)["wasted_steps"] == 0
  assert _stored(tmp_path)["seconds"] == _known(start=2, step=3)


@pytest.mark.parametrize(
  "text", ["", "{", "[]", "{}", '{"sessions": [{}]}', '{"sessions": 3}', "\xff"]
)
def test_what_is_no_account_is_begun_anew(tmp_path, clock, caplog, text):
  (tmp_path / goodput.NAME).write_bytes(text.encode("latin-1"))
  _start(tmp_path, clock, 4).close()
  assert len(_stored(tmp_path)["sessions"]) == 1
  assert "not an account" in caplog.text


def test_a_disk_that_cannot_be_written_stops_nothing(tmp_path, clock, caplog):
  (tmp_path / f".{goodput.NAME}.tmp").mkdir()
  account = _start(tmp_path, clock, 0)
  account.write()
  assert not (tmp_path / goodput.NAME).exists()
  assert "not written" in caplog.text


def test_other_processes_count_but_do_not_write(
  tmp_path, clock, monkeypatch, capsys
):
  monkeypatch.setattr(jax, "process_index", lambda: 1)
  account = _start(tmp_path, clock, 0)
  clock.passes(3)
  account.saved(1)
  assert account.training() == 3
  account.close()
  assert list(tmp_path.iterdir()) == []
  assert capsys.readouterr() == ("", "")


def test_the_summary_is_one_line_of_shares(tmp_path, clock, capsys):
  account = _start(tmp_path, clock, 0, seconds=40)
  _steps(account, clock, range(1, 10), data=2, step=100)
  account.saved(6)
  with account.phase("other"):
    clock.passes(1)  # of 1000 seconds: not worth a word
  account.write()
  account = _start(tmp_path, clock, 9, seconds=41)
  account.close()
  account.close()  # once closed, not again
  assert capsys.readouterr().err == (
    "goodput 90 % of 0:16:40 in 2 starts: step 90, start 8, data 2\n"
  )
  _start(tmp_path, clock, 8, seconds=0).close()
  # Steps 7 to 9 took a third of what was counted when step 9 began.
  assert capsys.readouterr().err.endswith("; 1 steps done twice\n")


def test_an_account_that_was_not_opened_says_nothing(capsys):
  account = goodput.Account()
  account.begun(3)
  account.saved(3)
  account.close()
  assert capsys.readouterr() == ("", "")
