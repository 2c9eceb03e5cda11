"""The state that training goes on from: its own, another's, or a fresh one."""

import functools
import pathlib
from typing import Any

import jax
import ml_collections
import numpy as np
import optax

from diffpose_jax.inference import averaged, network, shipped
from diffpose_jax.model import sharding
from diffpose_jax.pose import skeleton as skeletons
from diffpose_jax.training import optim, table, transfer
from diffpose_jax.training import step as step_lib
from diffpose_jax.weights import checkpoint, public, restore

# Keys of `model` that no shape of the weights depends on.
_SHAPELESS = (
  *("heads", "init_from", "drop_path", "dtype", "attention", "remat"),
  "diffusion",
)


def state(
  config: ml_collections.ConfigDict,
  skeleton: skeletons.Skeleton,
  checkpoints: checkpoint.Checkpoints,
  mesh: jax.sharding.Mesh,
  steps: int,
) -> tuple[step_lib.State, int]:
  """The state to go on from, and how many steps it has behind it.

  In this order: the workdir's own newest good checkpoint; another run's, with
  its optimiser and step (`train.resume`); the averaged weights of another run
  (`train.init_from`), also packed or shipped; public weights, or another run's,
  for the ViT alone (`model.init_from`) in a fresh network; a fresh network. Says
  which. Raises ValueError for weights that do not fit the network, and where all
  of the workdir's checkpoints are damaged.
  """
  optimiser = optim.optimiser(config.train, steps)
  init = lambda: vars(  # noqa: E731
    step_lib.init_state(config, skeleton, optimiser)
  )
  shapes = jax.eval_shape(init)
  places = sharding.places(shapes, mesh)
  like = sharding.placed(shapes, places)
  print(table.text(config, skeleton, shapes, mesh), flush=True)
  own = checkpoints.restore_newest(like, start_over=config.train.start_over)
  if own or config.train.resume:
    source = pathlib.Path(config.train.resume)
    saved, done = own or restore.elsewhere(source, like)
    where = "" if own else f" of {source}"
    print(f"resuming from step {done}{where}", flush=True)
    return step_lib.State(**saved), done
  if config.train.init_from:
    params = _averaged_of(
      config, skeleton, shipped.place(config.train.init_from), mesh
    )
  elif config.model.init_from:
    source = shipped.place(config.model.init_from)
    backbone = _backbone_of if averaged.is_one(source) else _public_backbone
    vit = backbone(config, source, like["params"]["vit"])
    params = _with_backbone(config, skeleton, like["params"], vit)
  else:
    fresh = jax.jit(init, out_shardings=places, compiler_options=_once())
    return step_lib.State(**fresh()), 0
  return _first(config, params, optimiser, places), 0


def _once() -> dict[str, Any] | None:
  """Options of XLA for what runs once.

  LLVM takes two thirds of the time to compile random numbers on a CPU (12 s, not
  31 s, for a tiny network), and they are the same bits without that.
  """
  if jax.default_backend() != "cpu":
    return None
  return {"xla_backend_optimization_level": 1}


def _first(
  config: ml_collections.ConfigDict,
  params: Any,
  optimiser: optax.GradientTransformation,
  places: dict[str, Any],
) -> step_lib.State:
  """The state before the first step, of these parameters."""
  begin = jax.jit(optimiser.init, out_shardings=places["optimiser"])
  return step_lib.State(
    step=jax.device_put(np.int32(0), places["step"]),
    params=params,
    # Two copies: parameters and average are donated apart from each other.
    ema=jax.tree.map(lambda v: v.copy(), params),
    optimiser=begin(optim.trained(config.train, params)),
  )


def _with_backbone(config, skeleton, like, vit) -> Any:
  """Fresh parameters but for the ViT's."""
  vit = jax.tree.map(
    lambda s, v: jax.device_put(v.astype(s.dtype), s.sharding),
    like["vit"],
    vit,
  )
  places = {
    name: jax.tree.map(lambda s: s.sharding, tree)
    for name, tree in like.items()
    if name != "vit"
  }

  @functools.partial(jax.jit, out_shardings=places, compiler_options=_once())
  def fresh():
    key = jax.random.key(config.seed)
    params = network.init_params(config, skeleton, key)
    return {name: tree for name, tree in params.items() if name != "vit"}

  return fresh() | {"vit": vit}


