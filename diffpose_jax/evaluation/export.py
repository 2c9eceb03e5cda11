"""The verb `export`: the network as programs that run without this package."""

import pathlib
import shutil
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import traverse_util
from jax import export as jax_export

from diffpose_jax import config as config_lib
from diffpose_jax.diffusion import sampler
from diffpose_jax.evaluation import export_folder, export_onnx, pack
from diffpose_jax.inference import bundle, network, pack_file, run_bundle
from diffpose_jax.inference import estimator as estimator_lib
from diffpose_jax.inference import sampling as sampling_lib


def main(
  *, weights: pathlib.Path, out: pathlib.Path, onnx: bool = False
) -> pack.Loss:
  """Writes a bundle, and prints how far its poses are from the network's.

  Args:
    weights: workdir of a training run, or a packed file.
    out: folder of the bundle, which must not be there yet.
    onnx: write ONNX files instead, see `export_onnx`.

  Raises:
    ValueError: there is something at `out`, the weights are a bundle, or their
      network cannot be exported.
  """
  export_folder.check(weights, out)
  if onnx:
    return export_onnx.write(weights, out)
  live = estimator_lib.Estimator.load(weights)
  with export_folder.whole(out) as folder:
    packed = pack.pack(live, weights, folder / pack_file.WEIGHTS, "float32")
    pack_file.write(packed)
    for name, program in _programs(live).items():
      bundle.file(folder, name).write_bytes(program)
    shutil.copyfile(run_bundle.__file__, folder / bundle.RUNNER)
    about = {
      "format": bundle.FORMAT,
      "version": bundle.VERSION,
      "platforms": bundle.PLATFORMS,
    }
    export_folder.describe(live, folder / pack_file.BUNDLE, about)
  exported = estimator_lib.Estimator.load(out)
  export_folder.tell(out, f"for {', '.join(bundle.PLATFORMS)}")
  loss = pack.compare(live, exported)
  print(f"drift from the network: {loss}")
  return loss


def _programs(live: estimator_lib.Estimator) -> dict[str, bytes]:
  """The serialised programs by their names; see `bundle`.

  Raises ValueError for a network whose steps need more than a bundle's take.
  """
  export_folder.check_steps(live.config)
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
