"""The verbs of the command, the flags of each, and what a flag means."""

import dataclasses
import pathlib


@dataclasses.dataclass(frozen=True)
class Form:
  """One set of flags that a verb can be called with."""

  required: tuple[str, ...]
  optional: tuple[str, ...] = ()

  def __str__(self) -> str:
    required = [f"--{name}" for name in self.required]
    return " ".join(required + [f"[--{name}]" for name in self.optional])


@dataclasses.dataclass(frozen=True)
class Verb:
  """Where a verb lives, what it is for, and the forms of its call.

  The function gets the flags that were given, as keyword arguments; its own
  defaults stand for the others. Where the verb `judges`, it gives the exit code.
  """

  module: str
  function: str
  help: str
  forms: tuple[Form, ...]
  judges: bool = False
  addresses: tuple[str, ...] = ()  # flags that may name a place in a bucket

  @property
  def flags(self) -> list[str]:
    """Names of all flags of all forms, each once, in the order stated."""
    names = [n for form in self.forms for n in form.required + form.optional]
    return list(dict.fromkeys(names))


RULES = ("poseval_compatible", "posetrack21_compatible")
# With `multihost`, the process is one of several that run as one; the others
# say which. `main` takes them, the verb does not see them.
HOSTS = ("multihost", "coordinator", "processes", "process", "heartbeat")
SAMPLING = (
  "box_threshold",
  "steps",
  "samples",
  "flip",
  "seed",
  "eta",
  "solver",
  "adaptive",
)
VERBS = {
  "train": Verb(
    "diffpose_jax.training.train",
    "train",
    "train, or resume, and evaluate at the end (the verb when none is given)",
    (
      Form(
        ("config",),
        ("workdir", "dry_run", "profile_steps", "skip_evaluation", *HOSTS),
      ),
    ),
    addresses=("workdir",),
  ),
  "distill": Verb(
    "diffpose_jax.training.distill",
    "main",
    "teach the Pose-Decoder of trained weights to do in one step what several "
    "steps and samples do",
    (Form(("weights", "workdir"), ("steps", "samples", "iterations", "root")),),
    addresses=("weights", "workdir"),
  ),
  "evaluate": Verb(
    "diffpose_jax.evaluation.verb",
    "main",
    "score prediction files, or trained weights, against ground truth; compare "
    "results; zip prediction files for a test server",
    (
      Form(
        ("gt", "pred", "out"),
        ("dataset", "split", "metrics", "report", "skeleton", *RULES),
      ),
      Form(
        ("weights",),
        (
          *("split", "boxes", *SAMPLING, "out", "root", "dataset"),
          *("metrics", "report", "dump", *RULES, *HOSTS),
        ),
      ),
      Form(("compare",), ("mixed_protocols",)),
      Form(("pred", "zip"), ("gt", "skeleton")),
    ),
    addresses=("weights",),
  ),
  "calibrate": Verb(
    "diffpose_jax.evaluation.calibrate",
    "main",
    "fit the uncertainty of weights to their errors on a split",
    (Form(("weights",), ("split", "boxes", *SAMPLING, "root", "dataset")),),
  ),
  "predict": Verb(
    "diffpose_jax.inference.predict",
    "predict",
    "find the poses of the people in videos, folders of frames or a camera",
    (
      Form(
        ("input", "out"),
        (
          *("weights", "boxes", "detector", "follow", "smooth_boxes"),
          *("share_crops", "live", "smooth", "fps", *SAMPLING),
          *("formats", "keep_samples", "video", "draw", "viewer"),
          *("shard", "engine", "workers", "gpus", "retries"),
        ),
      ),
    ),
    addresses=("weights",),
  ),
  "summary": Verb(
    "diffpose_jax.inference.summary",
    "main",
    "tell which of many videos predict has done, and write a table of them; "
    "exit code 1 where not all are",
    (Form(("input", "out"), ("fps",)),),
    judges=True,
  ),
  "prepare": Verb(
    "diffpose_jax.data.prepare",
    "main",
    "turn a data set into the form that training reads",
    (
      Form(("dataset", "out"), ("source", "boxes", "config", "skip")),
      Form(("check", "out")),
    ),
  ),
  "unpack": Verb(
    "diffpose_jax.data.archives",
    "main",
    "unpack an archive of a data set: checked first, whole or not at all",
    (Form(("source", "out")),),
  ),
  "convert": Verb(
    "diffpose_jax.weights.convert",
    "main",
    "turn public ViT or ViTPose weights into a folder to start training from",
    (Form(("source", "out")),),
  ),
  "fetch": Verb(
    "diffpose_jax.inference.detector_weights",
    "fetch",
    "fetch the weights of a person detector: checked, whole or not at all",
    (Form(("name",), ("out",)),),
  ),
  "pack": Verb(
    "diffpose_jax.evaluation.pack",
    "main",
    "put a run's weights, config, joints and calibration into one file, and "
    "tell what rounding them costs",
    (Form(("weights", "out"), ("dtype", "split", "boxes", "root", "dataset")),),
    addresses=("weights",),
  ),
  "export": Verb(
    "diffpose_jax.evaluation.export",
    "main",
    "write the network as StableHLO programs, or ONNX, that run without this "
    "package",
    (Form(("weights", "out"), ("onnx",)),),
    addresses=("weights",),
  ),
  "benchmark": Verb(
    "diffpose_jax.benchmark.verb",
    "main",
    "measure the network on this machine, side by side with its own parts",
    (Form((), ("config", "out", "rows", "pairs", "batches", "calls")),),
  ),
  "webdemo": Verb(
    "diffpose_jax.webdemo.verb",
    "main",
    "a page on this machine to try a clip on, until Ctrl-C",
    (
      Form(
        (),
        (
          *("weights", "detector", "host", "port"),
          *("clip_megabytes", "clip_seconds", "clip_frames", "job_seconds"),
        ),
      ),
    ),
    addresses=("weights",),
  ),
  "replay": Verb(
    "diffpose_jax.training.replay",
    "main",
    "compute logged steps of a run again, and compare them bit for bit; exit "
    "code 1 where they differ",
    (Form(("workdir", "step"), ("since", *HOSTS)),),
    judges=True,
  ),
  "doctor": Verb(
    "diffpose_jax.doctor.verb",
    "main",
    "check this installation in a few seconds, and print what to put into a bug "
    "report; exit code 2 where something is wrong",
    (Form((), ("json",)),),
    judges=True,
  ),
}

