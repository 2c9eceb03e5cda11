"""Scenes: geometry of the camera, drawn bodies, occlusion that is real."""

import dataclasses

import numpy as np
import pytest

from diffpose_jax.data import (
  synthetic,
  synthetic_body,
  synthetic_camera,
  synthetic_clothes,
  synthetic_looks,
  synthetic_mesh,
  synthetic_motion,
  synthetic_render,
  synthetic_scene,
)
from diffpose_jax.pose import skeleton as skeleton_lib

_SIZE = (211, 251)
_LIGHT = synthetic_render.Light(np.array([0, 1.0, 0]), 0.5, 0.5, np.ones(3))


def _view(distance=4.0, height=0.9, focal=300.0):
  """A level camera that looks along +z at the world's origin."""
  return synthetic_camera.View(
    position=np.array([0, height, -distance]),
    turn=synthetic_camera.looking(0.0, 0.0, 0.0),
    focal=focal,
    centre=((_SIZE[1] - 1) / 2, (_SIZE[0] - 1) / 2),
  )


def _standing(heading, seed=1):
  """Returns body, mesh, vertices and joints of one who stands still."""
  rng = np.random.default_rng(seed)
  body = synthetic_body.sample_body(rng)
  mesh = synthetic_clothes.build(
    rng, body, synthetic_looks.sample_look(rng, body)
  )
  angles = np.zeros((1, len(synthetic_body.ANGLES)))
  turn, origin = synthetic_motion.place(
    body, angles, np.zeros(1), np.array([heading]), "feet"
  )
  joints = synthetic_body.joints(body, turn, origin)[0]
  turn = np.concatenate([turn[0], np.eye(3)[None]])
  origin = np.concatenate([origin[0], np.zeros((1, 3))])
  return body, mesh, synthetic_mesh.pose_mesh(mesh, turn, origin), joints


@pytest.fixture(scope="module")
def scene():
  return synthetic.sample_scene(split="t", index=3, frames=4, size=_SIZE)


def test_projection_by_hand():
  view = _view()
  points, depth = view.project(np.array([[0, 0.9, 0], [-1, 1.9, 1.0]]))
  np.testing.assert_allclose(depth, [4, 5])
  # -x is to the right of one who looks along +z; up is up the picture.
  np.testing.assert_allclose(points, [[125, 105], [125 + 60, 105 - 60]])


def test_homography_moves_what_is_far_like_the_camera():
  first = _view()
  second = dataclasses.replace(
    first, turn=synthetic_camera.looking(0.1, -0.05, 0.02), focal=350.0
  )
  points = np.array([[0.3, 1.2, 2.0], [-1, 0.2, 7.0]])
  before, after = first.project(points)[0], second.project(points)[0]
  mapped = np.column_stack([before, np.ones(2)]) @ (
    synthetic_camera.homography(first, second).T
  )
  np.testing.assert_allclose(mapped[:, :2] / mapped[:, 2:], after, atol=1e-6)


@pytest.mark.parametrize(("heading", "sign"), [(180.0, 1), (0.0, -1)])
def test_left_is_left_as_in_life(heading, sign):
  joints = _view().project(_standing(heading)[3])[0]
  for left, right in ((5, 6), (7, 8), (9, 10), (11, 12), (13, 14), (15, 16)):
    assert sign * (joints[left, 0] - joints[right, 0]) > 0
  # Up the spine crossed with right-to-left is the way that the chest looks.
  points = _standing(heading)[3]
  front = np.cross(points[5] - points[6], points[1] - points[11])
  assert sign * front[2] < 0


@pytest.mark.parametrize(("heading", "hidden"), [(180.0, False), (0.0, True)])
def test_nose_is_hidden_from_behind_only(heading, hidden):
  body, mesh, vertices, joints = _standing(heading)
  view = _view()
  shown = synthetic_render.surface(mesh, vertices, view, _LIGHT)
  points, depth = view.project(joints)
  found = synthetic_render.hidden_by_self(shown, points, depth, body.scale)
  assert found[0] == hidden
  assert not found[[1, 2, 5, 6, 13, 14]].any()


