import json

import pytest

from diffpose_jax.data import box_files, box_records

MOT = "1,-1,3,5,7,11,0.5,-1,-1,-1\n"
CSV = "image,x,y,w,h\na/0.jpg,1,2,3,4\n"
COCO = json.dumps([{"image_id": 1, "bbox": [1, 2, 3, 4]}])
POSETRACK = json.dumps(
  {
    "images": [{"id": 5, "file_name": "a/0.jpg"}],
    "annotations": [{"image_id": 5, "bbox": [1, 2, 3, 4]}],
  }
)


def videos_of(record):
  assert isinstance(record.image, box_records.FrameNumber)
  return record.image.videos


def write(tmp_path, **files):
  for name, content in files.items():
    (tmp_path / name.replace("_", ".")).write_text(content)
  return tmp_path


@pytest.mark.parametrize(
  ("name", "content", "image"),
  [
    ("x.json", COCO, 1),
    ("x.JSON", POSETRACK, "a/0.jpg"),
    ("boxes", COCO, 1),
    ("x.csv", CSV, "a/0.jpg"),
  ],
)
def test_files_are_known_by_ending_and_content(tmp_path, name, content, image):
  (tmp_path / name).write_text(content)
  [record] = box_files.read(tmp_path / name)
  assert record.image == image
  assert record.box.tolist() == [1, 2, 4, 6]
  assert (record.score, record.track_id, record.category) == (1, -1, 1)


def test_a_folder_has_one_format(tmp_path):
  write(tmp_path, a_json=COCO, b_json=COCO)
  assert len(box_files.read(tmp_path)) == 2
  write(tmp_path, b_json=POSETRACK)
  with pytest.raises(
    ValueError, match=r"a\.json \(coco\) and b\.json \(posetr"
  ):
    box_files.read(tmp_path)
  write(tmp_path, c_txt=MOT, d_txt=MOT, e_md="?")
  with pytest.raises(ValueError, match=r"a\.json and c\.txt are of different"):
    box_files.read(tmp_path)
  records = box_files.read(tmp_path, format="mot")
  assert [videos_of(r) for r in records] == [("c",), ("d",)]
  with pytest.raises(ValueError, match=r"no \*\.csv in this folder"):
    box_files.read(tmp_path, format="csv")


@pytest.mark.parametrize(
  ("name", "videos"),
  [
    ("clip/boxes.txt", ("boxes", "clip")),
    ("clip/det.txt", ("clip",)),
    ("clip/det/det.txt", ("clip",)),
    ("clip/gt/gt.txt", ("clip",)),
  ],
)
def test_a_file_says_which_video_it_is_of(tmp_path, monkeypatch, name, videos):
  path = tmp_path / name
  path.parent.mkdir(parents=True)
  path.write_text(MOT)
  assert videos_of(box_files.read(path)[0]) == videos
  monkeypatch.chdir(path.parent)  # A relative path hides the folder.
  assert videos_of(box_files.read(path.name)[0]) == videos


def test_seven_columns_are_mot_where_the_name_or_the_numbers_say_so(tmp_path):
  fits_both = "1,-1,3,5,7,11,0.5\n"
  write(tmp_path, a_txt=fits_both, det_txt=fits_both)
  with pytest.raises(ValueError, match=r"a\.txt: columns 3 to 6 may be"):
    box_files.read(tmp_path / "a.txt")
  [stated] = box_files.read(tmp_path / "a.txt", format="mot")
  [named] = box_files.read(tmp_path / "det.txt")
  assert stated.box.tolist() == named.box.tolist() == [2, 4, 9, 15]
  write(tmp_path, a_txt=fits_both + "2,-1,30,5,7,11,0.5\n")
  assert len(box_files.read(tmp_path / "a.txt")) == 2


@pytest.mark.parametrize(
  ("bbox", "message"),
  [
    ([1, 2, 0, 4], "no area"),
    ([1, 2, -3, 4], "no area"),
    ([1e5, 2, 1e-9, 4], "no area"),
    ([1, 2, 1e9, 4], r"bbox: box \[1.*reaches beyond 1e\+06 pixels"),
    ([-1e7, 2, 5, 4], r"reaches beyond 1e\+06 pixels"),
    (["1", 2, 3, 4], "expected finite numbers, found '1'"),
    ([1, 2, None, 4], "expected finite numbers, found None"),
    ("1 2 3 4", "bbox: expected a list"),
    ([1, 2, 3], "expected 4 numbers, found 3"),
  ],
)
def test_bad_boxes_are_refused_by_record(tmp_path, bbox, message):
  good = {"image_id": 1, "bbox": [1, 2, 3, 4]}
  content = json.dumps([good, good | {"bbox": bbox}])
  with pytest.raises(ValueError, match=rf"x\.json: \[1\]: .*{message}"):
    box_files.read(write(tmp_path, x_json=content) / "x.json")


@pytest.mark.parametrize(
  ("content", "message"),
  [
    ("", "not JSON at line 1"),
    ("\ufeff[]", "not JSON at line 1 column 1"),
    ('[{"image_id": 1, "bbox": [1, 2, 3, 1e999]}]', "1e999 is not finite"),
    (
      '[{"image_id": 1, "bbox": [0.1, 0.2, 0.5, 0.75]}]',
      r"all 1 boxes lie within one pixel, .*multiply",
    ),
    ('[{"image_name": 7, "bbox": [1, 2, 3, 4]}]', r"\[0\]: file_name 7 is no"),
    (
      '[{"image_name": "", "bbox": [1, 2, 3, 4]}]',
      r"\[0\]: file_name '' is no",
    ),
  ],
)
def test_bad_json_is_refused(tmp_path, content, message):
  path = write(tmp_path, x_json=content) / "x.json"
  with pytest.raises(ValueError, match=message) as caught:
    box_files.read(path)
  assert str(caught.value).startswith(str(path))


def test_a_stated_format_must_be_the_files(tmp_path):
  write(tmp_path, a_json=COCO, b_json=POSETRACK)
  with pytest.raises(ValueError, match=r"not PoseTrack18 JSON"):
    box_files.read(tmp_path / "a.json", format="posetrack")
  with pytest.raises(ValueError, match=r"not a list of detections"):
    box_files.read(tmp_path / "b.json", format="coco")
  with pytest.raises(ValueError, match=r"none\.json: no such file"):
    box_files.read(tmp_path / "none.json")


def test_what_predict_writes_again_is_left_out(tmp_path):
  """Its own JSON and COCO's results beside PoseTrack18's."""
  write(tmp_path, a_json=POSETRACK)
  (tmp_path / "a.poses.json").write_text("{}")
  (tmp_path / "a.coco.json").write_text(COCO)
  [record] = box_files.read(tmp_path)
  assert record.image == "a/0.jpg"