# name: (type, what it says). A flag means the same for every verb.
FLAGS: dict[str, tuple[type, str]] = {
  "config": (object, "config file; --config.KEY=VALUE overrides a key"),
  "workdir": (
    str,
    "where a run lives; default runs/<config's name>; train: also gs://...",
  ),
  "dry_run": (
    bool,
    "build and compile all, say what would be done, and do none of it",
  ),
  "profile_steps": (
    str,
    "A:B, first and last step to profile, into WORKDIR/profile",
  ),
  "skip_evaluation": (
    bool,
    "leave out the evaluation at the end; evaluate can do it later, elsewhere",
  ),
  "weights": (
    pathlib.Path,
    "workdir of a training run, file of pack, bundle, or name of shipped ones; "
    "also gs://BUCKET/PATH",
  ),
  "split": (str, "split to evaluate; default: the config's validation split"),
  "boxes": (
    str,
    "person boxes (JSON, MOT text, CSV), which prepare stores; evaluate: or gt, "
    "or prepared for those stored; predict: or whole",
  ),
  "detector": (
    str,
    "what finds people instead of boxes: hog, a fetched one, or FILE.onnx",
  ),
  "follow": (bool, "follow people by their poses through frames without boxes"),
  "smooth": (str, "steady joints along identities: none, online or lag"),
  "smooth_boxes": (
    str,
    "steady boxes along tracks before people are cut out: none, online or lag",
  ),
  "share_crops": (
    bool,
    "share boxes along tracks, so that each frame is looked at once: faster, "
    "and a little less accurate",
  ),
  "live": (
    str,
    "let no frame wait: none, lag (but for its neighbours) or causal; a camera "
    "is lag",
  ),
  "fps": (float, "pictures a second, of a folder or list of pictures"),
  "box_threshold": (float, "ignore boxes that score below it"),
  "step": (int, "replay: training step, from the nearest checkpoint before it"),
  "iterations": (int, "distill: optimiser steps (500)"),
  "since": (int, "replay: from the checkpoint before this step; default: step"),
  "steps": (int, "denoising steps"),
  "samples": (int, "ensemble members, averaged"),
  "flip": (bool, "average with the mirrored picture"),
  "seed": (int, "of the sampling noise"),
  "eta": (float, "noise of the DDIM steps; 0 is deterministic"),
  "adaptive": (
    float,
    "spread of two samples of one step, as a share of the crop's height, up to "
    "which a person has no more",
  ),
  "solver": (str, "of the steps: ddim, or dpm2m of second order"),
  "gt": (pathlib.Path, "folder of annotation files: PoseTrack18 or annolist"),
  "pred": (pathlib.Path, "folder of prediction files, in either form"),
  "metrics": (
    str,
    "comma-separated, as ap,mota; an unknown one is told all there are",
  ),
  "report": (pathlib.Path, "page to write, one HTML file"),
  "skeleton": (str, "joints of the files: posetrack, coco or a skeleton file"),
  "poseval_compatible": (
    bool,
    "follow poseval's tracking rules where they surprise (on by default)",
  ),
  "posetrack21_compatible": (
    bool,
    "count false positives as PoseTrack21's HOTA does by mistake (off)",
  ),
  "dump": (pathlib.Path, "folder for the predictions, PoseTrack18 JSON"),
  "compare": (str, "comma-separated results of evaluate, for one table"),
  "mixed_protocols": (bool, "compare results of different protocols"),
  "zip": (pathlib.Path, "archive of the prediction files to write"),
  "input": (
    str,
    "video, folder or list of pictures, folder of videos, pattern, or camera:0",
  ),
  "out": (
    pathlib.Path,
    "what to write: evaluate, benchmark: a JSON file; else a folder",
  ),
  "formats": (
    str,
    "files of poses: some of posetrack, json, coco, csv, npz, hdf5; default "
    "posetrack,json",
  ),
  "keep_samples": (bool, "all members of the ensemble in files that hold them"),
  "video": (str, "with poses drawn in: webm (default), mp4 or none"),
  "draw": (
    str,
    "in the video: some of skeleton, boxes, ids, ellipses, heatmaps, crops; or "
    "none",
  ),
  "viewer": (bool, "a page to look into the poses, NAME.html"),
  "shard": (
    str,
    "I/N, the I-th from 0 of N parts of many videos, by jobs that share --out",
  ),
  "engine": (str, "ray, to do many videos by its workers; docs/launch.md"),
  "workers": (int, "of --engine; default: one a GPU, without GPUs one a node"),
  "gpus": (int, "of each worker of --engine; default: one where there are any"),
  "retries": (int, "of a video whose worker of --engine dies (2)"),
  "root": (pathlib.Path, "data set's root; default: the one trained on"),
  "dataset": (
    str,
    "posetrack17 | posetrack18 | posetrack21 | coco | custom | synthetic | "
    "[sub_]jhmdb[_2|_3]",
  ),
  "check": (bool, "verify what was prepared before: bytes, records, counts"),
  "skip": (float, "share of pictures that may be left out as unreadable"),
  "source": (
    pathlib.Path,
    "folder of the data set as published; unpack: its zip or tar; convert: "
    "file of weights",
  ),
  "name": (str, "yolox-nano | yolox-tiny | yolox-s | rtmdet-nano"),
  "dtype": (str, "pack: float16 (the default) or float32"),
  "json": (bool, "print JSON"),
  "host": (str, "webdemo: address to listen on; default: this machine's own"),
  "port": (int, "webdemo: to listen on (7860); 0 takes a free one"),
  "clip_megabytes": (int, "webdemo: most of an upload (100)"),
  "clip_seconds": (float, "webdemo: longest clip (20)"),
  "clip_frames": (int, "webdemo: most frames of a clip (600)"),
  "job_seconds": (float, "webdemo: longest time for a clip's poses (300)"),
  "onnx": (bool, "export: ONNX files in place of StableHLO; the extra onnx"),
  "rows": (str, "comma-separated, as P3,P4; default: all; docs/benchmarks.md"),
  "pairs": (int, "rounds in which what is compared takes turns; default 7"),
  "batches": (str, "comma-separated clips a call, as 1,8, for throughput"),
  "calls": (int, "among which recompilations are counted; default 100"),
  "multihost": (
    bool,
    "be one of several processes that run as one: start the same command on "
    "each host; Slurm, Cloud TPU, GKE and Open MPI say who is who",
  ),
  "coordinator": (str, "multihost: HOST:PORT at which process 0 is reached"),
  "processes": (int, "multihost: how many there are"),
  "process": (int, "multihost: which one this is, from 0 on"),
  "heartbeat": (
    int,
    "multihost: seconds without a sign of a process until it is lost (60)",
  ),
}


# Smallest values; a smaller one is refused.
LOWEST = {
  "fps": 0.001,
  "step": 1,
  "since": 1,
  "box_threshold": 0.0,
  "steps": 1,
  "iterations": 1,
  "samples": 1,
  "seed": 0,
  "eta": 0.0,
  "adaptive": 0.0,
  "skip": 0.0,
  "pairs": 1,
  "calls": 1,
  "processes": 1,
  "workers": 1,
  "gpus": 0,
  "retries": 0,
  "process": 0,
  "heartbeat": 1,
  "port": 0,
  "clip_megabytes": 1,
  "clip_seconds": 0.1,
  "clip_frames": 1,
  "job_seconds": 1.0,
}
