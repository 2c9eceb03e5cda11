"""One step on 1, 2, 4 and 8 devices, however they share it, and what they say.

The network is tiny, and its gradients are read from the momentum of SGD: Adam
would hide a wrong scale.
"""

import collections
import dataclasses
import functools
import math
import re
from typing import Any

import jax
import numpy as np
import optax
import pytest

from diffpose_jax import config as config_lib
from diffpose_jax.inference import estimator
from diffpose_jax.inference import poses as poses_lib
from diffpose_jax.inference import sampling as sampling_lib
from diffpose_jax.model import diffpose, sharding
from diffpose_jax.pose.skeleton import POSETRACK
from diffpose_jax.training import optim
from diffpose_jax.training import step as step_lib

# float32, added up in another order: of losses and of the gradient as one
# vector; and of each leaf alone, of which some are sums that cancel.
TOLERANCE, OF_A_LEAF = 1e-6, 2e-5
MESHES = {  # devices, then data, fsdp, tensor
  "1": (1, 1, 1),
  "2 data": (2, 1, 1),
  "4 fsdp": (1, 4, 1),
  "8 data": (8, 1, 1),
  "8 fsdp": (1, 8, 1),
  "2 data x 4 fsdp": (2, 4, 1),
  "2 data x 2 fsdp x 2 tensor": (2, 2, 2),
}
SIZE = diffpose.Size(width=64, depth=1, heads=4)
BATCH, FRAMES, CELLS = 8, 3, (4, 3)
PLATFORMS = ("tpu", "cuda")


@pytest.fixture(scope="module", autouse=True)
def _tiny():
  with pytest.MonkeyPatch.context() as patch:
    patch.setitem(diffpose.SIZES, "tiny", SIZE)
    yield


def _config(**changes):
  config = config_lib.default()
  config.update_from_flattened_dict(
    {
      "data.size": (32, 24),
      "data.span": 1,
      "model.size": "tiny",
      "model.patch": 8,
      "model.strl_depth": 1,
      "model.decoder_width": 16,
      "model.heatmap_width": 8,
      "model.scales": 1,
      "model.drop_path": 0.1,
      "model.dtype": "float32",
      "train.batch": BATCH,
      "evaluate.batch": BATCH,
    }
    | {key.replace("__", "."): value for key, value in changes.items()}
  )
  return config


def _mesh(sizes, devices=None) -> jax.sharding.Mesh:
  devices = devices or jax.devices()[: math.prod(sizes)]
  axes = (jax.sharding.AxisType.Auto,) * 3
  return jax.make_mesh(sizes, sharding.AXES, axes, devices=devices)


def _batch(seed=0) -> dict[str, np.ndarray]:
  rng = np.random.default_rng(seed)
  return {
    "frames": rng.integers(0, 256, (BATCH, FRAMES, 32, 24, 3), np.uint8),
    "joints": rng.uniform(0, 23, (BATCH, 17, 2)).astype(np.float32),
    "labelled": rng.random((BATCH, 17)) < 0.7,
    "valid": np.arange(BATCH) != 2,
    "index": np.arange(BATCH, dtype=np.int32),
    "noise_id": rng.integers(0, 1 << 32, BATCH, np.uint32),
  }


def _sgd() -> optax.GradientTransformation:
  """Its state is the gradient of the first step."""
  return optax.chain(optax.trace(0.9), optax.scale(-0.1))


def _init(config, optimiser):
  """The state before the first step, as a dict."""
  return vars(step_lib.init_state(config, POSETRACK, optimiser))


def _jitted(config, mesh, optimiser):
  """The step as training jits it, and the state's shapes and places."""
  shapes = jax.eval_shape(functools.partial(_init, config, optimiser))
  places = sharding.places(shapes, mesh)
  inner = step_lib.make_step(config, POSETRACK, optimiser, mesh)

  def step(state, batch):
    state, metrics = inner(step_lib.State(**state), batch)
    return vars(state), metrics

  step = jax.jit(
    step,
    donate_argnums=0,
    in_shardings=(places, sharding.split(mesh)),
    out_shardings=(places, sharding.replicated(mesh)),
  )
  return step, shapes, places


@dataclasses.dataclass(frozen=True)
class Found:
  """What three steps on a mesh gave."""

  losses: list[float]
  gradients: Any
  params: Any
  poses: poses_lib.Poses
  bytes: int
  text: str
  donated: bool  # the first state's memory was taken
  in_place: bool  # each leaf of the last one is where `sharding.places` says


