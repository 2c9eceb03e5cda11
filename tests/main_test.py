"""The command line: what it passes on, and how it refuses what is wrong."""

import ast
import contextlib
import dataclasses
import pathlib
import subprocess
import sys
import types

import fsspec
import pytest

from diffpose_jax import main, supervisor, verbs
from diffpose_jax.inference import shipped

CONFIG = """
from diffpose_jax import config as defaults

def get_config():
  config = defaults.default()
  config.data.name = "synthetic"
  config.train.steps = 7
  return config
"""


@pytest.fixture
def config_file(tmp_path):
  path = tmp_path / "tiny.py"
  path.write_text(CONFIG)
  return path


@pytest.fixture
def joined(monkeypatch):
  """What the hosts are joined with, and where; nothing is started."""
  record = []
  hosts = types.ModuleType("fake_hosts")

  @contextlib.contextmanager
  def join(**given):
    record.append(("joined", given))
    yield
    record.append(("left", {}))

  hosts.joined = join  # pyright: ignore[reportAttributeAccessIssue]
  monkeypatch.setitem(sys.modules, "diffpose_jax.model.hosts", hosts)
  monkeypatch.setattr(
    supervisor, "run", lambda a: record.append(("supervised", a)) or 7
  )
  monkeypatch.setattr(supervisor, "work", lambda: None)
  return record


@pytest.fixture
def calls(monkeypatch):
  """The calls of the verbs, which are replaced by recorders."""
  record = []
  module = types.ModuleType("fake_verbs")
  fakes = {}
  for name, verb in verbs.VERBS.items():
    setattr(module, name, lambda _name=name, **f: record.append((_name, f)))
    fakes[name] = dataclasses.replace(
      verb, module="fake_verbs", function=name, judges=False
    )
  monkeypatch.setitem(sys.modules, "fake_verbs", module)
  monkeypatch.setattr(verbs, "VERBS", fakes)
  return record


def raising(monkeypatch, error):
  """Makes `predict` raise the error."""

  def predict(**_):
    raise error

  monkeypatch.setattr(sys.modules["fake_verbs"], "predict", predict)
  return ["predict", "--input=a", "--boxes=b", "--weights=c", "--out=d"]


def refused(capsys, *arguments) -> str:
  """The one line of an error, after checking that it is one, with code 2."""
  assert main.main(arguments) == 2
  captured = capsys.readouterr()
  assert captured.out == ""
  assert captured.err.startswith("diffpose_jax: error: ")
  assert captured.err.count("\n") == 1
  return captured.err.removeprefix("diffpose_jax: error: ").rstrip()


def test_train_is_the_default_verb(calls, config_file):
  override = "--config.train.steps=11"
  assert main.main([f"--config={config_file}", override]) == 0
  assert main.main(["train", "--config", str(config_file), "--workdir=w"]) == 0
  (first, flags), (second, other_flags) = calls
  assert first == second == "train"
  assert set(flags) == set(other_flags) == {"config", "workdir"}
  assert flags["workdir"] == "runs/tiny"
  assert other_flags["workdir"] == "w"
  assert flags["config"].train.steps == 11
  assert other_flags["config"].train.steps == 7
  assert flags["config"].is_locked


def test_overrides_have_the_type_of_the_key(calls, config_file):
  main.main(
    [
      f"--config={config_file}",
      "--config.data.size=(64, 48)",
      "--config.train.learning_rate=3e-4",
      "--config.model.lookup=false",
      "--noconfig.model.diffusion",
      "--config.data.root=/some/where",
    ]
  )
  config = calls[0][1]["config"]
  assert config.data.size == (64, 48)
  assert config.train.learning_rate == 3e-4
  assert config.model.lookup is False
  assert config.model.diffusion is False
  assert config.data.root == "/some/where"


