"""The page in a real browser, from disk: frames, pointers and keys, and looks.

Each picture of the test video has a grey of its own, and in each frame the
joints lie elsewhere: so it is seen which frame the video shows, and whose poses
are over it.
"""

import importlib.util
import itertools
import re

import numpy as np
import pytest

from diffpose_jax.data import annotations, poses, video
from diffpose_jax.inference import colours, viewer, viewer_data
from diffpose_jax.pose import skeleton as skeletons
from diffpose_jax.pose.skeleton import POSETRACK

pytestmark = pytest.mark.slow
K = len(POSETRACK.joints)
SIZE = (240, 320)  # (height, width)
COUNT = 23
WRIST, ANKLE = POSETRACK.index("right_wrist"), POSETRACK.index("left_ankle")
# Of uneven frames, as of a screen that is recorded.
TIMES = (
  np.cumsum([0, *itertools.islice(itertools.cycle([1, 1, 7, 2]), 22)]) / 25
)
BAD = '"><img src=x onerror=alert(1)><script>alert(2)</script>'


def _wrist(index):
  """Where the first person's right wrist is."""
  return np.array([30 + 11 * index, 61])


def _person(index, track=4):
  """With samples of the wrist in two places, 70 % and 30 %."""
  joints = np.zeros((K, 2), np.float32)
  joints[WRIST] = _wrist(index)
  joints[ANKLE] = (280, 200)
  samples = np.tile(joints, (10, 1, 1))
  samples[:3, WRIST] += [0, 100]
  known = np.isin(np.arange(K), (WRIST, ANKLE))
  return annotations.Person(
    box=np.array([10, 20, 310, 230], np.float32),
    joints=joints,
    labelled=known,
    track_id=track,
    scores=np.where(known, 0.25 + index / 100, 0).astype(np.float32),
    scale=np.tile(np.array([[36, 0], [0, 9]], np.float32), (K, 1, 1)),
    within=np.where(known, 0.75, np.nan).astype(np.float32),
    samples=samples,
  )


def _frames(people=lambda index: [_person(index)], count=COUNT, times=TIMES):
  return [
    annotations.Frame(
      f"{i}.jpg", i, True, tuple(people(i)), time=float(times[i])
    )
    for i in range(count)
  ]


def _head(source="walk.mp4", skeleton=POSETRACK):
  return poses.Head("walk", source, 9.0, *SIZE, skeleton, {"steps": 4})


def _film(path, backend="opencv", count=COUNT):
  with video.Writer(path, fps=9.0, size=SIZE, backend=backend) as writer:
    for i in range(count):
      writer.write(np.full((*SIZE, 3), 20 + 10 * i, np.uint8), TIMES[i])
  return path


@pytest.fixture(scope="module")
def film(tmp_path_factory):
  return _film(tmp_path_factory.mktemp("film") / "walk.webm")


@pytest.fixture(scope="module")
def page(tmp_path_factory, film):
  """Two people, the second from frame 10 to 12 only."""

  def people(index):
    second = _person(index, track=9)
    assert second.samples is not None
    for points in (second.joints, *second.samples):
      points[WRIST] += (160, 130) - _wrist(index)
    return [_person(index), *([second] if 10 <= index < 13 else [])]

  path = tmp_path_factory.mktemp("page") / "walk.html"
  viewer.write(path, _head(), _frames(people), film)
  return path


