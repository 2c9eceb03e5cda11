"""What a check found: a line for people, a record for programs."""

import dataclasses
from typing import Any

OK, NOTE, PROBLEM = "ok", "note", "problem"


@dataclasses.dataclass(frozen=True)
class Finding:
  """One line. A `note` may matter to speed or comfort; a problem must go."""

  name: str
  value: str
  state: str = OK
  remedy: str = ""  # what to do, of a problem always, of a note maybe

  def __post_init__(self) -> None:
    if self.state == PROBLEM and not self.remedy:
      raise ValueError(f"{self.name}: a problem needs its remedy")

  def __str__(self) -> str:
    remedy = f" -> {self.remedy}" if self.remedy else ""
    text = f"{self.name}: {self.value}{remedy}"
    return f"  {self.state:<8}{' '.join(text.split())}"

  def record(self) -> dict[str, Any]:
    """The same as JSON."""
    return dataclasses.asdict(self)


def broken(name: str, error: BaseException, remedy: str) -> Finding:
  """The problem that a check failed with."""
  text = " ".join(str(error).split())
  if len(text) > 300:
    text = f"{text[:150]} … {text[-140:]}"
  return Finding(name, f"{type(error).__name__}: {text}", PROBLEM, remedy)
