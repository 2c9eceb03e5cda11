"""What a terminal and a file are told of a run, by clocks that tests turn."""

import io

from diffpose_jax.training import progress


class _Terminal(io.StringIO):
  def isatty(self):
    return True


def _lines(out):
  return out.getvalue().splitlines()


def _made(steps, start, out):
  clock = [50.0]
  return progress.Progress(steps, start, out=out, clock=lambda: clock[0]), clock


def test_a_file_gets_a_line_each_tenth_of_the_run():
  out = io.StringIO()
  shown, _ = _made(200, 37, out)
  for _ in range(38, 201):
    shown.advance()
  assert len(_lines(out)) == 8  # 40, 60 ... 180; the end is told by `close`
  shown.show({"loss": 0.123456, "val/ap": 71.0})
  shown.close()
  lines = _lines(out)
  steps = [int(line.split()[2]) for line in lines]
  assert steps == list(range(40, 201, 20))
  assert lines[-1] == "train: step 200 of 200 (100 %), loss 0.1235, val/ap 71"


def test_a_file_gets_a_line_a_minute_where_steps_are_slow():
  out = io.StringIO()
  shown, clock = _made(1000, 0, out)
  for _ in range(13):
    clock[0] += 25
    shown.advance()
  # 25 seconds a step: after the third is more than a minute over.
  assert [line.split()[2] for line in _lines(out)] == ["3", "6", "9", "12"]


def test_where_it_stopped_is_told_once():
  out = io.StringIO()
  shown, _ = _made(10, 0, out)
  for _ in range(3):
    shown.advance()
  shown.close()
  assert [line.split()[2] for line in _lines(out)] == ["1", "2", "3"]


def test_rate_and_time_left_are_of_training_s_seconds():
  out = io.StringIO()
  shown, clock = _made(100, 0, out)
  assert shown.rate is None and shown.left is None
  for step in range(1, 41):
    shown.advance()
    clock[0] += 1000  # whatever the wall says
    if step % 20 == 0:
      # Steps of half a second; before the first reading, also a compilation.
      shown.reached(step, 90 + step / 2)
  assert shown.rate == 2.0
  assert shown.left == 60 / 2
  shown.advance()
  assert _lines(out)[-1] == (
    "train: step 41 of 100 (41 %), 2 steps a second, 0:00:30 left without "
    "evaluation"
  )


def test_the_rate_is_of_the_newest_readings():
  shown, _ = _made(1000, 0, io.StringIO())
  for step in range(1, 30):
    # The first twenty are slow; ten intervals are counted.
    shown.reached(step, step * 5.0 if step <= 19 else 95 + (step - 19) / 8)
  assert shown.rate == 8.0


def test_a_bar_shows_the_same():
  out = _Terminal()
  shown, _ = _made(100, 10, out)
  for _ in range(30):
    shown.advance()
  shown.reached(20, 100.0)
  shown.reached(40, 140.0)
  shown.show({"loss": 0.5})
  shown.close()
  last = out.getvalue().replace("\n", "\r").split("\r")
  last = [text for text in last if text.strip()][-1]
  # 40 of 100 after 140 seconds; two seconds a step are two minutes left.
  assert last.startswith("train:  40%")
  assert "40/100 [02:20<02:00,  2.00s/step, loss 0.5]" in last


def test_a_bar_has_no_rate_before_it_is_known():
  out = _Terminal()
  shown, _ = _made(100, 0, out)
  shown.advance()
  shown.close()
  assert "1/100 [00:00<?, ?step/s]" in out.getvalue()
