"""Parts of JSON schemas that tests of manifests share."""

TEXT, COUNT = {"type": "string"}, {"type": "integer", "minimum": 1}


def of(required, /, **properties):
  """The schema of an object with these properties and no others."""
  return {
    "type": "object",
    "additionalProperties": False,
    "required": required.split(),
    "properties": properties,
  }
