"""Metrics of real measurements, served and sent by the child process."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from factories import failed, result
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)
from prometheus_client.parser import text_string_to_metric_families

import gpubench
from gpubench.measure.progress import Listeners, Progress
from gpubench.monitor.definitions import METRICS
from gpubench.monitor.metrics import Metrics
from gpubench.spec.spec import Spec
from gpubench.statistics.crossing import Crossing

GRID: dict[str, object] = {
    "model": "synthetic",
    "service_time": "100us",
    "warmup": 0,
    "requests": 150,
    "usd_per_hour": 3.6,
    "batch": [1, 2, 4],
}
Samples = list[tuple[str, dict[str, str], float]]


def parsed(text: str) -> Samples:
    return [
        (sample.name, sample.labels, sample.value)
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    ]


def scraped(url: str) -> Samples:
    with urllib.request.urlopen(url, timeout=60) as answer:
        return parsed(answer.read().decode())


def total(samples: Samples, name: str, **labels: str) -> float:
    return sum(
        value for each, its, value in samples if each == name and labels.items() <= its.items()
    )


def settled(metrics: Metrics, done: Callable[[Samples], bool]) -> Samples:
    """What is exported once it is as expected. The pipe to the child process takes a moment."""
    assert metrics.url is not None
    for _ in range(200):
        samples = scraped(metrics.url)
        if done(samples):
            break
    return samples


class Scraper(Progress):
    """Scrapes whenever a measurement begins."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self.stages: list[float] = []
        self.begun: list[float] = []
        self.latencies: list[float] = []

    def cell_begins(self, number: int, spec: Spec, seconds_left: float | None) -> None:
        samples = settled(self._metrics, lambda s: total(s, "gpubench_begun_cells") == number)
        self.begun.append(total(samples, "gpubench_begun_cells"))

    def stage(self, name: str) -> None:
        samples = settled(self._metrics, lambda s: total(s, "gpubench_stage", stage=name) == 1)
        self.stages.append(total(samples, "gpubench_stage", stage=name))
        count = "gpubench_request_latency_seconds_count"
        samples = settled(self._metrics, lambda s: any(name == count for name, _, _ in s))
        self.latencies += [value for name, _, value in samples if name == count]


def test_the_counters_of_a_sweep_are_those_of_its_results(tmp_path: Path) -> None:
    with Metrics(0) as metrics:
        scraper = Scraper(metrics)
        results = gpubench.sweep(GRID, tmp_path / "run", Listeners(metrics, scraper))
        samples = settled(metrics, lambda s: total(s, "gpubench_measurements_total") == 3)
    assert scraper.begun == [1, 2, 3]
    assert scraper.stages == [1, 1, 1]
    # Prometheus sees the growth of each cell only if the counters begin with 0.
    done = [each.requests.completed for each in results]
    assert scraper.latencies == [0, done[0], done[0] + done[1]]
    assert total(samples, "gpubench_planned_cells") == 3
    assert total(samples, "gpubench_stage") == 0
    statuses = Counter(each.verdict.status for each in results)
    for outcome in ("valid", "suspect", "failed"):
        found = total(samples, "gpubench_measurements_total", outcome=outcome)
        assert found == statuses[outcome]  # type: ignore[index]
    completed = sum(each.requests.completed for each in results)
    assert total(samples, "gpubench_requests_total") == completed
    assert total(samples, "gpubench_request_latency_seconds_count") == completed
    for each in results:
        batch = str(each.spec.batch)
        assert total(samples, "gpubench_throughput_per_second", batch=batch) == pytest.approx(
            each.throughput_per_second
        )
        p95 = total(samples, "gpubench_latency_seconds", batch=batch, quantile="0.95")
        assert p95 * 1e3 == pytest.approx(each.latency_ms.p95)
        assert total(samples, "gpubench_usd_per_million", batch=batch) == pytest.approx(
            each.costs[0].usd_per_million
        )
    seconds = sum(each.seconds.total for each in results if each.seconds is not None)
    assert total(samples, "gpubench_measured_seconds_total") == pytest.approx(seconds)
    assert total(samples, "gpubench_cost_usd_total") == pytest.approx(seconds / 1000)


def test_a_search_tells_its_probes() -> None:
    with Metrics(0) as metrics:
        found = gpubench.search(
            model="synthetic",
            service_time="100us",
            warmup=0,
            requests=100,
            objective="p95:5ms",
            tolerance=0.5,
            probes=3,
            progress=metrics,
        )
        probes = len(found.probes)
        samples = settled(metrics, lambda s: total(s, "gpubench_measurements_total") == probes)
    assert total(samples, "gpubench_measurements_total") == probes


@pytest.mark.parametrize(("rate", "exported"), [(120.0, [120.0]), (-65.0, [])])
def test_the_estimate_of_a_search_is_a_rate_or_absent(rate: float, exported: list[float]) -> None:
    with Metrics(0) as metrics:
        metrics.probe_begins("open", result().spec)
        metrics.located(Crossing(50.0, None, None, 50.0, 9.0, ()))
        metrics.located(Crossing(rate, None, None, 100.0, 9.0, ()))
        metrics.cell_begins(1, result().spec, None)
        samples = settled(metrics, lambda s: total(s, "gpubench_begun_cells") == 1)
    name = "gpubench_search_rate_per_second"
    assert [value for each, _, value in samples if each == name] == exported


