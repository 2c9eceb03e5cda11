"""Traces of some steps: which, where, and what is refused."""

import gzip
import json

import jax
import jax.numpy as jnp
import pytest

from diffpose_jax.training import goodput, profiling


@pytest.mark.parametrize(
  ("text", "found"), [("", None), ("1:1", (1, 1)), ("10:12", (10, 12))]
)
def test_a_range_is_its_first_and_last_step(text, found):
  assert profiling.parse(text) == found


@pytest.mark.parametrize(
  "text",
  ["3", "3:", ":3", "a:b", "3:2", "0:2", "-1:2", "1:2:3", "1.5:2", "1-2"],
)
def test_what_is_no_range_is_refused(text):
  with pytest.raises(ValueError) as caught:
    profiling.parse(text)
  assert str(caught.value).startswith(f"--profile_steps={text}: ")
  assert "\n" not in str(caught.value)


def _trace(span, folder):
  return profiling.Trace(span, folder, goodput.Account(at="step"))


@pytest.mark.parametrize(
  ("span", "left"),
  [((3, 4), "4 to 11"), ((2, 3), "4 to 11"), ((9, 12), "4 to")],
)
def test_steps_that_are_not_done_are_refused(tmp_path, span, left):
  trace = _trace(span, tmp_path)
  with pytest.raises(ValueError, match=f"not done are {left}"):
    trace.check(3, 11)
  trace = _trace((4, 11), tmp_path)
  trace.check(3, 11)
  with pytest.raises(ValueError, match="not done are none"):
    trace.check(11, 11)
  _trace(None, tmp_path).check(11, 11)


def _run(trace, last):
  """Steps that each do a product of their own size."""
  product = jax.jit(lambda v: v @ v)
  for step in range(1, last + 1):
    trace.begin(step)
    values = product(jnp.ones((16 + step, 16 + step)))
    trace.end(step, values)


def _profiled(folder):
  """The numbers of the steps in the trace."""
  (path,) = (folder / "profile").rglob("perfetto_trace.json.gz")
  events = json.loads(gzip.decompress(path.read_bytes()))["traceEvents"]
  return sorted(
    int(event["args"]["step_num"])
    for event in events
    if event.get("name") == "train" and "step_num" in event.get("args", {})
  )


def test_the_steps_of_the_range_are_traced_and_no_others(tmp_path, capsys):
  _run(_trace((3, 4), tmp_path), 6)
  assert _profiled(tmp_path) == [3, 4]
  out = capsys.readouterr().out
  assert f"profile: {tmp_path / 'profile'}; look at it with" in out


def test_a_run_that_ends_early_leaves_what_it_has(tmp_path):
  trace = _trace((2, 9), tmp_path)
  _run(trace, 3)
  assert not (tmp_path / "profile").exists()
  trace.close()
  trace.close()
  assert _profiled(tmp_path) == [2, 3]


def test_nothing_is_traced_unasked(tmp_path):
  trace = _trace(None, tmp_path)
  _run(trace, 2)
  trace.close()
  assert list(tmp_path.iterdir()) == []
