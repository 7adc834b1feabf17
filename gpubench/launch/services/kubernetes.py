"""Kubernetes: a Job for each type of instance, given to a cluster by kubectl."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import ClassVar

from gpubench.errors import InputError
from gpubench.launch.manifest import Service, Submission
from gpubench.launch.services import kubernetes_job
from gpubench.launch.services.image import check_image
from gpubench.launch.services.program import ProgramFailed, last_line, run_program
from gpubench.launch.services.service import Launch, MachineFleet, refuse_local

INSTANCE_LABEL = "node.kubernetes.io/instance-type"

_INSTALLATION = "install kubectl (kubernetes.io/docs/tasks/tools), or leave out --submit"
_EFFECTS = ("NoSchedule", "PreferNoSchedule", "NoExecute")
_DNS_LABEL = re.compile(r"(?!.{64})[a-z0-9](?:[a-z0-9-]*[a-z0-9])?")
_DNS_NAME = re.compile(r"(?!.{254})[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?")
_LABEL_KEY = re.compile(r"(?:[a-z0-9][a-z0-9.-]{0,252}/)?[A-Za-z0-9](?:[\w.-]{0,61}[A-Za-z0-9])?")
_LABEL_VALUE = re.compile(r"[A-Za-z0-9](?:[\w.-]{0,61}[A-Za-z0-9])?", re.ASCII)
# What kubectl says if no cluster answers, or if it knows none.
_OUT_OF_REACH = re.compile(
    r"connection refused|was refused|no such host|i/o timeout|Unable to connect|no route to host"
    r"|deadline exceeded|TLS handshake|x509|Client\.Timeout"
)
_DIALLED = re.compile(r"dial tcp [^;]+")
_FORBIDDEN = re.compile(
    r'User "(?P<user>[^"]+)" cannot (?P<verb>\w+) resource "(?P<resource>\w+)"'
    r' in API group "(?P<group>\w*)" in the namespace "(?P<namespace>[^"]+)"'
)


@dataclass(frozen=True)
class Volume:
    """A volume of the cluster that has model files, mounted read-only."""

    claim: str
    path: str


@dataclass(frozen=True)
class Kubernetes:
    """The options of `gpubench launch kubernetes`."""

    image: str
    namespace: str | None = None  # None: that of the context
    context: str | None = None  # of kubectl's configuration; None: its current one
    secret: str | None = None  # its keys become variables of the environment
    service_account: str | None = None
    tolerations: tuple[str, ...] = ()  # KEY[=VALUE][:EFFECT]
    volumes: tuple[str, ...] = ()  # CLAIM:PATH
    instance_label: str = INSTANCE_LABEL  # of the nodes, with their type of instance

    name: ClassVar[Service] = "kubernetes"

    def check(self, launch: Launch) -> None:
        check_image(self.image)
        _check(self.namespace, _DNS_LABEL, "--namespace", "a name of a-z, 0-9 and -")
        _check(self.secret, _DNS_NAME, "--secret", "the name of a secret")
        _check(self.service_account, _DNS_NAME, "--service-account", "the name of an account")
        _check(self.instance_label, _LABEL_KEY, "--instance-label", "the key of a label of nodes")
        if self.context is not None and (not self.context or self.context.startswith("-")):
            raise InputError(f"--context {self.context!r} is not the name of a context")
        self.parsed_tolerations()
        self.parsed_volumes()
        for fleet in launch.fleets:
            _check(fleet.instance, _LABEL_VALUE, "instance", "the value of a label of nodes")
        refuse_local(launch, "the pods")

    def render(self, launch: Launch) -> str:
        return "---\n".join(self._document(launch, fleet) for fleet in launch.fleets)

    def submit(self, launch: Launch, fleet: MachineFleet) -> Submission:
        context = self.context or _current_context()
        command = ["kubectl", *_in_context(context), "create", "--filename=-"]
        # The namespace of the context is known when the Job has been created.
        command += ["--output=jsonpath={.metadata.namespace}/{.metadata.name}"]
        try:
            created = run_program(command, _INSTALLATION, self._document(launch, fleet))
        except ProgramFailed as failed:
            raise InputError(_problem(failed)) from None
        identity = created if context is None else f"{context}/{created}"
        return Submission(service="kubernetes", instance=fleet.instance, id=identity)

    @staticmethod
    def cancel(submission: Submission) -> None:
        """Delete the Job with its pods. They get SIGTERM, and store the cells in work."""
        rest, _, job = submission.id.rpartition("/")
        context, _, namespace = rest.rpartition("/")  # the name of a context may contain /
        command = ["kubectl", *_in_context(context or None), "delete", f"job/{job}"]
        command += [f"--namespace={namespace}", "--ignore-not-found", "--wait=false"]
        try:
            run_program(command, _INSTALLATION)
        except ProgramFailed as failed:
            raise InputError(_problem(failed)) from None

    def parsed_tolerations(self) -> list[dict[str, str]]:
        """Of each --toleration. Raises InputError for one that is none."""
        return [_toleration(text) for text in self.tolerations]

    def parsed_volumes(self) -> list[Volume]:
        """Of each --volume. Raises InputError for one that is none."""
        return [_volume(text) for text in self.volumes]

    def _document(self, launch: Launch, fleet: MachineFleet) -> str:
        import yaml

        job = kubernetes_job.job(launch, fleet, self)
        return yaml.dump(job, Dumper=_without_anchors(), sort_keys=False, allow_unicode=False)


def _without_anchors() -> type:
    """Writes what is used twice, such as labels, twice."""
    import yaml

    class Dumper(yaml.SafeDumper):
        def ignore_aliases(self, data: object) -> bool:
            return True

    return Dumper


def _check(value: str | None, allowed: re.Pattern[str], what: str, meaning: str) -> None:
    if value is not None and not allowed.fullmatch(value):
        raise InputError(f"{what} {value!r} cannot be used in Kubernetes; give {meaning}")


def _toleration(text: str) -> dict[str, str]:
    rest, colon, effect = text.partition(":")
    key, equals, value = rest.partition("=")
    if (
        not _LABEL_KEY.fullmatch(key)
        or (equals and not _LABEL_VALUE.fullmatch(value))
        or (colon and effect not in _EFFECTS)
    ):
        raise InputError(
            f"--toleration {text!r}: write KEY[=VALUE][:EFFECT], like sku=gpu:NoSchedule; an "
            f"effect is {', '.join(_EFFECTS)}"
        )
    toleration = {"key": key, "operator": "Equal" if equals else "Exists"}
    if equals:
        toleration["value"] = value
    if colon:
        toleration["effect"] = effect
    return toleration


def _volume(text: str) -> Volume:
    claim, _, path = text.partition(":")
    plain = path.startswith("/") and len(path) > 1 and path.isprintable()
    if not _DNS_NAME.fullmatch(claim) or not plain or ":" in path or ".." in path.split("/"):
        raise InputError(
            f"--volume {text!r}: write CLAIM:PATH, like models:/models, with the name of a "
            "persistent volume claim and an absolute path"
        )
    return Volume(claim, path)


def _current_context() -> str | None:
    """The context that kubectl uses now, so that a later `cancel` asks the same cluster.

    None where kubectl has no configuration, as in a pod with a service account.
    """
    try:
        return run_program(["kubectl", "config", "current-context"], _INSTALLATION) or None
    except ProgramFailed:
        return None


def _in_context(context: str | None) -> list[str]:
    return [] if context is None else [f"--context={context}"]


def _problem(failed: ProgramFailed) -> str:
    """One line that says what is wrong, and what to do."""
    text, reason = str(failed), last_line(failed)
    if found := _FORBIDDEN.search(text):
        return (
            f"Kubernetes: {found['user']} lacks the permission to {found['verb']} "
            f"{found['resource']} (API group {found['group'] or 'core'}) in the namespace "
            f"{found['namespace']}; a role with this verb is in examples/kubernetes/launcher.yaml"
        )
    if _OUT_OF_REACH.search(text):
        found = _DIALLED.search(reason)
        return (
            f"the cluster cannot be reached: {found[0] if found else reason}; try `kubectl get "
            "jobs`, and give its context with --context"
        )
    if "AlreadyExists" in text:
        return f"{reason}; choose another --name, or delete that Job"
    if "NotFound" in text and "namespaces" in text:
        return f"{reason}; create the namespace, or choose another --namespace"
    if "Unauthorized" in text or "must be logged in" in text:
        return f"the cluster does not accept who you are: {reason}; log in again"
    return f"kubectl: {reason}"
