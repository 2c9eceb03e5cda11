"""Who can fetch what, and what is left of a visit: nothing."""

import os
import stat

import pytest

from diffpose_jax.webdemo import visits as visits_lib


@pytest.fixture
def visits(tmp_path):
  return visits_lib.Visits(tmp_path, most=3)


def published(visits, session, name="a.json"):
  out = visits.begin(visits.of(session))
  (out / name).write_text(session)
  (out / "secret").touch()
  return visits.publish(out, [name])


def result(address):
  return address.removeprefix(f"{visits_lib.BASE}/")


def test_a_visit_is_known_by_its_session_and_named_otherwise(visits):
  one, two = visits.of("one"), visits.of("two")
  assert visits.of("one") == one and len({one, two, "one", "two"}) == 4
  assert len(one) >= 32
  if os.name == "posix":
    mode = visits.folder(one).stat().st_mode
    assert stat.S_IMODE(mode) == 0o700


def test_a_file_is_found_by_the_name_of_its_result_alone(visits):
  one, two = published(visits, "one"), published(visits, "two")
  found = visits.find(result(one), "a.json")
  assert found is not None and found.read_text() == "one"
  other = visits.find(result(two), "a.json")
  assert other is not None and other.read_text() == "two"
  for name in ("secret", "../a.json", "", ".", f"../{result(two)}/a.json"):
    assert visits.find(result(one), name) is None
  for name in (visits.of("one"), "", "..", "none", str(found.parent)):
    assert visits.find(name, "a.json") is None


def test_only_the_last_result_is_kept(visits):
  first = published(visits, "one")
  second = published(visits, "one")
  assert visits.find(result(first), "a.json") is None
  assert visits.find(result(second), "a.json") is not None
  assert len(list(visits.folder(visits.of("one")).iterdir())) == 1


def test_a_job_that_comes_late_is_not_published(visits):
  late = visits.begin(visits.of("one"))
  address = published(visits, "one")
  assert visits.find(result(visits.publish(late, ["a.json"])), "a.json") is None
  assert visits.find(result(address), "a.json") is not None


def test_an_upload_takes_the_place_of_all_before(visits, tmp_path):
  address = published(visits, "one")
  upload = tmp_path / "upload.mp4"
  upload.write_text("new")
  name = visits.of("one")
  path = visits.take(name, upload, "walk.mp4")
  assert path.read_text() == "new" and not upload.exists()
  assert [p.name for p in visits.folder(name).iterdir()] == ["walk.mp4"]
  assert visits.find(result(address), "a.json") is None
  with pytest.raises(ValueError, match="upload it again"):
    visits.take(name, upload, "walk.mp4")


def test_nothing_is_left_of_who_left(visits, tmp_path):
  address = published(visits, "one")
  name = visits.of("one")
  assert visits.leave("one") == name
  assert visits.find(result(address), "a.json") is None
  assert list(tmp_path.iterdir()) == []
  assert visits.leave("one") is None
  assert visits.of("one") != name


def test_the_oldest_visit_makes_room(visits, tmp_path):
  addresses = {s: published(visits, s) for s in ("one", "two", "three")}
  visits.of("one")
  visits.of("four")
  there = {
    session: visits.find(result(address), "a.json") is not None
    for session, address in addresses.items()
  }
  assert there == {"one": True, "two": False, "three": True}
  assert len(list(tmp_path.iterdir())) == 3
