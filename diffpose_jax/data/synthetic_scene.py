"""A synthetic scene: who and what is in a video, and each of its frames."""

import dataclasses

import cv2
import numpy as np
from jaxtyping import Float, UInt8

from diffpose_jax.data import (
  synthetic_body,
  synthetic_camera,
  synthetic_mesh,
  synthetic_motion,
  synthetic_render,
)

STEPS = 8  # instants of the fine time line per frame
HALF = STEPS // 2


@dataclasses.dataclass(frozen=True)
class Difficulty:
  """How hard the pictures are.

  `people` and `occluders`: fewest and most per video. From 0 (none) upwards:
  `motion_blur`, `defocus`, `camera_motion`, `noise`, `clutter` (of the
  background), `light` (its change over time). `ambiguous`: share of the
  stretches, of `stretch` frames, in which one or two frames of a person are
  blurred or covered while their neighbours are not. `close`: share of videos
  with an upper body only. `crowd`: share with unlabelled people in an ignore
  region. `speed`: pace of the movements. `activities`: what people do; empty
  for everything.
  `turned`: largest angle from facing the camera at the start, degrees.
  """

  people: tuple[int, int]
  occluders: tuple[int, int]
  motion_blur: float
  defocus: float
  camera_motion: float
  noise: float
  clutter: float
  light: float
  ambiguous: float
  close: float
  crowd: float
  speed: float
  activities: tuple[str, ...] = ()
  turned: float = 180.0
  stretch: int = 8


@dataclasses.dataclass(frozen=True)
class Actor:
  """A person of the scene and what befalls it.

  `events` maps a frame to (kind, size, joint): 'blur' and 'smear' with their
  extent, 'cover' with the half width of what passes, as shares of the height.
  """

  body: synthetic_body.Body
  mesh: synthetic_mesh.Mesh
  motion: synthetic_motion.Motion
  world: tuple[np.ndarray, np.ndarray]
  sigma: float
  events: dict[int, tuple[str, float, int]]
  cover: np.ndarray


@dataclasses.dataclass(frozen=True)
class Thing:
  """A flat textured shape in the world; `path` [t 3], `half` in metres."""

  patch: np.ndarray
  path: np.ndarray
  half: np.ndarray
  angle: float


@dataclasses.dataclass(frozen=True)
class Look:
  """What the recording does to the picture; arrays have a row per frame."""

  gain: np.ndarray
  gamma: np.ndarray
  grey: bool
  sigma: float
  shrink: float
  noise: np.ndarray
  quality: int


@dataclasses.dataclass(frozen=True)
class Scene:
  """Everything that a video's frames are drawn from."""

  size: tuple[int, int]
  frames: int
  actors: tuple[Actor, ...]
  things: tuple[Thing, ...]
  views: tuple[synthetic_camera.View, ...]
  backdrop: np.ndarray
  backdrop_view: synthetic_camera.View
  ignored: tuple[np.ndarray, ...]
  light: synthetic_render.Light
  shadow: float
  shutter: float
  fabric: np.ndarray
  look: Look


@dataclasses.dataclass(frozen=True)
class Seen:
  """The truth about one person in one frame, in image pixels.

  `joints` [17 2]; `inside` and `occluded` [17]; boxes are xyxy, `box` clipped
  to the picture. `blur` is the diameter of blur at the person and `speed` the
  mean motion of its joints, in px and px per frame.
  """

  track: int
  joints: np.ndarray
  inside: np.ndarray
  occluded: np.ndarray
  box: np.ndarray
  head: np.ndarray
  blur: float
  speed: float


@dataclasses.dataclass(frozen=True)
class Frame:
  """One rendered frame: picture (BGR), its people, ignored polygons."""

  image: UInt8[np.ndarray, "h w 3"]
  people: tuple[Seen, ...]
  ignored: tuple[Float[np.ndarray, "p 2"], ...]


def posed(scene: Scene, actor: Actor, at: int) -> Float[np.ndarray, "v 3"]:
  """Returns an actor's vertices in the world at a fine instant."""
  turn = np.concatenate([actor.motion.turn[at], actor.world[0][None]])
  origin = np.concatenate([actor.motion.origin[at], actor.world[1][None]])
  return synthetic_mesh.pose_mesh(actor.mesh, turn, origin)


