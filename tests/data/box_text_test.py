import pytest

from diffpose_jax.data import box_text
from diffpose_jax.data.box_records import FrameNumber


def mot(tmp_path, content, sure=True):
  path = tmp_path / "clip.txt"
  if isinstance(content, str):
    content = content.encode()
  path.write_bytes(content)
  return box_text.read_mot(path, ("clip",), sure=sure)


def csv(tmp_path, content):
  path = tmp_path / "clip.csv"
  if isinstance(content, str):
    content = content.encode()
  path.write_bytes(content)
  return box_text.read_csv(path, ("clip",))


@pytest.mark.parametrize(
  "row",
  [
    "15, -1, 794.5, 247.25, 71, 174, 0.75",
    "15,-1,794.5,247.25,71,174,0.75,-1,-1",
    "15 -1 794.5 247.25 71 174 .75 -1 -1 -1",
    "15\t-1\t7.945e2\t+247.25\t71.\t174\t0.75\t4.5\t2.5\t0",
    "1.5e1,-1.000000e+00,794.5,247.25,71,174,0.75,-1,-1,-1",
  ],
)
@pytest.mark.parametrize("end", ["\n", "\r\n", ""])
def test_mot_counts_from_one(tmp_path, row, end):
  [record] = mot(tmp_path, row + end)
  source = str(tmp_path / "clip.txt")
  assert record.image == FrameNumber(source, ("clip",), 15, first=1)
  assert record.box.tolist() == [793.5, 246.25, 864.5, 420.25]
  assert (record.score, record.track_id, record.category) == (0.75, -1, 1)
  assert record.place == f"{source}: line 1"


def test_mot_ground_truth_has_classes(tmp_path):
  rows = "1,4,3,5,7,11,1,1,0.86\n1,5,3,5,7,11,0,3,1\n"
  records = mot(tmp_path, rows)
  assert [r.category for r in records] == [1, 3]
  assert [r.track_id for r in records] == [4, 5]
  assert [r.score for r in records] == [1, 0]


def test_mot_results_without_scores(tmp_path):
  row = "1, 3, 794.27, 247.59, 71.245, 174.88, {}, -1, -1, -1\n"
  assert [r.score for r in mot(tmp_path, 2 * row.format(-1))] == [1, 1]
  with pytest.raises(ValueError, match=r"line 2: score is -1; .* in \[0, 1\]"):
    mot(tmp_path, row.format(0.5) + row.format(-1))
  with pytest.raises(ValueError, match=r"line 1: score is -1; .* in \[0, 1\]"):
    mot(tmp_path, row.format(-1).replace(" 3", "-1", 1))


GOOD = "1,-1,3,5,7,11,0.5,-1,-1,-1\n"


@pytest.mark.parametrize(
  ("row", "message"),
  [
    ("0,-1,3,5,7,11,0.5,-1,-1,-1", "frame is 0; MOT text counts from 1"),
    ("1.5,-1,3,5,7,11,0.5,-1,-1,-1", "frame: expected a whole number"),
    ("1,-2,3,5,7,11,0.5,-1,-1,-1", "track id is -2"),
    ("1,9999999999999999999,3,5,7,11,0.5,-1,-1,-1", "track id: expected a who"),
    ("1,-1,3,5,0,11,0.5,-1,-1,-1", "no area"),
    ("1,-1,3,5,7,-11,0.5,-1,-1,-1", "no area"),
    ("1,-1,3,5,1e9,11,0.5,-1,-1,-1", "reaches beyond"),
    ("1,-1,1e999,5,7,11,0.5,-1,-1,-1", "expected finite numbers, found inf"),
    ("1,-1,nan,5,7,11,0.5,-1,-1,-1", "expected a finite number, found 'nan'"),
    ("1,-1,3,5,7,11,-inf,-1,-1,-1", "expected a finite number, found '-inf'"),
    ("1,-1,3,5,7,11,2.3092,-1,-1,-1", r"score is 2\.3092; .*exp\(-score\)"),
    ("1,-1,3,5,7,11,1e999,-1,-1,-1", "score is inf"),
    ("1,-1,3,5,x,11,0.5,-1,-1,-1", "expected a finite number, found 'x'"),
    ("1,-1,3,5,,11,0.5,-1,-1,-1", "expected a finite number, found ''"),
    ("1,-1,3,5,1_1,11,0.5,-1,-1,-1", "found '1_1'"),
    ("1,-1,3,5,7,11,0.5", "7 columns where MOT text has 10"),
    ("1,-1,3,5,7,11,0.5,-1,-1,-1,", "11 columns where MOT text has 10"),
    ("1;-1;3;5;7;11;0.5;-1;-1;-1", "1 columns where"),
    ("7" * 70000, "longer than 65536 bytes"),
  ],
)
def test_bad_mot_is_refused_by_line(tmp_path, row, message):
  # The empty line counts, but says nothing.
  with pytest.raises(ValueError, match=message) as caught:
    mot(tmp_path, f"{GOOD}\n{row}\n{GOOD}")
  assert str(caught.value).startswith(f"{tmp_path / 'clip.txt'}: line 3: ")


