"""What is said of outputs is true, and holds only for those."""

import dataclasses
import json
import os

import numpy as np
import pytest

from diffpose_jax.data import annotations, poses, result_formats, video
from diffpose_jax.data import result_json as own
from diffpose_jax.inference import annotated, flow, outputs, viewer, wanted
from diffpose_jax.inference import stages as stages_lib
from diffpose_jax.pose.skeleton import POSETRACK

BOX = np.array([20, 30, 90, 160], np.float32)


def _person(track):
  joints = np.full((17, 2), 60 + track, np.float32)
  return annotations.Person(
    box=BOX,
    joints=joints,
    labelled=np.isin(np.arange(17), POSETRACK.evaluated),
    track_id=track,
    scores=np.full(17, 0.5, np.float32),
    box_score=0.75,
    scale=np.tile(np.eye(2), (17, 1, 1)),
    samples=np.stack([joints - 1, joints + 1]),
  )


def _view(dots):
  """What the network saw of somebody, where its middle was bright."""
  heat = np.zeros((16, 12), np.uint8)
  heat[8, 6] = 255
  crop = np.full((64, 48, 3), 200, np.uint8)
  return annotated.View(crop, heat, np.array([[1.0, 0, 40], [0, 1, 50]]))


def _write(dots, out, files, name="walk"):
  """Writes five frames with 0, 1, 2, 0, 1 people."""
  job = dots.job([], name=name)
  stages = stages_lib.Stages()

  def frames():
    for index, tracks in enumerate([[], [3], [-1, 3], [], [7]]):
      people = [_person(track) for track in tracks]
      picture = dots.frame(index)
      seen = [_view(dots) for _ in people] if files.views else []
      yield flow.Shown(
        *(job, index, index / 10, dots.SIZE, picture), people=people, seen=seen
      )

  output = outputs.write(
    job, frames(), out, head=_head(job), wanted=files, stages=stages
  )
  return output, stages


def _head(job):
  return poses.Head(
    name=job.source.name,
    source=job.source.path.name,
    fps=job.info.fps,
    height=job.info.height,
    width=job.info.width,
    skeleton=POSETRACK,
    protocol={"steps": 4},
    tail=5.0,
  )


def test_what_is_written_is_counted(dots, tmp_path):
  output, stages = _write(dots, tmp_path / "out", wanted.Wanted())
  # Nobody is counted among the identities.
  assert (output.frames, output.people, output.tracks) == (5, 4, 2)
  content = json.loads(output.poses[0].read_text())
  assert content["protocol"] == {"steps": 4}
  people = [a["image_id"] for a in content["annotations"]]
  assert people == [1, 2, 2, 4]
  assert output.video is not None and video.count(output.video) == 5
  assert {"drawing", "encoding", "writing"} <= set(stages.wall)
  names = sorted(path.name for path in (tmp_path / "out").iterdir())
  assert names == ["walk.json", "walk.poses.json", "walk.webm"]
  lines = str(output).splitlines()
  assert lines[0] == "4 people in 5 frames, 2 identities"
  assert [line.split(": ")[0] for line in lines[1:]] == [
    *("poses", "poses", "video"),
  ]
  assert output.jitter is None  # nobody is there three times in a row
  known = dataclasses.replace(output, jitter=0.0123)
  said = "2 identities, jitter 12.3 ‰ of their size a frame²\nposes:"
  assert said in str(known)


@pytest.mark.parametrize("kept", [False, True])
def test_every_format_and_what_it_holds(dots, tmp_path, kept):
  formats = ("posetrack", "json", "coco", "csv", "npz")
  files = wanted.Wanted(formats, samples=kept, video="none")
  output, _ = _write(dots, tmp_path, files)
  assert output.files == files.poses("walk", tmp_path)
  assert sorted(tmp_path.iterdir()) == sorted(output.files)
  head, frames = own.read(tmp_path / "walk.poses.json")
  assert (head.name, head.source, head.tail) == ("walk", "walk", 5.0)
  people = [len(frame.people) for frame in frames]
  assert people == [0, 1, 2, 0, 1]
  samples = frames[1].people[0].samples
  assert (samples is not None) == kept
  if kept:
    assert samples is not None
    np.testing.assert_array_equal(samples[:, 0], [[62, 62], [64, 64]])


