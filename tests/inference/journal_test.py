"""A journal gives back what was put in, up to where it was cut off."""

import os

import numpy as np
import pytest

from diffpose_jax.inference import boxes_in, flow
from diffpose_jax.inference import journal as journal_lib
from diffpose_jax.inference import poses as poses_lib

OF = {"video": {"sha256": "ab"}, "options": {"steps": 4, "size": (5, 7)}}
K, MEMBERS = 3, 2


@pytest.fixture
def frames(dots):
  """A function that makes frames with so many people each."""
  rng = np.random.default_rng(0)
  job = dots.job([])

  def numbers(*shape):
    bits = rng.integers(0, 2**32, shape, np.uint32)
    return bits.view(np.float32)  # of any size, NaN among them

  def heat(*shape):
    return rng.integers(0, 256, shape, np.uint8)

  def make(*counts, given=False, drawn=False):
    found = []
    for index, count in enumerate(counts):
      frame = flow.Shown(job, index, index / 7, (5, 7), np.zeros((5, 7, 3)))
      frame.batch = 8 if count else 0
      for person in range(count):
        box = boxes_in.Box(numbers(4), float(rng.random()), person - 1)
        poses = poses_lib.Poses(
          joints=numbers(1, K, 2),
          score=numbers(1, K),
          samples=numbers(MEMBERS, 1, K, 2),
          shape=numbers(1, K, 2, 2),
          heat=heat(1, 3, 4) if drawn else None,
        )
        frame.asked.append(
          flow.Asked(box, rng.standard_normal((2, 3)), None, poses=poses)
        )
      frame.given = [one.person for one in frame.asked]
      if given:
        frame.given = [boxes_in.Box(numbers(4), 0.1, 7)] * (index % 3)
      found.append(frame)
    return found

  return make


def _written(path, frames, of=OF):
  journal = journal_lib.Journal(path, of)
  for frame in frames:
    journal.add(frame)
  journal.close()
  return journal


def _bits(frame):
  """All of it, so that NaN equals itself."""
  boxes = [one.person for one in frame.asked] + frame.given
  return (
    frame.index,
    frame.batch,
    [(one.box.tobytes(), one.score, one.track_id) for one in boxes],
    [one.to_picture.tobytes() for one in frame.asked],
    [
      [
        array is not None and array.tobytes()
        for array in vars(one.poses).values()
      ]
      for one in frame.asked
    ],
  )


@pytest.mark.parametrize("drawn", [False, True])
@pytest.mark.parametrize("given", [False, True])
def test_frames_come_back_to_the_last_bit(tmp_path, frames, given, drawn):
  path = tmp_path / "j"
  put = frames(2, 0, 1, 5, given=given, drawn=drawn)
  assert _written(path, put).frames == 4
  again = journal_lib.Journal(path, OF)
  assert (again.frames, again.size, again.done, again.why) == (4, 8, None, "")
  found = list(again.known())
  assert [_bits(frame) for frame in found] == [_bits(frame) for frame in put]


def test_it_goes_on_where_it_stopped(tmp_path, frames):
  path = tmp_path / "j"
  put = frames(1, 2, 0, 3)
  _written(path, put[:2])
  journal = journal_lib.Journal(path, OF)
  known = journal.known()
  first = next(known)
  put[0].recalled = put[1].recalled = True  # what was known is not put twice
  for frame in put:
    journal.add(frame)
  # What was known before is not more than it was, while it grows.
  assert [first.index, *(frame.index for frame in known)] == [0, 1]
  journal.close()
  found = list(journal_lib.Journal(path, OF).known())
  assert [_bits(frame) for frame in found] == [_bits(frame) for frame in put]


def test_cut_off_anywhere_whole_frames_remain(tmp_path, frames):
  path = tmp_path / "j"
  put = frames(1, 0, 2)
  _written(path, put)
  content = path.read_bytes()
  ends = np.cumsum([len(line) + 1 for line in content.split(b"\n")[:-1]])
  for length in range(len(content)):
    path.write_bytes(content[:length])
    journal = journal_lib.Journal(path, OF)
    whole = int((ends <= length).sum()) - 1
    assert journal.frames == max(0, whole)
    assert bool(journal.why) == (whole < 0)
    if length % 97 == 0:  # It can be gone on with from there.
      for frame in put[journal.frames :]:
        journal.add(frame)
      journal.close()
      assert path.read_bytes() == content


def test_what_follows_damage_does_not_count(tmp_path, frames):
  path = tmp_path / "j"
  _written(path, frames(1, 1, 1, 1))
  lines = path.read_bytes().split(b"\n")
  lines[3] = lines[3][:40] + b"x" + lines[3][41:]
  path.write_bytes(b"\n".join(lines))
  assert journal_lib.Journal(path, OF).frames == 2
  del lines[3]  # a frame is missing
  path.write_bytes(b"\n".join(lines))
  assert journal_lib.Journal(path, OF).frames == 2


@pytest.mark.parametrize(
  ("change", "why"),
  [
    ({"video": {"sha256": "cd"}}, "it is of other video"),
    ({"options": {"steps": 5, "size": (5, 7)}}, "it is of other options"),
    (
      {"video": {}, "options": {"steps": 4}},
      "it is of other video and options",
    ),
    ({"more": 1}, "it is of other more"),
  ],
)
def test_of_something_else_it_starts_over(tmp_path, frames, change, why):
  path = tmp_path / "j"
  put = frames(1, 2)
  _written(path, put)
  journal = journal_lib.Journal(path, OF | change)
  assert (journal.frames, journal.size, journal.why) == (0, None, why)
  assert list(journal.known()) == []
  journal.add(put[0])
  journal.close()
  assert journal_lib.Journal(path, OF | change).frames == 1
  assert journal_lib.Journal(path, OF).frames == 0


@pytest.mark.parametrize("content", [b"", b"\n", b"no journal\n", b"\xff" * 99])
def test_what_is_none_is_told(tmp_path, content):
  path = tmp_path / "j"
  path.write_bytes(content)
  assert journal_lib.Journal(path, OF).why == "it is damaged"


def test_another_version_is_told(tmp_path, frames, monkeypatch):
  path = tmp_path / "j"
  with monkeypatch.context() as patch:
    patch.setattr(journal_lib, "_VERSION", 2)
    _written(path, frames(1))
  assert journal_lib.Journal(path, OF).why == "it is of another version"


def test_finished_it_says_so_in_the_place_of_the_frames(tmp_path, frames):
  path = tmp_path / "j"
  journal = _written(path, frames(3, 1))
  size = path.stat().st_size
  journal.finish({"people": 4, "size": 8})
  assert path.stat().st_size < size / 5
  again = journal_lib.Journal(path, OF)
  assert again.done == {"people": 4, "size": 8}
  assert (again.frames, again.size) == (0, 8)
  assert os.listdir(tmp_path) == ["j"]


def test_a_full_disk_is_told(frames):
  """On Linux a file that is always full."""
  full = journal_lib.pathlib.Path("/dev/full")
  if not full.exists():
    pytest.skip("no /dev/full here")
  with pytest.raises(
    ValueError, match="/dev/full: cannot be written .*the same"
  ):
    _written(full, frames(1))
