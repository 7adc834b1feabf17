"""The manifest of a Kubernetes Job: the machines of one fleet, one pod on each.

It is an Indexed Job (API batch/v1, Kubernetes from 1.29 on). The index of a pod is the number of
its machine. Kubernetes' own pages say what each field means: "Jobs", "Handling retriable and
non-retriable pod failures with Pod failure policy", "Well-Known Labels, Annotations and Taints",
"Pod Security Standards" (the Job keeps the rules of the level `restricted`).
"""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING, Any

from gpubench.launch.services.service import Launch, MachineFleet

if TYPE_CHECKING:
    from gpubench.launch.services.kubernetes import Kubernetes

_LONGEST_LABEL = 63  # of DNS, and so of the names of pods
_APP = "app.kubernetes.io/name"

# Labels of nodes that their provider may take back. Each of these systems sets one of them.
_SPOT_LABELS = {
    "eks.amazonaws.com/capacityType": "SPOT",  # managed node groups of EKS
    "karpenter.sh/capacity-type": "spot",
    "cloud.google.com/gke-spot": "true",
    "kubernetes.azure.com/scalesetpriority": "spot",  # AKS
}
_SPOT_TAINTS = ("cloud.google.com/gke-spot", "kubernetes.azure.com/scalesetpriority")

_MEMORY_REQUESTED = 0.6
_RETRIES = 3  # of one machine, after its worker was killed; a lost node is no retry
_START_S = 900  # until a node is there, and has fetched the image
_KEPT_S = 86_400  # a Job that has ended, so that its logs can be read
_HOME = "/scratch"  # caches go there, since the root file system cannot be written
_GRACE_S = 60  # from SIGTERM on; the worker stores the cell in work


def job_names(launch: Launch) -> dict[MachineFleet, str]:
    """A name for the Job of each fleet. They differ, and Kubernetes accepts them."""
    names: dict[MachineFleet, str] = {}
    for fleet in launch.fleets:
        # The name of a pod is that of the Job with its index, and it is a label of DNS.
        longest = _LONGEST_LABEL - len(f"-{fleet.machines - 1}")
        wanted = launch.job_name(fleet)
        name = re.sub(r"[^a-z0-9]+", "-", wanted.lower()).strip("-")
        if len(name) > longest or name in names.values():
            digest = hashlib.sha256(wanted.encode()).hexdigest()[:8]
            name = f"{name[: longest - len(digest) - 1].rstrip('-')}-{digest}"
        names[fleet] = name
    return names


def job(launch: Launch, fleet: MachineFleet, asked: Kubernetes) -> dict[str, Any]:
    """The Job of a fleet, as a document that can be written as YAML."""
    labels = {
        _APP: "gpubench",
        "app.kubernetes.io/component": "worker",
        "app.kubernetes.io/instance": launch.manifest.name,
    }
    metadata: dict[str, Any] = {"name": job_names(launch)[fleet], "labels": labels}
    if asked.namespace is not None:
        metadata["namespace"] = asked.namespace
    spec: dict[str, Any] = {
        "completionMode": "Indexed",
        "completions": fleet.machines,
        "parallelism": fleet.machines,
        "backoffLimitPerIndex": _RETRIES,
        "maxFailedIndexes": fleet.machines,  # a machine that fails does not end the others
        "podFailurePolicy": {"rules": _failure_rules()},
        "ttlSecondsAfterFinished": _KEPT_S,
        "template": {"metadata": {"labels": labels}, "spec": _pod(launch, fleet, asked)},
    }
    if fleet.time_limit_s is not None:
        # For the Job as a whole, with all retries, so that no machine is paid for longer.
        spec["activeDeadlineSeconds"] = fleet.time_limit_s + _START_S
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": metadata, "spec": spec}


def _failure_rules() -> list[dict[str, Any]]:
    """A lost node does not count. What would fail again is not started again."""
    lost = {"type": "DisruptionTarget", "status": "True"}
    final = {"containerName": "gpubench", "operator": "In", "values": [1, 2, 130]}
    return [
        {"action": "Ignore", "onPodConditions": [lost]},
        {"action": "FailIndex", "onExitCodes": final},
    ]


