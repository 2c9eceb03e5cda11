"""The checks of a config: each key by itself, and keys that must fit.

They know the keys by name alone; `config` holds the keys and offers what is
here under its own name.
"""

import re

import ml_collections


def check(config: ml_collections.ConfigDict) -> None:
  """Raises ValueError for a combination of keys that cannot work."""
  for key, low in _LOWEST.items():
    if not _get(config, key) >= low:
      raise ValueError(f"{key} is {_get(config, key)}, must be at least {low}")
  for key in _ABOVE_ZERO:
    if not _get(config, key) > 0:
      raise ValueError(f"{key} is {_get(config, key)}, must be above 0")
  for key, high in _SHARES.items():
    if not 0 <= _get(config, key) <= high:
      raise ValueError(
        f"{key} is {_get(config, key)}, must be from 0 to {high:g}"
      )
  for axis, size in config.train.mesh.items():
    if size != -1 and size < 1:
      raise ValueError(
        f"train.mesh.{axis} is {size}, must be at least 1, or -1 for the "
        "devices that the other axes leave"
      )
  for key, options in CHOICES.items():
    if _get(config, key) not in options:
      raise ValueError(
        f"{key} is {_get(config, key)!r}, must be one of {list(options)}"
      )
  for key in ("data.size", "data.synthetic.size"):
    _check_size(key, _get(config, key))
  for key in _PLACES:
    value = _get(config, key)
    for place in (value,) if isinstance(value, str) else value:
      check_place(key, place)
  _check_together(config)


# What each key must be by itself.
_LOWEST = {
  "seed": 0,
  "data.span": 0,
  "data.threads": 0,
  "data.cache_bytes": 0,
  "augment.camera": 0,
  "model.patch": 1,
  "model.strl_depth": 0,
  "model.heads": 0,
  "model.depth": 0,
  "model.decoder_width": 1,
  "model.heatmap_width": 1,
  "diffusion.steps": 1,
  "train.steps": 0,
  "train.teacher.steps": 0,
  "train.teacher.samples": 1,
  "train.batch": 1,
  "train.cpu_devices": 0,
  "train.accumulate": 1,
  "train.warmup": 0,
  "train.max_skipped": 1,
  "train.spike": 0,
  "train.log_every": 1,
  "train.evaluate_every": 0,
  "train.checkpoint_every": 0,
  "train.grace": 0,
  "train.start_weight": 0,
  "train.freeze_steps": 0,
  "train.patience": 0,
  "train.min_gain": 0,
  "train.validation_instances": 1,
  "train.pictures": 0,
  "evaluate.steps": 1,
  "evaluate.samples": 1,
  "evaluate.seed": 0,
  "evaluate.batch": 1,
}
_ABOVE_ZERO = (
  "data.enlarge",
  "diffusion.signal_scale",
  "diffusion.spread",
  "train.learning_rate",
  "train.layer_decay",
  "train.clip",
)
_SHARES = {  # from 0 to the highest that can work
  "augment.rotation_probability": 1,
  "augment.flip_probability": 1,
  "augment.half_body_probability": 1,
  "augment.erase_probability": 1,
  "model.drop_path": 0.99,
  "train.layer_decay": 1,
  "train.ema": 1,
  "evaluate.eta": 1,
  "evaluate.adaptive": 1,
}
# Paths of files and folders, or several.
_PLACES = (
  "data.root",
  "data.prepared",
  "data.mixture",
  "model.init_from",
  "train.resume",
  "train.init_from",
  "evaluate.boxes",
)
CHOICES = {
  "data.name": (
    "posetrack17",
    "posetrack18",
    "posetrack21",
    "coco",
    "custom",
    "synthetic",
    "jhmdb",
    "jhmdb_2",
    "jhmdb_3",
    "sub_jhmdb",
    "sub_jhmdb_2",
    "sub_jhmdb_3",
  ),
  "data.skeleton": ("", "posetrack", "coco"),
  "data.order": ("near", "full"),
  "model.stem": ("patch", "conv"),
  "model.dtype": ("auto", "float32", "bfloat16"),
  "model.attention": ("auto", "plain", "cudnn"),
  "model.remat": ("none", "dots", "full"),
  "model.scales": (1, 3),
  "diffusion.schedule": ("cosine", "linear"),
  "train.schedule": ("step", "cosine"),
  "evaluate.solver": ("ddim", "dpm2m"),
  "evaluate.decode": ("refine", "quarter"),
}


