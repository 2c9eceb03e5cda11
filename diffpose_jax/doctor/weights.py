"""The weights that come with the package."""

from diffpose_jax.doctor import finding
from diffpose_jax.inference import pack_file, shipped

_REMEDY = (
  "give --weights=PATH, a workdir of a training run or a file that `pack` wrote"
)
_AGAIN = f"install the package again; or {_REMEDY}"


def check() -> list[finding.Finding]:
  """A line for each file, its hash compared, and one where there is none."""
  found = []
  if shipped.DEFAULT not in shipped.names():
    text = f"{shipped.DEFAULT}: not there"
    found.append(finding.Finding("weights", text, finding.NOTE, _REMEDY))
  for name in shipped.names():
    path = shipped.find(shipped.FOLDER / f"{name}{shipped.SUFFIX}")
    try:
      network = pack_file.read(path)
    except (ValueError, OSError) as error:
      found.append(finding.broken("weights", error, _AGAIN))
      continue
    size = path.stat().st_size / 1e6
    text = (
      f"{name}: {size:.1f} MB, {network.dtype}, step {network.step}, "
      f"{len(network.skeleton.joints)} joints; as its SHA-256 says"
    )
    found.append(finding.Finding("weights", text))
  return found
