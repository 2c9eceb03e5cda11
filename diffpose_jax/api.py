"""Poses from Python, in three lines.

>>> import numpy as np
>>> import diffpose_jax
>>> model = diffpose_jax.DiffPose.from_pretrained()
>>> picture = np.zeros((240, 320, 3), np.uint8)
>>> boxes = np.array([[20, 30, 120, 200], [140, 10, 260, 220]])
>>> result = model.predict(picture, boxes)
>>> result.joints.shape
(2, 17, 2)
"""

import dataclasses
import functools
import itertools
import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from absl import logging
from jaxtyping import Float, UInt8

from diffpose_jax.data import pyramid
from diffpose_jax.inference import (
  arrays_in,
  calibration,
  crops,
  flow,
  shipped,
)
from diffpose_jax.inference import estimator as estimator_lib
from diffpose_jax.inference import sampling as sampling_lib


@dataclasses.dataclass(frozen=True)
class Result:
  """Poses of the n people of one picture, in the order of their boxes.

  Points are (x, y) in pixels of the picture; the centre of the first pixel is
  (0, 0). k joints, m samples.
  """

  joints: Float[np.ndarray, "n k 2"]  # float32
  # float32 in [0, 1]: the heatmap's peak; 0 for joints that nothing was learned
  # of (PoseTrack's ears).
  scores: Float[np.ndarray, "n k"]
  # Of the joint's error, pixels²: the scale matrix S of a two-dimensional
  # Student distribution with `tail` degrees of freedom, which for an infinite
  # tail is the Gaussian with covariance S; else that is S tail / (tail - 2).
  covariance: Float[np.ndarray, "n k 2 2"]
  samples: Float[np.ndarray, "m n k 2"]  # float32, joints of each member
  joint_names: tuple[str, ...]
  limbs: tuple[tuple[int, int], ...]  # bones to draw, by joint
  calibrated: bool  # False: `covariance` is the raw spread
  tail: float = float("inf")
  # Probability of being within half a head of the truth; None: not known.
  within: Float[np.ndarray, "n k"] | None = None

  def __len__(self) -> int:
    return len(self.joints)


