"""What is to be written of each video."""

import dataclasses
import pathlib
from collections.abc import Iterable

from diffpose_jax.data import result_formats, sources, video
from diffpose_jax.inference import annotated, identities

VIDEOS = ("webm", "mp4", "none")
PAGE, PLAIN = ".html", ".plain.webm"  # after the video's name


@dataclasses.dataclass(frozen=True)
class Wanted:
  """Which files, and what is in them."""

  formats: tuple[str, ...] = ("posetrack", "json")  # the main one first
  samples: bool = False  # whether formats hold them that can
  video: str = "webm"  # of `VIDEOS`
  draw: annotated.Options = annotated.Options()
  viewer: bool = False  # whether there is a page
  smooth: str = "none"  # of `identities.SMOOTH`, joints along identities

  @property
  def views(self) -> bool:
    """Whether the crops and heatmaps of people are drawn."""
    return self.video != "none" and self.draw.views

  def poses(self, name: str, out: pathlib.Path) -> list[pathlib.Path]:
    """The files of a video's poses, those of each format in turn."""
    return [
      path
      for form in self.formats
      for path in result_formats.paths(form, out, name)
    ]

  def drawn(self, name: str, out: pathlib.Path) -> pathlib.Path | None:
    """The annotated video."""
    return None if self.video == "none" else out / f"{name}.{self.video}"

  def page(self, name: str, out: pathlib.Path) -> pathlib.Path | None:
    """The page to look into the poses."""
    return out / f"{name}{PAGE}" if self.viewer else None

  def plain(self, name: str, out: pathlib.Path) -> pathlib.Path | None:
    """The video of the page, which is beside it where it is too large."""
    return out / f"{name}{PLAIN}" if self.viewer else None

  def check_not_overwritten(
    self,
    given: pathlib.Path,
    found: Iterable[sources.Source],
    out: pathlib.Path,
  ) -> None:
    """Raises ValueError where what is given would be overwritten."""
    for source in found:
      name = source.name
      others = (make(name, out) for make in (self.drawn, self.page, self.plain))
      for path in (*self.poses(name, out), *others):
        if path is not None and given.resolve() == path.resolve():
          raise ValueError(
            f"{given}: would be overwritten by the prediction; give another "
            "--out"
          )


def parse(
  *,
  formats: str = "posetrack,json",
  keep_samples: bool = False,
  video: str = "webm",
  draw: str = "skeleton,boxes,ids",
  viewer: bool = False,
  smooth: str = "none",
) -> Wanted:
  """What flags say.

  Raises ValueError for what there is not, or what lacks its package.
  """
  identities.check(smooth)
  _check_video(video)
  names = result_formats.chosen(formats)
  if keep_samples and not any(
    result_formats.FORMATS[name].samples for name in names
  ):
    holding = [k for k, form in result_formats.FORMATS.items() if form.samples]
    raise ValueError(
      f"--keep_samples: none of --formats={formats} can hold samples; add one of "
      f"{', '.join(holding)}"
    )
  parts = annotated.parse(draw)
  return Wanted(names, keep_samples, video, parts, viewer, smooth)


def _check_video(kind: str) -> None:
  if kind not in VIDEOS:
    raise ValueError(f"--video={kind}: there are {', '.join(VIDEOS)}")
  if kind != "none" and not video.writable(kind):
    raise ValueError(
      f"--video={kind}: H.264 needs PyAV; pip install 'diffpose-jax[video]', or "
      "give --video=webm"
    )