# What a test asks of the page. `at` is a point of the video's picture.
HELP = """
const stage = () => document.getElementById("poses");
const place = ([x, y]) => {
  const box = stage().getBoundingClientRect(), zoom = box.width / 320;
  return [box.left + (x + 0.5) * zoom, box.top + (y + 0.5) * zoom];
};
// Of a copy: the page's own canvas is not made to be read.
const copied = (source, x, y, width, height) => {
  const copy = document.createElement("canvas");
  Object.assign(copy, { width, height });
  const pen = copy.getContext("2d", { willReadFrequently: true });
  pen.drawImage(source, -x, -y);
  return [...pen.getImageData(0, 0, width, height).data];
};
const colour = ([x, y]) => {
  const zoom = stage().width / 320;
  return copied(stage(), Math.round((x + 0.5) * zoom),
    Math.round((y + 0.5) * zoom), 1, 1);
};
const painted = () => copied(stage(), 0, 0, stage().width, stage().height)
  .some((value) => value);
const film = document.getElementById("video");
const grey = () => copied(film, 0, 0, 1, 1)[0];
const settled = () => document.body.dataset.asked === document.body.dataset.shown
  && !(film && film.seeking);
const words = (id) => document.getElementById(id).innerText;
"""
READY = (
  "document.body.dataset.ready === '' && (!document.getElementById('video') || "
  "document.getElementById('video').readyState >= 2)"
)


def _open(browser, path, **how):
  # High enough for the pointer to reach all of it.
  return _Opened(browser.page(path.as_uri(), height=1800, **how))


class _Opened:
  """A page that is ready, and had no fault and no request once it is left."""

  def __init__(self, context):
    self._context = context

  def __enter__(self):
    self.page = self._context.__enter__()
    self.page.wait(READY)
    # Declared for good, for what is run after.
    self.page.run(re.sub(r"^const ", "window.", HELP, flags=re.MULTILINE))
    self.page.wait("settled()")
    self._draw()
    return self

  def __exit__(self, kind, value, traceback):
    try:
      if kind is None:
        assert self.page.faults() == []
        assert self.page.requests() == []
    finally:
      self._context.__exit__(kind, value, traceback)

  def _draw(self):
    """Two pictures on, all that was asked for is drawn."""
    frame = "new Promise(requestAnimationFrame)"
    self.page.run(f"{frame}.then(() => {frame})")

  def run(self, code):
    return self.page.run(code)

  def settle(self):
    """Waits for the video; the frame in sight."""
    self._draw()
    self.page.wait("settled()")
    self._draw()
    return int(self.run("document.body.dataset.shown"))

  def key(self, name, **how):
    self.page.key(name, **how)
    return self.settle()

  def go(self, frame):
    self.run(
      f"const f = document.getElementById('frame'); f.value = {frame};"
      "f.dispatchEvent(new Event('change'))".replace("const f", "var f")
    )
    assert self.settle() == frame

  def move(self, point, kind="move"):
    x, y = self.run(f"place({list(map(float, point))})")
    self.page.pointer(kind, x, y)
    self._draw()

  def click(self, point):
    for kind in ("move", "down", "up"):
      self.move(point, kind)

  def colour(self, point):
    return self.run(f"colour({list(map(float, point))})")


def _shown(page, index):
  """Asserts that picture and pose are those of a frame."""
  grey = page.run("grey()")
  assert abs(grey - (20 + 10 * index)) < 5, (grey, index)
  # In the picture nothing is blue but the wrist, which is the right one's.
  at = _wrist(index)
  assert page.colour(at)[:3] == list(colours.RIGHT), index
  for other in (index - 1, index + 1):
    assert page.colour(_wrist(other))[:3] != list(colours.RIGHT)


def _choose_ankle(page):
  """So that no ellipse or sample is drawn over the wrist."""
  page.run(
    "var j = document.getElementById('joint');"
    "j.selectedIndex = [...j.options].findIndex((o) => o.text === 'left ankle');"
    "j.dispatchEvent(new Event('change'))"
  )
  page.settle()


def test_each_frame_has_its_own_pose(browser, page):
  with _open(browser, page) as opened:
    _choose_ankle(opened)
    _shown(opened, 0)
    for index in (1, 7, 22, 3, 2, 12):
      opened.go(index)
      _shown(opened, index)
      time = f"{TIMES[index]:.2f}".rjust(5, "0")
      assert opened.run("words('time-now')") == f"0:{time}"