def test_only_given_flags_are_passed_on_typed(calls):
  main.main(["evaluate", "--gt=a", "--pred=b/c", "--out=d.json"])
  sampling = ["--box-threshold=0.25", "--samples", "3", "--noflip"]
  main.main(["evaluate", "--weights=runs/x", "--boxes=gt", *sampling])
  assert calls == [
    (
      "evaluate",
      {
        "gt": pathlib.Path("a"),
        "pred": pathlib.Path("b/c"),
        "out": pathlib.Path("d.json"),
      },
    ),
    (
      "evaluate",
      {
        "weights": pathlib.Path("runs/x"),
        "boxes": "gt",
        "box_threshold": 0.25,
        "samples": 3,
        "flip": False,
      },
    ),
  ]


HOSTS = ["--multihost", "--coordinator=a:1", "--processes=2", "--process=1"]


def test_several_hosts_work_under_a_supervisor(calls, joined, config_file):
  arguments = [f"--config={config_file}", *HOSTS]
  assert main.main([*arguments, "--debug"]) == 7
  assert not calls
  assert joined == [("supervised", ["train", *arguments, "--debug"])]


def test_a_worker_joins_the_others_around_the_verb(
  calls, joined, config_file, monkeypatch
):
  monkeypatch.setattr(supervisor, "is_worker", lambda: True)
  assert main.main([f"--config={config_file}", *HOSTS, "--heartbeat=9"]) == 0
  assert main.main(["evaluate", "--weights=w", "--multihost"]) == 0
  names = {"coordinator": "a:1", "processes": 2, "process": 1, "heartbeat": 9}
  assert joined == [
    *(("joined", names), ("left", {})),
    *(("joined", {}), ("left", {})),
  ]
  (_, train), (_, evaluate) = calls
  assert set(train) == {"config", "workdir"} and set(evaluate) == {"weights"}


def test_one_process_joins_nobody(calls, joined, config_file):
  assert main.main([f"--config={config_file}"]) == 0
  assert main.main([f"--config={config_file}", "--nomultihost"]) == 0
  assert len(calls) == 2 and not joined


def test_a_dash_in_a_value_stays(calls):
  main.main(["prepare", "--dataset=synthetic", "--out=a-b/c--d"])
  assert calls[0][1]["out"] == pathlib.Path("a-b/c--d")


@pytest.mark.parametrize(
  ("arguments", "message"),
  [
    (["evalute"], "unknown verb 'evalute': did you mean 'evaluate'?"),
    (
      ["fly"],
      "the verbs are train, distill, evaluate, calibrate, predict, summary, prepare, "
      "unpack, convert",
    ),
    (["predict", "--stepz=3"], "Unknown command line flag 'stepz'; it takes"),
    (["predict", "--gt=a"], "Unknown command line flag 'gt'; it takes --input"),
    (["predict", "--input=a", "--boxes=b"], "needs --out"),
    (["predict", "--steps=two"], "--steps=two"),
    (["predict", "--steps=0"], "--steps=0"),
    (["predict", "--box_threshold=-1"], "--box_threshold=-1"),
    (["predict", "a.mp4"], "unexpected argument 'a.mp4'"),
    (["evaluate"], "got nothing"),
    (["evaluate", "--gt=a", "--pred=b", "--out=c", "--steps=4"], "--steps"),
    (["evaluate", "--weights=a", "--gt=b"], "--gt --pred --out, or --weights"),
    (["--workdir=w"], "train needs --config"),
    (
      ["calibrate", "--weights=gs://bucket/run"],
      "--weights=gs://bucket/run is an address, not a path on a disk; copy it",
    ),
    (["--config"], "--config"),
    (
      ["evaluate", "--weights=a", "--process=1"],
      "--process is for --multihost",
    ),
    (["evaluate", "--weights=a", "--heartbeat=0"], "--heartbeat=0"),
    (["predict", "--multihost"], "Unknown command line flag 'multihost'"),
  ],
)
def test_wrong_command_lines(capsys, calls, arguments, message):
  assert message in refused(capsys, *arguments)
  assert not calls


