"""The command: `python -m diffpose_jax.main [verb] --flags`.

Only the chosen verb's module is imported, so that each verb starts fast. A
user's mistake ends with one line on stderr and exit code 2; anything else is
a bug and keeps its traceback. The flags are absl's, in a `FlagValues` of
their own rather than under `absl.app`, which owns the process, has one set of
flags for all verbs and exits with 1.
"""

import contextlib
import difflib
import importlib
import importlib.metadata
import pathlib
import re
import signal
import sys
import traceback
from collections.abc import Iterator, Sequence
from typing import Any

from absl import flags, logging
from ml_collections import config_flags

from diffpose_jax import compile_cache, supervisor, verbs
from diffpose_jax import config as config_lib
from diffpose_jax.inference import shipped

PACKAGE = pathlib.Path(__file__).resolve().parent
DEFAULT_VERB = "train"
# Keys of the config that may name a place in a bucket.
_FETCHED = (("data", "prepared"), ("train", "resume"), ("train", "init_from"))


class UsageError(ValueError):
  """The command line is wrong; the message says how."""


def main(argv: Sequence[str]) -> int:
  """The exit code of the command with these arguments (program name left out).

  0: done. 1: `replay` found a difference, or `summary` not all of the videos
  done. 2: a mistake in flags, config, files or data, told in one line on stderr.
  75: with --multihost, another process is lost. 130: interrupted; 143: stopped
  by SIGTERM. Other exceptions pass: they are bugs.
  """
  arguments = [_underscores(argument) for argument in argv]
  debug = "--debug" in arguments
  arguments = [a for a in arguments if a != "--debug"]
  try:
    return _run(arguments, debug)
  except (ValueError, OSError) as error:
    if debug:
      raise
    print(f"diffpose_jax: error: {_one_line(error)}", file=sys.stderr)
    return 2
  except KeyboardInterrupt as error:
    print("diffpose_jax: interrupted", file=sys.stderr)
    # Of a signal by its number, as Ctrl-C has none.
    return 128 + (error.args[0] if error.args else signal.SIGINT)


def _run(arguments: list[str], debug: bool) -> int:
  if "--version" in arguments:
    print(f"diffpose_jax {_version()}")
    return 0
  if not arguments or {"help", "--help", "-h"} & set(arguments):
    print(usage(next((a for a in arguments if a in verbs.VERBS), None)))
    return 0
  name, arguments = _split_verb(arguments)
  verb = verbs.VERBS[name]
  given = parse(name, verb, arguments)
  hosts = {flag: given.pop(flag) for flag in verbs.HOSTS if flag in given}
  multihost = hosts.pop("multihost", False)
  if hosts and not multihost:
    raise UsageError(f"{name}: --{next(iter(hosts))} is for --multihost")
  if multihost and config_lib.is_address(str(given.get("workdir", ""))):
    raise UsageError(
      f"--workdir={given['workdir']}: with --multihost give a folder on a disk "
      "that all hosts see"
    )
  if multihost and not supervisor.is_worker():
    flag = ["--debug"] if debug else []
    return supervisor.run([name, *arguments, *flag])
  function = getattr(importlib.import_module(verb.module), verb.function)
  with (
    _brought(given) as given,
    _joined(**hosts) if multihost else contextlib.nullcontext(),
  ):
    result = function(**given)
  return result if verb.judges else 0


@contextlib.contextmanager
def _brought(given: dict[str, Any]) -> Iterator[dict[str, Any]]:
  """A context of the same flags, with what is in a bucket brought here."""

  def remote(name: str) -> Any:
    return importlib.import_module(f"{__package__}.remote.{name}")

  given = dict(given)
  weights, workdir = str(given.get("weights", "")), given.get("workdir", "")
  if config_lib.is_address(weights):
    given["weights"] = remote("fetch").fetched(weights)
  if "config" in given:
    config = given["config"]
    for key in _FETCHED:
      place = getattr(getattr(config, key[0], None), key[1], "")
      if config_lib.is_address(place):
        config[key[0]][key[1]] = str(remote("fetch").fetched(place))
  if not config_lib.is_address(workdir):
    yield given
  elif given.get("dry_run"):  # which writes nothing
    yield given | {"workdir": str(remote("places").kept(workdir, "workdirs"))}
  else:
    with remote("mirror").mirrored(workdir) as place:
      yield given | {"workdir": str(place)}


def _joined(**hosts: Any) -> contextlib.AbstractContextManager:
  """The context of one process among several."""
  supervisor.work()
  return importlib.import_module("diffpose_jax.model.hosts").joined(**hosts)


