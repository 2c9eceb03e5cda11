"""The manifest of launch/predict_gke.yaml, against the schema of a Job."""

import re
from typing import Any

import pytest
import schemas
import yaml

GPU = ("--accelerator=nvidia-l4",)
FLAGS = ("--", "--boxes=whole", "--draw=skeleton,boxes")
WORDS = {
  "name": "poses",
  "image": "host.org/a/b:c1",
  "shards": "100",
  "parallel": "20",
  "claim": "disk",
  "input": "/workspace/videos/*.mp4",
  "out": "/workspace/poses",
}


def _words(verb="show", *more, **changes):
  given = {k: v for k, v in (WORDS | changes).items() if v}
  flags = [f"--{k}={v}" for k, v in given.items()]
  return (verb, *flags, *more, *FLAGS)


def _manifest(shell, *more, **changes) -> dict[str, Any]:
  done = shell.run("predict_gke.sh", *_words("show", *more, **changes))
  assert done.returncode == 0, done.stderr
  return yaml.safe_load(done.stdout)


def _list(of):
  return {"type": "array", "minItems": 1, "items": of}


NAMES = {
  "type": "object",
  "additionalProperties": schemas.TEXT,
  "minProperties": 1,
}
AMOUNTS = {
  "type": "object",
  "additionalProperties": {"type": ["string", "integer"]},
}
# The part that is used of a Job: the published API of Kubernetes 1.32.
JOB = schemas.of(
  "apiVersion kind metadata spec",
  apiVersion={"const": "batch/v1"},
  kind={"const": "Job"},
  metadata=schemas.of("name", name=schemas.TEXT, labels=NAMES),
  spec=schemas.of(
    "template",
    completionMode={"enum": ["NonIndexed", "Indexed"]},
    completions=schemas.COUNT,
    parallelism=schemas.COUNT,
    backoffLimit={"type": "integer", "minimum": 0},
    backoffLimitPerIndex={"type": "integer", "minimum": 0},
    maxFailedIndexes={"type": "integer", "minimum": 0},
    podFailurePolicy=schemas.of(
      "rules",
      rules=_list(
        schemas.of(
          "action",
          action={"enum": ["FailIndex", "FailJob", "Ignore", "Count"]},
          onExitCodes=schemas.of(
            "operator values",
            containerName=schemas.TEXT,
            operator={"enum": ["In", "NotIn"]},
            values=_list({"type": "integer"}),
          ),
          onPodConditions=_list(
            schemas.of(
              "type status",
              type=schemas.TEXT,
              status={"enum": ["True", "False", "Unknown"]},
            )
          ),
        )
      ),
    ),
    template=schemas.of(
      "spec",
      metadata=schemas.of("", labels=NAMES),
      spec=schemas.of(
        "containers",
        restartPolicy={"enum": ["Never", "OnFailure"]},
        terminationGracePeriodSeconds=schemas.COUNT,
        automountServiceAccountToken={"type": "boolean"},
        nodeSelector=NAMES,
        securityContext=schemas.of("", fsGroup=schemas.COUNT),
        tolerations=_list(
          schemas.of(
            "",
            key=schemas.TEXT,
            operator={"enum": ["Exists", "Equal"]},
            effect={"enum": ["NoSchedule", "PreferNoSchedule", "NoExecute"]},
          )
        ),
        containers=_list(
          schemas.of(
            "name image",
            name=schemas.TEXT,
            image=schemas.TEXT,
            command=_list(schemas.TEXT),
            args=_list(schemas.TEXT),
            env=_list(
              schemas.of(
                "name",
                name=schemas.TEXT,
                value=schemas.TEXT,
                valueFrom=schemas.of(
                  "", fieldRef=schemas.of("fieldPath", fieldPath=schemas.TEXT)
                ),
              )
            ),
            resources=schemas.of("", requests=AMOUNTS, limits=AMOUNTS),
            volumeMounts=_list(
              schemas.of(
                "name mountPath", name=schemas.TEXT, mountPath=schemas.TEXT
              )
            ),
          )
        ),
        volumes=_list(
          schemas.of(
            "name",
            name=schemas.TEXT,
            persistentVolumeClaim=schemas.of(
              "claimName", claimName=schemas.TEXT
            ),
          )
        ),
      ),
    ),
  ),
)


@pytest.mark.parametrize("more", [(), GPU, ("--spot",), (*GPU, "--spot")])
def test_manifests_are_of_their_schema(kubectl, more):
  jsonschema = pytest.importorskip("jsonschema")
  manifest = _manifest(kubectl, *more)
  jsonschema.validate(manifest, JOB)
  manifest["spec"]["backoffLimitPerIndx"] = 1
  with pytest.raises(jsonschema.ValidationError, match="backoffLimitPerIndx"):
    jsonschema.validate(manifest, JOB)


@pytest.mark.parametrize("more", [(), GPU])
def test_jobs_are_valid_for_kubernetes(kubectl, more):
  """By all of its published schemas, where their package is installed."""
  validator = pytest.importorskip("kubernetes_validate")
  validator.validate(_manifest(kubectl, *more), "1.32", strict=True)


