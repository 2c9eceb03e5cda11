"""Memory that must be, by hand, and the rows beside it."""

# pyright: reportOptionalMemberAccess=false

import jax

from diffpose_jax.benchmark import clip as clip_lib
from diffpose_jax.benchmark import footprint


def test_rows_of_memory(subject):
  clip, sample, whole = footprint.memory(clip_lib.Clip(subject))
  needed = footprint.needed(subject)
  for row, bytes_ in ((clip, needed.clip), (sample, needed.sample)):
    assert row.figures["needed MiB"] == bytes_ / 2**20
    # What must live at once can be planned in no less; noise of reuse aside.
    assert row.ratio.median > 0.5
  one, ten = whole.figures.values()
  weights = sum(v.nbytes for v in jax.tree.leaves(subject.params))
  assert weights / 2**20 < one < ten


def test_what_must_live_by_hand(subject):
  # 3 frames of 4 × 3 tokens, 24 wide, 2 heads.
  streams = 3 * 12 * 24 * 4
  logits = 2 * 36 * 36 * 4
  stem = 3 * 32 * 24 * 3 * 4 + streams
  found = footprint.needed(subject)
  assert found.clip == max(stem, 6 * streams)
  assert found.logits == logits
  # 16 × 12 cells: 17 joints, and three maps of 16 channels.
  assert found.sample == 4 * 16 * 12 * (17 + 3 * 16)
