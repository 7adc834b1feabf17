"""The server of an engine: what was sent to it in a measured run, and what it counted meanwhile."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Literal

from gpubench.errors import GpubenchError, first_line
from gpubench.results.result import ServerReport, ServerStatistics
from gpubench.serving import counters
from gpubench.serving.client import ServerClient
from gpubench.serving.counters import ServerCounters
from gpubench.serving.describe import ServedModel
from gpubench.spec.server_url import ServerUrl


@dataclass
class Sent:
    """What one connection has sent since it was opened. Only its own thread writes it."""

    requests: int = 0  # that were answered
    cpu_ns: int = 0  # CPU time of the thread: makes the request, sends it, reads the answer


@dataclass(frozen=True)
class _Reading:
    at_ns: int
    requests: int
    cpu_ns: int
    counted: ServerCounters | None  # None: the server does not count, or did not answer
    problem: str | None


class ServedBy:
    """The server that executes an engine. It is shared by the workers of the engine."""

    def __init__(self, server: ServerUrl, model: ServedModel) -> None:
        self.server, self.model = server, model
        self.version: str | None = None
        self.tensors: Literal["binary", "json"] | None = None
        self._connections: list[Sent] = []
        self._before: _Reading | None = None

    @property
    def software(self) -> str:
        """The software of the server, with its version, and the protocol."""
        name = " ".join(filter(None, (self.model.server_name, self.model.server_version)))
        return f"{name or 'unknown server'} over {self.server.protocol}"

    def connected(self) -> Sent:
        """The counts of a new connection."""
        sent = Sent()
        self._connections.append(sent)
        return sent

    def begin(self) -> None:
        """Read all counters before the measured run. No request may be in work."""
        self._before = self._reading()

    def report(self, round_trip_ms: float | None = None) -> ServerReport:
        """The times since `begin`. `round_trip_ms` is the mean of the requests sent since then.

        Without `begin`, only the server is described.
        """
        report = ServerReport(
            url=self.server.text,
            protocol=self.server.protocol,
            model=self.model.name,
            version=self.version,
            name=self.model.server_name,
            server_version=self.model.server_version,
            platform=self.model.platform,
            tensors=self.tensors,
        )
        before, self._before = self._before, None
        if before is None:
            return report
        after = self._reading()
        report.requests = after.requests - before.requests
        cpu_ns = after.cpu_ns - before.cpu_ns
        report.client_cores = cpu_ns / (after.at_ns - before.at_ns)
        if not report.requests or round_trip_ms is None:
            return report
        report.round_trip_ms = round_trip_ms
        report.client_ms = cpu_ns / report.requests / 1e6
        report.statistics, report.note = _statistics(before, after, report.requests)
        if report.statistics is not None:
            report.network_ms = round_trip_ms - report.client_ms - _in_server(report.statistics)
        return report

    def _reading(self) -> _Reading:
        counted, problem = self._counted()
        return _Reading(
            at_ns=time.monotonic_ns(),
            requests=sum(each.requests for each in self._connections),
            cpu_ns=sum(each.cpu_ns for each in self._connections),
            counted=counted,
            problem=problem,
        )

    def _counted(self) -> tuple[ServerCounters | None, str | None]:
        """(the counters of the server, why there are none)."""
        try:
            with ServerClient(self.server) as client:
                model_stats = client.statistics(self.model.name)
            if model_stats is None:
                return None, "this server gives no statistics (an extension of Triton)"
            return counters.read(model_stats), None
        except GpubenchError as error:
            return None, f"the statistics could not be read: {first_line(error)}"
        except (ValueError, TypeError, AttributeError):
            return None, "the statistics of the server are not in the form that Triton documents"


def _statistics(
    before: _Reading, after: _Reading, sent: int
) -> tuple[ServerStatistics | None, str | None]:
    """(the means of the server, why there are none)."""
    if before.counted is None or after.counted is None:
        return None, before.problem or after.problem
    found = counters.in_window(after.counted - before.counted)
    counted = 0 if found is None else found.requests
    if counted < sent:
        return None, (
            f"the server's statistics count {counted} of {sent} requests: several servers may "
            "answer at this address, or it was restarted"
        )
    return found, None


def _in_server(statistics: ServerStatistics) -> float:
    """The mean time of a request in the queue and in the computation of the server."""
    return (
        statistics.queue_ms
        + statistics.compute_input_ms
        + statistics.compute_infer_ms
        + statistics.compute_output_ms
    )
