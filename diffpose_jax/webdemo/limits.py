"""What a visitor of the demo page may ask for, at most."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Limits:
  """The most of each; what is more is refused in a line."""

  megabytes: int = 100  # of an uploaded file
  seconds: float = 20.0  # of a clip
  frames: int = 600  # of a clip
  pixels: int = 9_000_000  # of a frame: 4K is 8.3 million
  people: int = 8  # boxes that are drawn
  steps: int = 16  # of denoising
  samples: int = 16  # of the ensemble
  job_seconds: float = 300.0  # for a clip's poses
  look_seconds: float = 60.0  # to see what an uploaded file is
  waiting: int = 8  # jobs in the queue

  def text(self) -> str:
    """What the page says of them."""
    return (
      f"At most {self.megabytes} MB, {self.seconds:g} s, {self.frames} frames "
      f"of {self.pixels / 1e6:g} million pixels, {self.people} people, "
      f"{self.steps} steps, {self.samples} samples; a clip is given "
      f"{self.job_seconds:g} s, one at a time."
    )
