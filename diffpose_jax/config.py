"""Every key of a run with its default, unit and reason.

Files in `configs/` assign differences to `default()`; `check` refuses what
cannot work. The source of a choice is the paper (Feng et al., ICCV 2023,
arXiv 2307.16687) where it states one; its family's protocols or our own
measurement elsewhere.
"""

import json
import math
import pathlib

import ml_collections

from diffpose_jax import config_checks

# What a key may be, and what refuses the rest.
CHOICES = config_checks.CHOICES
check = config_checks.check
check_place = config_checks.check_place
is_address = config_checks.is_address
places = config_checks.places


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
  c.name = "posetrack18"  # see `CHOICES`
  c.skeleton = ""  # joints to learn: posetrack | coco; '' is the data's own
  c.root = ""  # source in PoseTrack18 layout; synthetic renders its own
  c.prepared = ""  # prepared TFDS folder; '' is <workdir>/data
  c.train_split = "train"
  c.val_split = "val"
  c.size = (256, 192)  # crop (height, width), pixels
  c.span = 2  # δ: frames on each side of the key frame
  c.enlarge = 1.25  # of the key frame's box, as in the paper
  # near: neighbouring frames are read together, so that each is decoded about
  # once; full: anyone at any time, for sets whose decoded frames fit in memory
  c.order = "near"
  c.threads = 2  # that decode and crop
  c.cache_bytes = 2 << 30  # of decoded frames that training keeps in memory
  # Other prepared sets to mix in, their `train_split`, joints by name; and the
  # share of each in every batch, rounded to whole clips.
  c.mixture = ()  # folders that `prepare` made
  c.shares = ()  # each above 0, below 1 in all
  c.synthetic = ml_collections.ConfigDict()
  c.synthetic.difficulty = "easy"  # simple | hidden | front | easy | hard
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
  # A still picture (a video of one frame) becomes a clip in which the camera
  # moves: standard deviation of pan (crop sides), zoom and roll (radians), all
  # per frame.
  c.camera = 0.02
  c.erase_probability = 0.0  # of a textured rectangle over part of the clip
  return c


def _model() -> ml_collections.ConfigDict:
  c = ml_collections.ConfigDict()
  c.size = "B"  # row of diffpose.SIZES
  c.patch = 16  # pixels; the heatmap has 4 cells a patch
  c.stem = "patch"  # patch: one strided convolution; conv: a small network
  c.heads = 0  # of attention in ViT and STRL; 0: the size's
  c.depth = 0  # layers of the ViT; 0: the size's
  # What the backbone starts from: public ViT weights, a folder that `convert`
  # wrote of them; or another run (workdir, packed file, shipped name), whatever
  # its frames and joints. STRL and Pose-Decoder start fresh.
  c.init_from = ""
  c.strl_depth = 6  # pre-norm Transformer layers over all frames
  c.decoder_width = 128  # channels of the Pose-Decoder at every scale
  c.heatmap_width = 64  # channels of the embedded noisy heatmap
  c.drop_path = 0.0  # stochastic depth of ViT and STRL in training
  # Of matrix products: float32 | bfloat16; auto: bfloat16 on GPU and TPU,
  # float32 on CPU. Parameters, norms, softmax and schedule are float32 always.
  c.dtype = "auto"
  # plain; cudnn: fused, GPU and bfloat16 only; auto: cudnn there for many tokens
  c.attention = "auto"
  # What the backward pass computes again instead of keeping: none; dots: all
  # but matrix products; full: all but the input of each layer (ViT-H)
  c.remat = "none"
  c.scan = False  # layers as a loop: compiles fast, runs slower on CPU
  c.diffusion = True  # False: noisy heatmap is 0, time at its end
  c.lookup = True  # False: concatenate instead of masking
  c.scales = 3  # 1: only the heatmap's own resolution
  # Beyond the paper: the Pose-Decoder also sees its heatmaps of the step before,
  # joint by joint. Needs `train.start_weight`.
  c.self_condition = False
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
  # How all devices are arranged; -1 takes what the others leave. data and fsdp
  # share a batch; fsdp also shares the memory of the state, for networks that do
  # not fit one device; tensor splits heads and MLPs, of which it is a divisor.
  c.mesh = ml_collections.ConfigDict()
  c.mesh.data = -1
  c.mesh.fsdp = 1
  c.mesh.tensor = 1
  c.accumulate = 1  # micro-batches a step
  c.learning_rate = 2e-4
  c.backbone_factor = 0.1  # of the learning rate, for the ViT
  # Learning rate of a layer of the ViT over that of the next, 1 for the same
  # in all; ViTPose-B was trained with 0.75.
  c.layer_decay = 1.0
  c.freeze_backbone = False  # the ViT stays as it was loaded
  c.freeze_steps = 0  # or only for so many steps, and learns after them
  c.warmup = 500  # steps
  c.schedule = "step"  # step: x0.1 at 2/3 and 5/6; cosine: to zero
  c.weight_decay = 0.05  # on kernels only
  c.clip = 1.0  # global gradient norm
  # An update is skipped where loss or gradients are not finite; training stops
  # after so many in a row. A spike is a loss or gradient norm so many times the
  # median of the last hundred steps, 0: not looked for.
  c.max_skipped = 10
  c.spike = 10.0
  # Share of clips noised from the model's own estimate, not from the truth.
  # 0 is the paper; above, several steps keep what one step finds.
  c.self_aligned = 0.0
  # Weight of the error of the first estimate, out of pure noise, beside that at
  # a random time. 0 is the paper; above, a few steps begin from a better one.
  c.start_weight = 0.0
  # Distillation, see the verb `distill`: so many steps and samples of the network
  # of `init_from` teach the Pose-Decoder to need one. 0 steps: none does.
  c.teacher = ml_collections.ConfigDict()
  c.teacher.steps = 0
  c.teacher.samples = 8
  c.ema = 0.999  # decay of the averaged weights
  c.log_every = 20  # steps
  c.evaluate_every = 0  # steps; 0: ten times a run
  c.checkpoint_every = 0  # steps; 0: as often as evaluation
  # Seconds in which a run that SIGTERM or Ctrl-C ends finishes its step and
  # saves; then it leaves at once. 0: no limit
  c.grace = 60.0
  # Validations without a gain of more than `min_gain` (AP, in percent) after
  # which training is finished, and its best checkpoint is the result; 0: never.
  c.patience = 0
  c.min_gain = 0.0
  c.validation_instances = 2000  # at most, evenly spaced; the end takes all
  c.pictures = 4  # clips that TensorBoard shows at each validation; 0: none
  # A workdir, or its checkpoints/STEP, to go on from with optimiser and step
  c.resume = ""
  # Whose averaged weights to start from: workdir, packed file, shipped name
  c.init_from = ""
  c.start_over = False  # from the start where every checkpoint is damaged
  c.accept_new_data = False  # resume although the data changed
  return c


