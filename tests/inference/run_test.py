"""What is interrupted goes on where it stopped, and ends in the same bits."""

import dataclasses
import json
import os
import pathlib
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from diffpose_jax.data import sources, video
from diffpose_jax.inference import annotated, boxes_in, run, stream, wanted
from diffpose_jax.inference import estimator as estimator_lib
from diffpose_jax.inference import journal as journal_lib


@pytest.fixture(scope="module")
def tiny(tiny_run):
  return estimator_lib.Estimator.load(tiny_run)


@pytest.fixture
def videos(dots, clip, tmp_path):
  """Three videos of a dot, with boxes for some frames and two people in one."""
  boxes = [{"image_id": i, **dots.around(i)} for i in (0, 2, 3, 4, 7, 8, 10)]
  boxes += [{"image_id": 3, **dots.around(5, 0.9)}]
  file = tmp_path / "boxes.json"
  file.write_text(json.dumps(boxes))
  found = []
  for name in ("a", "b", "c"):
    path = tmp_path / f"{name}.webm"
    path.write_bytes(clip.read_bytes())
    [source] = sources.find(path)
    pair = (source, video.open_video(source))
    [supply] = boxes_in.of_file(file, [pair], threshold=0.0)
    found.append(run.Video(*pair, supply))
  return found


@pytest.fixture
def interrupted(monkeypatch):
  """Runs with Ctrl-C once so many more frames are in the journal."""

  def interrupt(at, *given, **others):
    add, count = journal_lib.Journal.add, 0

    def stop(self, frame):
      nonlocal count
      add(self, frame)
      count += not frame.recalled
      if count == at:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
      patch.setattr(journal_lib.Journal, "add", stop)
      with pytest.raises(KeyboardInterrupt):
        run.run(*given, **others)

  return interrupt


def _content(out):
  """The bytes of the poses of each video, and its pictures."""
  return {
    path.name: path.read_bytes()
    if path.suffix == ".json"
    else np.stack([picture for _, _, picture in video.read(path)]).tobytes()
    for path in sorted(out.iterdir())
  }


@pytest.mark.parametrize(
  ("way", "smooth", "draw"),
  [
    (stream.Way(), "lag", annotated.Options(heatmaps=True, crops=True)),
    (stream.Way(follow=True, share=True), "online", annotated.Options()),
    (
      stream.Way(share=True, smooth_boxes="lag"),
      "none",
      annotated.Options(crops=True),
    ),
  ],
)
def test_a_video_goes_on_where_it_stopped(
  videos, tiny, tmp_path, interrupted, capsys, way, smooth, draw
):
  one, whole, again = videos[:1], tmp_path / "whole", tmp_path / "again"
  files = wanted.Wanted(smooth=smooth, draw=draw)
  run.run(one, tiny, whole, way=way, wanted=files)
  expected = _content(whole)
  assert list(expected) == ["a.json", "a.poses.json", "a.webm"]
  told = []
  for at in (1, 4, 3):
    interrupted(at, one, tiny, again, way=way, wanted=files)
    assert os.listdir(again) == [".a.journal"]
    told.append(capsys.readouterr())
  assert "a: stopped after 1 frames; the same command" in told[0].err
  assert "a: 1 frames are known from before" in told[1].out
  assert "a: stopped after 5 frames; the same command" in told[1].err
  assert "a: 5 frames are known from before" in told[2].out
  [output] = run.run(one, tiny, again, way=way, wanted=files)
  assert "a: 8 frames are known from before" in capsys.readouterr().out
  assert output.frames == 11
  assert _content(again) == expected


def test_what_is_known_is_not_estimated_again(
  videos, dots, tmp_path, interrupted
):
  interrupted(7, videos[:1], dots.Estimator(batch=2), tmp_path / "out")
  fake = dots.Estimator(batch=2)
  # Nor are its boxes looked for.
  asked = []
  real = videos[0].supply

  def find(index, picture):
    asked.append(index)
    return real.find(index, picture)

  supply = dataclasses.replace(real, find=find)
  one = dataclasses.replace(videos[0], supply=supply)
  [output] = run.run([one], fake, tmp_path / "out")
  assert (output.frames, output.people) == (11, 8)
  assert len(fake.clips) == 3 and asked == [7, 8, 9, 10]


def test_other_options_start_over(videos, tiny, tmp_path, interrupted, caplog):
  out = tmp_path / "out"
  interrupted(7, videos[:1], tiny, out)
  [output] = run.run(videos[:1], tiny.with_steps(3), out)
  assert ".a.journal: it is of other options; starts over" in caplog.text
  run.run(videos[:1], tiny.with_steps(3), tmp_path / "whole")
  assert _content(out) == _content(tmp_path / "whole")
  assert output.frames == 11


def test_other_smoothing_takes_what_is_known(
  videos, dots, tmp_path, interrupted
):
  out = tmp_path / "out"
  interrupted(11, videos[:1], dots.Estimator(), out)
  fake = dots.Estimator()
  run.run(videos[:1], fake, out, wanted=wanted.Wanted(smooth="lag"))
  assert fake.clips == []


