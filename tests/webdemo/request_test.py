"""Only what may be asked becomes a job; a page can send anything."""

import dataclasses
import json

import pytest

from diffpose_jax.webdemo import clip, drawing, request
from diffpose_jax.webdemo import limits as limits_lib

CLIP = clip.Clip(
  "walk.mp4", width=160, height=120, fps=6.0, frames=9, seconds=1.5
)
BOX = (10.0, 20.0, 60.0, 110.0)


def check(found=CLIP, boxes=(BOX,), **given):
  defaults = dict(way=request.DRAWN, steps=2, samples=4)
  return request.check(
    found,
    out="out",
    drawing=drawing.Drawing(boxes),
    limits=limits_lib.Limits(),
    **{**defaults, **given},
  )


def test_it_goes_through_json():
  asked = check()
  assert (asked.steps, asked.samples, asked.boxes) == (2, 4, (BOX,))
  record = json.loads(json.dumps(dataclasses.asdict(asked)))
  assert request.Request.of(record) == asked


@pytest.mark.parametrize("way", [request.WHOLE, request.FOUND])
def test_boxes_matter_where_they_are_drawn(way):
  assert check(way=way).boxes == ()
  assert check(way=way, boxes=()).boxes == ()
  assert check(way=way, steps=3.0).steps == 3


@pytest.mark.parametrize(
  ("given", "message"),
  [
    (dict(found=None), "there is no clip yet"),
    (
      dict(way="rm"),
      "people are given by one of drawn, whole, found, not 'rm'",
    ),
    (dict(boxes=()), "no box is drawn"),
    (dict(boxes=(BOX,) * 9), "9 boxes: at most 8"),
    (
      dict(boxes=((10.0, 20.0, 200.0, 110.0),)),
      "box 1 is outside of the picture of 160",
    ),
    (dict(boxes=(BOX, (-9.0, 0.0, 50.0, 50.0))), "box 2 is outside"),
    (dict(boxes=((0.0, 0.0, 50.0, 121.0),)), "box 1 is outside"),
    (dict(boxes=((50.0, 0.0, 10.0, 50.0),)), "box 1 has no area"),
    (dict(boxes=((float("nan"), 0.0, 10.0, 50.0),)), "box 1 has no area"),
    (dict(steps=17), "steps is 17: it must be a whole number from 1 to 16"),
    (dict(steps=0), "steps is 0: it must"),
    (dict(steps=1.5), "steps is 1.5"),
    (dict(steps=10**30), "steps is 1000000"),
    (dict(steps=float("nan")), "steps is nan"),
    (dict(steps=True), "steps is True"),
    (dict(samples=17), "samples is 17: it must be a whole number from 1 to 16"),
    (dict(samples="4"), "samples is '4'"),
    (dict(samples=None), "samples is None"),
    (dict(samples=[1]), r"samples is \[1\]"),
  ],
)
def test_the_rest_is_refused(given, message):
  with pytest.raises(ValueError, match=message):
    check(**given)
