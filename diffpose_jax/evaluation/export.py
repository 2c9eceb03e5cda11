"""The verb `export`: the network as programs that run without this package."""

import contextlib
import hashlib
import json
import pathlib
import shutil
import tempfile
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
from flax import traverse_util
from jax import export as jax_export

from diffpose_jax import config as config_lib
from diffpose_jax.diffusion import sampler
from diffpose_jax.evaluation import pack
from diffpose_jax.inference import bundle, network, pack_file, run_bundle
from diffpose_jax.inference import estimator as estimator_lib
from diffpose_jax.inference import sampling as sampling_lib


def main(*, weights: pathlib.Path, out: pathlib.Path) -> pack.Loss:
  """Writes a bundle, and prints how far its poses are from the network's.

  Args:
    weights: workdir of a training run, or a packed file.
    out: folder of the bundle, which must not be there yet.

  Raises:
    ValueError: there is something at `out`, or the weights are a bundle.
  """
  if out.exists():
    raise ValueError(f"{out}: is there already; give another --out")
  if bundle.is_one(weights):
    raise ValueError(f"{weights}: is a bundle already; copy it")
  live = estimator_lib.Estimator.load(weights)
  with _whole(out) as folder:
    packed = pack.pack(live, weights, folder / pack_file.WEIGHTS, "float32")
    pack_file.write(packed)
    for name, program in _programs(live).items():
      bundle.file(folder, name).write_bytes(program)
    shutil.copyfile(run_bundle.__file__, folder / bundle.RUNNER)
    _describe(live, folder)
  exported = estimator_lib.Estimator.load(out)
  files = sorted(out.iterdir())
  print(f"written: {out}, for {', '.join(bundle.PLATFORMS)}")
  for path in files:
    print(f"  {path.name}, {path.stat().st_size / 1e6:.2f} MB")
  loss = pack.compare(live, exported)
  print(f"drift from the network: {loss}")
  return loss


@contextlib.contextmanager
def _whole(out: pathlib.Path) -> Iterator[pathlib.Path]:
  """A folder that takes the name `out` at the end, or goes."""
  out.parent.mkdir(parents=True, exist_ok=True)
  part = pathlib.Path(tempfile.mkdtemp(dir=out.parent, prefix=f".{out.name}."))
  try:
    yield part
    part.chmod(0o755)
    part.rename(out)
  except BaseException:
    shutil.rmtree(part, ignore_errors=True)
    raise


def _programs(live: estimator_lib.Estimator) -> dict[str, bytes]:
  """The serialised programs by their names; see `bundle`.

  Raises ValueError for a network whose steps need more than a bundle's take.
  """
  if live.config.model.self_condition:
    raise ValueError(
      "model.self_condition: a step of such a network takes the heatmaps of "
      "the step before, which the programs of a bundle do not; it cannot be "
      "exported"
    )
  config = config_lib.copy(live.config)
  config.model.attention = "plain"  # other ways are of one platform
  config.model.dtype = str(network.compute_dtype(live.config))
  halves = network.halves(config, live.skeleton)
  process = network.build_process(config)
  nested = lambda params: traverse_util.unflatten_dict(params, sep="/")  # noqa: E731
  frames, noisy, _ = network.inputs(config, live.skeleton, 1)
  forms = []  # of features, once one was traced

  def encode(params, frames):
    found, form = jax.tree.flatten(halves.encode(nested(params), frames))
    forms.append(form)
    return tuple(found)

  def step(params, features, noisy, times):
    features = jax.tree.unflatten(forms[0], features)
    time = jnp.broadcast_to(times[0], noisy.shape[:1])
    clean = halves.denoise(nested(params), noisy, time, features)
    between = (times[0], times[1])
    return clean, sampler.ddim_step(noisy, clean, between, None, process)

  def read(maps):
    return sampling_lib.read(config, maps)[:3]

  b, m = jax_export.symbolic_shape("b, m")
  many = lambda shape: _like(shape, (b, *shape.shape[1:]))  # noqa: E731
  params = {k: _like(v, v.shape) for k, v in bundle.leaves(live.params).items()}
  one = jax.eval_shape(encode, params, frames)
  features = tuple(map(many, one))
  times = jax.ShapeDtypeStruct((2,), jnp.float32)
  maps = _like(noisy, (m, b, *noisy.shape[1:]))
  given: dict[str, tuple[Callable[..., Any], tuple]] = {
    "encode": (encode, (params, many(frames))),
    "step": (step, (params, features, many(noisy), times)),
    "read": (read, (maps,)),
  }
  return {
    name: bytes(
      jax_export.export(jax.jit(function), platforms=bundle.PLATFORMS)(
        *arguments
      ).serialize()
    )
    for name, (function, arguments) in given.items()
  }


def _like(leaf: Any, shape: tuple) -> jax.ShapeDtypeStruct:
  return jax.ShapeDtypeStruct(shape, leaf.dtype)


def _describe(live: estimator_lib.Estimator, folder: pathlib.Path) -> None:
  """Writes `bundle.json`, last, since it makes the folder a bundle."""
  config: Any = live.config
  frames, noisy, _ = network.inputs(config, live.skeleton, 1)
  diffusion = config.diffusion
  about = {
    "format": bundle.FORMAT,
    "version": bundle.VERSION,
    "jax": jax.__version__,
    "platforms": bundle.PLATFORMS,
    # The weights have one of their own within, for `calibrate` may add to them.
    "sha256": {
      path.name: hashlib.sha256(path.read_bytes()).hexdigest()
      for path in sorted(folder.iterdir())
      if path.name != pack_file.WEIGHTS
    },
    "weights_sha256": live.weights_hash,
    "training_step": live.step,
    "joints": live.skeleton.joints,
    "joint_pairs": live.skeleton.flip,
    "frames": frames.shape[1:],  # uint8 RGB; the key frame is the middle one
    "box_enlarged": config.data.enlarge,
    "normalisation": "in the programs: (frames / 255 - mean) / std of ImageNet",
    "heatmaps": noisy.shape[1:],
    "stride": config.model.patch / 4,  # crop pixels of a heatmap's pixel
    "decode": config.evaluate.decode,
    "diffusion": {
      "schedule": diffusion.schedule,
      "steps": diffusion.steps,
      "signal_scale": diffusion.signal_scale,
    },
    "sampling": {
      "steps": live.options.steps,
      "samples": live.options.samples,
    },
    "dtype": str(network.compute_dtype(config)),
  }
  path = folder / pack_file.BUNDLE
  path.write_text(json.dumps(about, indent=1) + "\n", "utf-8")
