"""Identities by the tracker and by greedy IoU, from people seen imperfectly.

  python benchmarks/tracking.py --data=bonn_tracks_mini/annotations/train
  python benchmarks/tracking.py --videos=6

With `--data`, the people of annotation files in PoseTrack18's layout, whose
tracks are the truth; without, drawn walkers who pass each other, of whom the
farther is not seen while the nearer one covers them (IoU of 0.5). What is seen of them is
the truth, perturbed:

  clean      as it is
  misses     10 % of the people of a frame are not found
  hidden     each person is out of sight for half a second, twice in 5 seconds
  long       ... for 1.5 seconds
  jitter     edges of boxes off by 5 %, joints by 3 % of the person's size
  false      in half of the frames somebody who is not there, of lower score
  doubtful   a third of the scores below the tracker's `high`
  5 fps      every fifth frame alone
  all        misses, jitter and false ones together

Scores are otherwise those of a detector that is mostly sure (0.6 to 1; false
ones 0.3 to 0.8). MOTA, HOTA and AssA are the project's metrics over all
joints, means over seeds; people without identity are left out, as evaluators
want. `ids` is how many identities were given for each true one. The baselines
greedily give each box, the surest first, the identity of the box seen last
within a second that it overlaps most, from IoU 0.3 on; they have an identity
for every box above the tracker's `high`.
"""

import argparse
import dataclasses
import pathlib
import time
from collections.abc import Callable, Iterator

import numpy as np

from diffpose_jax.data import annotations
from diffpose_jax.data.annotations import Frame, Person, Video
from diffpose_jax.evaluation import matching
from diffpose_jax.evaluation.metrics import hota, mota
from diffpose_jax.inference import tracker
from diffpose_jax.pose import geometry
from diffpose_jax.pose import skeleton as skeleton_lib

SKELETON = skeleton_lib.POSETRACK
RATE = 25.0  # frames a second, of files that do not say


@dataclasses.dataclass(frozen=True)
class Harm:
  """What is wrong with what is seen; shares, and sizes of the person."""

  misses: float = 0.0
  hidden: float = 0.0  # seconds, at a time
  box: float = 0.0
  joint: float = 0.0
  false: float = 0.0  # people a frame who are not there
  doubtful: float = 0.0
  every: int = 1  # frame


CONDITIONS = {
  "clean": Harm(),
  "misses": Harm(misses=0.1),
  "hidden": Harm(hidden=0.5),
  "long": Harm(hidden=1.5),
  "jitter": Harm(box=0.05, joint=0.03),
  "false": Harm(false=0.5),
  "doubtful": Harm(doubtful=0.33),
  "5 fps": Harm(every=5),
  "all": Harm(misses=0.1, box=0.05, joint=0.03, false=0.5),
}

# A function from (time, boxes, scores, joints, joint scores) to identities.
Update = Callable[..., np.ndarray]


class Greedy:
  """The baseline, see the module."""

  def __init__(self, gap: float = 1.0, least: float = 0.3, high: float = 0.5):
    self.gap, self.least, self.high = gap, least, high
    self.boxes: dict[int, tuple[float, np.ndarray]] = {}
    self.next = 0

  def update(self, time, boxes, scores, joints, joint_scores) -> np.ndarray:
    """Identities; -1 for boxes that are not sure."""
    del joints, joint_scores
    ids = np.full(len(boxes), -1)
    free = {i: b for i, (t, b) in self.boxes.items() if time - t <= self.gap}
    for row in np.argsort(-scores, kind="stable"):
      if scores[row] < self.high:
        continue
      names = list(free)
      overlap = geometry.iou(
        np.array(list(free.values())).reshape(-1, 4), boxes[row : row + 1]
      )[:, 0]
      if len(names) and overlap.max() >= self.least:
        name = names[int(overlap.argmax())]
        del free[name]
      else:
        name, self.next = self.next, self.next + 1
      ids[row] = name
      self.boxes[name] = time, boxes[row]
    return ids


def harmed(
  video: Video, harm: Harm, seed: int
) -> Iterator[tuple[Frame, float, list[Person]]]:
  """The frames, their times and the people as they are seen."""
  rng = np.random.default_rng(seed)
  everyone = [person for frame in video.frames for person in frame.people]
  corners = np.array([p.box for p in everyone])
  low, high = corners[:, :2].min(axis=0), corners[:, 2:].max(axis=0)
  length = len(video.frames) / RATE
  starts = {
    track: rng.uniform(0, length, max(1, round(length / 2.5)))
    for track in sorted({p.track_id for p in everyone})
  }
  for number, frame in enumerate(video.frames):
    if number % harm.every:
      continue
    now = number / RATE
    seen = []
    for person in frame.people:
      away = now - starts[person.track_id]
      if np.any((away >= 0) & (away < harm.hidden)):
        continue
      if rng.random() >= harm.misses:
        seen.append(perturbed(rng, person, harm))
    if rng.random() < harm.false:
      model = everyone[rng.integers(len(everyone))]
      seen.append(stranger(rng, model, low, high))
    yield frame, now, [seen[i] for i in rng.permutation(len(seen))]


