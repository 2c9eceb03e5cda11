"""Evaluating prediction files, beside a plain loop over joints of the same rules.

  taskset -c 0 python benchmarks/evaluation.py

Writes JSON files of ground truth and predictions, as many as PoseTrack18's
validation set has: walking people, jittered predictions with misses, switches
and strangers. Then, one after the other:

  ours   `evaluate_files` with AP and MOTA, end to end; then reading, pairing
         and each metric by themselves, HOTA too
  plain  AP and MOTA from the same files by the same rules, one joint, frame,
         person and pose at a time, assignments by SciPy; of some of the videos,
         its time scaled by their part of the frames. Twice: the distance of two
         points by NumPy, as poseval has it, and by Python's `math`

Prints seconds of the CPU and their ratios, with and without reading, and fails
where the numbers differ.
"""

import argparse
import contextlib
import dataclasses
import functools
import io
import pathlib
import tempfile
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import plain_evaluation

from diffpose_jax.data import annotations
from diffpose_jax.data.annotations import Frame, Person, Video
from diffpose_jax.evaluation import from_files, matching
from diffpose_jax.evaluation.metrics import ap, hota, mota
from diffpose_jax.pose import skeleton as skeleton_lib

SKELETON = skeleton_lib.POSETRACK
SIZE = np.array([1280, 720])
LENGTHS = (34, 60)  # labelled frames of a video, from and to: about 47


def write(root: pathlib.Path, videos: int) -> None:
  """Both sides, in `root`/gt and `root`/pred."""
  rng = np.random.default_rng(0)
  for number in range(videos):
    name = f"{number:06d}_synthetic_val"
    length = int(rng.integers(*LENGTHS, endpoint=True))
    people = int(rng.integers(3, 10, endpoint=True))
    sides = {"gt": [], "pred": []}
    walks = _walks(rng, people, length)
    sizes = rng.uniform(0.5, 1.5, people)
    tracks = rng.permutation(1000)[:people].tolist()
    names = dict(enumerate(tracks))  # of person → of the predicted track
    for i in range(length):
      there = [p for p in range(people) if rng.random() < 0.95]
      truth = [_person(rng, walks[p, i], sizes[p], p) for p in there]
      poses = _poses(rng, truth, names)
      for side, crowd in (("gt", truth), ("pred", poses)):
        sides[side].append(
          Frame(
            file_name=f"images/val/{name}/{i:06d}.jpg",
            image_id=10_000 * (number + 1) + i,
            labelled=True,
            people=tuple(crowd),
            ignore_regions=_regions(rng) if side == "gt" else (),
          )
        )
    for side, frames in sides.items():
      annotations.write_video(
        root / side / f"{name}.json",
        Video(name, tuple(frames)),
        skeleton=SKELETON,
      )


def _walks(rng: np.random.Generator, people: int, length: int) -> np.ndarray:
  """Centres of people, (people, length, 2)."""
  start = rng.uniform((100, 200), SIZE - (100, 200), (people, 1, 2))
  steps = np.cumsum(rng.normal(0, 3, (people, length, 2)), axis=1)
  return (
    start
    + rng.uniform(-4, 4, (people, 1, 2)) * np.arange(length)[:, None]
    + steps
  )


_BODY = np.array(
  [
    (5, -150), (0, -105), (0, -180), (0, 0), (0, 0), (25, -95), (-25, -95),
    (40, -40), (-40, -40), (45, 5), (-45, 5), (15, 10), (-15, 10), (18, 90),
    (-18, 90), (18, 165), (-18, 165),
  ],
  float,
)  # fmt: skip


def _person(
  rng: np.random.Generator, centre: np.ndarray, size: float, track: int
) -> Person:
  joints = centre + size * (_BODY + rng.normal(0, 8, _BODY.shape))
  labelled = rng.random(len(_BODY)) < 0.85
  labelled[[3, 4]] = False  # the ears, as ever
  head = np.array([*(joints[2] - 25 * size), *(joints[1] + 25 * size)])
  head[2:] = np.maximum(head[2:], head[:2] + 20)
  low, high = joints.min(axis=0), joints.max(axis=0)
  return Person(
    box=np.concatenate([low, high]).astype(np.float32),
    joints=(joints * labelled[:, None]).astype(np.float32),
    labelled=labelled,
    track_id=track,
    head_box=head.astype(np.float32),
  )


def _poses(
  rng: np.random.Generator, truth: list[Person], names: dict[int, int]
) -> list[Person]:
  """What a tracker could say of a frame: not all, not only, not always so."""
  if rng.random() < 0.03 and len(names) > 1:  # two exchange their names
    a, b = rng.choice(list(names), 2, replace=False).tolist()
    names[a], names[b] = names[b], names[a]
  if rng.random() < 0.02:  # one gets a new name
    one = int(rng.choice(list(names)))
    names[one] = 1000 + int(rng.integers(4000))
    while list(names.values()).count(names[one]) > 1:
      names[one] += 1
  poses = []
  for person in truth:
    if rng.random() < 0.1:  # missed
      continue
    poses.append(
      _pose(rng, person.joints, person.labelled, names[person.track_id])
    )
  while rng.random() < 0.3:  # strangers
    joints = rng.uniform(0, 1, 2) * SIZE + _BODY
    poses.append(_pose(rng, joints, np.zeros(17, bool), 6000 + len(poses)))
  return poses


