"""Whether this machine is fit for measuring: all checks, in the order of the report."""

from __future__ import annotations

from collections.abc import Iterator

from gpubench.doctor.finding import Finding, Status
from gpubench.system.machine import Machine

__all__ = ["Finding", "Status", "examine"]


def examine(machine: Machine) -> Iterator[Finding]:
    """The findings, one after another. It takes some seconds: torch is imported, the queue runs."""
    from gpubench.doctor.cpu import cpu_findings, cpu_state
    from gpubench.doctor.gpu import gpu_findings
    from gpubench.doctor.software import software_findings

    yield from cpu_findings(cpu_state(machine))
    software = list(software_findings())
    yield from software
    yield from gpu_findings(machine, has_torch=software[0].status == "ok")
