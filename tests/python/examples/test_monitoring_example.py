"""examples/monitoring: a real Prometheus scrapes gpubench and answers the dashboard's queries."""

from __future__ import annotations

import json
import re
import socket
import subprocess
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from factories import failed, result, samples
from programs import program

from gpubench.monitor.definitions import METRICS
from gpubench.monitor.metrics import Metrics
from gpubench.results.result import (
    ClockFrequency,
    Clocks,
    Cost,
    CountedRows,
    DeviceReport,
    GpuReport,
    Lag,
    Reason,
    Result,
)
from gpubench.statistics.crossing import Crossing

ROOT = next(folder for folder in Path(__file__).parents if (folder / "pyproject.toml").is_file())
FOLDER = ROOT / "examples/monitoring"
DASHBOARD: dict[str, Any] = json.loads((FOLDER / "grafana/gpubench.json").read_text())
QUERIES = {
    f"{panel['title']} {target['refId']}": target["expr"]
    for panel in DASHBOARD["panels"]
    for target in panel["targets"]
}
# What Grafana puts in: all models, all machines, and four scrapes.
VARIABLES = {"$model": ".*", "$instance": ".*", "$__rate_interval": "2s"}


def names_in(query: str) -> set[str]:
    return set(re.findall(r"gpubench_\w+", query))


def exported_as(name: str) -> str:
    return re.sub("_(bucket|sum|count)$", "", name)


def test_every_metric_of_the_dashboard_is_exported() -> None:
    asked = set().union(*map(names_in, QUERIES.values()))
    asked |= set().union(*(names_in(str(v["query"])) for v in DASHBOARD["templating"]["list"]))
    assert asked
    assert {exported_as(name) for name in asked} <= set(METRICS)


def test_every_label_of_the_dashboard_is_one_of_the_metric() -> None:
    for panel in DASHBOARD["panels"]:
        for target in panel["targets"]:
            query = target["expr"]
            shown = set(re.findall(r"{{(\w+)}}", target["legendFormat"]))
            shown |= {label for part in re.findall(r"{(.*?)}", query) for label in labels_in(part)}
            known = {"instance", "le"}
            for name in names_in(query):
                known |= set(METRICS[exported_as(name)].labels)
            assert shown <= known, query


def labels_in(matchers: str) -> list[str]:
    return re.findall(r"(\w+)=", matchers)


def test_panels_have_numbers_and_places_of_their_own() -> None:
    panels = DASHBOARD["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    cells = [
        (x, y)
        for place in (panel["gridPos"] for panel in panels)
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    ]
    assert len(set(cells)) == len(cells)
    assert max(x for x, _ in cells) < 24


def test_the_files_name_each_other() -> None:
    services = yaml.safe_load((FOLDER / "compose.yaml").read_text())["services"]
    mounted = {
        source: target
        for service in services.values()
        for source, target, *_ in (each.split(":") for each in service["volumes"])
    }
    for source in mounted:
        assert not source.startswith(".") or (FOLDER / source).exists()
    folder = FOLDER / "grafana/provisioning"
    (provider,) = yaml.safe_load((folder / "dashboards/gpubench.yaml").read_text())["providers"]
    dashboard = mounted["./grafana/gpubench.json"]
    assert dashboard.startswith(provider["options"]["path"])
    environment = services["grafana"]["environment"]
    assert environment["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"] == dashboard
    (source,) = yaml.safe_load((folder / "datasources/prometheus.yaml").read_text())["datasources"]
    assert (
        f"--web.listen-address={urllib.parse.urlsplit(source['url']).netloc}"
        in (services["prometheus"]["command"])
    )
    (variable,) = (v for v in DASHBOARD["templating"]["list"] if v["type"] == "datasource")
    assert variable["current"]["value"] == source["uid"]


def test_the_configuration_of_prometheus_is_valid() -> None:
    checked = subprocess.run(
        [program("promtool", "prometheus"), "check", "config", str(FOLDER / "prometheus.yml")],
        capture_output=True,
        text=True,
    )
    assert checked.returncode == 0, checked.stderr