@pytest.mark.parametrize("suffix", [".webm", ".mp4"])
def test_a_video_with_times_of_its_own(browser, tmp_path, suffix):
  """Its frames are as uneven as the records."""
  if importlib.util.find_spec("av") is None:
    pytest.skip("PyAV is not installed (the extra `video`)")
  path = tmp_path / "walk.html"
  film = _film(tmp_path / f"walk{suffix}", "pyav")
  assert viewer.write(path, _head(), _frames(), film).notes == ()
  with _open(browser, path) as opened:
    _choose_ankle(opened)
    for index in (2, 3, 10, 22, 0):
      opened.go(index)
      _shown(opened, index)


def test_keys_step_by_frames(browser, page):
  with _open(browser, page) as opened:
    _choose_ankle(opened)
    steps = [
      ("ArrowRight", {}, 1),
      ("ArrowRight", {}, 2),
      ("ArrowLeft", {}, 1),
      ("ArrowRight", {"shift": True}, 11),
      ("End", {}, 22),
      ("ArrowRight", {}, 22),
      ("Home", {}, 0),
      ("ArrowLeft", {}, 0),
    ]
    for name, how, index in steps:
      assert opened.key(name, **how) == index, name
      _shown(opened, index)
    person = "document.getElementById('person').value"
    joint = "document.getElementById('joint').selectedOptions[0].text"
    assert [opened.run(person), opened.run(joint)] == ["4", "left ankle"]
    for key in "].":
      opened.key(key)
    assert [opened.run(person), opened.run(joint)] == ["9", "right wrist"]
    for key in "[,":
      opened.key(key)
    assert [opened.run(person), opened.run(joint)] == ["4", "left ankle"]
    # In a field the keys are the field's.
    opened.run("document.getElementById('frame').focus()")
    assert opened.key("ArrowRight") == 0


def test_it_plays_to_its_end_with_poses_in_step(browser, page):
  with _open(browser, page) as opened:
    _choose_ankle(opened)
    opened.go(15)
    opened.run(
      "window.seen = []; new MutationObserver(() => {"
      "const shown = +document.body.dataset.shown;"
      "seen.push([shown, colour([30 + 11 * shown, 61])]);"
      "}).observe(document.body, {attributeFilter: ['data-shown']})"
    )
    opened.page.key(" ")
    opened.page.wait("document.querySelector('.running')")
    opened.page.wait("!document.querySelector('.running')")
    assert opened.settle() == 22
    seen = opened.run("seen")
    frames = [frame for frame, _ in seen]
    assert frames == sorted(frames) and len(set(frames)) > 2
    # The pose is drawn before it is said which frame it is of.
    assert all(found[:3] == list(colours.RIGHT) for _, found in seen)
    opened.page.key(" ")  # from the beginning again
    opened.page.wait("+document.body.dataset.shown < 22")
    opened.page.key(" ")
    opened.settle()


def test_pointing_at_a_joint_shows_what_is_known_of_it(browser, page):
  with _open(browser, page) as opened:
    _choose_ankle(opened)
    opened.go(3)
    below = np.add(_wrist(3), (0, 100))  # where three of ten samples are
    assert opened.colour(below)[3] == 0
    opened.move(np.add(_wrist(3), (3, -2)))
    assert opened.run("document.getElementById('tip').hidden") is False
    tip = opened.run("words('tip')")
    assert tip.startswith("person 4, right wrist")
    assert "score 0.28" in tip and "P(within) 0.75" in tip
    assert "2 modes" in tip
    # Half of the errors of variances 36 and 9: sqrt(6 * 3 * 1.386) = 5.0.
    assert "± 5.0 px" in tip
    assert opened.colour(below)[:3] == list(colours.RIGHT)
    opened.move((160, 20))
    assert opened.run("document.getElementById('tip').hidden") is True
    assert opened.colour(below)[3] == 0


