"""Every key of a run with its default, unit and reason, and the checks.

Files in `configs/` assign differences to `default()`; `check` refuses what
cannot work. The source of a choice is the paper (Feng et al., ICCV 2023,
arXiv 2307.16687) where it states one; its family's protocols or our own
measurement elsewhere.
"""

import json
import math
import pathlib

import ml_collections

JOINTS = 17  # slots of PoseTrack's files


def default() -> ml_collections.ConfigDict:
  """The paper's set-up: ViT-B, 256x192 crops, five frames, 60 epochs."""
  config = ml_collections.ConfigDict()
  config.seed = 0  # of initialisation, data order, augmentation and noise
  config.data = _data()
  config.augment = _augment()
  config.model = _model()
  config.diffusion = _diffusion()
  config.train = _train()
  config.evaluate = _evaluate()
  return config


def _data() -> ml_collections.ConfigDict:
  c = ml_collections.ConfigDict()
  c.name = "posetrack18"  # posetrack18 | jhmdb | synthetic
  c.root = ""  # source in PoseTrack18 layout; synthetic renders its own
  c.prepared = ""  # prepared TFDS folder; '' is <workdir>/data
  c.train_split = "train"
  c.val_split = "val"
  c.size = (256, 192)  # crop (height, width), pixels
  c.span = 2  # δ: frames on each side of the key frame
  c.enlarge = 1.25  # of the key frame's box, as in the paper
  c.threads = 2  # that decode and crop
  c.cache_bytes = 2 << 30  # of decoded frames that training keeps in memory
  c.synthetic = ml_collections.ConfigDict()
  c.synthetic.difficulty = "easy"  # easy | hard
  c.synthetic.size = (240, 320)  # picture (height, width), pixels
  c.synthetic.frames = 40  # per video
  c.synthetic.train_videos = 160
  c.synthetic.val_videos = 16
  c.synthetic.seed = 0
  c.synthetic.workers = 2  # processes that render
  return c


def _augment() -> ml_collections.ConfigDict:
  # The family's values (PoseWarper, DCPose, FAMI-Pose).
  c = ml_collections.ConfigDict()
  c.scale = 0.35  # standard deviation of the zoom, clipped to 1 ± scale
  c.rotation = 45.0  # standard deviation in degrees, clipped to ± twice that
  c.rotation_probability = 0.6
  c.flip_probability = 0.5
  c.half_body_probability = 0.3  # where more than 8 joints are labelled
  c.shift = 0.0  # uniform shift of the box, share of its sides
  c.colour = 0.0  # strength of brightness, contrast and tint jitter, 0 is off
  c.erase_probability = 0.0  # of a textured rectangle over part of the clip
  return c


def _model() -> ml_collections.ConfigDict:
  c = ml_collections.ConfigDict()
  c.size = "B"  # row of diffpose.SIZES
  c.patch = 16  # pixels; the heatmap has 4 cells a patch
  c.stem = "patch"  # patch: one strided convolution; conv: a small network
  c.strl_depth = 6  # pre-norm Transformer layers over all frames
  c.decoder_width = 128  # channels of the Pose-Decoder at every scale
  c.heatmap_width = 64  # channels of the embedded noisy heatmap
  c.drop_path = 0.0  # stochastic depth of ViT and STRL in training
  c.dtype = "float32"  # of matrix products: float32 | bfloat16
  c.diffusion = True  # False: noisy heatmap is 0, time at its end
  c.lookup = True  # False: concatenate instead of masking
  c.scales = 3  # 1: only the heatmap's own resolution
  return c


def _diffusion() -> ml_collections.ConfigDict:
  c = ml_collections.ConfigDict()
  c.schedule = "cosine"  # cosine | linear
  c.steps = 1000  # T of the schedule
  c.signal_scale = 1.0  # x0 in [0, 1] becomes (2 x0 - 1) * scale
  c.spread = 3.0  # of a target Gaussian, cells of a 64-row heatmap
  return c


def _train() -> ml_collections.ConfigDict:
  c = ml_collections.ConfigDict()
  c.steps = 0  # optimiser steps; 0: take `epochs`
  c.epochs = 60.0  # passes over the training instances
  c.batch = 32  # clips a step over all devices
  # CPU only: devices that share the cores, 0 leaves it to JAX. XLA runs much
  # of a small network's step on one core, so two devices fill two cores.
  c.cpu_devices = 0
  c.accumulate = 1  # micro-batches a step
  c.learning_rate = 2e-4
  c.backbone_factor = 0.1  # of the learning rate, for the ViT
  c.warmup = 500  # steps
  c.schedule = "step"  # step: x0.1 at 2/3 and 5/6; cosine: to zero
  c.weight_decay = 0.05  # on kernels only
  c.clip = 1.0  # global gradient norm
  c.ema = 0.999  # decay of the averaged weights
  c.log_every = 20  # steps
  c.evaluate_every = 0  # steps; 0: ten times a run
  c.checkpoint_every = 0  # steps; 0: as often as evaluation
  c.validation_instances = 2000  # at most, evenly spaced; the end takes all
  c.init_from = ""  # workdir whose averaged weights to start from
  return c