def _public_backbone(config, source, like) -> Any:
  """The ViT of public weights."""
  loaded, account = public.load_backbone(
    source, like, heads=network.backbone(config).heads
  )
  facts = [
    account.format,
    f"{len(account.unused) or 'no'} of its arrays not used",
  ]
  if account.resized:
    facts.append(f"position embedding {account.placed}")
  print(
    f"starting with the backbone of {account.source} "
    f"({'; '.join([*facts, *account.notes])}), the rest is new",
    flush=True,
  )
  return loaded


def _backbone_of(config, source, like) -> Any:
  """The averaged ViT of another run, of whatever frames, joints and decoder."""
  theirs = averaged.find(source)
  _check_heads(config, theirs)
  init = functools.partial(
    network.init_params, theirs.config, theirs.skeleton, jax.random.key(0)
  )
  shapes = jax.eval_shape(init)
  here = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
  params, step = theirs.params(
    sharding.placed(shapes, jax.tree.map(lambda _: here, shapes))
  )
  wanted, found = (
    {jax.tree_util.keystr(path): leaf.shape for path, leaf in flat}
    for flat in (
      jax.tree_util.tree_flatten_with_path(tree)[0]
      for tree in (like, params["vit"])
    )
  )
  wrong = sorted(
    name
    for name in wanted.keys() | found.keys()
    if wanted.get(name) != found.get(name)
  )
  if wrong:
    name = wrong[0]
    raise ValueError(
      f"model.init_from {source}: its ViT is of another make, {name} being "
      f"{found.get(name)}, here {wanted.get(name)}; give the same model.size, "
      "model.depth, model.stem, model.patch and data.size"
    )
  print(
    f"starting with the ViT of {source}, step {step}, the rest is new",
    flush=True,
  )
  return jax.device_get(params["vit"])


def _check_heads(config, theirs: averaged.Origin) -> None:
  """Raises ValueError for another number of heads, which no shape shows."""
  heads, others = (network.backbone(c).heads for c in (config, theirs.config))
  if heads != others:
    raise ValueError(
      f"{theirs.path}: trained with {others} attention heads, but this network "
      f"has {heads}; give --config.model.heads={others}"
    )


def _remedy(config, theirs) -> str:
  """The flags that give weights of this network the shapes of theirs."""
  keys = [f"model.{key}" for key in config.model if key not in _SHAPELESS]
  flags = []
  for key in ("data.size", *keys):
    part, name = key.split(".")
    value = theirs[part][name]
    if value != config[part][name]:
      text = f"'{value}'" if isinstance(value, tuple) else str(value)
      flags.append(f"--config.{key}={text}")
  return " ".join(flags)


def _averaged_of(config, skeleton, source, mesh) -> Any:
  """The averaged weights of another run, for this one's joints and frames."""
  theirs = averaged.find(source)
  learned, span = theirs.skeleton, theirs.config.data.span
  as_theirs = config.copy_and_resolve_references()
  as_theirs.data.span = span

  def init(config, joints):
    return network.init_params(config, joints, jax.random.key(config.seed))

  shapes, there = (
    jax.eval_shape(functools.partial(init, its, learned))
    for its in (as_theirs, theirs.config)
  )
  _check_heads(config, theirs)
  if shapes != there:
    raise ValueError(
      f"{theirs.path}: weights of another network; give "
      f"{_remedy(config, theirs.config)}"
    )
  like = sharding.placed(shapes, sharding.places(shapes, mesh))
  params, step = theirs.params(like)
  print(f"starting from the weights of {source}, step {step}", flush=True)
  if learned.joints == skeleton.joints and span == config.data.span:
    return params
  params = sharding.to_host(params)
  if span != config.data.span:
    params = transfer.to_span(params, config.data.span)
    print(f"they are of δ = {span}, here it is {config.data.span}", flush=True)
  if learned.joints != skeleton.joints:
    fresh = sharding.to_host(
      jax.jit(functools.partial(init, config, skeleton))()
    )
    params = transfer.to_skeleton(config, learned, skeleton, params, fresh)
    new = [name for name in skeleton.joints if name not in learned.joints]
    print(
      f"joints that they do not have: {', '.join(new) or 'none'}", flush=True
    )
  return jax.device_put(params, sharding.places(params, mesh))