@functools.cache
def _found(name: str) -> Found:
  config, mesh = _config(), _mesh(MESHES[name])
  step, shapes, places = _jitted(config, mesh, _sgd())
  batches = [sharding.to_global(_batch(seed), mesh) for seed in range(3)]
  step = step.lower(shapes, batches[0]).compile()
  state = jax.device_put(_start(), places)
  size, first = _bytes(state), state
  losses, gradients = [], None
  for batch in batches:
    state, metrics = step(state, batch)
    losses.append(float(metrics["loss"]))
    if gradients is None:
      gradients = jax.device_get(state["optimiser"][0].trace)
  options = sampling_lib.Options(
    steps=2, samples=2, flip=False, seed=3, eta=0.5
  )
  run = estimator.Estimator(config, POSETRACK, state["ema"], options, mesh=mesh)
  batch = _batch()
  poses = run(batch["frames"], batch["noise_id"])
  params = jax.device_get(state["params"])
  return Found(
    losses,
    gradients,
    params,
    poses,
    size,
    step.as_text() or "",
    donated=all(leaf.is_deleted() for leaf in jax.tree.leaves(first)),
    in_place=all(
      leaf.sharding.is_equivalent_to(place, leaf.ndim)
      for leaf, place in zip(
        jax.tree.leaves(state), jax.tree.leaves(places), strict=True
      )
    ),
  )


@functools.cache
def _start():
  """A state of which no part is near zero, on the host."""
  shapes = jax.eval_shape(functools.partial(_init, _config(), _sgd()))
  rng = np.random.default_rng(5)

  def value(path, leaf):
    if path[-1].key == "kernel":
      spread = math.prod(leaf.shape[:-1]) ** -0.5
      return rng.normal(0, spread, leaf.shape).astype(np.float32)
    mean = 1.0 if path[-1].key in ("scale", "aggregate") else 0.0
    return rng.normal(mean, 0.1, leaf.shape).astype(np.float32)

  params = jax.tree_util.tree_map_with_path(value, shapes["params"])
  zeros = jax.tree.map(
    lambda leaf: np.zeros(leaf.shape, leaf.dtype), shapes["optimiser"]
  )
  return {
    "step": np.zeros((), np.int32),
    "params": params,
    "ema": params,
    "optimiser": zeros,
  }


def _bytes(tree) -> int:
  """What one device holds of a tree."""
  device = jax.tree.leaves(tree)[0].addressable_shards[0].device
  return sum(
    shard.data.nbytes
    for leaf in jax.tree.leaves(tree)
    for shard in leaf.addressable_shards
    if shard.device == device
  )


def _assert_near(found, expected):
  paths = jax.tree_util.tree_flatten_with_path(expected)[0]
  errors, norms = [], []
  for (path, a), b in zip(paths, jax.tree.leaves(found), strict=True):
    errors.append(np.linalg.norm(a - b))
    norms.append(np.linalg.norm(a))
    assert errors[-1] <= OF_A_LEAF * norms[-1], jax.tree_util.keystr(path)
  assert np.linalg.norm(errors) <= TOLERANCE * np.linalg.norm(norms)


@pytest.mark.parametrize(
  "name",
  [
    *("8 data", "8 fsdp", "2 data x 2 fsdp x 2 tensor"),
    *(
      pytest.param(name, marks=pytest.mark.slow)
      for name in ("2 data", "4 fsdp", "2 data x 4 fsdp")
    ),
  ],
)
def test_any_mesh_gives_what_one_device_gives(name):
  one, many = _found("1"), _found(name)
  np.testing.assert_allclose(many.losses, one.losses, rtol=TOLERANCE)
  _assert_near(many.gradients, one.gradients)
  # Not by being zero.
  assert all(leaf.any() for leaf in jax.tree.leaves(one.gradients))
  assert len(set(one.losses)) == 3
  _assert_near(many.params, one.params)
  np.testing.assert_allclose(many.poses.score, one.poses.score, rtol=1e-4)
  for field in ("joints", "samples"):
    a, b = getattr(one.poses, field), getattr(many.poses, field)
    np.testing.assert_allclose(b, a, atol=1e-3)  # pixels


def _shapes() -> dict[str, tuple[int, ...]]:
  """Shapes of the parameters by path."""
  flat = jax.tree_util.tree_flatten_with_path(_start()["params"])[0]
  name = lambda p: jax.tree_util.keystr(p, simple=True, separator="/")  # noqa: E731
  return {name(path): leaf.shape for path, leaf in flat}