def test_a_click_chooses_joint_and_person(browser, page):
  with _open(browser, page) as opened:
    _choose_ankle(opened)
    opened.go(11)
    opened.click((162, 131))  # the wrist of the second person
    assert opened.run("document.getElementById('person').value") == "9"
    joint = "document.getElementById('joint')"
    assert opened.run(f"{joint}.selectedOptions[0].text") == "right wrist"
    values = opened.run("words('values')")
    for words in ("0.360", "0.750", "70 % at 160.0, 130.0", "160.00, 130.00"):
      assert words in values, (words, values)
    lane = "document.querySelectorAll('#rows button')[1]"
    assert opened.run(f"{lane}.getAttribute('aria-pressed')") == "true"
    opened.go(14)
    assert opened.run("words('values')") == "Not in this frame."
    opened.click((100, 150))  # in the first person's box, at no joint
    assert opened.run("document.getElementById('person').value") == "4"


def test_time_is_scrubbed_and_looked_at_closer(browser, page):
  with _open(browser, page) as opened:
    _choose_ankle(opened)
    end = TIMES[-1] + 1 / 9

    def at(id_, time):
      box = opened.run(
        f"(({{left, top, width, height}}) => [left, top, width, height])"
        f"(document.querySelector('{id_}').getBoundingClientRect())"
      )
      return box[0] + box[2] * time / end, box[1] + box[3] / 2

    opened.page.pointer("down", *at("#ruler", TIMES[5] + 0.01))
    assert opened.settle() == 5
    opened.page.pointer("move", *at("#ruler", TIMES[19] + 0.01))
    assert opened.settle() == 19
    _shown(opened, 19)
    opened.page.pointer("up", *at("#ruler", TIMES[19] + 0.01))
    # A lane of the second person chooses them too; so does no curve.
    opened.page.click(*at("#rows .lane:nth-child(2) svg", TIMES[12] + 0.01))
    assert opened.settle() == 12
    assert opened.run("document.getElementById('person').value") == "9"
    opened.page.click(*at("#curves svg", TIMES[7] + 0.01))
    assert opened.settle() == 7
    # Their lane has one bar, from frame 10 to the beginning of 13.
    bar = opened.run(
      "document.querySelectorAll('#rows path')[1].getAttribute('d')"
    )
    edges = [float(number) for number in re.findall(r"[MH]([\d.]+)", bar)]
    np.testing.assert_allclose(
      edges, [TIMES[10], TIMES[13], TIMES[10]], atol=1e-3
    )
    box = "document.querySelector('#rows svg').getAttribute('viewBox')"
    opened.run("document.getElementById('closer').click()")
    _, _, length, _ = map(float, opened.run(box).split())
    assert length == pytest.approx(end / 2, rel=1e-6)
    opened.key("End")
    begin, _, length, _ = map(float, opened.run(box).split())
    assert begin <= TIMES[22] <= begin + length


def test_curves_go_where_the_numbers_are(browser, page):
  with _open(browser, page) as opened:
    _choose_ankle(opened)
    width = opened.run("document.querySelector('#curves svg').clientWidth")
    path = opened.run(
      "document.querySelector('#curves path').getAttribute('d')"
    )
    points = re.findall(r"[ML]([\d.]+) ([\d.]+)", path)
    assert len(points) == COUNT and path.count("M") == 1
    x, y = np.array(points, float).T
    end = TIMES[-1] + 1 / 9
    np.testing.assert_allclose(x, width * TIMES / end, atol=0.26)
    # From 0 at the lower edge to 1 at the upper one, 6 pixels inside.
    score = np.round(0.25 + np.arange(COUNT) / 100, 3)
    np.testing.assert_allclose(y, 90 - score * 84, atol=0.06)
    assert opened.run("document.querySelectorAll('#curves figure').length") == 3


