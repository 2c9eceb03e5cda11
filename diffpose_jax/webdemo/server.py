"""The server of the page: what is behind the gate, from start to end."""

import contextlib
import os
import pathlib
import signal
import socket
import tempfile
from collections.abc import Callable, Iterator
from typing import Any

from diffpose_jax.inference import shipped
from diffpose_jax.webdemo import clip, desk, gate, job, layout, toolkit, worker
from diffpose_jax.webdemo import limits as limits_lib
from diffpose_jax.webdemo import visits as visits_lib

_SHIPPED = (
  "These weights, which come with the package, are small ones that have seen "
  "rendered people only: on real footage expect little of them. Others are "
  "given by --weights."
)
_LAST = 65535
_VISITS = 32  # that are kept
# Of a viewer page: it is a page of its own, which reaches nothing of this one.
_VIEWER = (
  "sandbox allow-scripts; default-src 'none'; script-src 'unsafe-inline'; "
  "style-src 'unsafe-inline'; img-src data: blob:; media-src 'self' data: blob:; "
  "frame-ancestors 'self'"
)


def listening(host: str, port: int) -> socket.socket:
  """A socket at a place.

  Raises ValueError where it cannot be had.
  """
  family = socket.AF_INET6 if ":" in host else socket.AF_INET
  try:
    if port > _LAST:
      raise OSError(f"the last port is {_LAST}")
    return socket.create_server((host, port), family=family)
  except OSError as error:
    raise ValueError(
      f"cannot listen on {host}, port {port} ({error}); give another --port, or "
      "--host=127.0.0.1"
    ) from error


def address(place: socket.socket) -> str:
  """What to open in a browser."""
  host, port = place.getsockname()[:2]
  if host in ("0.0.0.0", "::"):
    host = "127.0.0.1"
  return f"http://{f'[{host}]' if ':' in host else host}:{port}"


def run(
  place: socket.socket,
  *,
  host: str,
  weights: pathlib.Path,
  detector: str,
  limits: limits_lib.Limits,
  ready: Callable[[], None] = lambda: None,
) -> None:
  """Serves until Ctrl-C or SIGTERM, which pass as KeyboardInterrupt.

  Args:
    place: where it listens.
    host: what that was called.
    weights: of the network.
    detector: of people, as of `predict`.
    limits: of what visitors may ask.
    ready: is called once all is there but the first request.

  Raises:
    ValueError: a package is missing.
  """
  gr, uvicorn = toolkit.gradio(), toolkit.uvicorn()
  with contextlib.ExitStack() as stack:
    stack.enter_context(_terminated())
    root = pathlib.Path(
      stack.enter_context(
        tempfile.TemporaryDirectory(prefix="diffpose-webdemo-")
      )
    )
    app = application(stack, gr, root, host, weights, detector, limits)
    settings = uvicorn.Config(
      app,
      log_level="critical",
      access_log=False,
      server_header=False,
      timeout_graceful_shutdown=1,
      limit_concurrency=200,
      proxy_headers=False,
    )
    ready()
    uvicorn.Server(settings).run(sockets=[place])


def application(
  stack: contextlib.ExitStack,
  gr: Any,
  root: pathlib.Path,
  host: str,
  weights: pathlib.Path,
  detector: str,
  limits: limits_lib.Limits,
) -> gate.Gate:
  """All of it, as an application for a server; what it needs ends with `stack`."""
  uploads, kept = root / "uploads", root / "visits"
  for folder in (uploads, kept):
    folder.mkdir(mode=0o700)
  # Read when the page is made.
  os.environ["GRADIO_TEMP_DIR"] = str(uploads)
  os.environ["GRADIO_EXAMPLES_CACHE"] = str(root / "examples")
  os.environ.setdefault("TQDM_DISABLE", "1")  # of the jobs' own bars
  visits = visits_lib.Visits(kept, most=_VISITS)
  start = worker.Worker
  served = desk.Desk(
    visits,
    uploads,
    look=stack.enter_context(
      start(clip.Look(limits), seconds=limits.look_seconds, what="the upload")
    ),
    poses=stack.enter_context(
      start(
        job.Poses(weights, detector), seconds=limits.job_seconds, what="the job"
      )
    ),
    limits=limits,
  )
  shipped_ones = weights.resolve().parent == shipped.FOLDER
  blocks = layout.build(
    gr,
    served,
    limits,
    detector=detector,
    note=_SHIPPED if shipped_ones else "",
    **job.defaults(weights),
  )
  fastapi = _routes(visits)
  gr.mount_gradio_app(
    fastapi,
    blocks,
    path="/",
    allowed_paths=[],
    blocked_paths=[str(kept)],
    max_file_size=limits.megabytes * 1_000_000,
    show_error=False,
    ssr_mode=False,
    enable_monitoring=False,
    pwa=False,
    mcp_server=False,
    run_history=False,
    footer_links=[],
    **layout.look(gr),
  )
  # Only then does it look at where files come from.
  blocks.has_launched = True
  return gate.Gate(fastapi, megabytes=limits.megabytes, host=host)


def _routes(visits: visits_lib.Visits) -> Any:
  """An application with the files of results."""
  fastapi, responses = toolkit.fastapi()
  app = fastapi.FastAPI(openapi_url=None, docs_url=None, redoc_url=None)

  @app.get(f"{visits_lib.BASE}/{{result}}/{{name}}")
  def made(result: str, name: str) -> Any:
    path = visits.find(result, name)
    if path is None or not path.is_file():
      return responses.JSONResponse({"detail": "no such file"}, 404)
    headers = {"cache-control": "no-store"}
    if path.suffix == ".html":
      headers["content-security-policy"] = _VIEWER
    return responses.FileResponse(path, headers=headers)

  return app


@contextlib.contextmanager
def _terminated() -> Iterator[None]:
  """SIGTERM ends what is inside as Ctrl-C does, so that files are removed."""

  def end(number: int, frame: Any) -> None:
    del frame
    raise KeyboardInterrupt(number)

  before = signal.signal(signal.SIGTERM, end)
  try:
    yield
  finally:
    signal.signal(signal.SIGTERM, before)