@pytest.mark.parametrize(
  ("override", "message"),
  [
    ("train.stepz=3", "no key 'train.stepz'; did you mean 'steps'?"),
    ("trn.steps=3", "no key 'trn.steps'; did you mean 'train'?"),
    ("train.qqqqqq=3", "no key 'train.qqqqqq'"),
    ("train.steps.x=3", "no key 'train.steps.x'"),
    ("train.steps=many", "--config.train.steps=many"),
    ("train.steps=1.5", "--config.train.steps=1.5"),
    ("model.lookup=perhaps", "--config.model.lookup=perhaps"),
    ("train=3", "--config.train=3"),
  ],
)
def test_wrong_overrides(capsys, calls, config_file, override, message):
  arguments = [f"--config={config_file}", f"--config.{override}"]
  assert message in refused(capsys, *arguments)
  assert not calls


@pytest.mark.parametrize(
  ("place", "message"),
  [
    ("nosuch://bucket/run", "install fsspec's package for nosuch://"),
    ("memory://bucket", "give a folder in the bucket"),
    ("file:///run", "give the path alone"),
  ],
)
def test_a_workdir_that_cannot_be_reached_makes_no_folder_of_that_name(
  capsys, calls, config_file, tmp_path, monkeypatch, place, message
):
  monkeypatch.chdir(tmp_path)
  there = sorted(tmp_path.iterdir())
  arguments = [f"--config={config_file}", f"--workdir={place}"]
  assert message in refused(capsys, *arguments)
  assert sorted(tmp_path.iterdir()) == there and not calls


@pytest.fixture
def bucket(monkeypatch, tmp_path):
  """fsspec's file system in memory, and a cache of this test's own."""
  monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
  found = fsspec.filesystem("memory")
  found.store.clear()
  yield found
  found.store.clear()


def test_a_workdir_in_a_bucket(calls, bucket, config_file, monkeypatch):
  def train(*, workdir, dry_run=False, **_):
    if not dry_run:
      (pathlib.Path(workdir) / "log").write_text("trained")

  monkeypatch.setattr(sys.modules["fake_verbs"], "train", train)
  run = [f"--config={config_file}", "--workdir=memory://b/runs/a"]
  assert main.main([*run, "--dry_run"]) == 0
  assert not bucket.find("/b")
  assert main.main(run) == 0
  assert bucket.cat("/b/runs/a/log") == b"trained"


def test_several_hosts_need_a_disk_that_all_see(
  capsys, calls, joined, config_file
):
  run = [f"--config={config_file}", "--workdir=memory://b/a", "--multihost"]
  assert "give a folder on a disk that all hosts see" in refused(capsys, *run)
  assert not joined


def test_weights_and_prepared_data_in_a_bucket(calls, bucket, config_file):
  bucket.pipe("/b/small.safetensors", b"weights")
  assert main.main(["evaluate", "--weights=memory://b/small.safetensors"]) == 0
  [(_, given)] = calls
  assert given["weights"].read_bytes() == b"weights"
  bucket.pipe("/b/data/prepared.json", b"{}")
  run = [f"--config={config_file}", "--config.data.prepared=memory://b/data"]
  assert main.main(run) == 0
  place = pathlib.Path(calls[1][1]["config"].data.prepared)
  assert (place / "prepared.json").read_bytes() == b"{}"


def test_override_before_the_config_file(capsys, calls, config_file):
  arguments = ["--config.train.steps=3", f"--config={config_file}"]
  assert "before" in refused(capsys, *arguments)
  assert not calls


@pytest.mark.parametrize(
  ("line", "message"),
  [
    ("config.lock(); config.modle = 1", "no key 'modle'; did you mean 'model'"),
    ("config.lock(); config.qqqqqq = 1", "no key 'qqqqqq'"),
    ("config.train.steps = 'x'", "'steps'"),
  ],
)
def test_mistakes_in_a_config_file(capsys, calls, config_file, line, message):
  text = CONFIG.replace("config.train.steps = 7", line)
  config_file.write_text(text)
  assert message in refused(capsys, f"--config={config_file}")
  assert not calls


