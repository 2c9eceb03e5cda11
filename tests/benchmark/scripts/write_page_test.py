"""The page of benchmarks says what the stored results say."""

from diffpose_jax.benchmark import machine, measure, result


def test_the_page_is_that_of_the_stored_results(script):
  write_page = script("write_page")
  assert write_page.PAGE.read_text() == write_page.page(write_page.RESULTS), (
    "python benchmarks/write_page.py writes it anew"
  )


def test_every_result_names_its_command_and_machine(script, tmp_path):
  write_page = script("write_page")
  about = machine.describe() | {"cpu": "Some CPU", "cores": 3}
  row = result.Row(
    "P3",
    "clip",
    ratio_of="|a - b|",
    ratio=measure.Spread(2.5, 2.0, 3.0),
    bar=result.Bar("at most", 1.1),
    figures={"whole ms": 12.0},
  )
  for name, command in (("b", "python b.py"), ("a", "python a.py --x")):
    result.write(
      tmp_path / f"{name}.json",
      result.Result(command, about, {"gflop_decoder": 0.15149}, (row,)),
    )
  text = write_page.page(tmp_path)
  assert text == write_page.page(tmp_path)
  assert text.index("### a\n") < text.index("### b\n")
  assert "```bash\npython a.py --x\n```" in text
  assert text.count("Some CPU, 3 cores used") == 2
  assert "Measured: gflop decoder 0.151" in text
  assert (
    "| P3 | clip | 2.50 (2.00–3.00) | ≤ 1.1 | OVER THE BAR |  | "
    "\\|a - b\\| | whole ms 12.0 |"
  ) in text


def test_without_results_the_page_says_so(script, tmp_path):
  assert script("write_page").page(tmp_path).endswith("None are stored.\n")
