"""The page as Gradio has it, without a server."""

import asyncio
import typing

import pytest

from diffpose_jax.webdemo import desk, layout
from diffpose_jax.webdemo import limits as limits_lib

gr = pytest.importorskip(
  "gradio", reason="the extra `webdemo` is not installed"
)


@pytest.fixture
def blocks(tmp_path, monkeypatch):
  monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
  nobody = object.__new__(desk.Desk)  # nothing is called
  given: dict[str, typing.Any] = dict(
    steps=2, samples=4, note="<b>take care</b>"
  )

  async def made():  # a loop of its own Gradio would not close
    return layout.build(gr, nobody, limits_lib.Limits(), **given)

  return asyncio.run(made())


def parts(blocks):
  """What is on the page, by its name there."""
  return {part.elem_id: part for part in blocks.blocks.values()}


def test_it_begins_with_the_numbers_of_the_weights(blocks):
  found: dict[typing.Any, typing.Any] = parts(blocks)
  assert (found["steps"].value, found["steps"].maximum) == (2, 16)
  assert (found["samples"].value, found["samples"].maximum) == (4, 16)
  assert "&lt;b&gt;take care" in found["note"].value
  assert "At most 100 MB, 20 s, 600 frames" in found["limits"].value


@pytest.mark.parametrize(
  ("detector", "said"),
  [("hog", "OpenCV's detector"), ("mine.onnx", "A detector finds")],
)
def test_it_says_which_detector_is_weak(tmp_path, monkeypatch, detector, said):
  monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
  nobody = object.__new__(desk.Desk)

  async def made():
    return layout.build(
      *(gr, nobody, limits_lib.Limits()), steps=1, samples=1, detector=detector
    )

  found: dict[typing.Any, typing.Any] = parts(asyncio.run(made()))
  [last] = [text for text, way in found["way"].choices if way == "found"]
  assert last.startswith(said)


def test_jobs_are_done_one_at_a_time_and_nothing_is_told(blocks):
  found = parts(blocks)
  [job] = [
    call
    for call in blocks.fns.values()
    if any(target[0] == found["go"]._id for target in call.targets)
  ]
  assert job.concurrency_limit == 1
  assert blocks.analytics_enabled is False
  calls = blocks.fns.values()
  assert {call.api_visibility for call in calls if call.api_name} <= {"private"}


def test_a_file_of_another_host_is_not_fetched(blocks, tmp_path):
  file: typing.Any = parts(blocks)["clip"]
  for place in ("https://example.org/walk.webm", "http://[::1]/walk.webm"):
    with pytest.raises(gr.Error, match="this is no upload"):
      asyncio.run(file.async_move_resource_to_block_cache(place))
  path = tmp_path / "walk.webm"
  path.touch()
  there = file.async_move_resource_to_block_cache(str(path))
  assert asyncio.run(there) == str(path)


def test_it_looks_like_itself_without_any_font_to_fetch():
  given = layout.look(gr)
  assert "@font-face" not in given["theme"]._get_theme_css()
  assert "http" not in given["css"] and "url(" not in given["css"]