def test_other_files_take_what_is_known(videos, dots, tmp_path, interrupted):
  """Also where a video was done with others."""
  out = tmp_path / "out"
  interrupted(15, videos[:2], dots.Estimator(), out)
  fake = dots.Estimator()
  files = wanted.Wanted(("csv",), video="none")
  run.run(videos[:2], fake, out, wanted=files)
  # The eight of the first, which starts over, and four of the second.
  assert len(fake.clips) == 12


def test_videos_that_are_done_are_not_done_again(
  videos, tiny, tmp_path, interrupted, capsys
):
  whole, out = tmp_path / "whole", tmp_path / "out"
  expected = run.run(videos, tiny, whole)
  interrupted(15, videos, tiny, out)
  names = {path.name for path in out.iterdir()}
  files = {"a.json", "a.poses.json", "a.webm"}
  assert names == {".a.journal", ".b.journal", *files}
  before = (out / "a.json").stat().st_mtime_ns
  capsys.readouterr()
  found = run.run(videos, tiny, out)
  said = capsys.readouterr().out
  assert "a: done before; to do it again, remove" in said
  assert "b: 4 frames are known from before" in said
  assert (out / "a.json").stat().st_mtime_ns == before
  assert _content(out) == _content(whole)
  counts = [(one.frames, one.people, one.tracks) for one in expected]
  assert [(one.frames, one.people, one.tracks) for one in found] == counts
  # A whole call leaves nothing behind, and the next one does all of it.
  run.run(videos, tiny, out)
  assert "before" not in capsys.readouterr().out
  assert (out / "a.json").stat().st_mtime_ns > before


def test_a_call_with_failures_leaves_only_these_to_do(
  videos, tiny, tmp_path, capsys, caplog
):
  out = tmp_path / "out"
  (out / "b.webm").mkdir(parents=True)
  with pytest.raises(ValueError, match=r"1 of 3 videos were not done \(b\)"):
    run.run(videos, tiny, out)
  (out / "b.webm").rmdir()
  # Who changes an output does not get it back as if it were whole.
  (out / "c.json").write_text("{}")
  capsys.readouterr()
  found = run.run(videos, tiny, out)
  said = capsys.readouterr().out
  assert "a: done before" in said and "b: 11 frames are known" in said
  assert "c: done before" not in said
  assert ".c.journal: its files are other ones; starts over" in caplog.text
  assert [one.poses[0].name for one in found] == ["a.json", "b.json", "c.json"]
  run.run(videos, tiny, tmp_path / "whole")
  assert _content(out) == _content(tmp_path / "whole")


@pytest.mark.parametrize(
  ("people", "sizes"), [([0, 10], [2, 2]), (range(11), [9, 9, 9])]
)
def test_the_size_of_batches_is_that_of_before(
  videos, dots, tmp_path, interrupted, people, sizes
):
  """Where what is left would fit into a small one, bits might differ."""
  box = boxes_in.Box(np.array([9, 9, 230, 170], np.float32))
  find = lambda index, picture: [box] * (index in people)  # noqa: E731
  supply = boxes_in.Supply(find, {"boxes": "test"})
  one = dataclasses.replace(videos[0], supply=supply)
  batch = max(sizes)
  size = 9 if batch == 9 else 20
  first = dots.Estimator(batch=size, sizes=(2, size))
  interrupted(9, [one], first, tmp_path / "out")
  then = dots.Estimator(batch=size, sizes=(2, size))
  run.run([one], then, tmp_path / "out")
  assert [size for size, _ in first.used + then.used] == sizes
  assert len(then.clips) == (1 if batch == 2 else 2)


@pytest.mark.slow
def test_killed_at_any_moment(dots, tiny_run, tmp_path):
  """The command, by a signal that cannot be caught."""
  source = tmp_path / "long.webm"
  with video.Writer(source, fps=25.0, size=dots.SIZE) as writer:
    for index in range(150):
      writer.write(dots.frame(index % 11))

  def start(out):
    return subprocess.Popen(
      [
        *(sys.executable, "-m", "diffpose_jax.main", "predict"),
        *(f"--input={source}", "--boxes=whole", f"--weights={tiny_run}"),
        f"--out={out}",
      ],
      cwd=pathlib.Path(__file__).parents[2],
      stdout=subprocess.PIPE,
      stderr=subprocess.DEVNULL,
      text=True,
    )

  whole, again = tmp_path / "whole", tmp_path / "again"
  with start(whole) as process:
    assert process.wait(200) == 0
  wanted = _content(whole)
  journal, least = again / ".long.journal", 1
  for _ in range(2):
    with start(again) as process:
      while not (journal.exists() and journal.stat().st_size > least):
        assert process.poll() is None
        time.sleep(0.002)
      process.send_signal(signal.SIGKILL)
    least = journal.stat().st_size + 20_000
    # What was being written may be there, and is in no one's way.
    assert not (again / "long.json").exists()
  with start(again) as process:
    said, _ = process.communicate(timeout=200)
  assert process.returncode == 0
  assert "frames are known from before" in said
  assert {name: _content(again)[name] for name in wanted} == wanted