def _ray_hits(corners, start, end):
  """Returns the ways (0 start, 1 end) at which a segment meets triangles."""
  a, b, c = corners[:, 0], corners[:, 1], corners[:, 2]
  along = end - start
  first, second = b - a, c - a
  p = np.cross(along, second)
  det = (first * p).sum(1)
  with np.errstate(divide="ignore", invalid="ignore"):
    t = start - a
    u = (t * p).sum(1) / det
    q = np.cross(t, first)
    v = (q * along).sum(1) / det
    way = (second * q).sum(1) / det
    good = (np.abs(det) > 1e-12) & (u >= 0) & (v >= 0) & (u + v <= 1)
  return way[good & (way > 0)]


def test_self_occlusion_agrees_with_ray_casting():
  agreed, hidden, total = 0, 0, 0
  for index in range(6):
    scene = synthetic.sample_scene(split="r", index=index, frames=1, size=_SIZE)
    actor, at = scene.actors[0], synthetic_scene.HALF
    view, vertices = scene.views[at], synthetic_scene.posed(scene, actor, at)
    shown = synthetic_render.surface(actor.mesh, vertices, view, scene.light)
    points, depth = view.project(actor.motion.joints[at])
    found = synthetic_render.hidden_by_self(
      shown, points, depth, actor.body.scale
    )
    quads = vertices[actor.mesh.faces]
    triangles = np.concatenate([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]])
    margin = synthetic_render.OWN * actor.body.scale
    for k in (0, 1, 2, *range(5, 17)):
      way = _ray_hits(triangles, view.position, actor.motion.joints[at, k])
      expected = bool((way * depth[k] < depth[k] - margin[k]).any())
      agreed += found[k] == expected
      hidden += expected
      total += 1
  assert hidden > 8
  assert agreed >= 0.96 * total  # quads are not quite flat


def test_rest_pose_gives_back_the_built_surface():
  rng = np.random.default_rng(2)
  body = synthetic_body.sample_body(rng)
  look = synthetic_looks.sample_look(rng, body)
  mesh = synthetic_clothes.build(rng, body, look)
  bones = len(synthetic_body.BONES)
  rest = np.zeros((bones + 1, 3))
  rest[:bones] = synthetic_body.rest_origins(body)
  turn = np.tile(np.eye(3), (bones + 1, 1, 1))
  points = synthetic_mesh.pose_mesh(mesh, turn, rest)
  np.testing.assert_allclose(
    points, mesh.local[0] + rest[mesh.bones[0]], atol=1e-12
  )
  corners = points[mesh.faces]
  normal = np.cross(
    corners[:, 2] - corners[:, 0], corners[:, 3] - corners[:, 1]
  )
  volume = (normal * corners.mean(1)).sum() / 6  # divergence theorem
  weight = 1000 * volume  # kilograms, as water
  assert 0.5 * 22 * body.height**2 < weight < 1.8 * 25 * body.height**2


@pytest.mark.parametrize("heading", [180.0, 90.0, 0.0, -50.0])
def test_joints_lie_on_the_drawn_body(heading):
  _, mesh, vertices, joints = _standing(heading)
  view = _view(height=0.8)
  shown = synthetic_render.surface(mesh, vertices, view, _LIGHT)
  grain = np.full((2, 2, 4), 128, np.uint8)
  layer = synthetic_render.draw_surfaces([shown], _SIZE, grain, 4.0)
  points = view.project(joints)[0]
  inner = [0, 1, *range(5, 17)]
  assert layer is not None
  assert layer.cover(points[inner]).all()
  assert layer.cover(points[[2]] + np.array([[0.0, 2.0]])).all()
  far = points[[2]] - np.array([[0, 6.0]])
  assert not layer.cover(far).any()


def test_thing_in_front_hides_exactly_the_joints_behind_it(scene):
  plain = dataclasses.replace(
    scene, things=(), actors=(dataclasses.replace(scene.actors[0], events={}),)
  )
  at = synthetic_scene.HALF
  view, joint = scene.views[at], 13
  target = plain.actors[0].motion.joints[at, joint]
  halfway = view.position + 0.5 * (target - view.position)
  patch = np.full((8, 8, 4), 255, np.uint8)
  thing = synthetic_scene.Thing(
    patch=patch,
    path=np.tile(halfway, (len(scene.views), 1)),
    half=np.array([0.06, 0.06]),
    angle=0.0,
  )
  before = synthetic_scene.render_frame(plain, 0)
  after = synthetic_scene.render_frame(
    dataclasses.replace(plain, things=(thing,)), 0
  )
  behind = dataclasses.replace(
    thing, path=view.position + 1.5 * (thing.path - view.position) * 2
  )
  beyond = synthetic_scene.render_frame(
    dataclasses.replace(plain, things=(behind,)), 0
  )
  points = before.people[0].joints
  centre, depth = view.project(halfway)
  half = 0.06 * view.focal / depth
  covered = (np.abs(points - centre) < half - 1).all(axis=1)
  clear = (np.abs(points - centre) > half + 2).any(axis=1)
  assert covered[joint]
  assert after.people[0].occluded[covered].all()
  np.testing.assert_array_equal(
    after.people[0].occluded[clear], before.people[0].occluded[clear]
  )
  np.testing.assert_array_equal(
    beyond.people[0].occluded, before.people[0].occluded
  )
  np.testing.assert_array_equal(after.people[0].joints, points)