def _container(manifest) -> dict[str, Any]:
  (container,) = manifest["spec"]["template"]["spec"]["containers"]
  return container


def test_each_index_does_its_shard(kubectl):
  manifest = _manifest(kubectl, *GPU)
  container = _container(manifest)
  assert container["command"] + container["args"] == [
    *("/src/launch/recorded.sh", "--workdir=/workspace/poses", "--"),
    *("python", "-m", "diffpose_jax.main", "predict"),
    *("--input=/workspace/videos/*.mp4", "--out=/workspace/poses", *FLAGS[1:]),
    "--shard=$(JOB_COMPLETION_INDEX)/100",
  ]
  spec = manifest["spec"]
  assert (spec["completionMode"], spec["completions"]) == ("Indexed", 100)
  assert spec["parallelism"] == 20
  assert "JOB_COMPLETION_INDEX" in [e["name"] for e in container["env"]]
  assert container["resources"]["limits"] == {"nvidia.com/gpu": 1}
  assert _manifest(kubectl, parallel="")["spec"]["parallelism"] == 100


def test_what_fails_is_tried_again_unless_it_is_a_mistake(kubectl):
  spec = _manifest(kubectl, "--retries=5")["spec"]
  assert spec["backoffLimitPerIndex"] == 5
  assert "backoffLimit" not in spec  # which would be of all indexes together
  mistake, evicted = spec["podFailurePolicy"]["rules"]
  assert mistake["action"] == "FailIndex"  # and no other
  assert mistake["onExitCodes"]["values"] == [2]
  assert mistake["onExitCodes"]["containerName"] == "predict"
  assert evicted["action"] == "Ignore"
  # A pod failure policy asks for it.
  assert spec["template"]["spec"]["restartPolicy"] == "Never"
  assert _container({"spec": spec})["name"] == "predict"


@pytest.mark.parametrize(
  ("more", "nodes"),
  [
    ((), None),
    (("--spot",), {"cloud.google.com/gke-spot": "true"}),
    (GPU, {"cloud.google.com/gke-accelerator": "nvidia-l4"}),
    (
      (*GPU, "--spot"),
      {
        "cloud.google.com/gke-accelerator": "nvidia-l4",
        "cloud.google.com/gke-spot": "true",
      },
    ),
  ],
)
def test_which_nodes(kubectl, more, nodes):
  manifest = _manifest(kubectl, *more)
  pod, gpu = manifest["spec"]["template"]["spec"], bool({*more} & {*GPU})
  assert pod.get("nodeSelector") == nodes
  assert ("tolerations" in pod) == gpu
  assert ("limits" in _container(manifest)["resources"]) == gpu


def test_create_sends_what_show_shows(kubectl):
  shown = kubectl.run("predict_gke.sh", *_words()).stdout
  assert "@" not in shown
  calls = kubectl.same_dry(
    "predict_gke.sh", *_words("create", "--namespace=team")
  )
  assert calls == ["kubectl --namespace=team create --filename=-"]
  assert (kubectl.folder / "home" / "sent").read_text() == shown


def test_verbs_on_what_is_there(kubectl):
  selector = "--selector=batch.kubernetes.io/job-name=poses"
  for verb, last in {
    "status": ["get", "pods", selector],
    "logs": [
      *("logs", "--prefix", "--tail=20", "--max-log-requests=50"),
      *("--container=predict", selector),
    ],
    "delete": ["delete", "job", "poses"],
  }.items():
    kubectl.calls_file.unlink(missing_ok=True)
    kubectl.same_dry("predict_gke.sh", verb, "--name=poses")
    assert kubectl.words()[-1][1:] == last
    assert len(kubectl.words()) == (2 if verb == "status" else 1)


@pytest.mark.parametrize(
  ("changes", "message"),
  [
    ({"name": "Pose"}, "--name=Pose is not at most 40 lower case"),
    ({"image": 'a"b'}, '--image=a"b is not an image'),
    ({"shards": ""}, "--shards is missing: a number of parts"),
    ({"shards": "0"}, "--shards=0 is not a number of parts"),
    ({"parallel": "all"}, "--parallel=all is not a number of pods"),
    ({"accelerator": "A B"}, "--accelerator=A B is not the label of"),
    ({"cpus": "0.5"}, "--cpus=0.5 is not a number of processors"),
    ({"claim": ""}, "--claim is missing: the name of a claim"),
    ({"input": "videos"}, "--input=videos is not videos below /workspace"),
    (
      {"out": "/workspace/a b"},
      "--out=/workspace/a b is not a folder below /workspace",
    ),
    ({"retries": "-1"}, "--retries=-1 is not a number of tries"),
  ],
)
def test_refusals(kubectl, changes, message):
  assert message in kubectl.refused(
    "predict_gke.sh", *_words("create", **changes)
  )


@pytest.mark.parametrize("flag", ['--a="b"', "--a=$(NAME)", "--a=@b", "--a=\\"])
def test_flags_that_would_be_read_as_something_else(kubectl, flag):
  line = kubectl.refused("predict_gke.sh", *_words("create"), flag)
  assert re.search(r'no ", .*, \$\( or end of line in a flag', line)
