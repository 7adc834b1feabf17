"""A Ray cluster: the connection to it, and its nodes."""

from __future__ import annotations

import logging
import os
import signal
import socket
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gpubench.errors import InputError, reason_of
from gpubench.system import packages

INSTANCE_LABEL = "gpubench-instance"

_CONNECT_S = 5.0  # until a machine has answered
_JOIN_S = 30.0  # until Ray has answered; it would try for minutes
_SILENT: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.CRITICAL}
_HINT = (
    "write --on ray for the cluster of this machine, --on ray:HOST:PORT for another one, or "
    "--on ray:local to start one here"
)


@dataclass(frozen=True)
class RayNode:
    """A node that is in the cluster."""

    id: str
    name: str  # for people: its address
    cpus: float  # that Ray knows of
    gpus: float
    label: str | None  # the type of instance in the label INSTANCE_LABEL
    resources: frozenset[str]  # the names of all its resources

    def instance(self, wanted: frozenset[str]) -> str | None:
        """The type of instance that the cluster's description of the node names, if it does.

        It is that of its label, or else a custom resource whose name is one of the wanted types.
        """
        return self.label or next(iter(sorted(wanted & self.resources)), None)


def parse_on(on: str) -> str:
    """What --on names: "auto", "local", or HOST:PORT. Raises InputError for anything else."""
    where, colon, address = on.partition(":")
    if where != "ray" or (colon and not address):
        raise InputError(f"--on {on}: that is not a place to measure on; {_HINT}")
    if address.startswith("//"):
        raise InputError(
            f"--on {on}: Ray's client protocol cannot carry what is measured; give the address of "
            "the cluster itself, as in --on ray:HOST:6379, on a machine of its network"
        )
    if address not in {"", "local"}:
        _host_and_port(address)
    return address or "auto"


@contextmanager
def connected(where: str) -> Iterator[Cluster]:
    """The cluster that `parse_on` found; "local" starts one, which ends with the block.

    If this process is connected to a cluster already, it is that one, and it stays connected.
    Raises InputError, within seconds, if the cluster cannot be reached.
    """
    if reason := packages.missing("ray", "ray"):
        raise InputError(f"--on ray: {reason}")
    if where == "local":
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        os.environ.setdefault("RAY_worker_niceness", "0")
    import ray

    if ray.is_initialized():
        yield Cluster()
        return
    try:
        if where == "local":
            _start()
        else:
            _join(_reachable(where))
        yield Cluster()
    finally:
        ray.shutdown()


def _reachable(where: str) -> str:
    """The address of the cluster, at which a machine answers."""
    address = _address_here() if where == "auto" else where
    host, port = _host_and_port(address)
    try:
        socket.create_connection((host, port), _CONNECT_S).close()
    except OSError as error:
        reason = error.strerror or reason_of(error)
        raise InputError(
            f"--on ray: the cluster at {address} cannot be reached: {reason}; {_HINT}"
        ) from None
    return address


def _address_here() -> str:
    """RAY_ADDRESS, or what `ray start` has written. Source: "Starting Ray" of its documentation."""
    file = Path(os.environ.get("RAY_TMPDIR") or "/tmp", "ray", "ray_current_cluster")
    try:
        address = os.environ.get("RAY_ADDRESS") or file.read_text().strip()
    except OSError:
        address = ""
    if not address:
        raise InputError(f"--on ray: no Ray cluster runs on this machine; {_HINT}")
    return address


def _host_and_port(address: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 65536:
        raise InputError(f"--on ray:{address}: that is not HOST:PORT; {_HINT}")
    return host.strip("[]"), int(port)


def _start() -> None:
    """Start a cluster of this machine, and connect to it. Raises InputError if that fails."""
    import ray

    # Ray's processes end with the thread that has started them, so it is this one. In the main
    # thread Ray replaces a signal handler.
    before = signal.getsignal(signal.SIGTERM)
    try:
        ray.init("local", include_dashboard=False, **_SILENT)
    except Exception as error:
        raise InputError(f"--on ray:local: Ray does not start: {reason_of(error)}") from None
    finally:
        signal.signal(signal.SIGTERM, before)


def _join(address: str) -> None:
    """Connect to the cluster at an address. Raises InputError with Ray's reason if that fails.

    It runs in a thread, since Ray can neither be interrupted while it connects nor given a time
    limit, and tries for minutes if something else than Ray answers.
    """
    import ray

    errors: list[BaseException] = []

    def connect() -> None:
        try:
            ray.init(address, **_SILENT)
        except BaseException as error:  # Ray also raises SystemExit
            errors.append(error)

    logging.getLogger("ray").setLevel(logging.CRITICAL)  # it remarks on the thread
    thread = threading.Thread(target=connect, daemon=True)
    thread.start()
    thread.join(_JOIN_S)
    if thread.is_alive():
        raise InputError(
            f"--on ray: no Ray cluster answers at {address} within {_JOIN_S:g} s; "
            "give the port of the cluster itself, which is usually 6379"
        )
    if errors:
        raise InputError(
            f"--on ray: {reason_of(errors[0])}; this program needs the versions of Ray and Python "
            "that the cluster has"
        ) from None


class Cluster:
    """The cluster to which this process is connected."""

    def nodes(self) -> list[RayNode]:
        """The nodes that are in the cluster now and have CPUs or GPUs for work."""
        import ray

        alive = [each for each in ray.nodes() if each["Alive"]]
        at = Counter(each["NodeName"] for each in alive)
        found = []
        for each in alive:
            resources, name = each["Resources"], each["NodeName"]
            node = RayNode(
                id=each["NodeID"],
                name=name if at[name] == 1 else f"{name}/{each['NodeID'][:6]}",
                cpus=resources.get("CPU", 0.0),
                gpus=resources.get("GPU", 0.0),
                label=each.get("Labels", {}).get(INSTANCE_LABEL),
                resources=frozenset(resources),
            )
            if node.cpus or node.gpus:
                found.append(node)
        return found

    def start(self, node: RayNode, arguments: Sequence[object], exclusive: bool) -> Any:
        """A NodeWorker with these arguments on a node: it reserves all CPUs and GPUs of the node.

        If it is not `exclusive`, it reserves all GPUs and one CPU.
        """
        import ray
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        from gpubench.launch.ray.node import NodeWorker

        worker: Any = ray.remote(NodeWorker)
        return worker.options(
            num_cpus=node.cpus if exclusive else min(1.0, node.cpus),
            num_gpus=node.gpus,
            scheduling_strategy=NodeAffinitySchedulingStrategy(node.id, soft=False),
        ).remote(*arguments)
