"""Texts are escaped, files are found, and a page is whole or absent."""

import base64
import pathlib

import pytest

from diffpose_jax.inference import page


def test_text_that_comes_in_is_escaped_everywhere():
  bad = '<script>alert("x")</script>'
  body = page.Body([(bad, [bad])], heading=bad)
  text = page.whole(
    bad,
    [
      page.section(bad, page.paragraph(bad)),
      page.table([bad], [body], corner=bad),
      page.details(bad, "x"),
    ],
  )
  assert "alert(&quot;x&quot;)" in text
  assert '<script>alert("x")' not in text


def test_empty_parts_leave_no_trace():
  assert page.section("a", "") == page.details("a", "") == ""
  assert page.paragraph("") == page.table(["a"], [page.Body([])]) == ""
  assert page.folded_table(
    ["a"], page.Body([]), corner="b", shown=3, rest="{count}"
  ) == ""  # fmt: skip


def test_long_tables_are_folded_after_the_first_rows():
  rows = [(f"video {i}", [str(i)]) for i in range(25)]
  text = page.folded_table(
    ["AP"], page.Body(rows), corner="Video", shown=20, rest="The other {count}"
  )
  before, after = text.split("<details>")
  assert "video 19" in before and "video 20" not in before
  assert "The other 5" in after and "video 24" in after


def test_the_row_that_is_ours_stands_out():
  body = page.Body([("a", ["1"]), ("b", ["2"])], ours="b")
  text = page.table(["x"], [body])
  assert text.count("<tr class=ours>") == 1
  assert "<tr class=ours><th scope=row>b" in text


def test_numbers_have_digits_or_a_dash():
  assert page.number(1.25, 1) == "1.2"
  assert page.number(None, 1) == page.number(float("nan"), 3) == "–"


def test_listings():
  bad = "<b>"
  text = page.listing({bad: bad, "steps": 4, "tail": None})
  assert text.count("&lt;b&gt;") == 2 and bad not in text
  assert "<dt>steps</dt><dd>4</dd>" in text
  assert "<dt>tail</dt><dd>null</dd>" in text
  assert page.listing({}) == ""


def test_style_and_script_follow_those_of_all_pages():
  text = page.whole("a", [], style="#own {}", script="own();")
  assert text.index("--ground") < text.index("#own {}") < text.index("</style>")
  assert (
    text.index(".sortable") < text.index("own();") < text.rindex("</script>")
  )


@pytest.mark.parametrize(
  ("name", "address"),
  [
    ("clip.webm", "clip.webm"),
    ("sub/a b.webm", "sub/a%20b.webm"),
    ("../up.webm", "../up.webm"),
    ("50%#1?.webm", "50%25%231%3F.webm"),
    ("12:30.webm", "12%3A30.webm"),
    ("\udcff.webm", "%FF.webm"),  # a byte that is no UTF-8
  ],
)
def test_addresses_of_files_beside_the_page(name, address):
  folder = pathlib.Path("some/where")
  assert page.beside(folder / name, folder) == address


def test_data_as_an_address():
  kind, _, data = page.data_uri("video/webm", b"\0\xff").partition(",")
  assert kind == "data:video/webm;base64"
  assert base64.b64decode(data) == b"\0\xff"


def test_a_page_is_written_whole_or_not_at_all(tmp_path):
  path = tmp_path / "new" / "page.html"
  page.write(path, ["\udcff"])
  assert path.read_text(encoding="utf-8") == "?"
  page.write(path, ["a", "ü"])
  assert path.read_text(encoding="utf-8") == "aü"

  def pieces():
    yield "b"
    raise OSError("full")

  with pytest.raises(OSError, match="full"):
    page.write(path, pieces())
  assert path.read_text(encoding="utf-8") == "aü"
  assert list(path.parent.iterdir()) == [path]
