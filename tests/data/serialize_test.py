"""Serialised records: the messages that TFDS makes of the same records."""

import numpy as np
import pytest
from tensorflow_datasets.core import example_serializer
from tensorflow_datasets.proto import tf_example_pb2

from diffpose_jax.data import annotations, layout, records, serialize

JOINTS = 17


def _person(rng):
  return annotations.Person(
    box=rng.normal(size=4).astype(np.float32),
    joints=rng.normal(size=(JOINTS, 2)).astype(np.float32),
    labelled=rng.random(JOINTS) < 0.5,
    track_id=2**40 + 3,
  )


def _record(people, regions=(), name="images/ä/0.jpg"):
  rng = np.random.default_rng(0)
  frame = annotations.Frame(
    file_name=name,
    image_id=2**62,
    labelled=True,
    people=tuple(_person(rng) for _ in range(people)),
    ignore_regions=regions,
  )
  video = annotations.Video("a", (frame,))
  picture = layout.Picture(b"\xff\xd8\x00 bytes", 720, 1280)
  return records._record(video, 0, picture)


@pytest.fixture(scope="module")
def features():
  return records.features(JOINTS)


@pytest.mark.parametrize("people", [0, 1, 3])
@pytest.mark.parametrize(
  "regions", [(), (np.ones((4, 2), np.float32), np.zeros((3, 2), np.float32))]
)
def test_messages_are_those_of_tfds(features, people, regions):
  record = _record(people, regions)
  theirs = example_serializer.ExampleSerializer(
    features.get_serialized_info()
  ).serialize_example(features.encode_example(record))
  ours = serialize.Serializer(features)(record)
  read = tf_example_pb2.Example.FromString
  assert read(ours) == read(theirs)


def test_equal_records_give_equal_bytes(features):
  first, second = (serialize.Serializer(features) for _ in range(2))
  assert first(_record(2)) == second(_record(2))


@pytest.mark.parametrize("field", ["joints", "labelled", "box"])
def test_a_wrong_shape_is_refused_by_name(features, field):
  record = _record(2)
  for person in record["people"]:
    person[field] = person[field][:-1]
  with pytest.raises(ValueError, match=f"people/{field}.*shape"):
    serialize.Serializer(features)(record)


def test_people_that_differ_in_shape_are_refused(features):
  record = _record(2)
  record["people"][1]["joints"] = record["people"][1]["joints"][:3]
  with pytest.raises(ValueError):
    serialize.Serializer(features)(record)
