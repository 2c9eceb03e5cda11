"""Injected faults: how they are judged, and a fast part of them."""

import gc
import pathlib
import time

import pytest

pytestmark = pytest.mark.filterwarnings(
  # Orbax's reads end after it has stopped listening to them.
  "ignore::pytest.PytestUnraisableExceptionWarning"
)


@pytest.fixture(autouse=True)
def _nothing_is_left_for_other_tests():
  yield
  gc.collect()


@pytest.fixture
def faults(script):
  return script("faults")


def _injected(faults, column, fault_id, folder, only=""):
  """Outcomes of a fault in this process, by label; of files of one kind."""
  (fault,) = (fault for fault in faults.FAULTS if fault.id == fault_id)
  contender = faults.COLUMNS[column]
  base = faults.files.make_base(contender, folder)
  kinds = list(faults.files.kinds(contender.place(base, 2)))
  found = {}
  for number, (label, act) in enumerate(
    fault.cases(contender, base, 26).items()
  ):
    if kinds[number % len(kinds)].endswith(only):
      with faults.files.copied(base) as copy:
        found[label] = act(copy)
  return found


def test_errors_are_clear_where_they_name_what_is_wrong(faults):
  judging = faults.judging
  judge = judging.of_error
  assert (
    judge("x", KeyError("value_type"), ("_METADATA",)).outcome
    == "unclear error"
  )
  error = ValueError("2/_METADATA: damaged")
  assert judge("x", error, ("_METADATA",)).outcome == "refused"
  above = RuntimeError("cannot restore")
  above.__cause__ = error
  found = judge("x", above, ("_METADATA",))
  assert found.outcome == "refused"
  assert found.told == "RuntimeError: cannot restore"


def test_starts_are_judged_by_what_the_run_was(faults):
  toy, judging = faults.runs.toy, faults.judging
  state, batch = toy.expected(2)

  def outcome(*found, **options):
    start = (lambda: judging.Found(*found)) if found else (lambda: None)
    return judging.of_start("x", start, **options).outcome

  assert outcome(2, state, batch) == "recovered"
  assert outcome(2, state, batch, at_least=3) == "silent"
  assert outcome(1, state, batch) == "silent"
  assert outcome(2, state, toy.expected(1)[1]) == "silent"
  assert outcome() == "silent"


def test_ours_finds_flipped_bits_and_plain_does_not(faults, tmp_path):
  ours = _injected(faults, "ours", "F4", tmp_path)
  assert len(ours) == 26
  assert {i.outcome for i in ours.values()} == {"recovered"}
  assert {i.told for i in ours.values()} == {"at step 1"}
  # It has no checksum of numbers; where it gets one, this may go.
  plain = _injected(faults, "plain", "F4", tmp_path, only="(numbers)")
  assert [i.outcome for i in plain.values()] == ["silent"] * len(plain)
  assert plain


@pytest.mark.parametrize(
  "fault_id", ["F5", "F6", "F7", "F10", "F12", "F13", "F17"]
)
def test_ours_is_never_silent_or_unclear(faults, fault_id, tmp_path):
  found = _injected(faults, "ours", fault_id, tmp_path)
  assert len(found) > 2
  for injection in found.values():
    assert injection.outcome in ("recovered", "refused"), injection


def test_plain_takes_another_dtype_without_a_word(faults, tmp_path):
  found = _injected(faults, "plain", "F12", tmp_path)
  assert found["int32 for float32"].outcome == "silent"
  assert found["a leaf more"].outcome == "refused"


def test_the_table_counts_and_the_rest_is_told(faults):
  judging = faults.judging
  one = [
    judging.Injection("a", judging.RECOVERED),
    judging.Injection("b", judging.SILENT, "wrong"),
    judging.Injection("c", judging.SILENT, "wrong, too"),
  ]
  rows = [
    (faults.FAULTS[0], {"ours": one[:1], "plain": one}),
    (faults.FAULTS[1], {"ours": one[:1], "plain": judging.NotApplicable("no")}),
  ]
  lines = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in faults.table(rows).splitlines()
  ]
  assert len({len(line) for line in faults.table(rows).splitlines()}) == 1
  assert lines[2][2:] == list("110000310020")
  assert lines[3][2:] == [*"110000", *["n/a"] * 6]
  assert lines[4][2:] == list("220000310020")
  assert list(faults.told(rows)) == [
    "F1 plain: 2 × silent, as b: wrong",
    "F2 plain: not applicable: no",
  ]
  tree = faults.as_json(rows, 3.2)
  assert tree["faults"][0]["columns"]["plain"]["silent"] == 2
  assert {"orbax-checkpoint", "grain", "jax", "python"} <= set(
    tree["machine"]["versions"]
  )


def _say_then_sleep(say, number):
  """A child of the test below."""
  say("ready")
  for at in range(number, 4):
    if at == 1:
      time.sleep(60)
    if at == 2:
      raise ValueError("two")
    say("outcome", at, at)


def test_what_hangs_or_dies_does_not_stop_the_rest(faults):
  running = faults.running
  start = lambda number: running.Child(_say_then_sleep, number)  # noqa: E731
  (_, a), (_, b), (_, c), (_, d) = running.all_of(start, list("abcd"), 2.0)
  assert (a, d) == (0, 3)
  assert isinstance(b, running.Hang) and str(b) == "nothing for 2 s"
  assert isinstance(c, running.Ended) and str(c) == "ValueError: two"


def test_the_stored_result_is_of_all_faults(faults):
  path = pathlib.Path(faults.__file__).parent / "results" / "faults.json"
  tree = faults.json.loads(path.read_text())
  assert [f["id"] for f in tree["faults"]] == [f.id for f in faults.FAULTS]
  for fault in tree["faults"]:
    for counts in fault["columns"].values():
      if "not_applicable" not in counts:
        assert counts["injected"] == sum(
          counts[name] for name in faults.judging.OUTCOMES
        )
