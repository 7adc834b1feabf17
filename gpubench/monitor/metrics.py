"""Exports the progress of a measurement as metrics, from a process of their own.

While requests are measured, the measuring process does nothing for the metrics: it writes to a pipe
when a stage begins and when a measurement has ended. A child process does the rest.
"""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Self

from gpubench.errors import InputError
from gpubench.measure.progress import Progress
from gpubench.monitor.addresses import parse_address, parse_url, url_of
from gpubench.monitor.definitions import STAGES
from gpubench.monitor.exporter import ExportSettings
from gpubench.monitor.update import Update
from gpubench.system.packages import missing

if TYPE_CHECKING:
    from gpubench.results.result import Result
    from gpubench.results.search_result import ProbeLoad
    from gpubench.spec.spec import Spec
    from gpubench.statistics.crossing import Crossing

# The child process finds the same modules as this one.
_START = (
    "import json, sys; sys.path[:] = json.loads(sys.argv.pop()); "
    "from gpubench.monitor.exporter import main; main()"
)
_PATIENCE_MS = 1000  # for a pipe that is full
_LONGEST_END_S = 30.0  # of sending the metrics


class Metrics(Progress):
    """Serves the metrics of all measurements that it is told of, until it is closed.

    with gpubench.Metrics(9400) as metrics:
        gpubench.sweep(grid, "results", progress=metrics)

    `port` is a port of this machine, or "HOST:PORT"; 0 is a free one. `url` then says
    where the metrics are. `push` is the URL of a push gateway, and `otlp` that of an OpenTelemetry
    collector: both get the final metrics when it is closed. `warn` gets a line if that fails.

    Raises InputError for an address that cannot be used, and if a package is missing.
    """

    def __init__(
        self,
        port: int | str | None = None,
        push: str | None = None,
        otlp: str | None = None,
        warn: Callable[[str], None] = warnings.warn,
    ) -> None:
        settings = ExportSettings(
            None if port is None else parse_address(str(port)),
            None if push is None else parse_url(push, "--metrics-push", "http://gateway:9091"),
            None
            if otlp is None
            else parse_url(otlp, "--metrics-otlp", "http://collector:4318", "/v1/metrics"),
        )
        needed = ["prometheus_client"] + ["opentelemetry"] * (otlp is not None)
        if problem := missing("metrics", *needed):
            raise InputError(f"metrics: {problem}")
        self._warn, self._in_work = warn, False
        self._child: subprocess.Popen[bytes] | None = subprocess.Popen(
            [sys.executable, "-P", "-c", _START, json.dumps(sys.path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            bufsize=0,
            start_new_session=True,  # Ctrl-C is for the measuring process
        )
        self._input, self._output = self._child.stdin, self._child.stdout
        assert self._input is not None
        assert self._output is not None
        os.set_blocking(self._input.fileno(), False)
        self._write(json.dumps(asdict(settings)).encode() + b"\n")
        answer = _parsed(self._output.readline())
        if "port" not in answer:
            self.close()
            if "error" not in answer:
                raise InputError(
                    "metrics: the process that exports them ended at once; remove the flags"
                )
            raise InputError(
                f"--metrics-port {port}: the metrics cannot be served there: {answer['error']}; "
                "give another port or address"
            )
        self.url: str | None = None
        if settings.address is not None:
            self.url = url_of(settings.address[0], answer["port"])
        self._spec: Spec | None = None  # of the cell or the probe in work

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Send the final metrics, if that was asked for, and serve them no longer."""
        if self._in_work:  # Ctrl-C came before it was measured
            self._stage(None)
        child, self._child = self._child, None
        if child is None:
            return
        try:
            answer, _ = child.communicate(timeout=_LONGEST_END_S)
        except subprocess.TimeoutExpired:
            answer = b'{"warnings": ["metrics: sending them took too long"]}'
        finally:
            child.kill()  # unless it has ended
        for warning in _parsed(answer).get("warnings", ()):
            self._warn(warning)

    # What Progress tells.

    def stage(self, name: str) -> None:
        self._stage(name)
        # With --fresh another process has the stages, and the samples of the histogram.
        if self._spec is not None:
            from gpubench.monitor.figures import beginning

            self._send(beginning(self._spec))

    def measured(self, result: Result) -> None:
        from gpubench.monitor.figures import measurement

        self._send(measurement(result))
        self._stage(None)

    def planned(self, to_measure: int, measured_before: int, skipped: Mapping[str, int]) -> None:
        self._gauges(planned_cells=to_measure, begun_cells=0, stored_cells=measured_before)

    def cell_begins(self, number: int, spec: Spec, seconds_left: float | None) -> None:
        self._gauges(begun_cells=number, seconds_left=seconds_left)
        self._spec = spec

    def search_begins(self, number: int, seconds_left: float | None) -> None:
        self._gauges(begun_cells=number, seconds_left=seconds_left)

    def setting_begins(
        self, number: int, of: int, setting: str, seconds_left: float | None
    ) -> None:
        self._gauges(planned_cells=of, begun_cells=number, seconds_left=seconds_left)

    def probe_begins(self, load: ProbeLoad, spec: Spec) -> None:
        self._spec = spec

    def located(self, crossing: Crossing) -> None:
        from gpubench.monitor.figures import setting_labels

        if self._spec is not None:
            labels = setting_labels(self._spec)
            # The line through a few noisy probes may cross the objective below 0.
            rate = crossing.rate if crossing.rate > 0 else None
            self._send(Update(set=[("gpubench_search_rate_per_second", labels, rate)]))

    def _stage(self, name: str | None) -> None:
        """None: no cell is in work."""
        self._in_work = name is not None
        update = Update()
        update.set = [("gpubench_stage", [each], float(each == name)) for each in STAGES]
        began = None if name is None else time.time()
        update.set.append(("gpubench_stage_begin_timestamp_seconds", [], began))
        self._send(update)

    def _gauges(self, **values: float | None) -> None:
        self._send(Update(set=[(f"gpubench_{name}", [], value) for name, value in values.items()]))

    def _send(self, update: Update) -> None:
        self._write(update.to_line())

    def _write(self, line: bytes) -> None:
        """Write to the child process. If it does not read, measuring goes on without metrics."""
        if self._child is None:
            return
        assert self._input is not None
        poll = select.poll()
        poll.register(self._input, select.POLLOUT)
        try:
            while line:
                if not poll.poll(_PATIENCE_MS):
                    raise BlockingIOError("it does not read")
                line = line[os.write(self._input.fileno(), line) :]
        except OSError as error:
            self._child.kill()
            self._child.communicate()
            self._child = None
            self._warn(
                f"metrics: the process that serves them ended ({error}); measuring goes on "
                "without them"
            )


def _parsed(answer: bytes) -> dict[str, Any]:
    """What the child process says. Empty if it died."""
    try:
        parsed: dict[str, Any] = json.loads(answer)
    except ValueError:
        return {}
    return parsed