def _pod(launch: Launch, fleet: MachineFleet, asked: Kubernetes) -> dict[str, Any]:
    pod: dict[str, Any] = {
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": _GRACE_S,
        # The worker does not speak to Kubernetes. Identities of clouds use another token.
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
        "affinity": _affinity(fleet),
        "containers": [_container(launch, fleet, asked)],
        "volumes": [
            {"name": "home", "emptyDir": {}},
            {"name": "temporary", "emptyDir": {}},
            {"name": "shared-memory", "emptyDir": {"medium": "Memory", "sizeLimit": "2Gi"}},
            *(
                {"name": f"volume-{i}", "persistentVolumeClaim": {"claimName": volume.claim}}
                for i, volume in enumerate(asked.parsed_volumes())
            ),
        ],
    }
    if nodes := _node_labels(fleet, asked):
        pod["nodeSelector"] = nodes
    if tolerations := [*_tolerations(fleet), *asked.parsed_tolerations()]:
        pod["tolerations"] = tolerations
    if asked.service_account is not None:
        pod["serviceAccountName"] = asked.service_account
    return pod


def _container(launch: Launch, fleet: MachineFleet, asked: Kubernetes) -> dict[str, Any]:
    container: dict[str, Any] = {
        "name": "gpubench",
        "image": asked.image,
        # Kubernetes would replace $(NAME) in a command; $$ stands for one $.
        "command": [each.replace("$", "$$") for each in launch.worker_arguments(fleet)],
        "env": [{"name": "HOME", "value": _HOME}],
        "resources": _resources(fleet),
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": True,
        },
        "volumeMounts": [
            {"name": "home", "mountPath": _HOME},
            {"name": "temporary", "mountPath": "/tmp"},
            {"name": "shared-memory", "mountPath": "/dev/shm"},
            *(
                {"name": f"volume-{i}", "mountPath": volume.path, "readOnly": True}
                for i, volume in enumerate(asked.parsed_volumes())
            ),
        ],
    }
    if asked.secret is not None:
        container["envFrom"] = [{"secretRef": {"name": asked.secret}}]
    return container


def _resources(fleet: MachineFleet) -> dict[str, Any]:
    """Almost the whole node, so that no other pod that asks for much is placed on it.

    The rest is for the system and its own pods: one core, and 40% of the memory, since Google
    reserves 25% of the first 4 GiB (page "About GKE node sizing"). There is no limit of cores or
    memory: it would slow the measurement, and gpubench would take it for the size of the machine.
    """
    resources: dict[str, Any] = {}
    requests: dict[str, str] = {}
    if fleet.vcpus is not None:
        requests["cpu"] = f"{max(1000 * (fleet.vcpus - 1), 500 * fleet.vcpus)}m"
    if fleet.memory_gib is not None:
        requests["memory"] = f"{int(fleet.memory_gib * 1024 * _MEMORY_REQUESTED)}Mi"
    if requests:
        resources["requests"] = requests
    if fleet.gpus:
        resources["limits"] = {"nvidia.com/gpu": fleet.gpus}
    return resources


def _node_labels(fleet: MachineFleet, asked: Kubernetes) -> dict[str, str]:
    labels = {}
    if fleet.instance is not None:
        labels[asked.instance_label] = fleet.instance
    if fleet.region is not None:
        labels["topology.kubernetes.io/region"] = fleet.region
    return labels


def _affinity(fleet: MachineFleet) -> dict[str, Any]:
    """One worker on a node, and nodes of the kind whose price is used: spot, or not spot."""
    alone = {
        "labelSelector": {"matchLabels": {_APP: "gpubench"}},
        "namespaceSelector": {},  # all namespaces
        "topologyKey": "kubernetes.io/hostname",
    }
    terms: list[dict[str, Any]]
    if fleet.spot:  # one of the terms is met
        terms = [
            {"matchExpressions": [{"key": key, "operator": "In", "values": [value]}]}
            for key, value in _SPOT_LABELS.items()
        ]
    else:  # all expressions of the term are met, also by a node without such a label
        terms = [
            {
                "matchExpressions": [
                    {"key": key, "operator": "NotIn", "values": [value]}
                    for key, value in _SPOT_LABELS.items()
                ]
            }
        ]
    required = "requiredDuringSchedulingIgnoredDuringExecution"
    return {
        "nodeAffinity": {required: {"nodeSelectorTerms": terms}},
        "podAntiAffinity": {required: [alone]},
    }


def _tolerations(fleet: MachineFleet) -> list[dict[str, Any]]:
    """For the taints that Google and Azure put on nodes with GPUs and on spot nodes."""
    keys = ["nvidia.com/gpu"] if fleet.gpus else []
    keys += _SPOT_TAINTS if fleet.spot else []
    return [{"key": key, "operator": "Exists", "effect": "NoSchedule"} for key in keys]