def usage(name: str | None = None) -> str:
  """Help on one verb, or on all of them."""
  command = "python -m diffpose_jax.main"
  lines = []
  for verb_name in [name] if name else verbs.VERBS:
    verb = verbs.VERBS[verb_name]
    lines += [f"{verb_name}: {verb.help}"]
    lines += [f"  {command} {verb_name} {form}" for form in verb.forms]
    lines += [""]
  used = verbs.VERBS[name].flags if name else list(verbs.FLAGS)
  lines += ["flags:"]
  told = {flag: verbs.FLAGS[flag][1] for flag in used}
  told["debug"] = "show the traceback of an error"
  if not name:
    told["version"] = "print the version"
  width = max(map(len, told))
  lines += [f"  --{flag:<{width}} {text}" for flag, text in told.items()]
  if not name:
    lines += ["", f"{command} help VERB says more about one verb."]
  return "\n".join(lines)


def parse(name: str, verb: verbs.Verb, arguments: list[str]) -> dict[str, Any]:
  """The flags given to a verb, by name, each of its own type.

  Raises UsageError for a flag, value, config key or combination that the verb
  does not take.
  """
  arguments = [name, *_with_config_path(arguments)]
  values = _define(verb, arguments)
  try:
    rest = values(arguments)[1:]
  except (flags.Error, AttributeError, KeyError, TypeError) as error:
    # ml_collections raises the latter three for keys that do not exist and
    # values of another type, on the command line and in the config file.
    raise UsageError(f"{name}: {_explain(error, verb, arguments)}") from error
  if rest:
    raise UsageError(
      f"{name}: unexpected argument {rest[0]!r}; a flag's value follows '=' "
      "and the verb comes first"
    )
  for flag in verb.flags:
    text = values[flag].value
    if isinstance(text, str) and flag not in verb.addresses:
      config_lib.check_place(f"--{flag}", text)
  given = {
    flag: _of_type(flag, values[flag].value)
    for flag in verb.flags
    if values[flag].value is not None
  }
  if "config" in given:
    # What a config file does not find, ml_collections tells when it is used.
    config: Any = given["config"]
    _ = config.is_locked
  if isinstance(
    given.get("weights"), pathlib.Path
  ):  # also shipped ones, by name
    given["weights"] = shipped.place(str(given["weights"]))
  _check_form(name, verb, given)
  if name == "train" and "workdir" not in given:
    path = config_flags.get_config_filename(values["config"])
    name, _, argument = path.partition(":")
    parts = [pathlib.Path(name).stem, argument]
    given["workdir"] = "runs/" + "_".join(part for part in parts if part)
  return given


def _of_type(flag: str, value: Any) -> Any:
  """A flag's value; an address, which is no path, as its text."""
  is_path = verbs.FLAGS[flag][0] is pathlib.Path
  return (
    pathlib.Path(value)
    if is_path and not config_lib.is_address(value)
    else value
  )


def _define(verb: verbs.Verb, arguments: list[str]) -> flags.FlagValues:
  """Undefined values of exactly the verb's flags."""
  values = flags.FlagValues()
  for flag in verb.flags:
    kind, text = verbs.FLAGS[flag]
    if kind is object:
      config_flags.DEFINE_config_file(
        flag, help_string=text, flag_values=values, sys_argv=arguments
      )
    elif kind is int or kind is float:
      define = flags.DEFINE_integer if kind is int else flags.DEFINE_float
      define(flag, None, text, verbs.LOWEST[flag], flag_values=values)
    else:
      define = flags.DEFINE_bool if kind is bool else flags.DEFINE_string
      define(flag, None, text, flag_values=values)
  return values


def _check_form(name: str, verb: verbs.Verb, given: dict[str, Any]) -> None:
  for form in verb.forms:
    allowed = set(form.required + form.optional)
    if set(form.required) <= set(given) <= allowed:
      return
  if len(verb.forms) == 1:
    missing = [f"--{n}" for n in verb.forms[0].required if n not in given]
    raise UsageError(f"{name} needs {' '.join(missing)}: see `help {name}`")
  got = " ".join(f"--{flag}" for flag in given) or "nothing"
  forms = ", or ".join(str(verbs.Form(form.required)) for form in verb.forms)
  raise UsageError(
    f"{name} takes {forms}, and what `help {name}` says beside each; got {got}"
  )


def _forms(verb: verbs.Verb) -> str:
  return ", or ".join(str(form) for form in verb.forms)


