"""Frames in windows, and several videos one after the other."""

import numpy as np
import pytest

from diffpose_jax.inference import flow


def test_windows():
  assert list(flow.windows("abc", 0)) == [["a"], ["b"], ["c"]]
  assert ["".join(w) for w in flow.windows("abc", 1)] == ["aab", "abc", "bcc"]
  assert ["".join(w) for w in flow.windows("ab", 2)] == ["aaabb", "aabbb"]
  assert list(flow.windows("", 2)) == []


def test_causal_windows_mirror_what_was():
  def joined(items, span):
    return ["".join(window) for window in flow.windows(items, span, True)]

  assert joined("abcd", 0) == ["a", "b", "c", "d"]
  assert joined("abcd", 1) == ["aaa", "aba", "bcb", "cdc"]
  assert joined("abcd", 2) == ["aaaaa", "aabaa", "abcba", "bcdcb"]
  assert joined("", 2) == []

  def items():
    yield "a"
    raise InterruptedError

  windows = flow.windows(items(), 3, True)
  assert next(windows) == list("aaaaaaa")


def _shown(job, index):
  return flow.Shown(job, index, index / 10, (5, 7), np.zeros((5, 7, 3)))


@pytest.fixture
def jobs(dots):
  return [dots.job([], name=name) for name in ("a", "b", "c")]


def _read(counts, wrong):
  """Frames of each job, the second of which may end in an error."""

  def frames(job):
    for index in range(counts[job.name]):
      yield _shown(job, index)
    if job.name == "b" and wrong:
      raise wrong

  return frames


def test_a_video_that_is_wrong_ends_and_the_next_one_follows(jobs):
  counts = {"a": 2, "b": 3, "c": 1}
  wrong = ValueError("b is damaged")
  items = flow.each(jobs, _read(counts, wrong))
  seen = []
  for job in jobs:
    frames = flow.of(job, items)
    try:
      for frame in frames:
        seen.append(frame.place)
    except ValueError as error:
      seen.append(str(error))
    assert job.over
  assert seen == [
    *("a: frame 0", "a: frame 1", "b: frame 0", "b: frame 1", "b: frame 2"),
    *("b is damaged", "c: frame 0"),
  ]
  assert next(items, None) is None


def test_a_broken_network_ends_all(jobs):
  items = flow.each(jobs, _read({"a": 1, "b": 1}, flow.BrokenError("nan")))
  with pytest.raises(flow.BrokenError, match="nan"):
    list(items)


def test_what_nobody_wants_is_skipped(jobs):
  items = flow.each(jobs, _read({"a": 5, "b": 2, "c": 0}, None))
  next(flow.of(jobs[0], items))
  flow.skip(jobs[0], items)
  assert jobs[0].dropped and jobs[0].over
  assert [frame.index for frame in flow.of(jobs[1], items)] == [0, 1]
  flow.skip(jobs[1], items)  # which is over already
  assert list(flow.of(jobs[2], items)) == []