def _draw_actor(scene, actor, track, frame):
  """Returns the layers of one person and its truth, or None out of view."""
  at = HALF + frame * STEPS
  view = scene.views[at]
  path = np.stack(
    [
      scene.views[i].project(actor.motion.joints[i])[0]
      for i in (at - HALF, at, at + HALF)
    ]
  )
  joints, depth = view.project(actor.motion.joints[at])
  if depth.min() < 0.3:
    return None
  moved = np.linalg.norm(path[2] - path[0], axis=1)
  reach = scene.shutter * HALF
  count = int(np.clip(np.ceil(scene.shutter * moved.max() / 2.5), 1, 6))
  instants = np.unique(np.round(np.linspace(-reach, reach, count)).astype(int))
  if count == 1:
    instants = np.array([0])
  shown = {
    i: synthetic_render.surface(
      actor.mesh, posed(scene, actor, at + i), scene.views[at + i], scene.light
    )
    for i in {0, *instants.tolist()}
  }
  layer = synthetic_render.draw_surfaces(
    [shown[i] for i in instants],
    scene.size,
    scene.fabric,
    float(depth[11:13].mean()),
  )
  if layer is None:
    return None
  height = view.focal * actor.body.height / depth.mean()
  layers, extra = _befall(scene, actor, frame, layer, joints, height)
  blur = float(np.hypot(scene.shutter * moved.mean() * (count > 1), extra))
  occluded = synthetic_render.hidden_by_self(
    shown[0], joints, depth, actor.body.scale
  )
  seen = _truth(scene, actor, track, shown[0].points, joints, occluded)
  return layers, dataclasses.replace(seen, blur=blur, speed=float(moved.mean()))


def _befall(scene, actor, frame, layer, joints, height):
  """Returns the person's layers after defocus and events, and their blur."""
  kind, size, joint = actor.events.get(frame, ("", 0.0, 0))
  sigma = float(np.hypot(actor.sigma, size * height if kind == "blur" else 0))
  layer = synthetic_render.blurred(layer, sigma, scene.size)
  extra, layers = 2 * sigma, [layer]
  if kind == "smear":
    angle = joint + 0.37 * frame
    step = size * height * np.array([np.cos(angle), 0.5 * np.sin(angle)])
    kernel = synthetic_render.smear_kernel(step)
    if kernel is not None:
      room = synthetic_render.blurred(
        layer, 0.3 + np.abs(step).max() / 5, scene.size
      )
      y = layer.corner[1] - room.corner[1]
      x = layer.corner[0] - room.corner[0]
      patch = np.zeros_like(room.patch)
      h, w = layer.patch.shape[:2]
      patch[y : y + h, x : x + w] = layer.patch
      patch = cv2.filter2D(patch, -1, kernel, borderType=cv2.BORDER_REPLICATE)
      layers = [dataclasses.replace(room, patch=patch)]
      extra = float(np.hypot(extra, np.hypot(*step)))
  if kind == "cover":
    half = size * height * np.array([1.0, 1.3])
    cover = synthetic_render.billboard(
      actor.cover,
      joints[joint],
      half,
      0.2 * joint,
      scene.size,
      layer.depth - 0.3,
    )
    if cover is not None:
      layers.append(cover)
  return layers, extra


def _truth(scene, actor, track, points, joints, occluded):
  """Returns what is known of a person before anything hides it."""
  h, w = scene.size
  last = np.array([w - 1, h - 1])
  body = points[actor.mesh.body]
  box = np.concatenate(
    [
      np.clip(body.min(axis=0), 0, last),
      np.clip(body.max(axis=0), 0, last),
    ]
  )
  head = np.concatenate([points[actor.mesh.head], joints[1:2]])
  return Seen(
    track=track,
    joints=joints,
    inside=((joints >= 0) & (joints <= last)).all(axis=1),
    occluded=occluded,
    box=box,
    head=np.concatenate([head.min(axis=0), head.max(axis=0)]),
    blur=0.0,
    speed=0.0,
  )


