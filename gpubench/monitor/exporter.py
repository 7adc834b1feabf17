"""The child process: serves the metrics, and sends them when the measuring process has ended.

Standard input brings ExportSettings in the first line, then an Update in each line. Its end means
that the measuring process closed it or died. Standard output says {"port": ...} or {"error": ...}
once the metrics are served, and at the end {"warnings": [...]}.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

    from gpubench.monitor.series import MetricSeries

# Measuring goes first where both need a core.
_NICENESS = 10
_TIMEOUT_S = 5.0


@dataclass(frozen=True)
class ExportSettings:
    """None: not asked for."""

    address: tuple[str, int] | None
    push: str | None
    otlp: str | None


def main() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # it ends when the measuring process does
    os.nice(_NICENESS)
    began_ns = time.time_ns()
    try:
        from prometheus_client import CollectorRegistry, start_http_server

        from gpubench.monitor.series import MetricSeries
        from gpubench.monitor.update import parse_update

        settings = ExportSettings(**json.loads(sys.stdin.buffer.readline()))
        series, registry = MetricSeries(), CollectorRegistry(auto_describe=False)
        registry.register(series)
        port = None
        if settings.address is not None:
            host, wanted = settings.address
            server, _ = start_http_server(wanted, host, registry)
            port = server.server_port
    except (OSError, UnicodeError) as error:
        _tell({"error": getattr(error, "strerror", None) or str(error)})
        return
    _tell({"port": port})
    told = False
    for line in sys.stdin.buffer:
        try:
            update = parse_update(line)
        except ValueError:  # the measuring process died while it wrote the line
            break
        series.update(update)
        told = True
    # An empty push would remove the metrics of an earlier job.
    _tell({"warnings": list(_send(settings, series, registry, began_ns)) if told else []})


def _send(
    settings: ExportSettings, series: MetricSeries, registry: CollectorRegistry, began_ns: int
) -> Iterator[str]:
    """Send the final metrics. Yields a line for each failure."""
    host = socket.gethostname()
    reason: object
    if settings.push is not None:
        from prometheus_client import push_to_gateway

        try:
            push_to_gateway(
                settings.push, "gpubench", registry, {"instance": host}, timeout=_TIMEOUT_S
            )
        except Exception as error:  # whatever it is, the results are not lost
            # URLError has the reason; HTTPError, which is one, says more itself.
            reason = error if hasattr(error, "code") else getattr(error, "reason", error)
            yield f"--metrics-push: the metrics were not sent to {settings.push}: {reason}"
    if settings.otlp is not None:
        try:
            from gpubench.monitor.otlp import send

            reason = send(series.collect(), settings.otlp, host, began_ns, _TIMEOUT_S)
        except Exception as error:
            reason = error
        if reason is not None:
            yield f"--metrics-otlp: the metrics were not sent to {settings.otlp}: {reason}"


def _tell(message: dict[str, object]) -> None:
    print(json.dumps(message), flush=True)