def _large() -> list[tuple[int, ...]]:
  """Kernels that `fsdp` splits.

  They are 2 of each of 2 layers, 2 at the end of STRL, and a deconvolution.
  """
  found = [
    shape
    for name, shape in _shapes().items()
    if name.endswith("kernel") and math.prod(shape) >= 1 << 14
  ]
  assert sorted(set(found)) == [(4, 4, 16, 64), (64, 256), (256, 64)]
  assert len(found) == 2 * 2 + 2 + 1
  return found


def _size(shapes) -> int:
  return 4 * sum(math.prod(shape) for shape in shapes)


@pytest.mark.parametrize(
  ("name", "parts"),
  [
    ("8 data", 1),
    ("8 fsdp", 8),
    pytest.param("2 data x 4 fsdp", 4, marks=pytest.mark.slow),
  ],
)
def test_a_device_keeps_its_part_of_the_state(name, parts):
  whole, large = _size(_shapes().values()), _size(_large())
  # Parameters, their average and the momentum; and the number of the step.
  assert _found(name).bytes == 3 * (whole - large + large // parts) + 4


def _collectives(text: str) -> dict[str, list[tuple[int, ...]]]:
  """The shapes of what a compiled program sends, by kind; all 4-byte types."""
  found = collections.defaultdict(list)
  for line in text.splitlines():
    match = re.match(
      r"\s*(?:ROOT )?%?[\w.-]+ = (.*?) (all-gather|all-reduce|all-to-all|"
      r"collective-permute|collective-broadcast|reduce-scatter)"
      r"(?:-start)?\(",
      line,
    )
    if not match:
      continue
    for dtype, sides in re.findall(r"(\w+)\[([\d,]*)\]", match[1]):
      assert dtype in ("f32", "s32", "u32"), line
      found[match[2]].append(tuple(int(n) for n in sides.split(",") if n))
  return dict(found)


# XLA adds up the gradient of STRL's two position embeddings, of space and of
# frames, as that of their sum, and takes it apart after.
POSITION = _size([(FRAMES, *CELLS, SIZE.width)]) - _size(
  [(1, *CELLS, SIZE.width), (FRAMES, 1, 1, SIZE.width)]
)
SCALARS = 4 * 2  # the loss, and the number of labelled joints


def test_data_parallel_steps_sum_the_gradients_and_nothing_else():
  found = _collectives(_found("8 data").text)
  assert set(found) == {"all-reduce"}
  leaves = len(_shapes())
  # The two position embeddings are one; loss and count are two.
  assert len(found["all-reduce"]) == leaves - 1 + 2
  assert _size(found["all-reduce"]) == (
    _size(_shapes().values()) + POSITION + SCALARS
  )


@pytest.mark.parametrize(
  "name",
  ["8 fsdp", pytest.param("2 data x 4 fsdp", marks=pytest.mark.slow)],
)
def test_fsdp_gathers_each_large_kernel_once_and_no_activation(name):
  found = _collectives(_found(name).text)
  assert set(found) == {"all-gather", "all-reduce"}
  assert sorted(found["all-gather"]) == sorted(_large())
  # XLA's CPU compiler has no reduce-scatter: gradients are summed whole. SGD
  # needs no norm; those of the metrics, of gradients, updates and parameters,
  # are a number each for each split kernel.
  norms = 3 * 4 * len(_large())
  assert _size(found["all-reduce"]) == (
    _size(_shapes().values()) + POSITION + SCALARS + norms
  )


def _halves() -> set[tuple[int, ...]]:
  """Shapes of weights as `tensor` may gather them, with 2 devices."""
  wide, heads = SIZE.width, SIZE.heads
  weights = set(_shapes().values())
  # Halves, and queries, keys and values arranged by heads.
  weights |= {(wide, 2 * wide), (2 * wide, wide)}
  for width, count in ((wide, heads), (16, 4), (8, 4)):
    weights |= {(width, 3, count, width // count), (3, count, width // count)}
  return weights


def test_tensor_sums_activations_and_gathers_weights_alone():
  found = _collectives(_found("2 data x 2 fsdp x 2 tensor").text)
  assert set(found) == {"all-gather", "all-reduce"}
  assert set(found["all-gather"]) <= _halves()
  wide = SIZE.width
  # Two sums a layer forward and two backward, of this host's third of the clips
  # or of its fused ones; the mean over frames needs none.
  clips = BATCH // 4
  tokens = math.prod(CELLS)
  sums = collections.Counter(
    shape for shape in found["all-reduce"] if len(shape) == 3
  )
  assert sums[(clips * FRAMES, tokens, wide)] == SIZE.depth * 4
  assert sums[(clips, FRAMES * tokens, wide)] == 1 * 4
  # STRL's last MLP: one sum forward, one backward.
  assert sums[(clips, tokens, wide)] == 2


@pytest.mark.parametrize(
  "name", ["8 data", "8 fsdp", "2 data x 2 fsdp x 2 tensor"]
)
def test_a_step_takes_the_memory_of_the_state_and_leaves_it_in_place(name):
  assert _found(name).donated and _found(name).in_place


def _abstract(batch):
  return {
    name: jax.ShapeDtypeStruct(value.shape, value.dtype)
    for name, value in batch.items()
  }


@pytest.mark.parametrize(
  ("scan", "remat"),
  [(False, "none"), (True, "none"), (False, "dots"), (True, "full")],
)
def test_the_step_lowers_for_accelerators(scan, remat):
  config = _config(
    model__dtype="bfloat16",
    model__scan=scan,
    model__remat=remat,
    model__depth=2,  # of one layer there is nothing to loop over
  )
  mesh = _mesh((2, 2, 2))
  optimiser = optim.optimiser(config.train, 100)
  step, shapes, _ = _jitted(config, mesh, optimiser)
  exported = jax.export.export(step, platforms=PLATFORMS)(
    shapes, _abstract(_batch())
  )
  assert exported.platforms == PLATFORMS and exported.nr_devices == 8
  assert "bf16" in exported.mlir_module()


def _sampler(mesh, **changes):
  """The sampler, jitted, and shapes for its call."""
  options = sampling_lib.Options(steps=2, samples=2, flip=True, seed=0, eta=0.0)
  params = _start()["params"]
  run = estimator.Estimator(
    _config(**changes), POSETRACK, params, options, mesh=mesh
  )
  batch = _abstract(_batch())
  given = {name: batch[name] for name in ("frames", "noise_id")}
  clips = sharding.split(mesh)
  given = sharding.placed(given, jax.tree.map(lambda _: clips, given))
  like = sharding.placed(params, sharding.places_in_use(params, mesh))
  return run._jit, (like, given, run._walk)


def _sent(run, arguments) -> dict[str, list[tuple[int, ...]]]:
  """What the compiled program sends."""
  text = run.lower(*arguments).compile().as_text()
  assert text is not None
  return _collectives(text)


def test_a_clip_is_sampled_without_the_devices_of_others():
  """All members of it."""
  assert _sent(*_sampler(_mesh(MESHES["8 data"]))) == {}


def test_sampling_over_tensor_gathers_weights_alone():
  found = _sent(*_sampler(_mesh(MESHES["2 data x 2 fsdp x 2 tensor"])))
  assert set(found) <= {"all-reduce", "all-gather"}
  assert set(found.get("all-gather", ())) <= _halves()


@pytest.mark.parametrize("scan", [False, True])
def test_the_sampler_lowers_for_accelerators(scan):
  run, arguments = _sampler(
    _mesh((4, 1, 2)), model__dtype="bfloat16", model__scan=scan
  )
  exported = jax.export.export(run, platforms=PLATFORMS)(*arguments)
  assert exported.platforms == PLATFORMS and exported.nr_devices == 8
  assert "bf16" in exported.mlir_module()


@functools.cache
def _slice() -> Any:
  """The 8 chips of a TPU v5e slice, which are not there."""
  from jax.experimental import topologies

  try:
    found = topologies.get_topology_desc(
      platform="tpu", topology_name="v5e:2x4"
    )
  except Exception as error:
    pytest.skip(f"no libtpu to compile with: {str(error)[:80]}")
  return list(found.devices)


@pytest.mark.slow
@pytest.mark.parametrize("sizes", [(8, 1, 1), (1, 8, 1), (2, 2, 2)])
def test_the_step_compiles_for_a_slice_of_eight_chips(sizes):
  config = _config(model__dtype="bfloat16")
  mesh = _mesh(sizes, _slice())
  step, shapes, places = _jitted(
    config, mesh, optim.optimiser(config.train, 100)
  )
  compiled = step.lower(shapes, _abstract(_batch())).compile()
  memory = compiled.memory_analysis()
  state = sharding.device_bytes(shapes, places)
  assert memory is not None
  # TPUs pad what they hold to tiles.
  assert state < memory.argument_size_in_bytes
  print(f"{sizes}: {memory.argument_size_in_bytes} bytes of arguments a chip")
