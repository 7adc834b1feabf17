"""The manifest of a launched sweep: its jobs, and what was submitted to a service.

A job is all cells of one engine on one type of instance. The file is in the run directory, as
`.launch-<name>.json`. A worker may read a manifest from somebody else, so it is data: its settings
make no code run, unless the worker is started with --allow-code.
"""

from __future__ import annotations

import hashlib
import json
import re
from typing import Literal

from pydantic import BaseModel, ConfigDict

from gpubench.spec.spec import PRICING_FIELDS, Spec

Service = Literal["aws-batch", "kubernetes", "ray", "skypilot", "slurm"]

# Names of Kubernetes and of DNS have 63 characters; a service adds the type of instance.
NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?")


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class LaunchedCell(_Part):
    """One cell, as it was asked for. The machine that measures it fills in the defaults."""

    spec: Spec
    only_on: Literal["cpu", "cuda"] | None = None  # leave it out on a machine of the other kind
    skip_unavailable: bool = False  # leave it out on a machine that cannot measure it


class Job(_Part):
    """The cells of one engine on one type of instance."""

    instance: str | None  # the type of instance; None: any machine
    index: int  # from 0, among the jobs of the same instance
    cells: tuple[LaunchedCell, ...]

    @property
    def digest(self) -> str:
        """What is measured, as 16 hexadecimal digits. Jobs of other launches may have the same.

        Prices play no part.
        """
        prices = {"spec": set(PRICING_FIELDS)}
        cells = [
            cell.model_dump(mode="json", exclude_unset=True, exclude=prices) for cell in self.cells
        ]
        text = json.dumps([self.instance, cells], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


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
    jobs: tuple[Job, ...]
    repeats: int = 1
    usd_per_hour: dict[str, float] = {}  # by instance, as `price_of` reads it
    spot: bool = False  # these are spot prices
    max_usd: float | None = None
    submissions: tuple[Submission, ...] = ()

    def jobs_of(self, instance: str | None) -> list[Job]:
        """The jobs of a type of instance, in the order of their indices."""
        return [job for job in self.jobs if job.instance == instance]

    def price_of(self, instance: str | None) -> float | None:
        """The price of an hour of a machine. None: it is not known."""
        return self.usd_per_hour.get(instance or "")

    @property
    def instances(self) -> tuple[str | None, ...]:
        """The types of instance that have jobs, in their first order."""
        return tuple(dict.fromkeys(job.instance for job in self.jobs))