def _evaluate() -> ml_collections.ConfigDict:
  c = ml_collections.ConfigDict()
  c.steps = 4  # denoising steps
  c.max_steps = 64  # largest number that needs no recompilation
  c.samples = 4  # ensemble members
  c.flip = False  # average with the mirrored picture
  c.eta = 0.0  # noise of the DDIM steps, 0 is deterministic
  c.solver = "ddim"  # or dpm2m: DPM-Solver++ of second order, deterministic
  # Spread of two samples of one step up to which a person has no more, as a
  # share of the crop's height; 0: everybody has all `steps` and `samples`.
  c.adaptive = 0.0
  c.seed = 0
  c.batch = 32  # clips a call
  c.decode = "refine"  # refine: second-order fit; quarter: argmax + 1/4
  c.boxes = "gt"  # gt; a file of detections; prepared: those stored
  c.box_threshold = 0.2  # detections below it are dropped
  return c


def epochs(recipe: str) -> float:
  """Passes over the data of a recipe: "paper", or "short", a third of it.

  The schedule goes with them: the learning rate falls at epochs 40 and 50, or
  13 1/3 and 16 2/3. Raises ValueError for another recipe.
  """
  known = {"paper": 60.0, "short": 20.0}
  if recipe not in known:
    raise ValueError(f"no recipe {recipe!r}; there are {', '.join(known)}")
  return known[recipe]


def frames(config: ml_collections.ConfigDict) -> int:
  """Number of frames in a clip, 2δ + 1."""
  return 2 * config.data.span + 1


def heatmap_size(config: ml_collections.ConfigDict) -> tuple[int, int]:
  """Rows and columns of the heatmap: four cells a patch on each axis."""
  height, width = config.data.size
  return height * 4 // config.model.patch, width * 4 // config.model.patch


def train_steps(config: ml_collections.ConfigDict, instances: int) -> int:
  """Optimiser steps of the whole run over `instances` training examples.

  They are those of the run's own data; a mixture's others do not count.
  """
  train = config.train
  steps = train.steps or math.ceil(train.epochs * instances / places(config)[0])
  if train.freeze_steps >= steps:
    raise ValueError(
      f"train.freeze_steps {train.freeze_steps} is not below the run's {steps} "
      "steps; train.freeze_backbone keeps the ViT for the whole run"
    )
  return steps


def save(config: ml_collections.ConfigDict, path: pathlib.Path) -> None:
  """Writes the effective config as JSON."""
  path.write_text(config.to_json_best_effort(indent=2, sort_keys=True) + "\n")


def load(path: pathlib.Path) -> ml_collections.ConfigDict:
  """The config that `save` wrote, laid over `default()` so that types hold.

  Raises ValueError, naming the file, where it is not a config that can work.
  """
  try:
    text = path.read_text()
  except UnicodeDecodeError as error:
    raise _not_ours(str(path), error) from error
  return parse(text, str(path))


def parse(text: str, place: str) -> ml_collections.ConfigDict:
  """As `load`, of the text itself; `place` says in errors where it is from."""
  config = default()
  try:
    tree = json.loads(text)
    if not isinstance(tree, dict):
      raise ValueError(f"a {type(tree).__name__} where keys were expected")
    stored = _flatten(tree)
    unknown = sorted(stored.keys() - _flatten(config.to_dict()).keys())
    if unknown:
      raise ValueError(f"no such key: {', '.join(unknown)}")
    for key, value in stored.items():
      value = tuple(value) if isinstance(value, list) else value
      config.update_from_flattened_dict({key: value})
    check(config)
  except (ValueError, TypeError, RecursionError) as error:
    raise _not_ours(place, error) from error
  return config


def _not_ours(place: str, error: Exception) -> ValueError:
  return ValueError(
    f"{place}: not a config of this version ({error}); "
    "train again or use the version that wrote it"
  )


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
