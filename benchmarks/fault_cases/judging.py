"""What became of an injected fault, by one rule for every column."""

import dataclasses
import re
from collections.abc import Callable, Sequence

from fault_cases import toy

RECOVERED, REFUSED = "recovered", "refused"
UNCLEAR, SILENT, HANG = "unclear error", "silent", "hang"
OUTCOMES = (RECOVERED, REFUSED, UNCLEAR, SILENT, HANG)


@dataclasses.dataclass(frozen=True)
class Injection:
  """One fault and its outcome."""

  label: str  # "3 MB file, bit 7 of byte 12"
  outcome: str
  told: str = ""  # the error, or what was silent


@dataclasses.dataclass(frozen=True)
class NotApplicable:
  """Why a column cannot have a fault."""

  reason: str


@dataclasses.dataclass(frozen=True)
class Found:
  """What a new start goes on from."""

  step: int
  state: str  # digest
  batch: str  # digest of the next one


def of_error(label: str, error: BaseException, names: Sequence[str]):
  """Refused where the error, or one that caused it, says one of `names`."""
  texts, link = [], error
  while link is not None:
    texts.append(str(link))
    link = link.__cause__ or link.__context__
  clear = any(name in text for text in texts for name in names)
  outcome = REFUSED if clear else UNCLEAR
  return Injection(label, outcome, brief(f"{type(error).__name__}: {error}"))


def brief(text: str) -> str:
  """A message in one line of moderate length."""
  text = re.sub(r"\s*\[[^\]]*tensorstore[^\]]*\]", "", " ".join(text.split()))
  return text if len(text) <= 240 else f"{text[:150]} … {text[-80:]}"


def of_start(
  label: str,
  start: Callable[[], Found | None],
  *,
  names: Sequence[str] = (),
  at_least: int = 1,
) -> Injection:
  """The outcome of a new start of the toy run, whose states are known.

  Args:
    label: of the injection.
    start: goes on from what is there; None: from scratch.
    names: an error must say one of them to be clear.
    at_least: the last step that must not be lost.
  """
  try:
    found = start()
  except Exception as error:
    return of_error(label, error, names)
  if found is None:
    return Injection(label, SILENT, "starts from scratch without a word")
  wanted = toy.expected(found.step)
  if found.state != wanted[0]:
    told = f"other numbers than were saved at step {found.step}"
    return Injection(label, SILENT, told)
  if found.batch != wanted[1]:
    return Injection(label, SILENT, "goes on at another place of the data")
  if found.step < at_least:
    told = f"back at step {found.step}; {at_least} was done"
    return Injection(label, SILENT, told)
  return Injection(label, RECOVERED, f"at step {found.step}")
