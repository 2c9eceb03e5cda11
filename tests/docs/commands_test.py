"""Commands that the documentation shows are ones that the program takes.

They are parsed by the command's own parser, and not run: flags, their values,
which flags go together, config files, and keys that are overridden. So are the
names of flags and keys in the text.
"""

import ast
import inspect
import pathlib
import re
import shlex

import pytest

from diffpose_jax import config as config_lib
from diffpose_jax import main, verbs

REPO = pathlib.Path(__file__).resolve().parents[2]
PROGRAM = "diffpose_jax.main"
SHELLS = ("bash", "sh", "")
# Flags of other programs that stand without them.
OTHERS = {"dry-run", "gpus-per-task", "help", "signal"}
# Words that look like keys of a config and are files or calls.
NO_KEYS = {"train.lock", "data.json", "model.txt"}
NO_KEYS |= {"model.predict", "model.protocol"}
NO_KEYS |= {"model.body"}  # which docs/extending.md adds


def lines(text: str) -> list[list[str]]:
  """The commands of a shell script, as words; comments left out."""
  found: list[list[str]] = []
  for line in re.sub(r"\\\n\s*", " ", text).splitlines():
    words = shlex.shlex(line, posix=True, punctuation_chars="&|;")
    words.whitespace_split = True
    command: list[str] = []
    for word in words:
      if set(word) <= set("&|;"):
        found.append(command)
        command = []
      else:
        command.append(word)
    found.append(command)
  return [command for command in found if command]


def calls(command: list[str]) -> list[list[str]]:
  """Arguments of the program where a command calls it, or tells another to."""
  found = []
  for i, word in enumerate(command):
    if " " in word and PROGRAM in word:
      found += [call for inner in lines(word) for call in calls(inner)]
    if word == PROGRAM and command[i - 1 : i] == ["-m"]:
      found.append(command[i + 1 :])
  return found


def check(arguments: list[str]) -> None:
  """Raises unless the program takes the arguments.

  `...` stands for what is left out, a single capital letter for a number.
  """
  words = [main._underscores(re.sub(r"=[A-Z]$", "=1", w)) for w in arguments]
  words = [w for w in words if w != "--debug"]
  if not words or words[0] == "help":
    assert set(words[1:]) <= set(verbs.VERBS)
    return
  name, words = (
    ("train", words) if words[0] == "..." else main._split_verb(words)
  )
  verb = verbs.VERBS[name]
  if "..." in words:
    for word in words:
      flag = word.removeprefix("--").partition("=")[0]
      assert word == "..." or flag.partition(".")[0] in verb.flags, word
    return
  given = main.parse(name, verb, words)
  if "config" in given:
    config = given["config"]
    for section, key in main._FETCHED:  # a bucket, of which a copy is made
      if config_lib.is_address(config[section][key]):
        config[section][key] = ""
    config_lib.check(config)


def _problem(arguments: list[str]) -> str:
  try:
    check(arguments)
  except (ValueError, AssertionError, OSError) as error:
    return f"{' '.join(arguments)}: {error}"
  return ""


def test_the_program_takes_every_command_of_the_pages(pages, monkeypatch):
  monkeypatch.chdir(REPO)
  problems, count = [], 0
  for page in pages.values():
    for block in page.blocks:
      if block.language not in SHELLS or block.comment.startswith(
        "not checked"
      ):
        continue
      for command in lines(block.text) if PROGRAM in block.text else ():
        for arguments in calls(command):
          count += 1
          if problem := _problem(arguments):
            problems.append(f"{block.place}: {problem}")
  assert not problems, "\n".join(problems)
  assert count > 90


def test_the_program_takes_every_command_of_the_configs(monkeypatch):
  monkeypatch.chdir(REPO)
  count = 0
  for path in sorted((REPO / "configs").rglob("*.py")):
    text = ast.get_docstring(ast.parse(path.read_text())) or ""
    text = re.sub(r"\\\n\s*", " ", text)
    for line in re.findall(r"^.*\bpython -m diffpose_jax.*$", text, re.M):
      for arguments in [call for inner in lines(line) for call in calls(inner)]:
        count += 1
        assert _problem(arguments) == "", path
  assert count > 12


@pytest.mark.parametrize(
  "command",
  [
    "python -m diffpose_jax.main evaluate --weights=a --step=3",
    "python -m diffpose_jax.main predict --input=a --out=b --steps=few",
    "python -m diffpose_jax.main predict --input=a --weights=b",
    "python -m diffpose_jax.main predit --input=a --out=b",
    "python -m diffpose_jax.main help predit",
    "python -m diffpose_jax.main --config=configs/pt18.py --config.train.epoch=3",
    "python -m diffpose_jax.main --config=configs/pt19.py",
    "python -m diffpose_jax.main --config=configs/pt18.py --config.train.batch=0",
    "python -m diffpose_jax.main replay ... --steps=3",
    'x ssh --command "python -m diffpose_jax.main doctor --fast"',
    "A=b again.sh -- .venv/bin/python -m diffpose_jax.main \\\n  doctor --fast",
  ],
)
def test_a_wrong_command_is_found(command, monkeypatch):
  monkeypatch.chdir(REPO)
  (arguments,) = [call for line in lines(command) for call in calls(line)]
  assert _problem(arguments)


