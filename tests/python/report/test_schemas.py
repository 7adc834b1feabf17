"""The published schemas and the page of columns are made from the code; documents follow them."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from factories import DRIFT, cold_result, failed, repeated, result, samples
from planning_results import open_loop, search
from published_schemas import DOCS, schema_problems

import gpubench
from gpubench.cli.program import main
from gpubench.report import arrow, columns, schemas
from gpubench.results.parquet import to_parquet
from gpubench.results.run_directory import open_run

PREVIOUS = DOCS.parent / "tests/data/previous_version"
FILES = schemas.files()


@pytest.mark.parametrize("name", FILES)
def test_published_files_are_made_from_the_code(name: str) -> None:
    """If this fails: python -m gpubench.report.schemas docs"""
    assert (DOCS / name).read_text() == FILES[name]


def test_documents_of_earlier_versions_follow_the_schemas() -> None:
    files = sorted((PREVIOUS / "run").glob("*.json"))
    assert len(files) > 10
    for file in files:
        assert schema_problems("result", json.loads(file.read_text())) == [], file
    assert schema_problems("compare", json.loads((PREVIOUS / "compare.json").read_text())) == []
    for each in json.loads((PREVIOUS / "report.json").read_text()):
        assert schema_problems("result", each) == []


def test_results_searches_and_cold_starts_follow_the_schemas() -> None:
    for each in (result(reasons=(DRIFT,)), failed(), *repeated(1.0, 2.0, 3.0)):
        assert schema_problems("result", json.loads(each.to_json())) == []
    measured = gpubench.run(model="synthetic", service_time="20us", warmup=0, requests=200)
    assert schema_problems("result", json.loads(measured.to_json())) == []
    assert schema_problems("search", json.loads(search(50.0, (48.0, 52.0)).to_json())) == []
    assert schema_problems("cold", json.loads(cold_result().to_json())) == []


def test_a_document_with_a_wrong_or_missing_figure_does_not_follow_the_schema() -> None:
    document = json.loads(result().to_json())
    document["throughput_per_second"] = "fast"
    del document["harness"]
    document["added_later"] = 1
    found = schema_problems("result", document)
    assert any("throughput_per_second" in each for each in found)
    assert any("'harness' is a required property" in each for each in found)
    assert len(found) == 2


@pytest.fixture
def run(tmp_path: Path) -> str:
    directory = open_run(tmp_path / "run")
    directory.check_writable()
    directory.write("a", open_loop(10.0, 80.0, 90.0), samples(10))
    directory.write("b", open_loop(20.0, 80.0, 90.0, batch=2))
    directory.write("c", failed(batch=4))
    directory.write_search("search-a", search(50.0, (48.0, 52.0), batch=8))
    return str(tmp_path / "run")


def printed(capsys: pytest.CaptureFixture[str], *arguments: str) -> Any:
    main([*arguments, "--format", "json"])
    return json.loads(capsys.readouterr().out)


def test_plans_and_comparisons_follow_the_schemas(
    run: str, capsys: pytest.CaptureFixture[str]
) -> None:
    plan = ["plan", run, "--objective", "p95:100ms"]
    load = ["--rate", "100"]
    compared = ["compare", run, run, "--spread", "2%", "--fail-if", "p95 > +5%"]
    by = ["compare", run, "--by", "batch=1,2"]
    for arguments in (plan, [*plan, *load], compared, by):
        document = printed(capsys, *arguments)
        assert schema_problems(arguments[0], document) == [], arguments
        assert set(document) >= ({"decisions"} if arguments[0] == "plan" else {"gates"})


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        (["report"], columns.CELL),
        (["compare"], columns.COMPARED),
        (["plan", "--objective", "p95:100ms"], columns.PLANNED),
    ],
)
def test_every_column_of_a_csv_file_is_described(
    command: list[str],
    expected: tuple[columns.ColumnInfo, ...],
    run: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    both = [run] if command[0] == "compare" else []
    assert main([command[0], run, *both, *command[1:], "--format", "csv"]) == 0
    (header, *_) = csv.reader(capsys.readouterr().out.splitlines())
    of_cells = [info.name for info in columns.CELL if info.name != "cell"]
    named = [info.name for info in expected]
    assert header == (named if expected is columns.CELL else [*named, *of_cells])


def test_every_column_has_its_type() -> None:
    table = arrow.table([("a", result(instance=["c7i.xlarge"])), ("b", failed())])
    for name, kind in zip(table.column_names, table.schema.types, strict=True):
        info = columns.column(name)
        assert info is not None, name
        assert str(kind) == arrow.ALIAS[info.kind], name


def test_every_column_of_a_sample_file_is_described() -> None:
    own = samples(10)
    stamps = np.tile(own.submitted_ns[:, None], 4)
    warmup = np.zeros(10, bool)
    full = replace(
        own, device_ns=stamps, around_ns=stamps[:, :2], step_ns=stamps[:, :3], warmup=warmup
    )
    names = pq.read_table(io.BytesIO(to_parquet(full))).column_names
    assert sorted(names) == sorted(info.name for info in columns.SAMPLES)


def test_percentiles_that_were_asked_for_are_described() -> None:
    info = columns.column("latency_p97_5_ms")
    assert info is not None
    assert info.kind == "number"
    assert columns.column("numerics_of_my_own_model") is None