def test_missing_config_file(capsys, calls, tmp_path, monkeypatch):
  monkeypatch.setattr(main, "PACKAGE", tmp_path / "package")
  (tmp_path / "configs").mkdir()
  (tmp_path / "configs" / "pt18.py").write_text(CONFIG)
  line = refused(capsys, "--config=configs/pt19.py")
  assert line == (
    "config file 'configs/pt19.py' does not exist; "
    "did you mean configs/pt18.py?"
  )
  assert "known: configs/pt18.py" in refused(capsys, "--config=/nowhere/x.py")
  assert not calls


@pytest.mark.parametrize("folder", ["package/_configs", "configs"])
def test_config_of_the_package(calls, tmp_path, monkeypatch, folder):
  monkeypatch.setattr(main, "PACKAGE", tmp_path / "package")
  monkeypatch.chdir(tmp_path.parent)
  (tmp_path / folder).mkdir(parents=True)
  (tmp_path / folder / "own.py").write_text(CONFIG)
  assert main.main(["--config=configs/own.py"]) == 0
  assert main.main(["--config", "own.py"]) == 0
  assert [flags["workdir"] for _, flags in calls] == ["runs/own", "runs/own"]


WITH_ARGUMENT = CONFIG.replace("get_config()", "get_config(steps='7')").replace(
  "= 7", "= int(steps)"
)


@pytest.mark.parametrize("folder", ["package/_configs", "configs"])
def test_config_in_a_folder_with_an_argument(
  calls, tmp_path, monkeypatch, folder
):
  monkeypatch.setattr(main, "PACKAGE", tmp_path / "package")
  monkeypatch.chdir(tmp_path.parent)
  (tmp_path / folder / "more").mkdir(parents=True)
  (tmp_path / folder / "more" / "own.py").write_text(WITH_ARGUMENT)
  assert main.main(["--config=configs/more/own.py:11"]) == 0
  assert main.main(["--config", "more/own.py:12", "--workdir=w:1"]) == 0
  assert main.main(["--config=configs/more/own.py"]) == 0
  assert [
    (flags["workdir"], flags["config"].train.steps) for _, flags in calls
  ] == [("runs/own_11", 11), ("w:1", 12), ("runs/own", 7)]


def test_wrong_config_in_a_folder(capsys, calls, tmp_path, monkeypatch):
  monkeypatch.setattr(main, "PACKAGE", tmp_path / "package")
  monkeypatch.chdir(tmp_path.parent)
  (tmp_path / "configs" / "more").mkdir(parents=True)
  (tmp_path / "configs" / "more" / "own.py").write_text(CONFIG)
  (tmp_path / "outside.py").write_text(CONFIG)
  line = refused(capsys, "--config=configs/more/owm.py:3")
  assert "'configs/more/owm.py' does not exist" in line
  assert "did you mean configs/more/own.py?" in line
  line = refused(capsys, "--config=configs/../outside.py")
  assert "does not exist" in line
  line = refused(capsys, "--config=configs/more/own.py:3")
  assert "get_config() takes 0 positional arguments but 1 was given" in line
  assert not calls


def test_a_path_that_exists_comes_first(tmp_path, monkeypatch):
  monkeypatch.setattr(main, "PACKAGE", tmp_path / "package")
  for folder in ("package/_configs", "here/configs"):
    (tmp_path / folder).mkdir(parents=True)
    (tmp_path / folder / "own.py").write_text(CONFIG)
  monkeypatch.chdir(tmp_path / "here")
  assert main.find_config("configs/own.py") == pathlib.Path("configs/own.py")


def test_errors_of_a_verb_are_one_line(capsys, calls, monkeypatch):
  error = ValueError("a.json: record 3\nhas no box; draw one")
  arguments = raising(monkeypatch, error)
  line = refused(capsys, *arguments)
  assert line.startswith("a.json: record 3 has no box; draw one")
  # It was raised outside of the package, so where is worth a look.
  assert line.endswith("(ValueError; --debug shows where)")


def test_missing_file_is_one_line(capsys, calls, monkeypatch):
  def predict(**flags):
    open(flags["input"]).close()

  monkeypatch.setattr(sys.modules["fake_verbs"], "predict", predict)
  arguments = ["predict", "--boxes=b", "--weights=c", "--out=d"]
  line = refused(capsys, *arguments, "--input=/nowhere/clip.mp4")
  assert line == "[Errno 2] No such file or directory: '/nowhere/clip.mp4'"