def _split_verb(arguments: list[str]) -> tuple[str, list[str]]:
  """The verb and what follows it."""
  if arguments[0].startswith("-"):
    return DEFAULT_VERB, arguments
  name = arguments[0]
  if name not in verbs.VERBS:
    close = difflib.get_close_matches(name, verbs.VERBS, n=1)
    hint = f"did you mean {close[0]!r}? " if close else ""
    raise UsageError(
      f"unknown verb {name!r}: {hint}the verbs are {', '.join(verbs.VERBS)}"
    )
  return name, arguments[1:]


def _underscores(argument: str) -> str:
  """The argument with `_` for `-` inside the flag's name: `--box-threshold`."""
  if not argument.startswith("--"):
    return argument
  name, equals, value = argument[2:].partition("=")
  return "--" + name.replace("-", "_") + equals + value


def _with_config_path(arguments: list[str]) -> list[str]:
  """The arguments, with the path of the config file made one that exists."""
  result = list(arguments)
  for i, argument in enumerate(result):
    if argument.startswith("--config="):
      result[i] = "--config=" + _found(argument.partition("=")[2])
    elif argument == "--config" and i + 1 < len(result):
      result[i + 1] = _found(result[i + 1])
  return result


def _found(value: str) -> str:
  """`FILE` or `FILE:ARGUMENT`, with the file's path made one that exists."""
  name, colon, argument = value.partition(":")
  return f"{find_config(name)}{colon}{argument}"


def find_config(name: str) -> pathlib.Path:
  """Path of a config file: as given, or the one that the package brings.

  Outside a checkout `configs/pt18.py` is the installed copy; `configs/` may be
  left out. Raises UsageError where there is neither.
  """
  given = pathlib.Path(name)
  if given.is_file():
    return given
  folders = [PACKAGE / "_configs", PACKAGE.parent / "configs"]
  inside = pathlib.Path(*given.parts[given.parts[:1] == ("configs",) :])
  for folder in folders:
    found = folder / inside
    if found.is_file() and ".." not in inside.parts:
      return found
  known = sorted(
    f"configs/{path}"
    for path in {p.relative_to(d) for d in folders for p in d.rglob("*.py")}
  )
  close = difflib.get_close_matches(name, known, n=1)
  hint = f"did you mean {close[0]}?" if close else f"known: {', '.join(known)}"
  raise UsageError(f"config file {name!r} does not exist; {hint}")


def _explain(error: Exception, verb: verbs.Verb, arguments: list[str]) -> str:
  """What is wrong with the flags or the config, briefly."""
  text = str(error)
  if isinstance(error, flags.UnrecognizedFlagError):
    return f"{text.partition('.')[0]}; it takes {_forms(verb)}"
  if isinstance(error, flags.Error) and "Traceback" in text:
    return f"config file: {text.strip().splitlines()[-1]}"
  if isinstance(error, flags.Error) or not isinstance(
    error, AttributeError | KeyError
  ):
    return text
  close = re.search(r'Did you mean "([^"]+)" instead of "([^"]+)"', text)
  wrong = re.search(r'(?:Key "|lookup: )([\w.]+)', text)
  wrong = wrong or re.search(r"([\w.]+)", text)
  key = close[2] if close else wrong[1] if wrong else text
  for argument in arguments:  # Where it stands on the command line.
    path = argument.partition("=")[0].removeprefix("--config.")
    key = path if key in path.split(".") else key
  hint = f"; did you mean {close[1]!r}?" if close else ""
  return f"the config has no key {key!r}{hint}"


def _one_line(error: Exception) -> str:
  """The message on one line; says how to see more if it is not our own."""
  line = " ".join(str(error).split()) or type(error).__name__
  last = traceback.extract_tb(error.__traceback__)[-1].filename
  own = isinstance(error, OSError | UsageError)
  places = {PACKAGE, PACKAGE.parent / "datasets"}
  if own or places & set(pathlib.Path(last).parents):
    return line
  return f"{line} ({type(error).__name__}; --debug shows where)"


def _version() -> str:
  try:
    return importlib.metadata.version("diffpose-jax")
  except importlib.metadata.PackageNotFoundError:
    return "from source, not installed"


def console() -> None:
  """Runs the command with the process's arguments, and exits."""
  flags.FLAGS.mark_as_parsed()  # Grain reads absl's own flags.
  compile_cache.use()
  logging.use_absl_handler()
  if supervisor.is_worker():
    try:
      code = main(sys.argv[1:])
    except Exception:
      traceback.print_exc()
      code = 1
    if code:
      supervisor.leave(code)
    return
  sys.exit(main(sys.argv[1:]))


if __name__ == "__main__":
  console()
