"""Rows of whole clips, with a tiny network and few rounds."""

# pyright: reportOptionalMemberAccess=false, reportOptionalOperand=false

import pytest

from diffpose_jax.benchmark import clip as clip_lib
from diffpose_jax.benchmark import measure


@pytest.fixture(scope="module")
def clip(subject):
  return clip_lib.Clip(subject)


def test_the_whole_is_the_loop_over_its_parts(clip):
  assert clip.check(3, 2) < 1e-4
  # Else the comparison would compare nothing.
  one, two = clip.whole(3, 2)()
  assert abs(one - two).max() > 1e-3
  assert abs(clip.whole(1, 2)()[0] - one).max() > 1e-3


def test_parts_that_differ_are_refused(clip, subject, monkeypatch):
  monkeypatch.setattr(clip, "_advance", lambda xt, *_: xt)
  with pytest.raises(measure.DifferentOutputsError, match="clip, 3 × 2"):
    clip.check(3, 2)


def test_rows_of_the_whole_and_its_parts(clip, monkeypatch):
  monkeypatch.setattr(clip_lib, "GRID", ((1, 1), (2, 3)))
  one, many, *rows = clip_lib.parts(clip, pairs=1)
  count = clip.subject.count
  assert one.figures["by hand GFLOP"] == count.clip(1, 1) / 1e9
  assert many.figures["by hand GFLOP"] == pytest.approx(
    (count.encoder + 6 * count.decoder) / 1e9
  )
  # Small layers cost more element by element, but no second encoder.
  for row in (one, many):
    assert 0 < row.ratio.median < 0.25 and row.bar is None
  assert [row.name for row in rows] == [
    "clip, 1 × 1 (steps × samples)",
    "clip, 2 × 3 (steps × samples)",
  ]
  for row, steps in zip(rows, (1, 2), strict=True):
    figures = row.figures
    parts = figures["encoder ms"] + steps * figures["decoder ms"]
    assert row.ratio.median == pytest.approx(figures["whole ms"] / parts)
    assert row.error < 1e-4 and row.bar.value == 1.1


def test_bars_of_vit_b_are_for_it_and_larger_ones(clip, subject):
  bar = clip_lib.Bar("at most", 1.35)
  assert clip_lib._of_vit_b(subject, bar) is None
  config = clip_lib.subject_lib.config_lib.copy(subject.config)
  config.model.size = "L"
  large = clip_lib.subject_lib.Subject(config, subject.params)
  assert clip_lib._of_vit_b(large, bar) is bar


def test_rows_of_ensembles(clip):
  ten, four = clip_lib.ensembles(clip, pairs=1)
  assert ten.error < 1e-4 and four.error < 1e-4
  assert set(ten.figures) == {"ten runs ms", "ten samples ms"}
  assert ten.ratio.median == pytest.approx(
    ten.figures["ten runs ms"] / ten.figures["ten samples ms"]
  )


def test_rows_of_the_sampler(clip, monkeypatch):
  monkeypatch.setattr(clip_lib, "LENGTHS", (1, 3))
  sampler, loop, unrolled = clip_lib.sampling(clip, pairs=1)
  assert sampler.error < 1e-4
  for row in (loop, unrolled):
    first, last = row.figures.values()
    assert row.ratio.median == last / first
  assert loop.bar is not None and unrolled.bar is None