class DiffPose:
  """A network with its weights, compiled at the first call.

  The first call of a process takes longer: seconds for a small network. Set
  the environment variable JAX_COMPILATION_CACHE_DIR to a folder of your own,
  and later processes find there what this one compiled.
  """

  def __init__(
    self,
    estimator: estimator_lib.Estimator,
    calibrated: calibration.Calibration | None = None,
  ):
    """See `from_pretrained`."""
    self.estimator = estimator
    self._calibrated = calibrated

  @classmethod
  def from_pretrained(
    cls, path_or_name: str | pathlib.Path | None = None, **sampling: Any
  ) -> "DiffPose":
    """The network of a file or folder; by default, the one that is shipped.

    Nothing is ever downloaded.

    >>> from diffpose_jax import DiffPose
    >>> model = DiffPose.from_pretrained(steps=1, samples=3)
    >>> model.protocol["samples"]
    3
    >>> DiffPose.from_pretrained("runs/none")
    Traceback (most recent call last):
    ...
    ValueError: runs/none: no such workdir or file of weights; ...

    Args:
      path_or_name: file that `pack` wrote, workdir of a training run, or name
        of weights that come with the package.
      **sampling: steps (of denoising), samples (members of the ensemble), flip
        (average with the mirrored picture), seed (of the noise), eta (noise of
        the steps), solver (ddim or dpm2m) and adaptive (a spread up to which
        a first look of two samples and one step is enough); what is not given is as the weights' config
        says.

    Raises:
      ValueError: there are no such weights, they are damaged, or an option is
        unknown or out of range.
    """
    known = [field.name for field in dataclasses.fields(sampling_lib.Options)]
    for name in sampling:
      if name not in known:
        raise ValueError(
          f"from_pretrained: no option {name!r}; there are {', '.join(known)}"
        )
    weights = shipped.find(path_or_name)
    estimator = estimator_lib.Estimator.load(weights, **sampling)
    calibrated, warnings = calibration.find(weights, estimator.protocol())
    for warning in warnings:
      logging.warning(warning)
    return cls(estimator, calibrated)

  @property
  def protocol(self) -> dict[str, Any]:
    """How poses are made; options, weights and their hash, uncertainty."""
    return self.estimator.protocol() | calibration.describe(self._calibrated)

  @property
  def joint_names(self) -> tuple[str, ...]:
    """Names of the joints, in the order of results."""
    return self.estimator.skeleton.joints

  def __repr__(self) -> str:
    options = self.estimator.options
    return (
      f"DiffPose({len(self.joint_names)} joints, {options.steps} steps, "
      f"{options.samples} samples)"
    )

  def predict(self, frames: Any, boxes: Any) -> Any:
    """The poses of people whose boxes are given.

    One picture gives a `Result`; it is taken for a video that stands still.

    >>> import numpy as np
    >>> from diffpose_jax import DiffPose
    >>> model = DiffPose.from_pretrained()
    >>> picture = np.full((120, 160, 3), 90, np.uint8)
    >>> result = model.predict(picture, [[20, 10, 80, 110]])
    >>> result.joint_names[:2], result.scores.shape, result.covariance.shape
    (('nose', 'head_bottom'), (1, 17), (1, 17, 2, 2))

    A video gives a list with a `Result` for each frame, which was seen with
    its neighbours; before the first and after the last frame these stand still.

    >>> video = np.stack([picture] * 5)
    >>> everywhere = np.array([[20, 10, 80, 110], [70, 5, 150, 118]])
    >>> [len(result) for result in model.predict(video, everywhere)]
    [2, 2, 2, 2, 2]
    >>> nobody = np.zeros((0, 4))
    >>> some = [everywhere, everywhere[:1], nobody, nobody, everywhere[1:]]
    >>> [len(result) for result in model.predict(video, some)]
    [2, 1, 0, 0, 1]

    Args:
      frames: uint8 RGB, a picture (h, w, 3) or a video (t, h, w, 3).
      boxes: (n, 4), edges x1, y1, x2, y2 in pixels, of the people of a picture,
        or of all frames of a video; for a video also a list of t such arrays.

    Returns:
      `Result`, or a list of t of them. Everybody sees the same sampling noise,
      so that it is not seen as jitter.

    Raises:
      ValueError: pictures or boxes are of another type or shape, a box has no
        area, is not finite, or lies outside of its picture.
    """
    arrays_in.check_frames(frames)
    if frames.ndim == 3:
      people = arrays_in.boxes_of(boxes, frames.shape, "boxes")
      return self._poses(frames[None], [people])[0]
    return self._poses(frames, arrays_in.boxes_of_video(boxes, frames))

  def live(self, causal: bool = False) -> "Live":
    """What takes the frames of a camera one by one.

    All is compiled first, so that no frame has to wait for that.

    >>> import numpy as np
    >>> from diffpose_jax import DiffPose
    >>> live = DiffPose.from_pretrained().live(causal=True)
    >>> picture = np.full((120, 160, 3), 90, np.uint8)
    >>> [result] = live.push(picture, [[20, 10, 80, 110]])
    >>> result.joints.shape
    (1, 17, 2)

    Args:
      causal: whether a frame's result is there at once; the frames before it
        stand in for those after it, in reverse. Else it is there δ frames
        later, as good as a video's.
    """
    self.estimator.warm_up()
    return Live(self, causal)

  def _poses(
    self,
    frames: UInt8[np.ndarray, "t h w 3"],
    boxes: Sequence[Float[np.ndarray, "_ 4"]],
  ) -> list[Result]:
    """A result for each frame, in whole batches over frames."""
    config: Any = self.estimator.config
    span, last = config.data.span, len(frames) - 1

    @functools.lru_cache(maxsize=2 * span + 1)
    def picture(t: int) -> pyramid.Pyramid:
      return pyramid.Pyramid(np.ascontiguousarray(frames[t]))

    def clip(t: int) -> list[pyramid.Pyramid]:
      window = range(t - span, t + span + 1)
      return [picture(min(max(i, 0), last)) for i in window]

    waiting = (
      crops.cut(clip(t), box, config)
      for t, people in enumerate(boxes)
      for box in people
    )
    parts = [self._empty()]
    while batch := list(itertools.islice(waiting, config.evaluate.batch)):
      noise = np.zeros(len(batch), np.uint32)
      parts.append(
        self._result(
          crops.estimate(self.estimator, batch, noise, self._calibrated)
        )
      )
    ends = np.cumsum([0, *map(len, boxes)])
    whole = _joined(parts)
    return [_rows(whole, *ends[t : t + 2]) for t in range(len(boxes))]

  def _alone(
    self, frames: Sequence[pyramid.Pyramid], boxes: Float[np.ndarray, "n 4"]
  ) -> Result:
    """The result of the frame in the middle, as soon as can be."""
    if not len(boxes):
      return self._empty()
    config: Any = self.estimator.config
    asked = [crops.cut(frames, box, config) for box in boxes]
    noise = np.zeros(len(asked), np.uint32)
    return self._result(
      crops.estimate(self.estimator, asked, noise, self._calibrated, alone=True)
    )

  def _result(self, people: crops.People) -> Result:
    calibrated, skeleton = self._calibrated, self.estimator.skeleton
    tail = float("inf")
    if calibrated is not None:
      tail = calibrated.factors[calibrated.best].tail
    return Result(
      joints=people.joints,
      scores=people.scores,
      covariance=people.stated.scale,
      samples=people.samples,
      joint_names=skeleton.joints,
      limbs=skeleton.limbs,
      calibrated=calibrated is not None,
      tail=tail,
      within=people.stated.within,
    )

  def _empty(self) -> Result:
    """The result without anybody."""
    count, members = len(self.joint_names), self.estimator.options.samples
    known = self._calibrated is not None and self._calibrated.head is not None
    stated = calibration.Stated(
      np.zeros((0, count, 2, 2)), np.zeros((0, count)) if known else None
    )
    return self._result(
      crops.People(
        joints=np.zeros((0, count, 2), np.float32),
        scores=np.zeros((0, count), np.float32),
        samples=np.zeros((members, 0, count, 2), np.float32),
        stated=stated,
      )
    )


