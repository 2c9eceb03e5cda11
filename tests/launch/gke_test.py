"""The manifests of launch/gke.yaml, against the schemas of JobSet and Job."""

import itertools
import re
from typing import Any

import pytest
import schemas
import yaml

KIND = {
  "tpu": (
    *("--hosts=4", "--chips=4", "--accelerator=tpu-v5-lite-podslice"),
    "--topology=4x4",
  ),
  "gpu": ("--hosts=2", "--chips=8", "--accelerator=nvidia-h100-80gb"),
}
RUN = ("--", "--config=configs/pt18.py", "--config.data.size=(64, 48)")


def _words(kind, verb="show", *more):
  return (
    *(verb, f"--kind={kind}", "--name=pose", "--image=host.org/a/b:c1"),
    *KIND[kind],
    *("--claim=disk", "--workdir=/workspace/runs/a", *more, *RUN),
  )


def _manifest(shell, kind, *more) -> dict[str, Any]:
  done = shell.run("gke.sh", *_words(kind, "show", *more))
  assert done.returncode == 0, done.stderr
  return yaml.safe_load(done.stdout)


TEXTS = {"type": "array", "items": schemas.TEXT}
# The part of JobSet that is used, and what else it has beside these.
# Source: kubernetes-sigs/jobset,
# config/components/crd/bases/jobset.x-k8s.io_jobsets.yaml at 0a2be5c551fcee10
JOBSET = schemas.of(
  "apiVersion kind metadata spec",
  apiVersion={"const": "jobset.x-k8s.io/v1alpha2"},
  kind={"const": "JobSet"},
  metadata={"type": "object"},
  spec=schemas.of(
    "replicatedJobs",
    coordinator={},
    failurePolicy=schemas.of(
      "",
      maxRestarts={"type": "integer", "minimum": 0},
      restartStrategy={"enum": ["Recreate", "BlockingRecreate"]},
      rules={
        "type": "array",
        "items": schemas.of(
          "action name",
          action={
            "enum": [
              *("FailJobSet", "RestartJobSet"),
              "RestartJobSetAndIgnoreMaxRestarts",
            ]
          },
          name={
            "type": "string",
            "pattern": "^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$",
          },
          onJobFailureReasons=TEXTS,
          targetReplicatedJobs=TEXTS,
        ),
      },
    ),
    network=schemas.of(
      "",
      enableDNSHostnames={"type": "boolean"},
      publishNotReadyAddresses={"type": "boolean"},
      subdomain=schemas.TEXT,
    ),
    replicatedJobs={
      "type": "array",
      "items": schemas.of(
        "name template",
        name=schemas.TEXT,
        replicas=schemas.COUNT,
        template=schemas.of("spec", metadata={}, spec={"type": "object"}),
      ),
    },
  ),
)
# Of a Job, its pods and containers: the published API of Kubernetes 1.32.
RESOURCES = {"type": "object", "additionalProperties": schemas.COUNT}
JOB = schemas.of(
  "template",
  completionMode={"enum": ["NonIndexed", "Indexed"]},
  parallelism=schemas.COUNT,
  completions=schemas.COUNT,
  backoffLimit={"type": "integer", "minimum": 0},
  podFailurePolicy=schemas.of(
    "rules",
    rules={
      "type": "array",
      "items": schemas.of(
        "action",
        action={"enum": ["FailIndex", "FailJob", "Ignore", "Count"]},
        onExitCodes=schemas.of(
          "operator values",
          containerName=schemas.TEXT,
          operator={"enum": ["In", "NotIn"]},
          values={"type": "array", "items": {"type": "integer"}},
        ),
        onPodConditions={},
      ),
    },
  ),
  template=schemas.of(
    "spec",
    metadata=schemas.of("", labels={"type": "object"}),
    spec=schemas.of(
      "containers",
      restartPolicy={"enum": ["Never", "OnFailure"]},
      terminationGracePeriodSeconds=schemas.COUNT,
      automountServiceAccountToken={"type": "boolean"},
      nodeSelector={"type": "object", "additionalProperties": schemas.TEXT},
      securityContext=schemas.of("", fsGroup=schemas.COUNT),
      tolerations={
        "type": "array",
        "items": schemas.of(
          "",
          key=schemas.TEXT,
          operator={"enum": ["Exists", "Equal"]},
          effect={"enum": ["NoSchedule", "PreferNoSchedule", "NoExecute"]},
        ),
      },
      containers={
        "type": "array",
        "items": schemas.of(
          "name image",
          name=schemas.TEXT,
          image=schemas.TEXT,
          command=TEXTS,
          args=TEXTS,
          env={
            "type": "array",
            "items": schemas.of(
              "name",
              name=schemas.TEXT,
              value=schemas.TEXT,
              valueFrom=schemas.of(
                "", fieldRef=schemas.of("fieldPath", fieldPath=schemas.TEXT)
              ),
            ),
          },
          ports={
            "type": "array",
            "items": schemas.of("containerPort", containerPort=schemas.COUNT),
          },
          resources=schemas.of("", requests=RESOURCES, limits=RESOURCES),
          volumeMounts={
            "type": "array",
            "items": schemas.of(
              "name mountPath", name=schemas.TEXT, mountPath=schemas.TEXT
            ),
          },
        ),
      },
      volumes={
        "type": "array",
        "items": schemas.of(
          "name",
          name=schemas.TEXT,
          persistentVolumeClaim=schemas.of("claimName", claimName=schemas.TEXT),
          emptyDir=schemas.of("", medium={"enum": ["", "Memory"]}),
        ),
      },
    ),
  ),
)


