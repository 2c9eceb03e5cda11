"""Where visitors are served: each call of the page, without Gradio.

Nothing that comes from a page ends in an error here: what cannot be done is
said in a line.
"""

import dataclasses
import logging
import pathlib
import time
import traceback
from collections.abc import Callable
from typing import Any

import cv2
import numpy as np

from diffpose_jax.webdemo import clip as clip_lib
from diffpose_jax.webdemo import drawing as drawing_lib
from diffpose_jax.webdemo import job, request, result_page, visits, worker
from diffpose_jax.webdemo import limits as limits_lib

_WIDTH = 640  # pixels of the first frame as it is shown, at least, about
_BROKEN = (
  "something went wrong that should not have; what, is in the output of the "
  "server"
)


@dataclasses.dataclass(frozen=True)
class Visit:
  """What is known of a visitor between two calls."""

  clip: clip_lib.Clip | None = None
  drawing: drawing_lib.Drawing = drawing_lib.Drawing()


@dataclasses.dataclass
class Desk:
  """What serves."""

  visits: visits.Visits
  uploads: pathlib.Path  # the folder that uploads come into
  look: worker.Worker  # of `clip.Look`
  poses: worker.Worker  # of `job.Poses`
  limits: limits_lib.Limits

  def take(
    self, session: str, path: str | None, visit: Visit
  ) -> tuple[Visit, str, str]:
    """A visit with an upload, what it is, and what to do next, as HTML.

    Of `path` None, the visit without one.
    """
    name = self.visits.of(session)
    if path is None:
      self.visits.clear(name)
      return Visit(), "", ""
    try:
      clip = self._taken(name, path)
    except ValueError as error:
      return Visit(), result_page.refused(self._plain(error, name)), ""
    except worker.BrokenError:
      return Visit(), result_page.refused(_BROKEN), ""
    drawing = drawing_lib.Drawing()
    return Visit(clip), _line(clip.text()), _line(drawing.text())

  def picture(self, visit: Visit) -> np.ndarray | None:
    """The first frame with the boxes so far, or None."""
    if visit.clip is None:
      return None
    path = pathlib.Path(visit.clip.path).with_name(clip_lib.PREVIEW)
    found = cv2.imread(str(path))
    if found is None:
      return None
    zoom = max(1, _WIDTH // found.shape[1])  # in which corners are well hit
    found = cv2.resize(found, None, fx=zoom, fy=zoom)
    scale = found.shape[1] / visit.clip.width
    found = np.ascontiguousarray(found[..., ::-1])
    return drawing_lib.drawn(found, visit.drawing, scale)

  def clicked(
    self, visit: Visit, place: Any
  ) -> tuple[Visit, np.ndarray | None, str]:
    """After a click at (x, y) of the picture: visit, picture, what to do."""
    if visit.clip is None:
      return visit, None, ""
    shown = self.picture(visit)
    if shown is None:
      return (
        visit,
        None,
        result_page.refused("the clip is gone; upload it again"),
      )
    scale = visit.clip.width / shown.shape[1]
    try:
      x, y = (scale * float(edge) for edge in place)
      drawing = visit.drawing.clicked(x, y, most=self.limits.people)
    except (TypeError, ValueError) as error:
      return visit, shown, result_page.refused(str(error))
    return self._with(visit, drawing)

  def undone(self, visit: Visit) -> tuple[Visit, np.ndarray | None, str]:
    """Without the last click or box."""
    return self._with(visit, visit.drawing.undone())

  def cleared(self, visit: Visit) -> tuple[Visit, np.ndarray | None, str]:
    """Without boxes."""
    return self._with(visit, drawing_lib.Drawing())

  def find(
    self,
    session: str,
    visit: Visit,
    way: Any,
    steps: Any,
    samples: Any,
    told: Callable[[int, int], None] = lambda done, count: None,
  ) -> str:
    """The result of a job as HTML, or the line that says why there is none."""
    name = self.visits.of(session)
    try:
      asked = request.check(
        visit.clip,
        out="",
        way=way,
        drawing=visit.drawing,
        steps=steps,
        samples=samples,
        limits=self.limits,
      )
      out = self.visits.begin(name)
      record = dataclasses.asdict(asked) | {"out": str(out)}
      began = time.monotonic()
      done = job.Done.of(self.poses(record, told, whose=name))
      print(_told(asked, done, time.monotonic() - began), flush=True)
      return result_page.of(done, self.visits.publish(out, done.files))
    except ValueError as error:
      return result_page.refused(self._plain(error, name))
    except worker.BrokenError:
      return result_page.refused(_BROKEN)
    except OSError as error:  # of a folder that is gone, as after `leave`
      logging.getLogger(__name__).warning("%s", error)
      return result_page.refused("the clip is gone; upload it again")
    except Exception:
      traceback.print_exc()
      return result_page.refused(_BROKEN)

  def stop(self, session: str) -> None:
    """Ends the visitor's job, if it is under way."""
    self.poses.stop(self.visits.of(session))

  def leave(self, session: str) -> None:
    """Ends a visit, and its job."""
    name = self.visits.leave(session)
    if name is not None:
      self.poses.stop(name)

  def _taken(self, name: str, path: str) -> clip_lib.Clip:
    """The clip of an upload, which is moved to the visit's folder first."""
    upload = pathlib.Path(path).resolve()
    # Gradio sees to it too.
    if not upload.is_relative_to(self.uploads.resolve()):
      raise ValueError("this is no upload")
    try:
      kept = clip_lib.safe_name(upload.name)
      if upload.stat().st_size > self.limits.megabytes * 1_000_000:
        raise ValueError(
          f"the file is larger than {self.limits.megabytes} MB; make it smaller"
        )
      moved = self.visits.take(name, upload, kept)
    except ValueError:
      upload.unlink(missing_ok=True)
      self.visits.clear(name)
      raise
    except OSError as error:
      raise ValueError("the upload is gone; upload it again") from error
    try:
      return clip_lib.Clip(**self.look({"path": str(moved)}, whose=name))
    except (ValueError, worker.BrokenError):
      self.visits.clear(name)
      raise

  def _with(
    self, visit: Visit, drawing: drawing_lib.Drawing
  ) -> tuple[Visit, np.ndarray | None, str]:
    if visit.clip is None:
      return Visit(), None, ""
    visit = dataclasses.replace(visit, drawing=drawing)
    return visit, self.picture(visit), _line(drawing.text())

  def _plain(self, error: Exception, name: str) -> str:
    """What is wrong, without where things lie on this machine."""
    folder = self.visits.folder(name)
    words = str(error).replace(f"{folder.resolve()}/", "")
    return words.replace(f"{folder}/", "")


def _told(asked: request.Request, done: job.Done, seconds: float) -> str:
  """What the server says of a job."""
  return (
    f"{done.people} people in {done.frames} frames, {asked.steps} steps, "
    f"{asked.samples} samples: {seconds:.1f} s"
  )


def _line(words: str) -> str:
  return f"<p class=dp-line>{words}</p>"