class Live:
  """Poses of the frames of one camera, one by one; see `DiffPose.live`."""

  def __init__(self, model: DiffPose, causal: bool):
    """Before the first frame."""
    config: Any = model.estimator.config
    self._model = model
    self._span = config.data.span
    self._windows = flow.Windows(self._span, causal)

  def push(self, frame: Any, boxes: Any) -> list[Result]:
    """The results that are ready with one more frame, in order: one or none.

    Args:
      frame: uint8 RGB (h, w, 3), of one size throughout.
      boxes: (n, 4), edges x1, y1, x2, y2 in pixels, of the people in it.

    Raises:
      ValueError: as `DiffPose.predict`.
    """
    arrays_in.check_frames(frame)
    if frame.ndim != 3:
      raise ValueError(f"frame: of shape {frame.shape}; push one at a time")
    # It may be the camera's own memory, which changes with the next frame.
    picture = pyramid.Pyramid(frame.copy())
    item = picture, arrays_in.boxes_of(boxes, frame.shape, "boxes")
    return [self._result(window) for window in self._windows.push(item)]

  def finish(self) -> list[Result]:
    """The results of the frames that still wait for those after them."""
    return [self._result(window) for window in self._windows.finish()]

  def _result(self, window: list[tuple[pyramid.Pyramid, np.ndarray]]) -> Result:
    frames = [frame for frame, _ in window]
    _, boxes = window[self._span]
    return self._model._alone(frames, boxes)


_BY_PERSON = {"joints": 0, "scores": 0, "covariance": 0, "samples": 1}


def _axes(result: Result) -> dict[str, int]:
  """The axis of the people in each field that has one."""
  return _BY_PERSON | ({} if result.within is None else {"within": 0})


def _joined(parts: Sequence[Result]) -> Result:
  """The people of several results in one."""
  whole = {
    name: np.concatenate([getattr(part, name) for part in parts], axis)
    for name, axis in _axes(parts[0]).items()
  }
  return dataclasses.replace(parts[0], **whole)


def _rows(result: Result, start: Any, end: Any) -> Result:
  """Some people of a result, in arrays of their own."""
  some: dict[str, Any] = {
    name: np.take(getattr(result, name), range(start, end), axis)
    for name, axis in _axes(result).items()
  }
  return dataclasses.replace(result, **some)
