"""The table of the network, beside the tree of its parameters and XLA."""

import functools
import math
from typing import Any

import jax
import pytest

from diffpose_jax import config as config_lib
from diffpose_jax.inference import network
from diffpose_jax.model import flops, sharding
from diffpose_jax.pose.skeleton import POSETRACK
from diffpose_jax.training import optim, table
from diffpose_jax.training import step as step_lib


def _config(**changes):
  config = config_lib.default()
  config.update_from_flattened_dict(
    {
      "data.size": (96, 64),
      "data.span": 1,
      "model.size": "Ti",
      "model.dtype": "float32",
      "model.strl_depth": 2,
      "model.decoder_width": 96,
      "train.batch": 8,
    }
    | {key.replace("__", "."): value for key, value in changes.items()}
  )
  return config


def _state(config):
  optimiser = optim.optimiser(config.train, 10)
  return jax.eval_shape(
    lambda: vars(step_lib.init_state(config, POSETRACK, optimiser))
  )


def _mesh(**sizes):
  return sharding.mesh(**sizes)


def _rows(text):
  """Cells of each part's row."""
  lines = text.splitlines()[1:-1]
  return {line[:18].strip(): line[18:].split() for line in lines}


def _number(cell):
  return float(cell.replace(",", ""))


@pytest.mark.parametrize("scales", [1, 3])
def test_each_part_has_the_parameters_of_its_subtree(scales):
  config = _config(model__scales=scales)
  params = _state(config)["params"]
  found = table.parameters(params)

  def size(tree):
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(tree))

  decoder = params["decoder"]
  expected = {"vit": size(params["vit"]), "strl": size(params["strl"])}
  for scale in (1, 2, 3)[3 - scales :]:
    expected[f"decoder {scale}"] = sum(
      size(tree) for name, tree in decoder.items() if name[-2:] == f"_{scale}"
    )
  shared = ("embed", "time_hidden", "time_out", "modulate", "head")
  expected["decoder"] = sum(size(decoder[name]) for name in shared)
  assert found == expected
  assert sum(found.values()) == size(params)


def test_memory_is_that_of_a_device():
  config = _config()
  mesh = _mesh(fsdp=4)
  state = _state(config)
  rows = _rows(table.text(config, POSETRACK, state, mesh))
  places = sharding.places(state, mesh)
  assert _number(rows["all"][1]) == pytest.approx(
    sharding.device_bytes(state, places) / 1e6, abs=0.05
  )
  # On one device all is whole: parameters, average and two moments.
  one = sharding.mesh(data=8)
  rows = _rows(table.text(config, POSETRACK, state, one))
  counts = table.parameters(state["params"])
  names = {
    "vit": "vit",
    "strl": "strl",
    "decoder": "decoder, shared",
    **{f"decoder {n}": f"decoder, scale {n}" for n in (1, 2, 3)},
  }
  for part, name in names.items():
    assert _number(rows[name][0]) == counts[part]
    assert rows[name][1] == "learning"
    assert _number(rows[name][2]) == pytest.approx(
      16 * counts[part] / 1e6, abs=0.05
    )


def test_what_is_frozen_says_so_and_takes_less():
  config = _config(train__freeze_backbone=True)
  state = _state(config)
  rows = _rows(table.text(config, POSETRACK, state, _mesh()))
  count = table.parameters(state["params"])["vit"]
  assert rows["vit"][1] == "frozen" and rows["strl"][1] == "learning"
  # It has no moments.
  assert _number(rows["vit"][2]) == pytest.approx(8 * count / 1e6, abs=0.05)
  once, whole = (f(config, POSETRACK) for f in (table.forward, table.step))
  assert whole["vit"] == once["vit"] and whole["strl"] == 3 * once["strl"]


def test_the_parts_are_one_pass_over_a_clip():
  for config in (
    _config(),
    _config(model__scales=1),
    _config(model__stem="conv"),
  ):
    model = network.build_model(config, POSETRACK)
    count = flops.count(model, 3, (96, 64))
    parts = flops.parts(model, 3, (96, 64))
    assert sum(parts.values()) == count.clip(1, 1)
    assert (parts["vit"], parts["strl"]) == (count.vit, count.strl)
    assert parts == table.forward(config, POSETRACK)


def test_a_scale_costs_what_the_others_do_not():
  """Without the lower scales, what is left is the third's, and the shared."""
  whole = table.forward(_config(), POSETRACK)
  one = table.forward(_config(model__scales=1), POSETRACK)
  assert one["decoder 3"] == whole["decoder 3"]
  assert one["decoder"] == whole["decoder"]


def _step_flops(config):
  """Operations of a step for one clip, as XLA counts them."""
  optimiser = optim.optimiser(config.train, 10)
  inner = step_lib.make_step(config, POSETRACK, optimiser)

  def step(state, batch):
    state, metrics = inner(step_lib.State(**state), batch)
    return vars(state), metrics

  clips = config.train.batch
  frames = network.inputs(config, POSETRACK, clips)[0]
  shape = functools.partial(jax.ShapeDtypeStruct)
  batch = {
    "frames": frames,
    "joints": shape((clips, 17, 2), "float32"),
    "labelled": shape((clips, 17), "bool"),
    "valid": shape((clips,), "bool"),
    "index": shape((clips,), "int32"),
    "noise_id": shape((clips,), "uint32"),
  }
  cost: Any = jax.jit(step).lower(_state(config), batch).cost_analysis()
  return cost["flops"] / clips


@pytest.mark.parametrize(
  "changes",
  [
    {},
    {"train__freeze_backbone": True, "train__self_aligned": 0.5},
    {"train__start_weight": 1.0, "train__self_aligned": 0.5},
    {"model__remat": "full"},
  ],
)
def test_a_step_costs_what_xla_says(changes):
  """But for what is done element by element, and the first layer's inputs."""
  config = _config(model__size="cpu", model__strl_depth=1, **changes)
  hand = sum(table.step(config, POSETRACK).values())
  assert _step_flops(config) == pytest.approx(hand, rel=0.03)


def test_the_lines_are_aligned_and_few():
  config = _config()
  text = table.text(config, POSETRACK, _state(config), _mesh())
  *lines, last = text.splitlines()
  assert last.startswith("state: ") and "(data 8)" in last
  assert len(lines) == 8
  assert len({len(line) for line in lines}) == 1 and len(lines[0]) <= 80