def test_layers_and_the_least_score(browser, page):
  with _open(browser, page) as opened:
    _choose_ankle(opened)
    for name in ("skeleton", "ids"):
      opened.run(f"document.querySelector('[name={name}]').click()")
    opened.settle()
    assert opened.colour(_wrist(0))[3] == 0
    # The chosen joint is marked, whatever else is to be seen.
    assert opened.run("painted()")
    opened.run("document.querySelector('[name=samples]').click()")
    opened.settle()
    assert opened.colour(np.add(_wrist(0), (0, 100)))[:3] == list(colours.RIGHT)
    opened.run(
      "var l = document.getElementById('least'); l.value = 0.3;"
      "l.dispatchEvent(new Event('input', {bubbles: true}))"
    )
    opened.settle()
    assert opened.colour(np.add(_wrist(0), (0, 100)))[3] == 0


def test_a_video_of_one_frame(browser, tmp_path):
  path = tmp_path / "one.html"
  film = _film(tmp_path / "one.webm", count=1)
  viewer.write(path, _head(), _frames(count=1), film)
  with _open(browser, path) as opened:
    _choose_ankle(opened)
    _shown(opened, 0)
    assert opened.key("ArrowRight") == 0
    assert opened.key(" ") == 0


def test_a_video_without_people(browser, tmp_path, film):
  path = tmp_path / "empty.html"
  viewer.write(path, _head(), _frames(lambda index: []), film)
  with _open(browser, path) as opened:
    assert opened.key("ArrowRight") == 1
    assert not opened.run("painted()")
    assert "no people" in opened.run("words('values')")
    assert opened.run("document.getElementById('person').disabled")