@pytest.mark.parametrize(
  ("content", "message"),
  [
    ("", "is empty; remove it"),
    ("\n  \n", "is empty; remove it"),
    ("1,-1,3,5,7,11", "line 1: 6 columns where MOT text has 7 or 9 or 10"),
    ("frame,id\n", "line 1: 'frame' is no frame number, .* call it .csv"),
    (GOOD.encode() + b"\xff\xfe", "line 2: not UTF-8 text"),
  ],
)
def test_what_is_not_mot_is_refused(tmp_path, content, message):
  with pytest.raises(ValueError, match=message) as caught:
    mot(tmp_path, content)
  assert str(caught.value).startswith(str(tmp_path / "clip.txt"))


def test_columns_that_may_be_edges_need_to_be_stated(tmp_path):
  row = "1,-1,3,5,7,11,0.5\n"
  with pytest.raises(ValueError, match=r"clip\.txt: columns 3 to 6 may be"):
    mot(tmp_path, row, sure=False)
  assert len(mot(tmp_path, row)) == 1
  # 5 is no right edge of a box that begins at 8.
  assert len(mot(tmp_path, row + "1,-1,8,5,5,11,0.5\n", sure=False)) == 2


@pytest.mark.parametrize(
  "content",
  [
    "image,x1,y1,x2,y2,score,track_id\nv/3.jpg,1.5,2,4.5,6,0.5,7\n",
    "\ufeffFile_Name, X, Y, Width, Height, Confidence, ID\r\n\r\n"
    "v/3.jpg, 1.5, 2, 3, 4, 0.5, 7\r\n",
    ',id,track_id,conf,h,w,y,x,image_name\n0,0,7,.5,4,3,2,1.5,"v/3.jpg"\n\n',
    "image,x1,y1,x2,y2,w,h,score,track_id\nv/3.jpg,1.5,2,4.51,6,3,4,0.5,7\n",
    "image,x,y,x1,y1,w,h,score,id,frame\nv/3.jpg,1.5,2,1.5,2,3,4,0.5,7,9\n",
    "score,id,category_id,x,y,w,h,image\n0.5,7,1,1.5,2,3,4,v\\3.jpg\n",
  ],
)
def test_csv_columns_go_by_name(tmp_path, content):
  [record] = csv(tmp_path, content)
  assert record.image == "v/3.jpg"
  assert record.box.tolist() in ([1.5, 2, 4.5, 6], [1.5, 2, 4.51, 6])
  assert (record.score, record.track_id, record.category) == (0.5, 7, 1)


def test_csv_frames_and_absent_columns(tmp_path):
  source = str(tmp_path / "clip.csv")
  [record] = csv(tmp_path, "frame,x,y,w,h\n4,1,2,3,4\n")
  assert record.image == FrameNumber(source, ("clip",), 4, first=None)
  assert (record.score, record.track_id) == (1, -1)
  content = "video,{},x,y,w,h,id,category_id\nv,4,1,2,3,4,,17\n"
  for column, first in (("frame_index", 0), ("frame_number", 1)):
    [record] = csv(tmp_path, content.format(column))
    assert record.image == FrameNumber(source, ("v",), 4, first)
    assert (record.track_id, record.category) == (-1, 17)
  assert csv(tmp_path, "image,x,y,w,h\n") == []


