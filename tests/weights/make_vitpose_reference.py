"""Writes vitpose_reference.npz: features and heatmaps of another implementation.

`PYTHONPATH=. python tests/weights/make_vitpose_reference.py`, where PyTorch and
Hugging Face's transformers are installed. The weights are those of
`random_weights` in conftest.py; the file holds their names and shapes, as that
library states them, so that the test needs neither library.
"""

# It is this folder's conftest that is imported, not that of all tests.
# pyright: reportAttributeAccessIssue=false

import json
import pathlib

import conftest
import numpy as np
import torch  # pyright: ignore[reportMissingImports]
import transformers  # pyright: ignore[reportMissingImports]

# name: (height, width, patch, width of the network, heads, joints, simple)
CASES = {
  "classic": (128, 96, 16, 48, 3, 5, False),
  "simple": (77, 55, 11, 40, 5, 7, True),
}


def main() -> None:
  arrays = {}
  for case, (h, w, patch, width, heads, joints, simple) in CASES.items():
    backbone = transformers.VitPoseBackboneConfig(
      image_size=[h, w],
      patch_size=[patch, patch],
      hidden_size=width,
      num_hidden_layers=2,
      num_attention_heads=heads,
      layer_norm_eps=1e-6,
      out_indices=[2],
    )
    config = transformers.VitPoseConfig(
      backbone_config=backbone, num_labels=joints, use_simple_decoder=simple
    )
    model = transformers.VitPoseForPoseEstimation(config).eval()
    shapes = {k: tuple(v.shape) for k, v in model.state_dict().items()}
    weights = conftest.random_weights(shapes, seed=len(case))
    model.load_state_dict({k: torch.tensor(v) for k, v in weights.items()})
    images = torch.tensor(conftest.random_images(h, w).transpose(0, 3, 1, 2))
    with torch.no_grad():
      features = model.backbone(images).feature_maps[-1].numpy()
      heatmaps = model(images).heatmaps.numpy()
    arrays[f"{case}_features"] = features.reshape(
      2, h // patch, w // patch, width
    )
    arrays[f"{case}_heatmaps"] = heatmaps.transpose(0, 2, 3, 1)
    arrays[f"{case}_shapes"] = np.array(json.dumps(shapes))
    arrays[f"{case}_config"] = np.array(config.to_json_string(use_diff=True))
  arrays["versions"] = np.array(
    f"torch {torch.__version__}, transformers {transformers.__version__}"
  )
  path = pathlib.Path(__file__).with_name("vitpose_reference.npz")
  np.savez_compressed(path, **arrays)
  print(f"{path}: {path.stat().st_size} bytes; {arrays['versions']}")


if __name__ == "__main__":
  main()