def is_address(place: str) -> bool:
  """Whether it is SCHEME://... and no path on a disk."""
  return bool(re.match(r"[a-z][a-z0-9+.-]*://", place, re.IGNORECASE))


def check_place(name: str, place: str) -> None:
  """Raises ValueError for an address, which would be taken for a folder's name.

  `name` is the flag or key.
  """
  if is_address(place):
    raise ValueError(
      f"{name}={place} is an address, not a path on a disk; copy it to a disk "
      "or mount it; docs/launch.md says what may be in a bucket"
    )


def _check_size(key: str, size: tuple) -> None:
  if len(size) != 2 or any(type(v) is not int or v < 1 for v in size):
    raise ValueError(
      f"{key} is {size}, must be two whole numbers (height, width) above 0"
    )


def _check_together(config: ml_collections.ConfigDict) -> None:
  """Raises ValueError for keys that do not fit each other."""
  size, patch = config.data.size, config.model.patch
  if patch % 4 or any(side % patch for side in size):
    step = max(1, round(patch / 4)) * 4
    near = tuple(max(1, round(side / step)) * step for side in size)
    raise ValueError(
      f"data.size {tuple(size)} must be divisible by model.patch {patch}, and "
      f"the patch by 4; nearest is size {near} with patch {step}"
    )
  places(config)
  train, evaluate = config.train, config.evaluate
  if evaluate.steps > evaluate.max_steps:
    raise ValueError(
      f"evaluate.steps {evaluate.steps} is above evaluate.max_steps "
      f"{evaluate.max_steps}; raise the latter"
    )
  if train.batch % train.accumulate:
    raise ValueError(
      f"train.batch {train.batch} must be divisible by train.accumulate "
      f"{train.accumulate}"
    )
  if 0 < train.spike <= 1 or not train.spike >= 0:
    raise ValueError(
      f"train.spike is {train.spike}, must be above 1, or 0 for none"
    )
  if not train.steps and not train.epochs > 0:
    raise ValueError(
      f"train.steps is 0 and train.epochs {train.epochs}; give one above 0"
    )
  _check_start(config.model.init_from, train)
  if config.model.self_condition and not train.start_weight > 0:
    raise ValueError(
      "model.self_condition: the first step, which has none before it, learns "
      "by train.start_weight alone; give it, 1 for example"
    )
  if train.teacher.steps and not (train.init_from and config.model.diffusion):
    raise ValueError(
      "train.teacher.steps: the teacher is the diffusion network of "
      "train.init_from; give it, or use the verb distill"
    )


def _check_start(backbone: str, train: ml_collections.ConfigDict) -> None:
  """Raises ValueError for two starts, or a frozen ViT that knows nothing."""
  if backbone and train.init_from:
    raise ValueError(
      f"model.init_from {backbone!r} and train.init_from {train.init_from!r} "
      "both give the ViT its weights; keep one"
    )
  if train.freeze_backbone and train.freeze_steps:
    raise ValueError(
      f"train.freeze_backbone freezes the ViT for the whole run, "
      f"train.freeze_steps for {train.freeze_steps} steps; keep one"
    )
  frozen = "freeze_backbone" if train.freeze_backbone else "freeze_steps"
  if train[frozen] and not backbone and not train.init_from:
    raise ValueError(
      f"train.{frozen} would keep a ViT of random weights; give "
      "model.init_from or train.init_from"
    )


def _get(config: ml_collections.ConfigDict, key: str):
  for part in key.split("."):
    config = config[part]
  return config


def places(config: ml_collections.ConfigDict) -> tuple[int, ...]:
  """Clips of each data set in a batch: the run's own, then the mixture's.

  Raises ValueError for shares that cannot be.
  """
  batch, shares = config.train.batch, config.data.shares
  folders = config.data.mixture
  if len(folders) != len(shares):
    raise ValueError(
      f"data.mixture has {len(folders)} folders and data.shares "
      f"{len(shares)} numbers; give each folder its share of a batch"
    )
  others = tuple(round(batch * share) for share in shares)
  if any(count < 1 for count in others) or sum(others) >= batch:
    raise ValueError(
      f"data.shares {tuple(shares)} of train.batch {batch} are "
      f"{', '.join(map(str, others))} clips; each must be at least 1 and at "
      "least 1 must be left for data.name"
    )
  return (batch - sum(others), *others)