def test_samples_of_another_process_make_no_histogram() -> None:
    """As with --fresh: this process has no stages, and no samples."""
    cell = result()
    with Metrics(0) as metrics:
        metrics.cell_begins(1, cell.spec, None)
        metrics.measured(cell)
        samples = settled(metrics, lambda s: total(s, "gpubench_requests_total") > 0)
    assert total(samples, "gpubench_requests_total") == cell.requests.completed
    assert not [name for name, _, _ in samples if "request_latency" in name]


COMMANDS = {
    "run": ("--batch", "2"),
    "search": ("--objective", "p95:5ms", "--tolerance", "0.5", "--probes", "3"),
    "sweep": ("--batch", "1,2", "--output", "run"),
    "sweep --objective": (
        *("--batch", "1,2", "--output", "best", "--objective", "p95:5ms"),
        *("--tolerance", "0.5", "--probes", "3"),
    ),
}
FAST = ("--model", "synthetic", "--service-time", "100us", "--warmup", "0", "--requests", "100")


def command(*arguments: str, folder: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-P", "-m", "gpubench", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=folder,
    )


class Receiver(HTTPServer):
    """Keeps the bodies of all requests, by their paths."""

    def __init__(self) -> None:
        self.bodies: dict[str, bytes] = {}
        super().__init__(("127.0.0.1", 0), _Handler)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.bodies[self.path] = body
        self.send_response(200)
        self.end_headers()

    do_PUT = do_POST

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def receiver() -> Iterator[Receiver]:
    server = Receiver()
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_pushes_the_metrics_of_all_its_measurements(
    name: str, tmp_path: Path
) -> None:
    with receiver() as gateway:
        child = command(
            *(name.split()[0], *FAST, *COMMANDS[name], "--metrics-push", gateway.url),
            folder=tmp_path,
        )
        _, errors = child.communicate(timeout=120)
    assert child.returncode == 0, errors
    ((path, body),) = gateway.bodies.items()
    assert path == f"/metrics/job/gpubench/instance/{socket.gethostname()}"
    samples = parsed(body.decode())
    least = {"run": 1, "sweep": 2}.get(name, 4)
    measured = total(samples, "gpubench_measurements_total")
    assert measured == least if name in {"run", "sweep"} else measured >= least


def test_otlp_has_the_same_figures() -> None:
    with receiver() as collector:
        with Metrics(0, otlp=collector.url) as metrics:
            gpubench.run(model="synthetic", service_time="100us", requests=200, progress=metrics)
            samples = settled(metrics, lambda s: total(s, "gpubench_requests_total") > 0)
        request = ExportMetricsServiceRequest.FromString(collector.bodies["/v1/metrics"])
    (resource,) = request.resource_metrics
    assert {each.key: each.value.string_value for each in resource.resource.attributes}[
        "service.name"
    ] == "gpubench"
    sent = {metric.name: metric for metric in resource.scope_metrics[0].metrics}
    assert set(sent) <= set(METRICS)
    requests = sent["gpubench_requests_total"].sum
    assert requests.is_monotonic
    assert requests.data_points[0].as_double == total(samples, "gpubench_requests_total")
    (histogram,) = sent["gpubench_request_latency_seconds"].histogram.data_points
    assert histogram.count == sum(histogram.bucket_counts) == requests.data_points[0].as_double
    assert len(histogram.bucket_counts) == len(histogram.explicit_bounds) + 1
    throughput = sent["gpubench_throughput_per_second"].gauge.data_points[0]
    assert throughput.as_double == total(samples, "gpubench_throughput_per_second")
    assert {each.key: each.value.string_value for each in throughput.attributes}["load"] == (
        "1 client"
    )


def test_a_command_that_measures_nothing_pushes_nothing(tmp_path: Path) -> None:
    with receiver() as gateway:
        arguments = ("run", "--model", "nope", "--metrics-push", gateway.url)
        _, errors = command(*arguments, folder=tmp_path).communicate(timeout=120)
        assert "unknown model 'nope'" in errors
        assert gateway.bodies == {}


def closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def test_a_gateway_that_does_not_answer_is_a_warning() -> None:
    url = f"http://127.0.0.1:{closed_port()}"
    told: list[str] = []
    with Metrics(push=url, otlp=url, warn=told.append) as metrics:
        assert metrics.url is None
        metrics.measured(result())
    assert [line.split(":")[0] for line in told] == ["--metrics-push", "--metrics-otlp"]
    assert all("were not sent to http://127.0.0.1" in line and "\n" not in line for line in told)
    assert all("Connection refused" in line for line in told)