@pytest.mark.parametrize("kind", KIND)
@pytest.mark.parametrize("more", [(), ("--spot",)])
def test_manifests_are_of_their_schemas(kubectl, kind, more):
  jsonschema = pytest.importorskip("jsonschema")
  manifest = _manifest(kubectl, kind, *more)
  jsonschema.validate(manifest, JOBSET)
  (part,) = manifest["spec"]["replicatedJobs"]
  jsonschema.validate(part["template"]["spec"], JOB)
  manifest["spec"]["failurePolicy"]["maxRestart"] = 1
  with pytest.raises(jsonschema.ValidationError, match="maxRestart"):
    jsonschema.validate(manifest, JOBSET)


@pytest.mark.parametrize("kind", KIND)
def test_jobs_are_valid_for_kubernetes(kubectl, kind):
  """By all of its published schemas, where their package is installed."""
  validator = pytest.importorskip("kubernetes_validate")
  (part,) = _manifest(kubectl, kind)["spec"]["replicatedJobs"]
  job = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "a"}}
  validator.validate(job | part["template"], "1.32", strict=True)


def _container(manifest) -> dict[str, Any]:
  (part,) = manifest["spec"]["replicatedJobs"]
  (container,) = part["template"]["spec"]["template"]["spec"]["containers"]
  return container


def test_the_processes_of_gpu_pods_find_each_other(kubectl):
  """The first one's name is <set>-<job>-<index>-<pod>.<set>, by JobSet."""
  manifest = _manifest(kubectl, "gpu")
  (part,) = manifest["spec"]["replicatedJobs"]
  job = part["template"]["spec"]
  container = _container(manifest)
  assert container["command"] + container["args"] == [
    *("/src/launch/recorded.sh", "--workdir=/workspace/runs/a", "--"),
    *(
      "python",
      "-m",
      "diffpose_jax.main",
      "train",
      "--workdir=/workspace/runs/a",
    ),
    *(RUN[1:]),
    *("--multihost", f"--coordinator=pose-{part['name']}-0-0.pose:8476"),
    *("--processes=2", "--process=$(JOB_COMPLETION_INDEX)"),
  ]
  assert job["completionMode"] == "Indexed"
  assert job["parallelism"] == job["completions"] == 2
  assert "JOB_COMPLETION_INDEX" in [e["name"] for e in container["env"]]
  assert {"containerPort": 8476} in container["ports"]
  assert manifest["spec"]["network"]["enableDNSHostnames"]
  assert container["resources"]["limits"] == {"nvidia.com/gpu": 8}


def test_tpu_pods_are_told_by_gke_who_they_are(kubectl):
  container = _container(_manifest(kubectl, "tpu"))
  assert container["args"][-1] == "--multihost"
  assert not any("--process" in word for word in container["args"])
  assert container["resources"]["limits"] == {"google.com/tpu": 4}


