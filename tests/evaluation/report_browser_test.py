"""The report in a real browser, from disk: wide and narrow, and sorted."""

import json
import re
import shutil
import subprocess

import numpy as np
import pytest

from diffpose_jax.evaluation import breakdown, gallery, metric, plots, report

CHROMIUM = next(
  filter(
    None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))
  ),
  None,
)
pytestmark = [
  pytest.mark.slow,
  pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on PATH"),
]
# Run in a copy of the page; its findings are read from the dumped document.
PROBE = """
<script>
window.errors = [];
window.addEventListener("error", e => window.errors.push(e.message));
window.addEventListener("load", () => {
  const button = document.querySelector(".sortable th button");
  const names = () => [...document.querySelectorAll(".sortable tbody th")]
    .map(cell => cell.textContent).join(",");
  const before = names();
  if (button) { button.click(); button.click(); }  // down
  const report = document.createElement("div");
  report.id = "probe";
  report.textContent = JSON.stringify({
    wide: document.documentElement.scrollWidth > window.innerWidth,
    errors: window.errors, before: before, after: names(),
    outside: performance.getEntriesByType("resource")
      .filter(e => !e.name.startsWith("data:")).length,
    broken: [...document.images].filter(i => !i.naturalWidth).length,
  });
  document.body.append(report);
});
</script>
</head>"""


@pytest.fixture(scope="module")
def page(tmp_path_factory):
  rng = np.random.default_rng(0)
  groups = (
    "head",
    "shoulder",
    "elbow",
    "wrist",
    "hip",
    "knee",
    "ankle",
    "total",
  )
  row = {name: float(v) for name, v in zip(groups, range(80, 88), strict=True)}
  picture = rng.integers(0, 255, (320, 240, 3), np.uint8)
  names = [f"{i:06d}_a_very_long_name_of_a_video_val" for i in range(23)]
  bins = {"predicted": [0.1, 0.6], "observed": [0.2, 0.5], "count": [5, 6]}
  long_row = {f"a long column {i}": 1.0 for i in range(12)}
  content = report.Content(
    title="DiffPose on <own> data",
    table_rows={"mean pose": row, "DiffPose": row},
    protocol={"data": "posetrack18", "videos": 170, "boxes": "ground truth"},
    gallery={
      "worst": [gallery.GalleryItem(picture, "a" * 60, picture, picture)] * 3
    },
    warnings=["something to know"],
    tables=[metric.Table("Wide", {"row": long_row}, digits=3)],
    plots=[plots.reliability({"both": bins, "raw": bins})],
    videos=[
      breakdown.VideoScore(name, 9, 5, float(i), 50.0, None)
      for i, name in enumerate(names)
    ],
  )
  path = tmp_path_factory.mktemp("page") / "report.html"
  report.write(path, content)
  text = path.read_text()
  assert text.count("</head>") == 1
  path.write_text(text.replace("</head>", PROBE))
  return path


def _probe(page, width):
  command = [
    CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu",
    f"--window-size={width},900", "--virtual-time-budget=5000",
    f"--user-data-dir={page.parent / str(width)}", "--dump-dom",
    page.as_uri(),
  ]  # fmt: skip
  done = subprocess.run(command, capture_output=True, text=True, timeout=120)
  found = re.search(r'<div id="probe">(.*?)</div>', done.stdout, re.DOTALL)
  assert found, done.stderr[-2000:]
  text = found[1].replace("&quot;", '"').replace("&amp;", "&")
  return json.loads(text)


@pytest.mark.parametrize("width", [1280, 500])
def test_it_opens_from_disk_without_a_fault(page, width):
  found = _probe(page, width)
  assert found["errors"] == []
  assert found["outside"] == 0 and found["broken"] == 0
  assert not found["wide"]  # wide tables scroll in boxes of their own


def test_a_click_on_a_heading_sorts(page):
  found = _probe(page, 1280)
  before, after = found["before"].split(","), found["after"].split(",")
  assert sorted(before) == sorted(after)
  # The rows in sight and those folded away are one table to the sorting.
  assert after in (before[::-1], sorted(before)[::-1])