def size_of(box: np.ndarray) -> float:
  """The square root of a box's area, pixels."""
  return float(np.sqrt(geometry.area(box[None])[0]))


def perturbed(rng: np.random.Generator, person: Person, harm: Harm) -> Person:
  """The person as a detector and a network may see them."""
  assert person.box is not None
  size = size_of(person.box)
  box = person.box + rng.normal(0, 1, 4) * harm.box * size
  joints = person.joints + rng.normal(0, 1, (17, 2)) * harm.joint * size
  score = rng.uniform(0.6, 1)
  if rng.random() < harm.doubtful:
    score = rng.uniform(0.15, 0.5)
  return dataclasses.replace(
    person,
    box=box.astype(np.float32),
    joints=joints.astype(np.float32),
    scores=np.where(person.labelled, rng.uniform(0.5, 1, 17), 0),
    box_score=score,
  )


def stranger(
  rng: np.random.Generator, model: Person, low: np.ndarray, high: np.ndarray
) -> Person:
  """Somebody's pose where they are not, of another size."""
  assert model.box is not None
  shift = rng.uniform(low, high) - model.box[:2]
  scale = rng.uniform(0.6, 1.2)
  corner = model.box[:2]
  joints = (model.joints - corner) * scale + corner + shift
  box = np.concatenate(
    [corner + shift, corner + shift + (model.box[2:] - corner) * scale]
  )
  return dataclasses.replace(
    model,
    box=box.astype(np.float32),
    joints=joints.astype(np.float32),
    scores=np.where(model.labelled, rng.uniform(0.2, 0.8, 17), 0),
    box_score=rng.uniform(0.3, 0.8),
  )


def walkers(seed: int, people: int = 6, seconds: float = 6.0) -> Video:
  """Walking figures of several distances in front of a camera."""
  rng = np.random.default_rng(seed)
  depth = np.sort(rng.uniform(1, 2, people))  # from near to far
  height = 400 / depth
  pace = rng.uniform(0.2, 0.9, people) * rng.choice([-1, 1], people) * height
  start = rng.uniform(100, 1180, people)
  beat, phase = rng.uniform(1.5, 2.2, people), rng.uniform(0, 6, people)
  frames = []
  for number in range(int(seconds * RATE)):
    t = number / RATE
    covered: list[np.ndarray] = []
    seen = []
    for p in range(people):
      # To and fro between the picture's sides, with pauses.
      way = start[p] + pace[p] * (t + 0.4 * np.sin(1.3 * t + phase[p]))
      x = 1280 - abs(way % 2560 - 1280)
      person = figure(x, 300 + 300 / depth[p], height[p], beat[p] * t, p)
      assert person.box is not None
      hidden = [
        float(geometry.iou(box[None], person.box[None])[0, 0])
        for box in covered
      ]
      covered.append(person.box)
      if max(hidden, default=0.0) < 0.5:
        seen.append(person)
    frames.append(Frame(f"{number:06d}.jpg", number, True, tuple(seen)))
  return Video(f"{seed:06d}_walkers", tuple(frames))


def figure(x: float, ground: float, height: float, turn: float, track: int):
  """Somebody who walks, at a moment of their step; `turn` in steps."""
  swing = 0.25 * np.sin(np.pi * turn)
  # (across, up) in shares of the height, of PoseTrack's joints.
  up = [0.93, 0.85, 1, 0.95, 0.95, 0.82, 0.82, 0.64, 0.64, 0.48, 0.48]
  up += [0.53, 0.53, 0.28, 0.28, 0.04, 0.04]
  side = [0, 0, 0, 0.04, -0.04, 0.1, -0.1, 0.12, -0.12, 0.12, -0.12]
  side += [0.07, -0.07, 0.07, -0.07, 0.07, -0.07]
  moves = np.zeros(17)
  moves[[7, 9, 13, 15]] = np.array([-0.3, -0.7, 0.4, 1]) * swing
  moves[[8, 10, 14, 16]] = np.array([0.3, 0.7, -0.4, -1]) * swing
  joints = np.stack(
    [x + (np.array(side) + moves) * height, ground - np.array(up) * height], 1
  ).astype(np.float32)
  labelled = np.ones(17, bool)
  labelled[[3, 4]] = False
  low, high = joints.min(axis=0), joints.max(axis=0)
  margin = 0.08 * (high - low)
  head = np.concatenate([joints[2], joints[1]]) + height * np.array(
    [-0.05, 0, 0.05, 0]
  )
  return Person(
    box=np.concatenate([low - margin, high + margin]).astype(np.float32),
    joints=joints,
    labelled=labelled,
    track_id=track,
    head_box=head.astype(np.float32),
  )


