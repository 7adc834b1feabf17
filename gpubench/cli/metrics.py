"""The flags that export live metrics: see docs/monitoring.md."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import click

from gpubench.cli.sections import Option
from gpubench.cli.settings import tell
from gpubench.measure.progress import Progress

_SECTION = "Metrics"
_FLAGS = (
    ("--metrics-port", "[HOST:]PORT", "Serve live metrics for Prometheus at this port."),
    ("--metrics-push", "URL", "Send the final metrics to this Prometheus push gateway."),
    ("--metrics-otlp", "URL", "Send the final metrics to this OpenTelemetry collector (HTTP)."),
)


def metrics_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command these flags. It gets the listener that exports metrics, as `metrics`.

    Raises InputError for an address that cannot be used, before the command begins.
    """

    @functools.wraps(command)
    def with_metrics(
        *arguments: Any,
        metrics_port: str | None,
        metrics_push: str | None,
        metrics_otlp: str | None,
        **flags: Any,
    ) -> Any:
        if metrics_port is metrics_push is metrics_otlp is None:
            return command(*arguments, metrics=Progress(), **flags)
        from gpubench.monitor.metrics import Metrics

        with Metrics(metrics_port, metrics_push, metrics_otlp, _warn) as metrics:
            if metrics.url is not None:
                tell(f"metrics: {metrics.url}", flags["quiet"])
            return command(*arguments, metrics=metrics, **flags)

    decorated: Callable[..., Any] = with_metrics
    for name, metavar, text in reversed(_FLAGS):
        decorated = click.option(name, cls=Option, section=_SECTION, metavar=metavar, help=text)(
            decorated
        )
    return decorated


def _warn(line: str) -> None:
    tell(f"gpubench: warning: {line}")