def test_debug_shows_the_traceback(calls, monkeypatch):
  error = ValueError("a.json: no box")
  arguments = raising(monkeypatch, error)
  with pytest.raises(ValueError, match="no box"):
    main.main([*arguments, "--debug"])


@pytest.mark.parametrize("error", [TypeError, KeyError, RuntimeError])
def test_bugs_keep_their_traceback(calls, monkeypatch, error):
  arguments = raising(monkeypatch, error("a bug"))
  with pytest.raises(error, match="a bug"):
    main.main(arguments)


def test_interrupt(capsys, calls, monkeypatch):
  arguments = raising(monkeypatch, KeyboardInterrupt())
  assert main.main(arguments) == 130
  assert capsys.readouterr().err == "diffpose_jax: interrupted\n"


@pytest.mark.parametrize("arguments", [[], ["help"], ["--help"], ["-h"]])
def test_help_names_every_verb_and_flag(capsys, calls, arguments):
  assert main.main(arguments) == 0
  text = capsys.readouterr().out
  for verb in verbs.VERBS.values():
    assert verb.help in text
  for name, (_, meaning) in verbs.FLAGS.items():
    assert f"--{name} " in text
    assert meaning in text
  assert not calls


@pytest.mark.parametrize(
  "arguments", [["help", "predict"], ["predict", "--help"]]
)
def test_help_on_one_verb(capsys, calls, arguments):
  assert main.main(arguments) == 0
  text = capsys.readouterr().out
  assert "--input" in text
  assert "--gt" not in text
  assert not calls


def test_version(capsys):
  assert main.main(["--version"]) == 0
  assert capsys.readouterr().out.startswith("diffpose_jax ")


@pytest.mark.parametrize("name", verbs.VERBS)
def test_verbs_take_their_flags(name):
  # Read, not imported: a verb's module brings JAX and more with it.
  verb = verbs.VERBS[name]
  parts = verb.module.split(".")[1:]
  path = main.PACKAGE.joinpath(*parts).with_suffix(".py")
  functions = [
    node
    for node in ast.parse(path.read_text()).body
    if isinstance(node, ast.FunctionDef) and node.name == verb.function
  ]
  assert len(functions) == 1
  arguments = functions[0].args
  names = {a.arg for a in arguments.args + arguments.kwonlyargs}
  taken = set(verb.flags) - set(verbs.HOSTS)
  assert arguments.kwarg is not None or names >= taken


def test_flags_are_the_flags_of_the_verbs():
  used = {name for verb in verbs.VERBS.values() for name in verb.flags}
  assert used == set(verbs.FLAGS)
  numbers = {n for n, (kind, _) in verbs.FLAGS.items() if kind in (int, float)}
  assert set(verbs.LOWEST) == numbers


def test_the_command_starts_without_the_verbs():
  code = (
    "import sys; from diffpose_jax import main; code = main.main(['fly']);"
    "assert not {'jax', 'cv2', 'tensorflow_datasets'} & set(sys.modules);"
    "sys.exit(code)"
  )
  run = subprocess.run(
    [sys.executable, "-c", code],
    cwd=main.PACKAGE.parent,
    capture_output=True,
    text=True,
    check=False,
  )
  assert run.returncode == 2, run.stderr
  assert run.stderr.startswith("diffpose_jax: error: unknown verb 'fly'")


def test_shipped_weights_are_known_by_name(tmp_path, monkeypatch):
  parse = lambda value: main.parse(  # noqa: E731
    "calibrate", verbs.VERBS["calibrate"], [f"--weights={value}"]
  )["weights"]
  monkeypatch.chdir(tmp_path)
  assert parse("runs/a") == pathlib.Path("runs/a")
  assert parse(shipped.DEFAULT) == shipped.find(shipped.DEFAULT)
  (tmp_path / shipped.DEFAULT).mkdir()  # a path that exists comes first
  assert parse(shipped.DEFAULT) == pathlib.Path(shipped.DEFAULT)