def _pose(
  rng: np.random.Generator, joints: np.ndarray, known: np.ndarray, track: int
) -> Person:
  noise = rng.normal(0, rng.choice([3.0, 10.0], (17, 1)), (17, 2))
  centre = joints[known].mean(axis=0) if known.any() else 0 * joints[0]
  guess = joints if not known.any() else centre + _BODY
  guess = np.where(known[:, None], joints, guess) + noise
  given = np.ones(17, bool)
  given[[3, 4]] = False
  return Person(
    box=None,
    joints=(guess * given[:, None]).astype(np.float32),
    labelled=given,
    track_id=track,
    scores=rng.uniform(0, 1, 17).astype(np.float32),
  )


def _regions(rng: np.random.Generator) -> tuple[np.ndarray, ...]:
  """An ignore region, in every fourth frame."""
  if rng.random() < 0.75:
    return ()
  x, y = rng.uniform(0, 1, 2) * SIZE
  w, h = rng.uniform(50, 300, 2)
  corners = [(x, y), (x + w, y), (x + w, y + h), (x, y + h)]
  return (np.array(corners, np.float32),)


def timed(name: str, work: Callable[[], Any]) -> tuple[float, Any]:
  """Seconds of the CPU and what came back; prints the first."""
  began = time.process_time()
  with contextlib.redirect_stdout(io.StringIO()):
    result = work()
  taken = time.process_time() - began
  print(f"{name:38} {taken:8.2f} s", flush=True)
  return taken, result


def ours(root: pathlib.Path) -> tuple[float, float, matching.Case]:
  """Seconds end to end, and of that without reading; and the case."""

  def everything() -> dict[str, Any]:
    return from_files.evaluate_files(
      root / "gt", root / "pred", root / "out.json", metrics=("ap", "mota")
    )

  def read(side: str) -> list[Video]:
    return annotations.read_folder(
      root / side, skeleton=SKELETON, dtype=np.float64, style="results"
    )

  total, _ = timed("evaluate_files, AP and MOTA", everything)
  _, truth = timed("  reading the ground truth", lambda: read("gt"))
  _, predictions = timed("  reading the predictions", lambda: read("pred"))

  def paired() -> matching.Case:
    case = matching.Case.of(truth, predictions, skeleton=SKELETON)
    for frame in case.frames:
      assert frame.distance is not None
    return case

  spent, case = timed("  pairing, regions, distances", paired)
  for name, one in (("AP", ap), ("MOTA", mota), ("HOTA", hota)):
    taken, _ = timed(f"  {name}", lambda one=one: one.measure(case))
    if name != "HOTA":
      spent += taken
  return total, spent, case


def check(case: matching.Case, names: list[str], want: dict[str, Any]) -> None:
  """Fails where ours differs from the plain loop, on the same videos."""
  pairs = tuple(pair for pair in case.pairs if pair[0] in names)
  case = dataclasses.replace(case, pairs=pairs)
  got = ap.measure(case) | mota.measure(case)["tracking"]
  for name, values in want.items():
    for joint, value in values.items():
      joint = "neck" if joint == "head_bottom" else joint
      if abs(got[name][joint] - value) > 1e-9:
        raise SystemExit(f"{name} of {joint}: {got[name][joint]}, not {value}")


def main() -> None:
  """Writes the files, then measures."""
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument("--videos", type=int, default=170)
  parser.add_argument(
    "--plain", type=int, default=34, help="videos of the plain loop"
  )
  options = parser.parse_args()
  with tempfile.TemporaryDirectory() as folder:
    root = pathlib.Path(folder)
    write(root, options.videos)
    total, computed, case = ours(root)
    names = list(case.videos)[:: -(-options.videos // options.plain)]
    frames = sum(len(case.videos[name]) for name in names)
    share = frames / len(case.frames)
    some = f"{len(names)} of {options.videos} videos"
    read, videos = timed(
      f"plain reading, {some}",
      lambda: [plain_evaluation.read(root, name) for name in names],
    )
    loops = {}
    for way, distance in (
      ("NumPy", plain_evaluation.by_numpy),
      ("math", plain_evaluation.by_math),
    ):
      loops[way], want = timed(
        f"plain loop by {way}, {some}",
        functools.partial(plain_evaluation.measure, videos, distance),
      )
      check(case, names, want)
  people = [len(frame.truth.people) for frame in case.frames]
  print(
    f"{options.videos} videos, {len(case.frames)} frames, {min(people)} to "
    f"{max(people)} people in each; plain loops scaled by 1 / {share:.3f}; all "
    "equal to 1e-9"
  )
  for way, slow in loops.items():
    for text, theirs, mine in (
      ("end to end", (read + slow) / share, total),
      ("without reading", slow / share, computed),
    ):
      print(
        f"plain with {way:5}, {text:15} {theirs:6.1f} s / {mine:5.2f} s = "
        f"{theirs / mine:5.1f}"
      )


if __name__ == "__main__":
  main()
