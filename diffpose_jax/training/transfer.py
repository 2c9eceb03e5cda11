"""Weights as the start of a network of other joints, or of other frames."""

from typing import Any

import jax
import ml_collections
import numpy as np

from diffpose_jax.inference import network
from diffpose_jax.pose import skeleton as skeletons


def to_skeleton(
  config: ml_collections.ConfigDict,
  source: skeletons.Skeleton,
  target: skeletons.Skeleton,
  params: Any,
  fresh: Any,
) -> Any:
  """Parameters for the joints of `target`, those of `source` where they exist.

  Everything that does not belong to a joint is taken from `params`.

  Args:
    config: of the network, the same for both.
    source: the joints of `params`.
    target: the joints of the result.
    params: what was trained, host or device arrays.
    fresh: initial parameters for `target`, for its joints that `source` lacks.

  Raises:
    ValueError: they have no joint in common.
  """
  shared = [name for name in target.joints if name in source.joints]
  if not shared:
    raise ValueError(
      f"the weights are of the joints {', '.join(source.joints)}, none of which "
      f"are among {', '.join(target.joints)}; give other weights"
    )
  of = [source.index(name) for name in shared]
  to = [target.index(name) for name in shared]

  def carried(axis: int | None, old: Any, new: Any) -> Any:
    if axis is None:
      return old
    result = np.moveaxis(np.array(new), axis, 0)
    result[to] = np.moveaxis(np.asarray(old), axis, 0)[of]
    return np.moveaxis(result, 0, axis)

  return jax.tree.map(
    carried, _joint_axes(config), params, fresh, is_leaf=lambda v: v is None
  )


def to_span(params: Any, span: int) -> Any:
  """Parameters for clips of `span` frames on each side of the key frame.

  What is further away than the clips reach belongs to their outermost frames:
  where there are fewer than before, those take over the share of STRL's
  aggregation that the others had; where there are more, the new ones begin with
  the position of the outermost and with no share.

  Args:
    params: what was trained, host arrays.
    span: δ of the result.
  """
  strl = dict(params["strl"])
  old = strl["position_frame"].shape[1] // 2
  near = np.clip(np.arange(-span, span + 1), -old, old)
  strl["position_frame"] = strl["position_frame"][:, near + old]
  share = np.zeros(2 * span + 1, np.float32)
  to = np.clip(np.arange(-old, old + 1), -span, span)
  np.add.at(share, to + span, strl["aggregate"])
  strl["aggregate"] = share
  return params | {"strl": strl}


def _joint_axes(config: ml_collections.ConfigDict) -> Any:
  """For each parameter, its axis of joints; None where it has none."""
  one, two = (_shapes(config, joints) for joints in (1, 2))

  def axis(a: jax.ShapeDtypeStruct, b: jax.ShapeDtypeStruct) -> int | None:
    differing = [i for i, n in enumerate(a.shape) if n != b.shape[i]]
    return differing[0] if differing else None

  return jax.tree.map(axis, one, two)


def _shapes(config: ml_collections.ConfigDict, joints: int) -> Any:
  skeleton = skeletons.Skeleton(
    name="counting",
    joints=tuple(str(joint) for joint in range(joints)),
    pairs=(),
    limbs=(),
    upper=(),
    lower=(),
    evaluated=tuple(range(joints)),
    groups=(),
    sigmas=(1.0,) * joints,
  )
  return jax.eval_shape(
    lambda key: network.init_params(config, skeleton, key), jax.random.key(0)
  )
