import numpy as np

from diffpose_jax.evaluation import matching


def test_assign_by_hand():
  close = np.zeros((3, 2, 5), bool)
  labelled = np.array([[1, 1, 1, 1, 0], [1, 1, 0, 0, 0]], bool)
  close[0, 0, :2] = True  # 2/4 of person 0
  close[0, 1, :1] = True  # 1/2 of person 1: a draw, person 0 comes first
  close[1, 0, :3] = True  # 3/4 of person 0: better than pose 0
  close[2, 0, :1] = True  # 1/4
  close[2, 1, :2] = True  # 2/2
  got = matching.assign(close, labelled)
  assert got.tolist() == [-1, 0, 1]
  empty = matching.assign(close[:0], labelled)
  assert empty.tolist() == []
  assert matching.assign(close[:, :0], labelled[:0]).tolist() == [-1] * 3