def test_what_the_network_saw_is_drawn(dots, tmp_path):
  plain = annotated.parse("none")
  drawn = annotated.parse("heatmaps,crops")
  first, _ = _write(dots, tmp_path / "a", wanted.Wanted(draw=plain))
  second, _ = _write(dots, tmp_path / "b", wanted.Wanted(draw=drawn))
  assert first.video is not None and second.video is not None
  before = [picture for _, _, picture in video.read(first.video)]
  after = [picture for _, _, picture in video.read(second.video)]
  height, width = dots.SIZE
  assert before[0].shape[:2] == (height, width)
  assert after[0].shape[:2] == annotated.size((height, width), drawn)
  # Nobody is in the first frame; in the second the crop is grey.
  change = [
    np.abs(new[:, :width].astype(int) - old).max()
    for old, new in zip(before, after, strict=True)
  ]
  assert change[1] > change[0] + 60
  strip = after[1][:, width:].astype(int)
  assert np.median(strip[10:30]) > 120 > np.median(strip[-20:])


@pytest.mark.parametrize("embed", [10**9, 0])
def test_a_page_keeps_its_video_or_has_it_beside(
  dots, tmp_path, monkeypatch, embed
):
  write = viewer.write
  monkeypatch.setattr(
    viewer, "write", lambda *given: write(*given, embed=embed)
  )
  output, _ = _write(dots, tmp_path, wanted.Wanted(viewer=True))
  plain = tmp_path / "walk.plain.webm"
  assert output.page == tmp_path / "walk.html"
  assert plain.exists() == (embed == 0)
  assert output.plain == (plain if embed == 0 else None)
  assert sorted(output.files) == sorted(tmp_path.iterdir())
  assert ("plain: " in str(output)) == (embed == 0)
  assert ("keep the two where" in str(output)) == (embed == 0)
  assert "walk" in (tmp_path / "walk.html").read_text()
  if embed == 0:
    assert video.count(plain) == 5


def test_outputs_are_recalled_while_they_are_what_was_written(dots, tmp_path):
  output, _ = _write(dots, tmp_path, wanted.Wanted(viewer=True))
  recall = lambda: outputs.recalled(record, tmp_path)  # noqa: E731
  record = json.loads(json.dumps(output.record() | {"more": 1}))
  assert recall() == output
  for path in output.files:
    content = path.read_bytes()
    os.utime(path, ns=(1, 1))
    assert recall() is None
    record = output.record()
    path.write_bytes(content + b" ")
    assert recall() is None
    record = output.record()
    assert recall() == output
    path.unlink()
    assert recall() is None
    path.write_bytes(content)
    record = output.record()


@pytest.mark.parametrize("kind", ["webm", "none"])
def test_nothing_is_written_of_frames_that_end_in_an_error(
  dots, tmp_path, kind
):
  def frames():
    yield flow.Shown(dots.job([]), 0, 0.0, dots.SIZE, dots.frame(0))
    raise ValueError("damaged")

  def write(frames):
    outputs.write(
      dots.job([]),
      frames,
      tmp_path / "out",
      head=_head(dots.job([])),
      wanted=wanted.Wanted(
        tuple(result_formats.FORMATS), video=kind, viewer=True
      ),
      stages=stages_lib.Stages(),
    )

  with pytest.raises(ValueError, match="damaged"):
    write(frames())
  with pytest.raises(ValueError, match="0 frames"):
    write([])
  assert list((tmp_path / "out").iterdir()) == []