def measured_on_gpu(batch: int) -> Result:
    """A result in which every figure that is exported was measured."""
    made = samples(130)
    gpu = GpuReport(
        device="cuda:0",
        name="L4",
        power_w=61.0,
        temperature_c=58.0,
        memory_used_bytes=2**30,
        utilization=0.9,
        throttled_share=0.0,
        clocks=Clocks(sm_mhz=ClockFrequency(mean=1500.0, min=1400.0)),
    )
    reason = Reason(code="cpu-busy", figure=1.0, limit=0.2, remedy="end them")
    each = result(batch=batch, reasons=(reason,), rate=100)
    each.device = DeviceReport(gpus=[gpu])
    each.costs = [
        Cost(instance="g6.xlarge", measured_here=True, usd_per_hour=0.8, usd_per_million=2.0)
    ]
    each.harness.lag_us = Lag(p50=1.0, p99=20.0)
    each.offered_per_second = 100.0 * batch
    each.window.counted = CountedRows(
        stamp="scheduled_ns",
        from_ns=int(made.scheduled_ns[0]),
        to_ns=int(made.scheduled_ns[-1]),
    )
    return each.with_samples(made, np.ones(len(made), np.bool_))


@pytest.fixture(scope="module")
def measuring() -> Iterator[Metrics]:
    """A sweep at its third cell."""
    with Metrics(0) as metrics:
        metrics.planned(5, 1, {})
        for number in (1, 2):
            measured = measured_on_gpu(number)
            metrics.cell_begins(number, measured.spec, None)
            metrics.measured(measured)
        metrics.measured(failed())
        metrics.probe_begins("open", measured_on_gpu(1).spec)
        metrics.located(Crossing(120.0, None, None, 120.0, 9.0, ()))
        metrics.cell_begins(3, measured_on_gpu(4).spec, 42.0)
        metrics.stage("measure")
        yield metrics


@pytest.fixture(scope="module")
def prometheus(measuring: Metrics, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a Prometheus that scrapes `measuring` twice a second."""
    binary = program("prometheus", "prometheus")
    folder = tmp_path_factory.mktemp("prometheus")
    assert measuring.url is not None
    target = urllib.parse.urlsplit(measuring.url).netloc
    text = (FOLDER / "prometheus.yml").read_text()
    assert "127.0.0.1:9400" in text
    text = text.replace("127.0.0.1:9400", target).replace(
        "scrape_interval: 5s", "scrape_interval: 500ms"
    )
    (folder / "prometheus.yml").write_text(text)
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = f"127.0.0.1:{free.getsockname()[1]}"
    server = subprocess.Popen(
        [
            binary,
            f"--config.file={folder}/prometheus.yml",
            f"--storage.tsdb.path={folder}/data",
            f"--web.listen-address={address}",
        ],
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert server.stderr is not None
        said = []
        for line in server.stderr:
            said.append(line)
            if "Server is ready" in line:
                break
        else:
            pytest.fail("".join(said))
        yield f"http://{address}"
    finally:
        server.kill()
        server.communicate()


def answer(prometheus: str, query: str) -> list[Any]:
    """What Prometheus answers once it has scraped often enough; it waits for that at most 30 s."""
    for name, value in VARIABLES.items():
        query = query.replace(name, value)
    url = f"{prometheus}/api/v1/query?" + urllib.parse.urlencode({"query": query})
    until = time.monotonic() + 30
    while time.monotonic() < until:
        with urllib.request.urlopen(url, timeout=30) as reply:
            found: list[Any] = json.loads(reply.read())["data"]["result"]
        if found:
            break
        time.sleep(0.1)
    return found


@pytest.mark.parametrize("panel", QUERIES)
def test_prometheus_answers_every_query_of_the_dashboard(prometheus: str, panel: str) -> None:
    assert answer(prometheus, QUERIES[panel]), QUERIES[panel]


def test_prometheus_has_every_metric_with_its_labels(prometheus: str) -> None:
    for name, definition in METRICS.items():
        scraped = answer(prometheus, name + ("_bucket" if definition.kind == "histogram" else ""))
        assert scraped, name
        labels = set(scraped[0]["metric"]) - {"__name__", "instance", "job", "le"}
        assert labels <= set(definition.labels)
        assert set(definition.labels) - labels <= {"seq_len"}  # an empty label is none
    (begun,) = answer(prometheus, "gpubench_begun_cells / gpubench_planned_cells")
    assert float(begun["value"][1]) == 0.6