def _evaluate() -> ml_collections.ConfigDict:
  c = ml_collections.ConfigDict()
  c.steps = 4  # denoising steps
  c.max_steps = 64  # largest number that needs no recompilation
  c.samples = 4  # ensemble members
  c.flip = False  # average with the mirrored picture
  c.eta = 0.0  # noise of the DDIM steps, 0 is deterministic
  c.seed = 0
  c.batch = 32  # clips a call
  c.decode = "refine"  # refine: second-order fit; quarter: argmax + 1/4
  c.boxes = "gt"  # gt, or a file of detections
  c.box_threshold = 0.2  # detections below it are dropped
  return c


def frames(config: ml_collections.ConfigDict) -> int:
  """Number of frames in a clip, 2δ + 1."""
  return 2 * config.data.span + 1


def heatmap_size(config: ml_collections.ConfigDict) -> tuple[int, int]:
  """Rows and columns of the heatmap: four cells a patch on each axis."""
  height, width = config.data.size
  return height * 4 // config.model.patch, width * 4 // config.model.patch


def check(config: ml_collections.ConfigDict) -> None:
  """Raises ValueError for a combination of keys that cannot work."""
  height, width = config.data.size
  patch = config.model.patch
  if patch % 4 or height % patch or width % patch:
    raise ValueError(
      f"data.size {(height, width)} must be divisible by model.patch {patch}, "
      f"and the patch by 4; nearest size is "
      f"{(max(1, round(height / patch)) * patch, max(1, round(width / patch)) * patch)}"
    )
  _one_of(config, "data.name", ("posetrack18", "jhmdb", "synthetic"))
  _one_of(config, "model.stem", ("patch", "conv"))
  _one_of(config, "model.dtype", ("float32", "bfloat16"))
  _one_of(config, "model.scales", (1, 3))
  _one_of(config, "diffusion.schedule", ("cosine", "linear"))
  _one_of(config, "train.schedule", ("step", "cosine"))
  _one_of(config, "evaluate.decode", ("refine", "quarter"))
  for key, low in (
    ("data.span", 0),
    ("train.batch", 1),
    ("train.accumulate", 1),
    ("train.steps", 0),
    ("evaluate.steps", 1),
    ("evaluate.samples", 1),
    ("evaluate.batch", 1),
    ("data.threads", 0),
  ):
    if _get(config, key) < low:
      raise ValueError(f"{key} is {_get(config, key)}, must be at least {low}")
  if config.evaluate.steps > config.evaluate.max_steps:
    raise ValueError(
      f"evaluate.steps {config.evaluate.steps} is above evaluate.max_steps "
      f"{config.evaluate.max_steps}; raise the latter"
    )
  if config.train.batch % config.train.accumulate:
    raise ValueError(
      f"train.batch {config.train.batch} must be divisible by "
      f"train.accumulate {config.train.accumulate}"
    )
  if not config.train.steps and not config.train.epochs > 0:
    raise ValueError("give train.steps or train.epochs > 0")
  if config.diffusion.signal_scale <= 0:
    raise ValueError(
      f"diffusion.signal_scale {config.diffusion.signal_scale} must be > 0"
    )


def _get(config: ml_collections.ConfigDict, key: str):
  for part in key.split("."):
    config = config[part]
  return config


def _one_of(config: ml_collections.ConfigDict, key: str, options) -> None:
  value = _get(config, key)
  if value not in options:
    raise ValueError(f"{key} is {value!r}, must be one of {list(options)}")


def train_steps(config: ml_collections.ConfigDict, instances: int) -> int:
  """Optimiser steps of the whole run over `instances` training examples."""
  if config.train.steps:
    return config.train.steps
  return math.ceil(config.train.epochs * instances / config.train.batch)


def save(config: ml_collections.ConfigDict, path: pathlib.Path) -> None:
  """Writes the effective config as JSON."""
  path.write_text(config.to_json_best_effort(indent=2, sort_keys=True) + "\n")


def load(path: pathlib.Path) -> ml_collections.ConfigDict:
  """The config that `save` wrote, laid over `default()` so that types hold.

  Raises ValueError, naming the file, where it is not such a config.
  """
  try:
    stored = json.loads(path.read_text())
    config = default()
    config.update_from_flattened_dict(
      {
        key: tuple(value) if isinstance(value, list) else value
        for key, value in _flatten(stored).items()
      }
    )
  except (json.JSONDecodeError, KeyError, TypeError, AttributeError) as error:
    raise ValueError(
      f"{path}: not a config of this version ({error}); "
      "train again or use the version that wrote it"
    ) from error
  return config


def _flatten(tree: dict, prefix: str = "") -> dict:
  flat = {}
  for key, value in tree.items():
    if isinstance(value, dict):
      flat |= _flatten(value, f"{prefix}{key}.")
    else:
      flat[prefix + key] = value
  return flat


def copy(config: ml_collections.ConfigDict) -> ml_collections.ConfigDict:
  """A config of its own that may be changed."""
  return ml_collections.ConfigDict(config.to_dict())
