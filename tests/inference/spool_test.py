"""Frames come back as they were, as often as wanted."""

import dataclasses
import os
import pathlib
import tempfile

import numpy as np
import pytest

from diffpose_jax.data import annotations
from diffpose_jax.inference import spool as spool_lib

K = 5


def _person(rng, **others):
  return annotations.Person(
    box=rng.standard_normal(4).astype(np.float32),
    joints=rng.standard_normal((K, 2)).astype(np.float32),
    labelled=rng.random(K) < 0.7,
    scores=rng.random(K).astype(np.float32),
    box_score=float(rng.random()),
    scale=rng.standard_normal((K, 2, 2)),
    **others,
  )


def _frames():
  rng = np.random.default_rng(0)
  for index in range(7):
    people = [
      _person(rng, track_id=person - 1, within=rng.random(K) if index else None)
      for person in range(index % 3)
    ]
    yield annotations.Frame(
      file_name=f"{index:06d}.jpg",
      image_id=index,
      labelled=True,
      people=tuple(people),
      height=71,
      width=97,
      time=index / 7,
    )


def _same(found, wanted):
  assert len(found) == len(wanted)
  for one, other in zip(found, wanted, strict=True):
    for field in dataclasses.fields(annotations.Frame):
      if field.name != "people":
        a, b = getattr(one, field.name), getattr(other, field.name)
        assert a == b
    assert len(one.people) == len(other.people)
    for a, b in zip(one.people, other.people, strict=True):
      for field in dataclasses.fields(annotations.Person):
        x, y = getattr(a, field.name), getattr(b, field.name)
        np.testing.assert_array_equal(x, y, field.name)
        assert getattr(x, "dtype", None) == getattr(y, "dtype", None)


def test_frames_come_back_as_often_as_wanted(tmp_path):
  wanted = list(_frames())
  with spool_lib.Spool(tmp_path) as spool:
    assert list(spool) == []
    for frame in wanted:
      spool.append(frame)
    assert len(spool) == 7
    _same(list(spool), wanted)
    one, other = iter(spool), iter(spool)  # at once
    _same([next(one), next(one), next(one)], wanted[:3])
    _same(list(other), wanted)
    _same(list(one), wanted[3:])


def test_nothing_is_left(tmp_path):
  with spool_lib.Spool(tmp_path) as spool:
    spool.append(next(_frames()))
    if os.uname().sysname == "Linux":
      assert os.listdir(tmp_path) == []
  assert os.listdir(tmp_path) == []


def test_a_full_disk_is_told(tmp_path, monkeypatch):
  if not pathlib.Path("/dev/full").exists():
    pytest.skip("no /dev/full here")
  full = lambda dir: open("/dev/full", "wb")  # noqa: E731, SIM115
  monkeypatch.setattr(tempfile, "TemporaryFile", full)
  with (
    spool_lib.Spool(tmp_path) as spool,
    pytest.raises(ValueError, match="cannot be kept there .No space left"),
  ):
    spool.append(next(_frames()))
