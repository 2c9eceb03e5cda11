"""Who is in a batch is known without reading it."""

import itertools

import numpy as np
import pytest

from diffpose_jax.data import pipeline, prepare, prepared, roster


@pytest.fixture
def splits(dots, scene, tmp_path):
  """The dots, and five videos of one frame."""
  scene.write(tmp_path / "source", "train", videos=5, frames=1, track_id=9)
  folder = prepare.prepare(
    dataset="posetrack18",
    source=tmp_path / "source",
    out=tmp_path / "prepared",
  )
  return [prepared.open_split(place, "train") for place in (dots, folder)]


@pytest.mark.parametrize("order", ["near", "full"])
@pytest.mark.parametrize("shares", [(), (0.25,)])
def test_it_names_the_people_of_each_batch(splits, small_config, order, shares):
  config = small_config
  config.seed = 11
  config.train.batch = 8
  config.data.order = order
  config.data.mixture = ("others",) * len(shares)
  config.data.shares = shares
  used = splits[: 1 + len(shares)]
  batches = pipeline.train_batches(
    used, config, seed=config.seed, start_step=0, batch=8
  )
  found = roster.Roster(used, config)
  seen = set()
  for step, batch in enumerate(itertools.islice(batches, 9)):
    np.testing.assert_array_equal(found.index(step), batch["index"])
    seen |= set(batch["index"].tolist())
    for index, clip in zip(batch["index"], found.clips(step), strict=True):
      # Two videos of seven frames, a person in each; then the stills.
      other = index >= 14
      video, frame = divmod(index - 14, 1) if other else divmod(index, 7)
      split = used[int(other)]
      assert clip["data"] == f"{split.folder} train"
      assert clip["video"] == split.videos[video]
      assert clip["frame"] == frame
      assert clip["track"] == (9 if other else 5)
      assert clip["file"].endswith(".jpg")
  batches.close()
  assert len(seen) == 14 + 5 * len(shares)


def test_a_clip_in_a_few_words():
  clip = {"video": "000342_mpii", "frame": 7, "track": 3}
  assert roster.name(clip) == "000342_mpii frame 7 track 3"
  assert roster.name(clip | {"track": -1}) == "000342_mpii frame 7"
