"""Jobs of Kubernetes: valid for several versions of its API, and given to kubectl.

No cluster runs them here. docs/kubernetes.md says what only a cluster can show.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from launches import C7, G5, HOSTILE_URL, fake_program, launch

from gpubench.errors import InputError
from gpubench.launch.manifest import Submission
from gpubench.launch.services.kubernetes import Kubernetes
from gpubench.launch.services.service import Launch, MachineFleet

SERVICE = Kubernetes("registry.example/gpubench:1.0")
EVERYTHING = Kubernetes(
    "registry.example/gpubench:1.0",
    namespace="bench",
    context="arn:aws:eks:us-east-1:1:cluster/x",
    secret="store",
    service_account="gpubench-worker",
    tolerations=("sku=gpu:NoSchedule", "reserved"),
    volumes=("models:/models",),
    instance_label="example.com/machine",
)
FORBIDDEN = (
    'Error from server (Forbidden): error when creating "STDIN": jobs.batch is forbidden: '
    'User "bob" cannot create resource "jobs" in API group "batch" in the namespace "bench"\n'
)


def rendered(service: Kubernetes, sweep: Launch) -> list[dict[str, Any]]:
    service.check(sweep)
    return list(yaml.safe_load_all(service.render(sweep)))


def pod(job: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = job["spec"]["template"]["spec"]
    return found


@pytest.mark.parametrize("version", ["1.29", "1.31", "1.33", "1.35", "1.37"])
@pytest.mark.parametrize("service", [SERVICE, EVERYTHING])
def test_jobs_are_valid_for_the_api_of_kubernetes(service: Kubernetes, version: str) -> None:
    anywhere = MachineFleet(None, machines=2, jobs=2)
    spot = replace(G5, spot=True, time_limit_s=3600, region="us-east-1")
    jobs = rendered(service, launch(spot, C7, anywhere, url=HOSTILE_URL))
    assert len(jobs) == 3
    for job in jobs:
        kubernetes_validate.validate(job, version, strict=True)


def test_a_pod_for_each_machine_with_its_number() -> None:
    (job,) = rendered(SERVICE, launch(G5))
    spec = job["spec"]
    assert spec["completionMode"] == "Indexed"
    assert (spec["completions"], spec["parallelism"]) == (3, 3)
    assert pod(job)["containers"][0]["command"] == launch(G5).worker_arguments(G5)
    assert pod(job)["nodeSelector"] == {"node.kubernetes.io/instance-type": "g5.xlarge"}


def test_gpus_are_asked_for_and_their_taint_is_tolerated() -> None:
    with_gpu, without = rendered(SERVICE, launch(G5, C7))
    assert pod(with_gpu)["containers"][0]["resources"]["limits"] == {"nvidia.com/gpu": 1}
    assert pod(with_gpu)["tolerations"][0]["key"] == "nvidia.com/gpu"
    assert "limits" not in pod(without)["containers"][0]["resources"]
    assert "tolerations" not in pod(without)


def test_a_worker_is_alone_on_its_node_but_the_systems_own_pods_have_room() -> None:
    (job,) = rendered(SERVICE, launch(G5))
    requests = pod(job)["containers"][0]["resources"]["requests"]
    assert requests == {"cpu": "3000m", "memory": "9830Mi"}
    (term,) = pod(job)["affinity"]["podAntiAffinity"][
        "requiredDuringSchedulingIgnoredDuringExecution"
    ]
    chosen = term["labelSelector"]["matchLabels"].items()
    assert chosen <= job["spec"]["template"]["metadata"]["labels"].items()


def test_a_lost_node_costs_no_retry_and_bad_input_is_not_started_again() -> None:
    (job,) = rendered(SERVICE, launch(G5))
    lost, final = job["spec"]["podFailurePolicy"]["rules"]
    assert lost["action"] == "Ignore"
    assert lost["onPodConditions"][0]["type"] == "DisruptionTarget"
    assert final["action"] == "FailIndex"
    assert final["onExitCodes"]["values"] == [1, 2, 130]
    assert final["onExitCodes"]["containerName"] == pod(job)["containers"][0]["name"]
    assert job["spec"]["maxFailedIndexes"] == 3
    assert pod(job)["restartPolicy"] == "Never"


def matches(term: dict[str, Any], labels: dict[str, str]) -> bool:
    """As Kubernetes matches the expressions of one term with a node."""
    results = {"In": True, "NotIn": False}
    return all(
        (labels.get(each["key"]) in each["values"]) == results[each["operator"]]
        for each in term["matchExpressions"]
    )


@pytest.mark.parametrize(
    ("labels", "is_spot"),
    [
        ({}, False),
        ({"eks.amazonaws.com/capacityType": "ON_DEMAND"}, False),
        ({"eks.amazonaws.com/capacityType": "SPOT"}, True),
        ({"karpenter.sh/capacity-type": "spot"}, True),
        ({"cloud.google.com/gke-spot": "true"}, True),
        ({"kubernetes.azure.com/scalesetpriority": "spot"}, True),
    ],
)
def test_nodes_are_of_the_kind_that_is_priced(labels: dict[str, str], is_spot: bool) -> None:
    for spot in (False, True):
        (job,) = rendered(SERVICE, launch(replace(G5, spot=spot)))
        affinity = pod(job)["affinity"]["nodeAffinity"]
        (terms,) = affinity["requiredDuringSchedulingIgnoredDuringExecution"].values()
        assert any(matches(term, labels) for term in terms) == (spot == is_spot)


def test_the_time_limit_is_for_the_job_with_its_retries() -> None:
    (limited,) = rendered(SERVICE, launch(replace(G5, time_limit_s=3600)))
    (free,) = rendered(SERVICE, launch(G5))
    assert limited["spec"]["activeDeadlineSeconds"] == 3600 + 900
    assert "activeDeadlineSeconds" not in free["spec"]


def test_pods_have_no_rights_and_no_credentials_of_their_own() -> None:
    (job,) = rendered(EVERYTHING, launch(G5))
    spec, container = pod(job), pod(job)["containers"][0]
    assert spec["automountServiceAccountToken"] is False
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "readOnlyRootFilesystem": True,
    }
    assert container["envFrom"] == [{"secretRef": {"name": "store"}}]
    mounts = {each["mountPath"]: each for each in container["volumeMounts"]}
    assert mounts["/models"]["readOnly"] is True
    home = {each["name"]: each["value"] for each in container["env"]}["HOME"]
    assert home in mounts
    assert "/dev/shm" in mounts


def test_names_and_urls_are_data() -> None:
    (job,) = rendered(SERVICE, launch(G5, url=HOSTILE_URL))
    command = pod(job)["containers"][0]["command"]
    # Kubernetes replaces $$ by $, and $(NAME) by a variable.
    assert [each.replace("$$", "$") for each in command][2] == HOSTILE_URL
    assert "$" not in command[2].replace("$$", "")


def test_names_of_jobs_are_labels_of_dns_also_with_the_index() -> None:
    twins = tuple(
        MachineFleet(name, machines=1000, jobs=1000)
        for name in ("a.b", "a_b", "Standard_NV36ads_A10_v5")
    )
    names = [
        job["metadata"]["name"]
        for job in rendered(SERVICE, launch(*twins, name="a-name-of-the-forty-characters-at-mostx"))
    ]
    assert len(set(names)) == 3
    for name in names:
        assert len(f"{name}-999") <= 63
        assert name == name.lower().strip("-")
        assert name.replace("-", "").isalnum()


@pytest.mark.parametrize(
    ("change", "sweep", "message"),
    [
        ({"image": "a b"}, launch(), "--image 'a b'"),
        ({"image": "--privileged"}, launch(), "--image"),
        ({"namespace": "Bench"}, launch(), "--namespace 'Bench'"),
        ({"namespace": "b" * 64}, launch(), "--namespace"),
        ({"secret": "a/b"}, launch(), "--secret 'a/b'"),
        ({"service_account": ""}, launch(), "--service-account"),
        ({"context": "--token"}, launch(), "--context"),
        ({"tolerations": ("a=b:Never",)}, launch(), "--toleration 'a=b:Never': write KEY"),
        ({"volumes": ("models",)}, launch(), "--volume 'models': write CLAIM:PATH"),
        ({"volumes": ("models:/a/../etc",)}, launch(), "--volume"),
        ({"instance_label": "a b"}, launch(), "--instance-label"),
        ({}, launch(url="results"), "the pods cannot reach this directory"),
        ({}, launch(replace(G5, instance="x y")), "instance 'x y'"),
    ],
)
def test_what_cannot_be_used_is_refused_in_one_line(
    change: dict[str, Any], sweep: Launch, message: str
) -> None:
    with pytest.raises(InputError, match=message) as caught:
        replace(SERVICE, **change).check(sweep)
    assert "\n" not in str(caught.value)


def test_kubectl_gets_the_job_of_one_fleet(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    kubectl = fake_program(monkeypatch, tmp_path, "kubectl", stdout="bench/gpubench-study-g5\n")
    submitted = EVERYTHING.submit(launch(C7, G5), G5)
    assert submitted.id == "arn:aws:eks:us-east-1:1:cluster/x/bench/gpubench-study-g5"
    (call,) = kubectl.calls()
    assert call["arguments"][:2] == ["--context=arn:aws:eks:us-east-1:1:cluster/x", "create"]
    (job,) = yaml.safe_load_all(str(call["stdin"]))
    assert job["metadata"]["name"] == "gpubench-study-g5-xlarge"

    Kubernetes.cancel(submitted)
    deleted = kubectl.calls()[1]["arguments"]
    assert deleted[:3] == [
        "--context=arn:aws:eks:us-east-1:1:cluster/x",
        "delete",
        "job/gpubench-study-g5",
    ]
    assert "--namespace=bench" in deleted
    assert "--ignore-not-found" in deleted


def test_the_current_context_is_kept_for_the_cancellation(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    fake_program(monkeypatch, tmp_path, "kubectl", stdout="prod\n")
    assert SERVICE.submit(launch(), G5).id == "prod/prod"  # the program always says the same


@pytest.mark.parametrize(
    ("stderr", "message"),
    [
        (FORBIDDEN, "bob lacks the permission to create jobs .* in the namespace bench"),
        (
            "The connection to the server 127.0.0.1:1 was refused - did you specify the right "
            "host or port?\n",
            "the cluster cannot be reached: .*--context",
        ),
        (
            'error: error validating "STDIN": error validating data: failed to download openapi: '
            'Get "http://x/openapi": dial tcp 127.0.0.1:1: connect: connection refused; if you '
            "choose to ignore these errors, turn validation off with --validate=false\n",
            "cannot be reached: dial tcp 127.0.0.1:1: connect: connection refused; try",
        ),
        (
            'Error from server (NotFound): error when creating "STDIN": namespaces "b" not found\n',
            "create the namespace",
        ),
        (
            'Error from server (AlreadyExists): error when creating "STDIN": jobs.batch "x" '
            "already exists\n",
            "choose another --name",
        ),
        ("error: You must be logged in to the server (Unauthorized)\n", "log in again"),
        ('error: context "nope" does not exist\n', 'kubectl: error: context "nope" does not'),
        ("", "kubectl: status 1"),
    ],
)
def test_errors_of_kubectl_name_the_fix(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, stderr: str, message: str
) -> None:
    fake_program(monkeypatch, tmp_path, "kubectl", stderr=stderr, status=1)
    with pytest.raises(InputError, match=message) as caught:
        EVERYTHING.submit(launch(), G5)
    assert "\n" not in str(caught.value)
    with pytest.raises(InputError, match=message):
        Kubernetes.cancel(Submission(service="kubernetes", instance=None, id="bench/x"))


def test_without_kubectl(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(InputError, match="the program kubectl is not on this machine; install"):
        SERVICE.submit(launch(), G5)
