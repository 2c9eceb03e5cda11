"""The page itself: what is on it, and which call follows which click.

Gradio is a parameter here, so that this module can be read without it.
"""

import dataclasses
import html
import pathlib
from collections.abc import Callable
from typing import Any

from diffpose_jax.webdemo import desk as desk_lib
from diffpose_jax.webdemo import limits as limits_lib
from diffpose_jax.webdemo import request as request_lib

_STYLE = pathlib.Path(__file__).with_name("look.css")
_TITLE = "DiffPose: poses of people in a clip"
_HEAD = (
  "# DiffPose\n"
  "The poses of people in a clip, by diffusion over heatmaps, and how far off "
  "each joint may be. Upload a clip, show where the people are, and look at "
  "what was found. Everything stays on this machine."
)
_WAYS = [
  ("I draw boxes on the first frame; they are followed", request_lib.DRAWN),
  ("One person fills the whole picture", request_lib.WHOLE),
]
_HOG = "OpenCV's detector finds people (upright ones, weakly)"
_OTHER = "A detector finds people"
_EMPTY = "<p class=dp-empty>The result will be here.</p>"


@dataclasses.dataclass(frozen=True)
class _Parts:
  """What is on the page, as far as something happens with it."""

  state: Any
  file: Any
  clip: Any
  way: Any
  drawing: Any
  picture: Any
  hint: Any
  undo: Any
  clear: Any
  steps: Any
  samples: Any
  go: Any
  stop: Any
  result: Any


def build(
  gr: Any,
  desk: desk_lib.Desk,
  limits: limits_lib.Limits,
  *,
  steps: int,
  samples: int,
  detector: str = "hog",
  note: str = "",
) -> Any:
  """The `gradio.Blocks` of the page.

  Args:
    gr: the package `gradio`.
    desk: where visitors are served.
    limits: which are said.
    steps: of denoising, to begin with.
    samples: the same.
    detector: of people, as of `predict`.
    note: what visitors must know of the weights.
  """
  finds = _HOG if detector == "hog" else _OTHER
  ways = [*_WAYS, (finds, request_lib.FOUND)]
  with gr.Blocks(
    title=_TITLE, analytics_enabled=False, delete_cache=(60, 900)
  ) as blocks:
    gr.Markdown(_HEAD)
    if note:
      _html(gr, f"<p class=dp-note>{html.escape(note)}</p>", "note")
    with gr.Row(equal_height=False):
      with gr.Column(scale=4, min_width=360):
        asking = _asking(gr, limits, ways, steps, samples)
      with gr.Column(scale=5, min_width=360):
        gr.Markdown("### 4. What was found")
        result = _html(gr, _EMPTY, "result")
    parts = _Parts(state=gr.State(desk_lib.Visit()), result=result, **asking)
    _wire(gr, blocks, desk, parts)
  blocks.queue(
    max_size=limits.waiting, default_concurrency_limit=4, api_open=False
  )
  return blocks


def look(gr: Any) -> dict[str, Any]:
  """Theme and style, as `gradio.mount_gradio_app` takes them."""
  # Of the browser's own, so that none is fetched; a bare name would be one of
  # Gradio's files.
  font, mono = gr.themes.Font("sans-serif"), gr.themes.Font("monospace")
  theme = gr.themes.Soft(primary_hue="blue", font=font, font_mono=mono)
  return {"theme": theme, "css": _STYLE.read_text(encoding="utf-8")}