def test_hard_frames_are_ambiguous_beside_clear_ones():
  found = {"easy": 0, "hidden": 0, "hard": 0}
  for difficulty in found:
    for index in range(2):
      scene = synthetic.sample_scene(
        split="a",
        index=index,
        frames=16,
        size=(64, 64),
        difficulty=difficulty,
      )
      for actor in scene.actors:
        found[difficulty] += len(actor.events)
        # Two frames at most in each stretch, and one that begins before.
        stretch = synthetic.DIFFICULTIES[difficulty].stretch
        assert len(actor.events) <= 2 * 16 // stretch + 2
  assert found["easy"] == 0
  assert 4 <= found["hidden"] / 2 <= 8  # one or two of every four frames
  assert found["hard"] > 0


@pytest.mark.parametrize(
  ("difficulty", "least", "most"), [("front", 0.9, 1.0), ("easy", 0.3, 0.7)]
)
def test_people_in_front_have_their_left_on_the_right(difficulty, least, most):
  left, right = (
    skeleton_lib.POSETRACK.index(f"{side}_shoulder")
    for side in ("left", "right")
  )
  ways = []
  for index in range(25):
    scene = synthetic.sample_scene(
      split="a", index=index, frames=1, size=(64, 64), difficulty=difficulty
    )
    for person in synthetic_scene.render_frame(scene, 0).people:
      ways.append(person.joints[left, 0] > person.joints[right, 0])
  assert least <= np.mean(ways) <= most


def test_event_blurs_its_own_frame_only(scene):
  actor = dataclasses.replace(scene.actors[0], events={1: ("blur", 0.03, 5)})
  alone = dataclasses.replace(scene, actors=(actor,), things=())
  blur = [
    synthetic_scene.render_frame(alone, frame).people[0].blur
    for frame in (0, 1, 2)
  ]
  assert blur[1] > blur[0] + 2
  assert blur[1] > blur[2] + 2


def test_smear_kernel_keeps_light_and_centre():
  kernel = synthetic_render.smear_kernel(np.array([6.0, 3.0]))
  assert kernel is not None
  rows, columns = np.mgrid[: kernel.shape[0], : kernel.shape[1]]
  np.testing.assert_allclose(kernel.sum(), 1, atol=1e-6)
  reach = kernel.shape[0] // 2
  np.testing.assert_allclose((kernel * columns).sum(), reach, atol=0.02)
  np.testing.assert_allclose((kernel * rows).sum(), reach, atol=0.02)
  # The spread of a uniform segment of that length, along x: 36 / 12.
  spread = (kernel * (columns - reach) ** 2).sum()
  np.testing.assert_allclose(spread, 36 / 12, atol=0.35)
  assert synthetic_render.smear_kernel(np.array([0.5, 0.0])) is None


def test_layer_is_put_over_by_its_cover():
  image = np.full((5, 7, 3), 100, np.uint8)
  patch = np.zeros((2, 2, 4), np.uint8)
  patch[0, 0] = (10, 20, 30, 255)
  patch[0, 1] = (10, 20, 30, 51)  # a fifth
  layer = synthetic_render.Layer(patch, (3, 1), 1.0)
  synthetic_render.put_over(image, layer)
  np.testing.assert_array_equal(image[1, 3], [10, 20, 30])
  np.testing.assert_array_equal(image[1, 4], [90, 100, 110])
  np.testing.assert_array_equal(image[2, 3], 100)
  hidden = layer.cover(np.array([[3.0, 1.0], [4.0, 1.0], [9.0, 9.0]]))
  np.testing.assert_array_equal(hidden, [True, False, False])
