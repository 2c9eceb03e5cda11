import math

import numpy as np
import pytest

from diffpose_jax.evaluation import metric
from diffpose_jax.pose import skeleton

SKELETON = skeleton.POSETRACK


def test_means_over_joints_and_groups_leave_out_what_is_unknown():
  values = np.arange(15.0)
  values[[2, 3]] = math.nan  # both hips
  joints = metric.by_joint(values, SKELETON)
  assert joints["right_ankle"] == 0.0 and joints["neck"] == 12.0
  assert joints["right_hip"] is None
  assert joints["total"] == pytest.approx((sum(range(15)) - 5) / 13)
  groups = metric.by_group(values, SKELETON)
  assert groups["hip"] is None and groups["head"] == 13.0
  assert groups["ankle"] == 2.5 and groups["total"] == joints["total"]
  assert metric.by_joint(values, SKELETON, total=7.0)["total"] == 7.0
