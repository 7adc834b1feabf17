"""What a tracker gets of a run directory."""

from __future__ import annotations

from pathlib import Path

import pytest
from factories import DRIFT, G5, failed, quick_start, repeated, result

from gpubench.errors import InputError
from gpubench.loaded import Results, load
from gpubench.planning.documents import Documents
from gpubench.results.run_directory import open_run, repeat_name
from gpubench.trackers.tracked import check_package, cleaned, tracked, with_clean_names


def test_a_cell_is_a_run(tmp_path: Path) -> None:
    run = open_run(tmp_path)
    cell = result(machine=G5, reasons=(DRIFT,), instance="g5.4xlarge", usd_per_hour=3.0, batch=4)
    run.write("0ab", cell)
    [found] = tracked(load(tmp_path)).cells
    assert found.id == "0ab"
    assert found.parameters["model"] == "resnet50"
    assert found.parameters["batch"] == "4"
    assert found.tags["verdict"] == "suspect"
    assert found.tags["reasons"] == "drift"
    assert found.metrics["latency_p95_ms"] == cell.latency_ms.p95
    assert found.metrics["throughput_inferences_per_second"] == cell.throughput_per_second
    costs = {cost.instance: cost.usd_per_million for cost in cell.costs}
    assert found.metrics["usd_per_million_inferences/g5.4xlarge"] == costs["g5.4xlarge"]
    assert found.metrics["usd_per_million_inferences/3 USD per hour"] == costs[None]
    assert found.artifact == ("result.json", open_run(tmp_path).read("0ab").to_json() + "\n")
    assert not {"batch_samples", "seed", "workers"} & set(found.metrics)


def test_an_absent_figure_is_no_metric(tmp_path: Path) -> None:
    open_run(tmp_path).write("0ab", failed("out of memory"))
    [found] = tracked(load(tmp_path)).cells
    assert found.tags["verdict"] == "failed"
    assert found.tags["error"] == "measure: out of memory"
    assert "latency_p95_ms" not in found.metrics
    assert "throughput_inferences_per_second" not in found.metrics


def test_repeats_are_one_run(tmp_path: Path) -> None:
    for number, cell in enumerate(repeated(96.0, 100.0, 104.0), 1):
        open_run(tmp_path).write(repeat_name("k", number), cell)
    [found] = tracked(load(tmp_path)).cells
    assert found.id == "k"
    assert found.metrics["repeats"] == 3


def test_names_say_what_differs(tmp_path: Path) -> None:
    for number, cell in enumerate(quick_start()):
        open_run(tmp_path).write(f"{number}", cell)
    names = [run.name for run in tracked(load(tmp_path)).cells]
    assert len(set(names)) == len(names)
    assert names[0].startswith("model bert-base, ")


def test_prices_can_be_given(tmp_path: Path) -> None:
    open_run(tmp_path).write("k", result())
    [found] = tracked(load(tmp_path, instance="c7i.xlarge", usd_per_hour=0.5)).cells
    priced = {name for name in found.metrics if name.startswith("usd_per_million")}
    assert priced == {
        "usd_per_million_inferences/c7i.xlarge",
        "usd_per_million_inferences/0.5 USD per hour",
    }


def test_the_digest_tells_whether_something_differs(tmp_path: Path) -> None:
    open_run(tmp_path).write("k", result())
    instances: tuple[list[str], ...] = ([], [], ["c7i.xlarge"])
    first, same, priced = (tracked(load(tmp_path, instance=names)) for names in instances)
    assert first.cells[0].digest == same.cells[0].digest != priced.cells[0].digest
    assert first.page.digest == same.page.digest != priced.page.digest
    assert first.page.id == priced.page.id


def test_texts_are_harmless(tmp_path: Path) -> None:
    key = "'; drop table runs --"
    open_run(tmp_path).write(key, result(model="\x1b[31m<b>\u202e/x.pt", input_shape="3"))
    [found] = tracked(load(tmp_path)).cells
    assert found.id.isalnum()
    assert "\x1b" not in found.name + found.parameters["model"] + found.artifact[1]
    assert "<b>" not in tracked(load(tmp_path)).page.artifact[1].replace("&lt;b&gt;", "")


def test_searches_alone_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no cell to export"):
        tracked(Results(Documents((), ())))


def test_names_that_are_not_allowed() -> None:
    assert cleaned("$/million (µs)", "a-z/ ", {}) == "_/million __s_"
    assert cleaned("../../x", "a-z./", {}) == "/../x"
    assert cleaned("", "a-z", {}) == "_"
    assert len(cleaned("x" * 1000, "a-z", {})) <= 128
    assert with_clean_names({"a$": 1.0, "a%": 2.0, "a_": 3.0}, "a-z_") == {
        "a_": 1.0,
        "a__": 2.0,
        "a___": 3.0,
    }


def test_a_missing_package_is_named() -> None:
    with pytest.raises(InputError, match=r"no_such_tracker is not installed; .* 'trackers'"):
        check_package("no_such_tracker")