@pytest.mark.parametrize(
  ("header", "message"),
  [
    ("a,b,c,d", r"columns do not say .* need image .*found 'a, b, c, d'"),
    ("image,a,b,c,d", "columns do not say"),
    ("image,x1,y1,x2", "columns do not say"),
    ("image,x2,y2,w,h", "columns do not say"),
    ("x1,y1,x2,y2,video", "columns do not say"),
    ("frame,frame_index,x1,y1,x2,y2", "columns do not say"),
    ("image;x1;y1;x2;y2", "with commas between them"),
    ("image,x,y,w,h,width,height", "'w' and 'width' are both w"),
    ("image,x,y,w,h,score,conf", "'score' and 'conf' are both score"),
    ("1,-1,3,5,7,11,0.5,-1,-1,-1", "numbers where the header should be"),
  ],
)
def test_unclear_headers_are_refused(tmp_path, header, message):
  with pytest.raises(ValueError, match=message) as caught:
    csv(tmp_path, f"{header}\n1,2,3,4,5,6,7\n")
  assert str(caught.value).startswith(f"{tmp_path / 'clip.csv'}: line 1: ")


@pytest.mark.parametrize(
  ("row", "message"),
  [
    ("a.jpg,1,2,4,6,3,5,0.5,7", r"say both box \[1.*6\.0\] and .*7\.0\]"),
    ("a.jpg,1,2,4,6,2,3,0.5,7", "say both box"),
    ("a.jpg,4,2,1,6,3,4,0.5,7", "its corners swapped"),
    ("a.jpg,1,2,1,6,0,4,0.5,7", "no area"),
    ("a.jpg,1,2,4,6,3,0,0.5,7", "no area"),
    ("a.jpg,1,2,1e9,6,3,4,0.5,7", "reaches beyond"),
    ("a.jpg,NaN,2,4,6,3,4,0.5,7", "x1: expected a finite number, found 'NaN'"),
    ("a.jpg,1,2,inf,6,3,4,0.5,7", "x2: expected a finite number, found 'inf'"),
    ("a.jpg,1,two,4,6,3,4,0.5,7", "y1: expected a finite number, found 'two'"),
    ("a.jpg,1,2,4,6,3,4,,7", "score: expected a finite number, found ''"),
    ("a.jpg,1,2,4,6,3,4,87,7", r"score is 87; .*percent by / 100"),
    ("a.jpg,1,2,4,6,3,4,0.5,x", "track_id: expected a finite number"),
    ("a.jpg,1,2,4,6,3,4,0.5,-3", "track id is -3"),
    (",1,2,4,6,3,4,0.5,7", "file_name '' is no file's name"),
    ("../a.jpg,1,2,4,6,3,4,0.5,7", "leaves the data root"),
    ("a.jpg,1,2,4,6,3,4,0.5", "8 columns where the header has 9"),
    ("a.jpg,1,2,4,6,3,4,0.5,7,8", "10 columns where the header has 9"),
    (",,,,,,,,", "file_name '' is no file's name"),
    ('"a.jpg"?,1,2,4,6,3,4,0.5,7', "expected after"),
  ],
)
def test_bad_csv_is_refused_by_line(tmp_path, row, message):
  header, good = "image,x1,y1,x2,y2,w,h,score,id", "a.jpg,1,2,4,6,3,4,0.5,7"
  with pytest.raises(ValueError, match=message) as caught:
    csv(tmp_path, f"{header}\n{good}\n\n{row}\n{good}\n")
  assert str(caught.value).startswith(f"{tmp_path / 'clip.csv'}: line 4: ")


@pytest.mark.parametrize(
  ("content", "message"),
  [
    ("", "is empty; a file without boxes has a header"),
    ("image,x,y,w,h\na,1,2,3,\xe9\n".encode("latin-1"), "line 2: not UTF-8"),
    (
      "frame_number,x,y,w,h\n0,1,2,3,4\n",
      "frame_number is 0; it counts from 1",
    ),
    (
      "frame_index,x,y,w,h\n-1,1,2,3,4\n",
      "frame_index is -1; it counts from 0",
    ),
    ("frame,x,y,w,h\n1.5,1,2,3,4\n", "frame: expected a whole number"),
    ('image,x,y,w,h\n"a,1,2,3,4\n' + 90000 * "b,1\n", "field larger than"),
    ("image,x,y,w,h\n" + 70000 * "b", "line 2: longer than 65536 bytes"),
  ],
)
def test_bad_csv_files_are_refused(tmp_path, content, message):
  with pytest.raises(ValueError, match=message) as caught:
    csv(tmp_path, content)
  assert str(caught.value).startswith(str(tmp_path / "clip.csv"))


def test_absent_files_and_folders_are_refused(tmp_path):
  for name, message in (("x.csv", "no such file"), ("", "cannot be read")):
    with pytest.raises(ValueError, match=message):
      box_text.read_csv(tmp_path / name, ())
