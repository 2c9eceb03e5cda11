"""The verb `webdemo`: a local page on which a clip is tried."""

import ipaddress
import pathlib

from diffpose_jax.inference import averaged, detectors, shipped
from diffpose_jax.webdemo import limits as limits_lib
from diffpose_jax.webdemo import server, toolkit

HOST, PORT = "127.0.0.1", 7860


def main(  # noqa: PLR0913 - one flat call for the command line
  *,
  weights: pathlib.Path | None = None,
  detector: str = "hog",
  host: str = HOST,
  port: int = PORT,
  clip_megabytes: int = limits_lib.Limits.megabytes,
  clip_seconds: float = limits_lib.Limits.seconds,
  clip_frames: int = limits_lib.Limits.frames,
  job_seconds: float = limits_lib.Limits.job_seconds,
) -> None:
  """Serves the page until Ctrl-C.

  Args:
    weights: workdir of a training run, or a file of `pack`; by default those
      that come with the package.
    detector: of people, for visitors who want that; as of `predict`.
    host: address to listen on; by default this machine can open the page, and
      no other.
    port: to listen on; 0 takes a free one.
    clip_megabytes: most of an upload.
    clip_seconds: longest clip.
    clip_frames: most frames of a clip.
    job_seconds: longest time for a clip's poses.

  Raises:
    ValueError: a package is missing, there are no such weights or detector, or
      the place cannot be listened on.
  """
  limits = limits_lib.Limits(
    megabytes=clip_megabytes,
    seconds=clip_seconds,
    frames=clip_frames,
    job_seconds=job_seconds,
  )
  toolkit.gradio()
  weights = shipped.find(weights)
  averaged.find(weights)
  detectors.open_detector(detector)
  with server.listening(host, port) as place:
    if not _is_loopback(place.getsockname()[0]):
      print(
        f"warning: {host} lets other machines open this page, without a password"
        " and without encryption; see SECURITY.md",
        flush=True,
      )

    def ready() -> None:
      print(
        f"open {server.address(place)} in a browser; Ctrl-C ends it", flush=True
      )

    server.run(
      place,
      host=host,
      weights=weights,
      detector=detector,
      limits=limits,
      ready=ready,
    )


def _is_loopback(given: str) -> bool:
  return ipaddress.ip_address(given.partition("%")[0]).is_loopback