def _asking(
  gr: Any,
  limits: limits_lib.Limits,
  ways: list[tuple[str, str]],
  steps: int,
  samples: int,
) -> dict[str, Any]:
  """The left side, on which a visitor says what is wanted."""
  gr.Markdown(
    f"### 1. A video or picture, up to {limits.megabytes} MB and "
    f"{limits.seconds:g} s"
  )
  file = gr.File(
    label="Video or picture",
    show_label=False,
    file_count="single",
    height=135,
    elem_id="clip",
  )
  _here_alone(gr, file)
  clip = _html(gr, "", "about")
  gr.Markdown("### 2. The people in it")
  way = gr.Radio(
    ways,
    value=request_lib.DRAWN,
    show_label=False,
    elem_id="way",
    container=False,
  )
  with gr.Column(visible=False, elem_id="drawing") as drawing:
    hint = _html(gr, "", "hint")
    picture = gr.Image(
      label="First frame",
      show_label=False,
      interactive=False,
      type="numpy",
      format="jpeg",
      buttons=[],
      elem_id="picture",
    )
    with gr.Row():
      undo = gr.Button("Undo", size="sm", elem_id="undo")
      clear = gr.Button("Clear boxes", size="sm", elem_id="clear")
  gr.Markdown("### 3. How well, how fast")
  with gr.Row():
    steps = gr.Slider(
      *(1, limits.steps),
      value=steps,
      step=1,
      label="Steps",
      info="of denoising",
      elem_id="steps",
    )
    samples = gr.Slider(
      *(1, limits.samples),
      value=samples,
      step=1,
      label="Samples",
      info="whose mean is taken",
      elem_id="samples",
    )
  with gr.Row():
    go = gr.Button("Find the poses", variant="primary", elem_id="go")
    stop = gr.Button("Stop", elem_id="stop", min_width=80, scale=0)
  _html(gr, f"<p class=dp-limits>{limits.text()}</p>", "limits")
  return {
    **{"file": file, "clip": clip, "way": way, "drawing": drawing},
    **{"picture": picture, "hint": hint, "undo": undo, "clear": clear},
    **{"steps": steps, "samples": samples, "go": go, "stop": stop},
  }


def _here_alone(gr: Any, block: Any) -> None:
  """Lets a block take no file by its address on another host.

  Gradio would fetch it from there, for whoever asks.
  """
  taken = block.async_move_resource_to_block_cache

  async def here(place):
    if place is not None and ":" in str(place).partition("/")[0]:
      raise gr.Error("this is no upload", print_exception=False)
    return await taken(place)

  block.async_move_resource_to_block_cache = here


def _html(gr: Any, content: str, name: str) -> Any:
  """A place for HTML of this program's own, in which no line is blank.

  `gradio.HTML` would evaluate it as a template, for which browsers would have
  to let the page evaluate any text.
  """
  return gr.Markdown(
    content, sanitize_html=False, latex_delimiters=[], elem_id=name
  )


def _wire(gr: Any, blocks: Any, desk: desk_lib.Desk, parts: _Parts) -> None:
  """Says what is called when; the calls have no names to be called by."""
  quiet = {"api_visibility": "private", "show_progress": "hidden"}
  drawn = [parts.state, parts.picture, parts.hint]

  shown = gr.Progress()

  @_asking_for(request=gr.Request)
  def uploaded(path, state, way, request):
    state, about, hint = desk.take(request.session_hash, path, state)
    drawing = chosen(state, way)
    return state, about, desk.picture(state), hint, _EMPTY, drawing

  def chosen(state, way):
    there = state.clip is not None and way == request_lib.DRAWN
    return gr.update(visible=there)

  @_asking_for(event=gr.SelectData)
  def clicked(state, event):
    return desk.clicked(state, event.index)

  @_asking_for(request=gr.Request)
  def find(state, way, steps, samples, request, progress=shown):
    def told(done, count):
      progress((done, count), desc="Frames", unit="frames")

    return desk.find(request.session_hash, state, way, steps, samples, told)

  @_asking_for(request=gr.Request)
  def stopped(request):
    desk.stop(request.session_hash)

  @_asking_for(request=gr.Request)
  def left(request):
    desk.leave(request.session_hash)

  parts.file.change(
    uploaded,
    [parts.file, parts.state, parts.way],
    [*drawn[:1], parts.clip, *drawn[1:], parts.result, parts.drawing],
    api_visibility="private",
    show_progress_on=parts.clip,
  )
  parts.picture.select(clicked, [parts.state], drawn, **quiet)
  parts.undo.click(desk.undone, [parts.state], drawn, **quiet)
  parts.clear.click(desk.cleared, [parts.state], drawn, **quiet)
  parts.way.change(chosen, [parts.state, parts.way], [parts.drawing], **quiet)
  parts.go.click(
    find,
    [parts.state, parts.way, parts.steps, parts.samples],
    [parts.result],
    api_visibility="private",
    concurrency_limit=1,
  )

  parts.stop.click(stopped, None, None, queue=False, **quiet)
  blocks.unload(left)


def _asking_for(**kinds: Any) -> Callable[[Any], Any]:
  """Says of which kind arguments are, by which Gradio knows what to give."""

  def named(function):
    function.__annotations__.update(kinds)
    return function

  return named
