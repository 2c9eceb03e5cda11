"""The camera of a synthetic scene: where it stands, turns, zooms and shakes."""

import dataclasses

import numpy as np
from jaxtyping import Float


@dataclasses.dataclass(frozen=True)
class View:
  """A perspective camera at one instant.

  `turn` [3 3] takes world directions to the camera's (x right, y down, z
  ahead); `focal` is in pixels; `centre` is the (x, y) of the optical axis.
  """

  position: Float[np.ndarray, " 3"]
  turn: Float[np.ndarray, "3 3"]
  focal: float
  centre: tuple[float, float]

  def project(
    self, points: Float[np.ndarray, "*n 3"]
  ) -> tuple[Float[np.ndarray, "*n 2"], Float[np.ndarray, "*n"]]:
    """Returns image points in pixels and depths in metres."""
    ahead = (points - self.position) @ self.turn.T
    depth = ahead[..., 2]
    safe = np.maximum(depth, 0.05)[..., None]
    return ahead[..., :2] * (self.focal / safe) + self.centre, depth

  def matrix(self) -> Float[np.ndarray, "3 3"]:
    """Returns the 3x3 map from camera directions to homogeneous pixels."""
    x, y = self.centre
    return np.array([[self.focal, 0, x], [0, self.focal, y], [0, 0, 1.0]])

  def rays(self, size: tuple[int, int]) -> Float[np.ndarray, "h w 3"]:
    """Returns every pixel's direction in `level()`, one metre ahead of it."""
    to_level = (self.turn @ self.level()).astype(np.float32)
    x = (np.arange(size[1], dtype=np.float32) - self.centre[0]) / self.focal
    y = (np.arange(size[0], dtype=np.float32) - self.centre[1]) / self.focal
    rays = np.empty((*size, 3), np.float32)
    rays[:] = x[None, :, None] * to_level[0]
    rays += y[:, None, None] * to_level[1] + to_level[2]
    return rays

  def level(self) -> Float[np.ndarray, "3 3"]:
    """Returns the frame (columns: right, up, ahead) turned with the camera."""
    ahead = self.turn[2] * np.array([1, 0, 1])
    ahead = ahead / np.linalg.norm(ahead)
    up = np.array([0.0, 1.0, 0.0])
    return np.stack([np.cross(ahead, up), up, ahead], axis=1)


def looking(yaw: float, pitch: float, roll: float) -> Float[np.ndarray, "3 3"]:
  """Returns the turn of a camera; radians; yaw 0 looks along +z, level."""
  ahead = np.array(
    [np.sin(yaw) * np.cos(pitch), np.sin(pitch), np.cos(yaw) * np.cos(pitch)]
  )
  right = np.array([-np.cos(yaw), 0.0, np.sin(yaw)])
  down = np.cross(ahead, right)
  c, s = np.cos(roll), np.sin(roll)
  return np.stack([c * right + s * down, c * down - s * right, ahead])


def homography(source: View, target: View) -> Float[np.ndarray, "3 3"]:
  """Returns the pixel map between two views from the same position."""
  return (
    target.matrix()
    @ target.turn
    @ source.turn.T
    @ np.linalg.inv(source.matrix())
  )


def _drift(rng, times, amount, low, high):
  """Returns a smooth random path over times in seconds."""
  path = np.zeros(len(times))
  for _ in range(3):
    rate = 2 * np.pi * rng.uniform(low, high)
    path += rng.normal(0, 0.6) * np.sin(
      rate * times + rng.uniform(0, 2 * np.pi)
    )
  return amount * path


def sample_views(
  rng: np.random.Generator,
  subject: Float[np.ndarray, "t 3"],
  times: Float[np.ndarray, " t"],
  size: tuple[int, int],
  motion: float,
  close: bool,
  tall: float,
) -> list[View]:
  """Returns a view per time that keeps the subject in the picture.

  `subject` is the path of the subject's middle, `tall` its height in metres;
  `motion` scales pan, zoom and shake; `close` asks for the upper body only.
  """
  h, w = size
  focal = h / (2 * np.tan(np.radians(rng.uniform(22, 58)) / 2))
  share = rng.uniform(1.15, 2.1) if close else rng.uniform(0.42, 0.95)
  distance = max(focal * tall / (share * h), 1.3)
  tilt = np.radians(np.clip(rng.normal(-5, 10), -35, 22))
  path = subject.copy()
  path[:, 1] = np.clip(path[:, 1], 0, None)
  middle = path[len(path) // 2]
  above = 0.22 * tall if close else rng.normal(0, 0.05)
  focus = middle + np.array([0, above, 0])
  position = focus - distance * np.array([0, np.sin(tilt), np.cos(tilt)])
  position[1] = max(position[1], 0.25)
  follow = rng.uniform(0.6, 1.0)
  lag = path + (focus - middle)
  target = focus + follow * (lag - focus)
  width = max(1, len(times) // 6)
  kernel = np.ones(width) / width
  target = np.stack(
    [
      np.convolve(
        np.pad(row, (width // 2, width - 1 - width // 2), "edge"),
        kernel,
        "valid",
      )
      for row in target.T
    ],
    1,
  )
  ahead = target - position
  yaw = np.arctan2(ahead[:, 0], ahead[:, 2])
  pitch = np.arctan2(ahead[:, 1], np.hypot(ahead[:, 0], ahead[:, 2]))
  half = np.arctan2(w / 2, focal)
  yaw = yaw + rng.normal(0, 0.22) * half
  yaw = yaw + _drift(rng, times, 0.05 * motion * half, 0.1, 0.7)
  pitch = pitch + _drift(rng, times, 0.03 * motion * half, 0.1, 0.7)
  yaw = yaw + _drift(rng, times, 0.006 * motion * half, 2, 7)
  pitch = pitch + _drift(rng, times, 0.006 * motion * half, 2, 7)
  roll = rng.normal(0, 0.02) + _drift(rng, times, 0.012 * motion, 0.2, 1)
  zoom = np.exp(_drift(rng, times, 0.06 * motion, 0.05, 0.4))
  zoom /= zoom[len(zoom) // 2]
  centre = ((w - 1) / 2, (h - 1) / 2)
  return [
    View(position, looking(*angles), float(focal * z), centre)
    for angles, z in zip(np.stack([yaw, pitch, roll], 1), zoom, strict=True)
  ]