def test_commands_are_taken_apart():
  text = """# python -m diffpose_jax.main no
cd x && A="b c" python -m diffpose_jax.main doctor --json   # yes
launch/again.sh -- .venv/bin/python -m diffpose_jax.main train \\
  --config='a b.py'; x | y
"""
  commands = lines(text)
  assert [call for line in commands for call in calls(line)] == [
    ["doctor", "--json"],
    ["train", "--config=a b.py"],
  ]
  assert commands[-2:] == [["x"], ["y"]]


def test_flags_in_the_text_are_flags(pages):
  """Of the program, a benchmark or a script of launch/, alone or after a verb."""
  known = {*verbs.FLAGS, "debug", "version", *OTHERS}
  known |= {f"no{flag}" for flag in verbs.FLAGS}
  for path in (REPO / "benchmarks").rglob("*.py"):
    known |= set(re.findall(r'add_argument\(\s*"--(\w+)"', path.read_text()))
  scripts = "".join(p.read_text() for p in (REPO / "launch").glob("*.*"))
  unknown = []
  for page in pages.values():
    for code in page.code:
      if not code.startswith("--") and code.split()[0] not in verbs.VERBS:
        continue
      for flag in re.findall(r"(?<![\w-])--([a-z][\w-]*)", code):
        name = flag.replace("-", "_")
        if {flag, name} & known or f"--{flag}" in scripts:
          continue
        unknown.append(f"{page.name}: --{flag} in `{code}`")
  assert not unknown, "\n".join(unknown)


def test_keys_in_the_text_are_keys(pages):
  """As `train.batch` within a line, or `--config.train.batch` anywhere."""
  known = set(config_lib._flatten(config_lib.default().to_dict()))
  sections = "|".join(config_lib.default())
  known |= {key.rpartition(".")[0] for key in known}
  word = re.compile(rf"(?:--config\.)?((?:{sections})\.[a-z][\w.]*\w)")
  found, unknown = set(), []
  for page in pages.values():
    if page.name.startswith("docs/api/"):
      continue  # its headings are modules
    for code in page.code:
      match = re.match(word, code)
      if match and match[1] not in NO_KEYS:
        found.add(match[1])
        if match[1] not in known:
          unknown.append(f"{page.name}: `{code}`")
    for key in re.findall(r"--config\.([a-z][\w.]*\w)", page.text):
      if key not in known | NO_KEYS:
        unknown.append(f"{page.name}: --config.{key}")
  assert not unknown, "\n".join(unknown)
  assert len(found) > 40


def test_scripts_take_the_flags_that_are_shown(pages):
  """Of benchmarks/ and launch/, by their text: each parses in its own way."""
  unknown, count = [], 0
  for page in pages.values():
    texts = [(b.place, b.text) for b in page.blocks if b.language in SHELLS]
    texts += [
      (page.name, code)
      for code in page.code
      if code.count("/") and " --" in code
    ]
    for place, shell in texts:
      for command in lines(shell):
        for i, word in enumerate(command):
          if not re.fullmatch(
            r"(benchmarks|launch)/[\w.]+\.(py|sh|sbatch)", word
          ):
            continue
          count += 1
          text = (REPO / word).read_text()
          flags = [w for w in command[i + 1 :] if w != "--show-toplevel"]
          flags = flags[: flags.index("--")] if "--" in flags else flags
          for flag in [w.partition("=")[0][2:] for w in flags if w[:2] == "--"]:
            name = flag.replace("-", "_")
            if flag not in text and name not in text:
              unknown.append(f"{place}: {word} has no --{flag}")
  assert not unknown, "\n".join(unknown)
  assert count > 20


def test_make_has_the_targets_and_variables_that_are_shown(pages):
  makefile = (REPO / "Makefile").read_text()
  targets = re.findall(r"^\.PHONY: (.*)$", makefile, re.M)[0].split()
  assert "demo" in targets
  unknown = []
  for page in pages.values():
    texts = [b.text for b in page.blocks if b.language in SHELLS]
    texts += [code for code in page.code if code.startswith("make ")]
    for command in [c for text in texts for c in lines(text) if c[0] == "make"]:
      for word in command[1:]:
        name, is_set, _ = word.partition("=")
        is_known = re.search(rf"^(export |ifdef )?{name}\b", makefile, re.M)
        if not (is_known if is_set else word in targets):
          unknown.append(f"{page.name}: {' '.join(command)}")
  assert not unknown, "\n".join(unknown)


def test_the_verbs_of_the_readme_are_all(pages):
  """Each verb is told of somewhere in README or docs."""
  told = "\n".join(page.text for page in pages.values())
  for verb in verbs.VERBS:
    assert re.search(rf"diffpose_jax\.main {verb}\b|`{verb}[` ]", told), verb
  assert inspect.getdoc(main.main)