def test_a_command_whose_gateway_does_not_answer_still_gives_its_result(tmp_path: Path) -> None:
    url = f"http://127.0.0.1:{closed_port()}"
    child = command("run", *FAST, "--json", "-", "--metrics-push", url, folder=tmp_path)
    output, errors = child.communicate(timeout=120)
    assert child.returncode == 0
    assert gpubench.Result.model_validate_json(output).requests.completed == 100
    assert "gpubench: warning: --metrics-push: the metrics were not sent" in errors


def test_a_port_in_use_is_refused_before_anything_is_measured(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = str(server.getsockname()[1])
        arguments = ("sweep", *FAST, "--output", "run", "--metrics-port", port)
        child = command(*arguments, folder=tmp_path)
        output, errors = child.communicate(timeout=120)
    assert child.returncode == 2
    assert output == ""
    (line,) = errors.splitlines()
    assert line.startswith(f"gpubench: --metrics-port {port}: ")
    assert line.endswith("Address already in use; give another port or address")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("host", ["no.such.host.invalid", "192.0.2.1"])
def test_an_address_of_another_machine_is_refused(host: str) -> None:
    with pytest.raises(gpubench.InputError, match=rf"--metrics-port {host}:0: .*give another"):
        Metrics(f"{host}:0")


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gpubench.system.packages.find_spec", lambda name: None)
    with pytest.raises(gpubench.InputError, match=r"prometheus_client is not installed.*metrics"):
        Metrics(0)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_measuring_goes_on_when_the_child_process_does_not(
    number: signal.Signals, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gpubench.monitor.metrics._PATIENCE_MS", 1)
    told: list[str] = []
    with Metrics(0, warn=told.append) as metrics:
        assert metrics._child is not None
        metrics._child.send_signal(number)
        os.waitid(os.P_PID, metrics._child.pid, os.WEXITED | os.WSTOPPED | os.WNOWAIT)
        for _ in range(500):  # more than a pipe holds
            metrics.measured(failed())
    assert len(told) == 1
    assert "measuring goes on without them" in told[0]


@pytest.fixture
def unignored() -> Iterator[None]:
    """A child process inherits to ignore SIGINT, as in a program that runs in the background."""
    before = signal.getsignal(signal.SIGINT)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


SCRIPT = """
import os, signal, sys
import gpubench
class Signalled(gpubench.Progress):
    def measured(self, result):
        print(metrics._child.pid, flush=True)
        os.kill(os.getpid(), int(sys.argv[1]))
metrics = gpubench.Metrics(0, push=sys.argv[2])
from gpubench.measure.progress import Listeners
gpubench.run(model="synthetic", service_time="10us", warmup=0, requests=100,
             progress=Listeners(metrics, Signalled()))
"""


@pytest.mark.usefixtures("unignored")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL, signal.SIGSEGV])
def test_the_child_process_ends_with_the_measuring_process(number: int) -> None:
    """However it ends, what was measured is pushed."""
    with receiver() as gateway:
        measuring = subprocess.Popen(
            [sys.executable, "-P", "-c", SCRIPT, str(int(number)), gateway.url],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        # The child process holds no pipe of the measuring process, so this ends with the latter.
        output, _ = measuring.communicate(timeout=120)
        assert measuring.returncode not in (0, None)
        await_end(int(output))
        samples = parsed(next(iter(gateway.bodies.values())).decode())
    assert total(samples, "gpubench_requests_total") == 100


@pytest.mark.usefixtures("unignored")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_sweep_that_is_stopped_pushes_what_it_measured(
    number: signal.Signals, tmp_path: Path
) -> None:
    with receiver() as gateway:
        window = ("--model", "synthetic", "--warmup", "0", "--duration", "10m")
        where = ("--output", "run", "--metrics-port", "0", "--metrics-push", gateway.url)
        child = command("sweep", *window, *where, folder=tmp_path)
        assert child.stderr is not None
        url = child.stderr.readline().removeprefix("metrics: ").strip()
        while total(scraped(url), "gpubench_stage", stage="measure") != 1:
            assert child.poll() is None
        child.send_signal(number)
        try:
            _, errors = child.communicate(timeout=60)
        finally:
            child.kill()
        assert child.returncode == 128 + number, errors
        ((_, body),) = gateway.bodies.items()
    samples = parsed(body.decode())
    assert total(samples, "gpubench_stage") == 0
    assert total(samples, "gpubench_measurements_total", outcome="failed") <= 1
    with pytest.raises(OSError):  # noqa: PT011
        scraped(url)


def await_end(pid: int) -> None:
    """Wait until a process that is no child of this one has ended."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        import select

        ended, _, _ = select.select([descriptor], [], [], 60)
        assert ended, "the child process still runs"
    finally:
        os.close(descriptor)


def test_without_these_flags_nothing_is_imported_for_them() -> None:

    script = (
        "import sys, gpubench.cli.run, gpubench.cli.sweep, gpubench.cli.search; "
        "print([name for name in sys.modules if 'monitor' in name or 'prometheus' in name])"
    )
    done = subprocess.run(
        [sys.executable, "-P", "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout == "[]\n"
