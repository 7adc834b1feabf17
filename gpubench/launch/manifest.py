"""The manifest of a launched sweep: its jobs, and what was submitted to a service.

A job is all cells of one engine on one type of instance. The file is in the run directory, as
`.launch-<name>.json`. A worker may read a manifest from somebody else, so it is data: its settings
make no code run, unless the worker is started with --allow-code.
"""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict

from gpubench.spec.spec import Spec

Service = Literal["aws-batch", "kubernetes", "ray", "skypilot", "slurm"]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class LaunchedCell(_Part):
    """One cell, as it was asked for. The machine that measures it fills in the defaults."""

    spec: Spec
    skip_unavailable: bool = False  # leave it out on a machine that cannot measure it


class Job(_Part):
    """What one start of a worker measures."""

    instance: str | None  # the type of instance; None: any machine, without a price
    index: int  # from 0, among the jobs of the same instance
    cells: tuple[LaunchedCell, ...]


class Submission(_Part):
    """What a service was given, and the name under which it can be asked about it."""

    service: Service
    instance: str | None
    id: str  # "namespace/name" of Kubernetes, a job's number of Slurm, ...
    region: str | None = None


class Manifest(_Part):
    schema_number: int = 1
    name: str  # of the launch, as in the name of its file
    created: str  # UTC, ISO 8601
    gpubench: str  # the version that wrote it
    repeats: int = 1
    jobs: tuple[Job, ...]
    usd_per_hour: dict[str, float] = {}  # by instance, without those that have no price
    max_usd: float | None = None
    submissions: tuple[Submission, ...] = ()

    def jobs_of(self, instance: str | None) -> list[Job]:
        """The jobs of a type of instance, in the order of their indices."""
        return [job for job in self.jobs if job.instance == instance]
