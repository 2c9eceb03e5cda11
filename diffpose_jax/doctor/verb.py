"""The verb `doctor`: what is here, what is wrong, and what to do about it."""

import importlib
import json as json_lib
import sys
from typing import Any

from diffpose_jax.doctor import finding

# Each is imported by itself: what one of them cannot import is its finding.
SECTIONS = ("versions", "machine", "devices", "codecs", "weights", "selftest")
_REMEDY = "mend what the lines above call a problem; else report this"


def main(*, json: bool = False) -> int:
  """Prints a line for each check; 0, or 2 where there is a problem.

  Args:
    json: print one JSON object instead: `ok`, and `sections` of findings, each
      with name, value, state (ok, note, problem) and remedy.
  """
  sections: dict[str, list[finding.Finding]] = {}
  for name in SECTIONS:
    sections[name] = run(name)
    if not json:
      print("\n".join([name, *map(str, sections[name])]), flush=True)
  everything = [one for found in sections.values() for one in found]
  problems = [one for one in everything if one.state == finding.PROBLEM]
  if json:
    print(json_lib.dumps(_record(sections, ok=not problems), indent=1))
  else:
    count = len(problems)
    told = (
      f"{count} problem{'s' if count > 1 else ''}" if problems else "no problem"
    )
    print(f"{told}, {len(everything)} checks")
  return 2 if problems else 0


def run(name: str) -> list[finding.Finding]:
  """The findings of a section; that it fails is one."""
  try:
    return importlib.import_module(f"diffpose_jax.doctor.{name}").check()
  except Exception as error:
    return [finding.broken(name, error, _REMEDY)]


def _record(
  sections: dict[str, list[finding.Finding]], *, ok: bool
) -> dict[str, Any]:
  return {
    "ok": ok,
    "sections": {
      name: [one.record() for one in found] for name, found in sections.items()
    },
  }


if __name__ == "__main__":  # where even the command does not start
  sys.exit(main())
