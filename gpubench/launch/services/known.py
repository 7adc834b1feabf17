"""The services that can start workers: one line for each."""

from __future__ import annotations

from importlib import import_module

from gpubench.launch.manifest import Service
from gpubench.launch.services.service import LaunchService

# The module and the class of each service. They are imported only when they are used.
_SERVICES: dict[Service, tuple[str, str]] = {
    "aws-batch": ("gpubench.launch.services.aws_batch", "AwsBatch"),
    "kubernetes": ("gpubench.launch.services.kubernetes", "Kubernetes"),
    "ray": ("gpubench.launch.services.ray", "Ray"),
    "skypilot": ("gpubench.launch.services.skypilot", "SkyPilot"),
    "slurm": ("gpubench.launch.services.slurm", "Slurm"),
}


def service_class(name: Service) -> type[LaunchService]:
    module, found = _SERVICES[name]
    service: type[LaunchService] = getattr(import_module(module), found)
    return service
