from diffpose_jax.evaluation import page


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