def test_a_crowd(browser, tmp_path):
  """200 people in a frame, and some without identity; no video at all."""

  def people(index):
    crowd = [_person(index + i // 20, track=i + 60 * index) for i in range(200)]
    lost = _person(index, track=-1)
    lost.joints[WRIST] = (160, 210)
    return [*crowd, lost]

  path = tmp_path / "crowd.html"
  viewer.write(path, _head(), _frames(people, count=3), None)
  with _open(browser, path) as opened:
    # Of 320 identities and none those who are there most.
    assert opened.run("document.querySelectorAll('#rows button').length") == 300
    unlisted = opened.run("words('unlisted')")
    assert unlisted.startswith(
      "21 more identities, each there in at most 1 frame,"
    )
    assert opened.run("document.getElementById('rows').clientHeight") < 300
    assert opened.run("document.getElementById('video')") is None
    assert opened.key("ArrowRight") == 1
    assert opened.run("painted()")
    opened.click((160, 210))
    assert "Without identity" in opened.run(
      "document.getElementById('person').selectedOptions[0].text"
    )
    assert opened.run("document.getElementById('no-curve').hidden") is False
    assert "160.00, 210.00" in opened.run("words('values')")


def test_odd_sizes_lie_over_their_picture(browser, tmp_path):
  """The file has a row and a column more than the picture."""
  size = (181, 267)
  film = tmp_path / "odd.webm"
  with video.Writer(film, fps=9.0, size=size, backend="opencv") as writer:
    writer.write(np.full((*size, 3), 90, np.uint8))
  path = tmp_path / "odd.html"
  head = poses.Head("odd", "odd.mp4", 9.0, *size, POSETRACK, {})
  viewer.write(path, head, _frames(count=1), film)
  with _open(browser, path) as opened:
    sizes = opened.run(
      "[film, stage()].map((e) => e.getBoundingClientRect())"
      ".map(({width, height}) => [width, height])"
    )
    ratio = np.divide(*sizes)
    np.testing.assert_allclose(ratio, [268 / 267, 182 / 181], atol=1e-4)


def test_names_are_not_run(browser, tmp_path):
  skeleton = skeletons.Skeleton(
    name="own",
    joints=(BAD, "b'c"),
    pairs=(),
    limbs=((0, 1),),
    upper=(0, 1),
    lower=(),
    evaluated=(0, 1),
    groups=(),
    sigmas=(0.1, 0.1),
  )
  person = annotations.Person(
    box=np.array([10, 20, 310, 230], np.float32),
    joints=np.array([[50, 50], [90, 90]], np.float32),
    labelled=np.array([True, True]),
    track_id=1,
    scores=np.array([0.5, 0.6], np.float32),
  )
  path = tmp_path / "bad.html"
  frames = _frames(lambda index: [person], count=2)
  viewer.write(path, _head(f"{BAD}.mp4", skeleton), frames, None)
  with _open(browser, path) as opened:
    assert opened.run("document.querySelectorAll('img').length") == 0
    assert (
      opened.run("document.querySelector('h1').textContent") == f"{BAD}.mp4"
    )
    options = "[...document.getElementById('joint').options].map((o) => o.text)"
    assert opened.run(options) == [BAD, "b'c"]
    opened.move((50, 50))
    assert BAD in opened.run("document.getElementById('tip').textContent")


def test_a_video_beside_the_page_and_none_any_more(browser, tmp_path):
  film = _film(tmp_path / "50% #1?.webm")
  path = tmp_path / "walk.html"
  assert not viewer.write(path, _head(), _frames(), film, embed=0).embedded
  with browser.page(path.as_uri()) as opened:
    opened.wait(READY)
    address = opened.run("document.getElementById('video').currentSrc")
    assert address.startswith("file:")
    assert opened.faults() == []
  film.unlink()
  with browser.page(path.as_uri()) as opened:
    opened.wait("!document.getElementById('no-video').hidden")
    opened.key("ArrowRight")
    opened.wait("document.body.dataset.shown === '1'")
    opened.key(" ")  # it plays without the video
    opened.wait("document.body.dataset.shown > 2")


def test_what_is_left_out_is_stepped_over(browser, tmp_path, film, monkeypatch):
  # A frame with its person: 6 + 22 + 2 * 24, and 80 of samples.
  monkeypatch.setattr(viewer_data, "MOST", COUNT * 85 // 3 + 1)
  path = tmp_path / "walk.html"
  (first, second) = viewer.write(path, _head(), _frames(), film).notes
  assert "every 3rd" in first and "every 10th" in second
  with _open(browser, path) as opened:
    _choose_ankle(opened)
    assert opened.key("ArrowRight") == 1  # of those that are there
    _shown(opened, 3)
    assert opened.run("document.getElementById('frame').value") == "3"
    assert "not of this frame" in opened.run("words('values')")
    assert opened.key("End") == 7
    _shown(opened, 21)


@pytest.mark.parametrize(
  ("width", "dark"), [(1280, False), (1280, True), (390, False), (390, True)]
)
def test_it_can_be_read_wide_and_narrow_light_and_dark(
  browser, page, width, dark
):
  with _open(browser, page, width=width, dark=dark) as opened:
    wide = opened.run("document.documentElement.scrollWidth")
    assert wide <= width
    # No word is cut off or pushed out of sight.
    outside = opened.run(
      "[...document.querySelectorAll('button, select, label, h1, h2, dt, dd')]"
      ".filter((e) => e.offsetParent && (e.getBoundingClientRect().right > "
      f"{width} || e.getBoundingClientRect().left < 0)).map((e) => e.outerHTML)"
    )
    assert outside == []
    ground = opened.run("getComputedStyle(document.body).backgroundColor")
    level = np.mean([int(n) for n in re.findall(r"\d+", ground)])
    assert (level < 60) == dark
    # Keyboard alone reaches all that can be pressed.
    assert opened.run(
      "[...document.querySelectorAll('button, select, input, #ruler')]"
      ".every((e) => e.disabled || e.tabIndex >= 0)"
    )
    unnamed = opened.run(
      "[...document.querySelectorAll('button, select, input')].filter((e) =>"
      " !(e.innerText || e.getAttribute('aria-label') || e.labels?.length))"
      ".map((e) => e.outerHTML)"
    )
    assert unnamed == []