def _thing_layers(scene, at):
  """Returns the layers of all things at a fine instant."""
  view, layers = scene.views[at], []
  for thing in scene.things:
    centre, depth = view.project(thing.path[at])
    if depth < 0.25:
      continue
    half = np.maximum(thing.half * view.focal / depth, 0.6)
    if half.max() > 2000:
      continue
    layer = synthetic_render.billboard(
      thing.patch, centre, half, thing.angle, scene.size, float(depth)
    )
    if layer is not None:
      layers.append(layer)
  return layers


def render_frame(scene: Scene, frame: int) -> Frame:
  """Returns a frame of the scene: its picture and the truth about it."""
  at = HALF + frame * STEPS
  view = scene.views[at]
  mapping = synthetic_camera.homography(scene.backdrop_view, view)
  h, w = scene.size
  image = cv2.warpPerspective(
    scene.backdrop, mapping, (w, h), borderMode=cv2.BORDER_REFLECT_101
  )
  image = _panned(scene, image, at)
  layers = _thing_layers(scene, at)
  people = []
  for track, actor in enumerate(scene.actors):
    drawn = _draw_actor(scene, actor, track, frame)
    if drawn is None:
      continue
    layers += drawn[0]
    people.append((drawn[1], drawn[0][0].depth, drawn[0]))
    if scene.shadow and actor.motion.activity != "stairs":
      synthetic_render.cast_shadow(
        image, actor.motion.joints[at], view, scene.light, scene.shadow
      )
  layers.sort(key=lambda layer: -layer.depth)
  for layer in layers:
    synthetic_render.put_over(image, layer)
  seen = tuple(
    _with_cover(
      person, [x for x in layers if x.depth < depth and x is not own[0]]
    )
    for person, depth, own in people
  )
  ignored = tuple(
    cv2.perspectiveTransform(polygon[None], mapping)[0]
    for polygon in scene.ignored
  )
  return Frame(recorded(scene.look, image, frame), seen, ignored)


def _with_cover(person, nearer):
  """Returns the person with the joints marked that nearer layers hide."""
  hidden = person.occluded.copy()
  for layer in nearer:
    hidden |= layer.cover(person.joints)
  return dataclasses.replace(person, occluded=hidden)


def _panned(scene, image, at):
  """Returns the background under the camera's own motion blur."""
  before, after = scene.views[at - HALF], scene.views[at + HALF]
  ahead = scene.views[at].position + 10 * scene.views[at].turn[2:]
  step = scene.shutter * (after.project(ahead)[0] - before.project(ahead)[0])[0]
  kernel = (
    synthetic_render.smear_kernel(step) if np.hypot(*step) > 1.5 else None
  )
  return image if kernel is None else cv2.filter2D(image, -1, kernel)


def recorded(
  look: Look, image: UInt8[np.ndarray, "h w 3"], frame: int
) -> UInt8[np.ndarray, "h w 3"]:
  """Returns the picture after lens, exposure, colour and sensor noise."""
  h, w = image.shape[:2]
  if look.sigma > 0.35:
    image = cv2.GaussianBlur(image, (0, 0), look.sigma)
  if look.shrink < 1:
    small = (int(w * look.shrink), int(h * look.shrink))
    image = cv2.resize(image, small, interpolation=cv2.INTER_LINEAR)
    image = cv2.resize(image, (w, h), interpolation=cv2.INTER_LINEAR)
  level = np.arange(256)[:, None] / 255.0
  table = 255 * np.clip(level * look.gain[frame], 0, 1) ** look.gamma[frame]
  image = cv2.LUT(image, table.round().astype(np.uint8).reshape(1, 256, 3))
  y, x = (frame * 13) % 32, (frame * 7) % 32
  image = cv2.add(image, look.noise[y : y + h, x : x + w], dtype=cv2.CV_8U)
  if look.grey:
    image = cv2.cvtColor(
      cv2.cvtColor(image, cv2.COLOR_BGR2GRAY), cv2.COLOR_GRAY2BGR
    )
  return image