def with_head(person: Person) -> Person:
  """The person with a head box, the unit of the metrics, if there is none.

  It is a square about neck and head top, or a fifth of the person's size.
  """
  if person.head_box is not None:
    return person
  assert person.box is not None
  neck, top = SKELETON.index("head_bottom"), SKELETON.index("head_top")
  centre = (person.joints[neck] + person.joints[top]) / 2
  side = float(np.hypot(*(person.joints[neck] - person.joints[top])))
  if not (person.labelled[neck] and person.labelled[top] and side):
    centre = (person.box[:2] + person.box[2:]) / 2
    side = size_of(person.box) / 5
  edges = np.concatenate([centre - side / 2, centre + side / 2])
  return dataclasses.replace(person, head_box=edges.astype(np.float32))


def read(folder: pathlib.Path) -> list[Video]:
  """The videos of a folder, everybody with a head box."""
  return [
    dataclasses.replace(
      video,
      frames=tuple(
        dataclasses.replace(frame, people=tuple(map(with_head, frame.people)))
        for frame in video.frames
      ),
    )
    for video in annotations.read_folder(folder, skeleton=SKELETON)
  ]


def followed(video: Video, harm: Harm, seed: int, update: Update):
  """The true and the predicted video, identities given and seconds taken."""
  true, frames, ids, spent = [], [], set(), 0.0
  for frame, now, people in harmed(video, harm, seed):
    there = np.array([p.labelled for p in people]).reshape(-1, 17, 1)
    joints = np.array([p.joints for p in people]).reshape(-1, 17, 2)
    boxes = np.array([p.box for p in people], np.float32).reshape(-1, 4)
    scores = np.array([p.box_score for p in people], float)
    points = np.array([p.scores for p in people]).reshape(-1, 17)
    begin = time.perf_counter()
    given = update(now, boxes, scores, np.where(there, joints, np.nan), points)
    spent += time.perf_counter() - begin
    named = [
      dataclasses.replace(person, track_id=int(i))
      for person, i in zip(people, given, strict=True)
      if i >= 0
    ]
    true.append(frame)
    frames.append(dataclasses.replace(frame, people=tuple(named)))
    ids |= {person.track_id for person in named}
  truth = dataclasses.replace(video, frames=tuple(true))
  return truth, Video(video.name, tuple(frames)), len(ids), spent


def judged(
  videos: list[Video],
  harm: Harm,
  make: Callable[[], Update],
  seeds: int,
) -> dict[str, float]:
  """MOTA, HOTA and AssA in percent, identities, and milliseconds a frame."""
  rows = []
  for seed in range(seeds):
    truth, poses, ids, spent = zip(
      *(followed(video, harm, seed, make()) for video in videos), strict=True
    )
    case = matching.Case.of(
      truth, poses, skeleton=SKELETON, poseval_compatible=False
    )
    found = hota.measure(case)["hota"]
    people = sum(
      len({p.track_id for f in video.frames for p in f.people})
      for video in truth
    )
    rows.append(
      {
        "MOTA": mota.measure(case)["tracking"]["mota"]["total"],
        "HOTA": found["hota"]["total"],
        "AssA": found["assa"]["total"],
        "ids": sum(ids) / people,
        "ms": 1e3 * sum(spent) / sum(len(video.frames) for video in truth),
      }
    )
  return {name: float(np.mean([r[name] for r in rows])) for name in rows[0]}


def main() -> None:
  """Prints a line for each condition and way of following."""
  parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
  parser.add_argument("--data", type=pathlib.Path)
  parser.add_argument("--without", default="", help="a video's name")
  parser.add_argument("--seeds", type=int, default=5)
  parser.add_argument("--videos", type=int, default=6, help="of walkers")
  parser.add_argument("--gap", type=float, default=2.0, help="tracker's, s")
  parser.add_argument("--only", default="", help="these conditions, by comma")
  arguments = parser.parse_args()
  if arguments.data:
    videos = [v for v in read(arguments.data) if v.name != arguments.without]
  else:
    videos = [walkers(seed) for seed in range(arguments.videos)]
  options = tracker.Options(sigmas=SKELETON.sigmas, gap=arguments.gap)
  ways: dict[str, Callable[[], Update]] = {
    "tracker": lambda: tracker.Tracker(options).update,
    "tracker, boxes": lambda: boxes_alone(tracker.Tracker(options)),
    "greedy IoU, 1 s": lambda: Greedy().update,
    "greedy IoU, 0.3 s": lambda: Greedy(gap=0.3).update,
  }
  names = arguments.only.split(",") if arguments.only else list(CONDITIONS)
  print("| seen | followed by | MOTA | HOTA | AssA | ids | ms a frame |")
  print("|---|---|---|---|---|---|---|")
  for name in names:
    for way, make in ways.items():
      row = judged(videos, CONDITIONS[name], make, arguments.seeds)
      print(
        f"| {name} | {way} | {row['MOTA']:.1f} | {row['HOTA']:.1f} "
        f"| {row['AssA']:.1f} | {row['ids']:.2f} | {row['ms']:.2f} |",
        flush=True,
      )


def boxes_alone(followed_by: tracker.Tracker) -> Update:
  """The tracker as it is before there are poses."""
  return lambda now, boxes, scores, *_: followed_by.update(now, boxes, scores)


if __name__ == "__main__":
  main()
