import numpy as np
import pytest
from scipy.cluster import hierarchy

from diffpose_jax.pose import modes

SIZE = 200.0  # so that places are told apart from 30 on


def cloud(rng, count, at, sd):
  return rng.normal(at, sd, (count, 2))


def test_two_places_by_hand():
  """Of ten samples seven are left, three right; of the latter one is off."""
  left = [[10, 20], [12, 20], [10, 22], [12, 22], [11, 21], [11, 21], [11, 21]]
  right = [[90, 20], [90, 26], [96, 26]]
  samples = np.array(left + right, np.float32)[:, None]
  ((first, second),) = modes.find(samples, SIZE)
  np.testing.assert_allclose(first.point, [11, 21], atol=1e-12)
  np.testing.assert_allclose(second.point, [92, 24], atol=1e-12)
  assert (first.share, second.share) == (0.7, 0.3)
  # Squared distances: four of 2 over 6; 4 + 16, 4 + 4, 16 + 4 over 2.
  assert first.spread == pytest.approx(np.sqrt(8 / 6), rel=1e-12)
  assert second.spread == pytest.approx(np.sqrt(48 / 2), rel=1e-12)


@pytest.mark.parametrize("count", [1, 2, 4, 10, 100])
def test_samples_that_agree_have_one_mode(count):
  """A standard deviation of 2 % of the size, in either direction."""
  for seed in range(50):
    rng = np.random.default_rng(seed)
    points = cloud(rng, count, (40, 70), 0.02 * SIZE)
    ((mode,),) = modes.find(points[:, None], SIZE)
    assert mode.share >= 0.9
    error = np.linalg.norm(mode.point - (40, 70))
    assert error < 5 * 0.02 * SIZE / np.sqrt(count)
    assert np.isnan(mode.spread) == (count == 1)


@pytest.mark.parametrize("count", [2, 4, 10, 100])
def test_two_clouds_are_two_modes(count):
  """A quarter of the size apart, with 2 % of it as standard deviation."""
  for seed in range(50):
    rng = np.random.default_rng(seed)
    points = cloud(rng, count, (0, 0), 0.02 * SIZE)
    points[: count // 2, 0] += 0.25 * SIZE
    (found,) = modes.find(points[:, None], SIZE)
    assert [mode.share for mode in found] == [0.5, 0.5]
    xs = sorted(mode.point[0] for mode in found)
    np.testing.assert_allclose(xs, [0, 0.25 * SIZE], atol=0.1 * SIZE)


def test_samples_between_two_places_do_not_join_them():
  """A bridge of nearest neighbours, over which single linkage walks."""
  rng = np.random.default_rng(0)
  points = np.concatenate(
    [
      cloud(rng, 47, (0, 0), 3),
      cloud(rng, 47, (80, 0), 3),
      [[14, 0], [27, 0], [40, 0], [53, 0], [66, 0]],
    ]
  )
  (found,) = modes.find(points[:, None], SIZE)
  assert len(found) == 2
  assert min(mode.share for mode in found) > 47 / 99 - 1e-9


def test_joints_are_apart_and_keep_their_order():
  rng = np.random.default_rng(0)
  samples = rng.normal(0, 1, (11, 5, 2)) + 50 * np.arange(5)[:, None]
  samples[:4, 3] += 100
  found = modes.find(samples.astype(np.float32), SIZE)
  assert [len(of_joint) for of_joint in found] == [1, 1, 1, 2, 1]
  for k, of_joint in enumerate(found):
    assert of_joint[0].point[0] == pytest.approx(50 * k, abs=2)
  assert found[3][1].share == pytest.approx(4 / 11)


@pytest.mark.parametrize("count", [2, 3, 8, 40])
def test_joints_do_not_depend_on_each_other(count):
  """Wide or narrow, missing or not: as each by itself, and as SciPy has it."""
  for seed in range(20):
    rng = np.random.default_rng(seed)
    widths = rng.choice([1, 20, 60, 200], 17)
    samples = rng.normal(0, 1, (count, 17, 2)) * widths[:, None]
    samples[rng.random((count, 17)) < 0.1] = np.nan
    for k, got in enumerate(modes.find(samples, SIZE)):
      (want,) = modes.find(samples[:, k : k + 1], SIZE)
      assert [mode.share for mode in got] == [mode.share for mode in want]
      for a, b in zip(got, want, strict=True):
        np.testing.assert_array_equal(a.point, b.point)
        np.testing.assert_allclose(a.spread, b.spread, rtol=1e-12)
      points = samples[np.isfinite(samples[:, k, 0]), k]
      if len(points) > 1:
        labels = hierarchy.fclusterdata(
          points, 0.15 * SIZE, "distance", method="average"
        )
        shares = np.sort(np.bincount(labels)[1:] / len(points))[::-1]
        most = [share for share in shares if share >= 0.1] or [shares[0]]
        assert [mode.share for mode in got] == most


def test_the_distance_goes_with_the_size():
  samples = np.array([[0, 0], [20, 0]], np.float32)[:, None]
  assert len(modes.find(samples, 100.0)[0]) == 2  # 20 % of it
  assert len(modes.find(samples, 200.0)[0]) == 1
  assert len(modes.find(5 * samples, 500.0)[0]) == 2


def test_samples_that_are_not_finite_are_left_out():
  points = np.array(
    [[0, 0], [np.nan, 0], [2, 0], [np.inf, 1], [100, 100]], np.float32
  )
  nothing = np.full_like(points, np.nan)
  found = modes.find(np.stack([points, nothing], axis=1), SIZE)
  assert [mode.share for mode in found[0]] == [2 / 3, 1 / 3]
  np.testing.assert_array_equal(found[0][0].point, [1, 0])
  assert np.isnan(found[0][1].spread)
  assert found[1] == []


def test_a_stray_sample_is_no_mode_unless_there_is_no_other():
  points = np.zeros((30, 2))
  points[:2] = 100  # of 30: below a tenth
  ((mode,),) = modes.find(points[:, None], SIZE)
  assert mode.share == pytest.approx(28 / 30)
  points[:3] = 100  # a tenth
  assert len(modes.find(points[:, None], SIZE)[0]) == 2
  scattered = 1000.0 * np.stack([np.arange(13)] * 2, axis=1)[::-1]
  ((mode,),) = modes.find(scattered[:, None], SIZE)
  np.testing.assert_array_equal(mode.point, [0, 0])  # the leftmost of all


def test_the_order_of_the_samples_does_not_matter():
  rng = np.random.default_rng(1)
  points = rng.uniform(0, 150, (23, 1, 2))
  want = modes.find(points, SIZE)[0]
  assert len(want) > 1
  for _ in range(20):
    got = modes.find(rng.permutation(points), SIZE)[0]
    assert [mode.share for mode in got] == [mode.share for mode in want]
    for a, b in zip(got, want, strict=True):
      np.testing.assert_allclose(a.point, b.point, rtol=1e-12)
      np.testing.assert_allclose(a.spread, b.spread, rtol=1e-12)


@pytest.mark.parametrize("size", [0.0, -1.0, float("nan"), float("inf")])
def test_a_person_has_a_size(size):
  with pytest.raises(ValueError, match="longer side of the box"):
    modes.find(np.zeros((2, 3, 2)), size)