@pytest.mark.parametrize("kind", KIND)
def test_a_mistake_ends_the_set_and_all_else_starts_it_again(kubectl, kind):
  spec = _manifest(kubectl, kind, "--restarts=3")["spec"]
  assert spec["failurePolicy"]["maxRestarts"] == 3
  (rule,) = spec["failurePolicy"]["rules"]
  assert rule["action"] == "FailJobSet"
  assert rule["onJobFailureReasons"] == ["PodFailurePolicy"]
  job = spec["replicatedJobs"][0]["template"]["spec"]
  (rule,) = job["podFailurePolicy"]["rules"]
  assert rule["action"] == "FailJob"
  assert rule["onExitCodes"]["values"] == [2]
  assert rule["onExitCodes"]["containerName"] == "train"
  assert job["backoffLimit"] == 0
  pod = job["template"]["spec"]
  # A pod failure policy asks for it; and the run needs time to save.
  assert pod["restartPolicy"] == "Never"
  assert pod["terminationGracePeriodSeconds"] >= 2 * 60
  assert pod["containers"][0]["name"] == "train"


@pytest.mark.parametrize("kind", KIND)
def test_spot(kubectl, kind):
  selectors = [
    _manifest(kubectl, kind, *more)["spec"]["replicatedJobs"][0]["template"][
      "spec"
    ]["template"]["spec"]["nodeSelector"]
    for more in ((), ("--spot",))
  ]
  spot = {"cloud.google.com/gke-spot": "true"}
  assert selectors[0] | spot == selectors[1] != selectors[0]


@pytest.mark.parametrize("kind", KIND)
def test_create_sends_what_show_shows(kubectl, kind):
  shown = kubectl.run("gke.sh", *_words(kind)).stdout
  assert "@" not in shown
  calls = kubectl.same_dry(
    "gke.sh", *_words(kind, "create", "--namespace=team")
  )
  assert calls == ["kubectl --namespace=team create --filename=-"]
  assert (kubectl.folder / "home" / "sent").read_text() == shown


def test_verbs_on_what_is_there(kubectl):
  selector = "--selector=jobset.sigs.k8s.io/jobset-name=pose"
  for verb, expected in {
    "status": [
      ["get", "jobset", "pose"],
      ["get", "pods", selector],
    ],
    "logs": [
      [
        *("logs", "--follow", "--tail=100", "--container=train"),
        f"{selector},batch.kubernetes.io/job-completion-index=0",
      ]
    ],
    "delete": [["delete", "jobset", "pose"]],
  }.items():
    kubectl.calls_file.unlink(missing_ok=True)
    kubectl.same_dry("gke.sh", verb, "--name=pose")
    assert [words[1:] for words in kubectl.words()] == expected


def _but(kind, changes):
  words = []
  for word in _words(kind):
    flag = re.match("--([a-z]+)=", word)
    name = flag[1] if flag else ""
    if name not in changes:
      words.append(word)
    elif changes[name]:
      words.append(f"--{name}={changes[name]}")
  return words


@pytest.mark.parametrize(
  ("kind", "changes", "message"),
  [
    ("gpu", {"kind": "cpu"}, "--kind=cpu is not tpu or gpu"),
    ("gpu", {"name": "Pose"}, "--name=Pose is not at most 40 lower case"),
    ("gpu", {"name": "a" * 41}, "is not at most 40 lower case letters"),
    ("gpu", {"image": 'a"b'}, '--image=a"b is not an image'),
    ("gpu", {"hosts": "0"}, "--hosts=0 is not a number of hosts"),
    ("gpu", {"chips": "many"}, "--chips=many is not a number of chips"),
    ("gpu", {"accelerator": ""}, "--accelerator is missing"),
    ("gpu", {"claim": ""}, "--claim is missing: the name of a claim"),
    ("gpu", {"workdir": "runs/a"}, "--workdir=runs/a is not a folder below /w"),
    ("tpu", {"topology": "big"}, "--topology=big is not a topology, such as"),
    ("tpu", {"topology": ""}, "--topology is missing"),
    ("gpu", {"config": ""}, "--config=FILE is missing; flags of the command"),
    ("gpu", {"config": 'a"b'}, 'no ", \\, @, $( or end of line in a flag'),
    ("gpu", {"config": "$(NAME)"}, "$( or end of line in a flag"),
  ],
)
def test_refusals(kubectl, kind, changes, message):
  assert message in kubectl.refused("gke.sh", *_but(kind, changes))


def test_a_topology_is_for_tpu(kubectl):
  words = [*itertools.takewhile(lambda w: w != "--", _words("gpu"))]
  line = kubectl.refused("gke.sh", *words, "--topology=2x4", *RUN)
  assert line == "--topology is for --kind=tpu"
