"""Tests of the files of launches, which another person may have written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from gpubench.cells.grid import parse_grids
from gpubench.errors import InputError
from gpubench.launch.files import LaunchFiles
from gpubench.launch.manifest import Manifest
from gpubench.launch.prepare import LaunchWishes, prepare


def a_manifest(name: str = "study", **settings: Any) -> Manifest:
    grid = {"model": "resnet50", "precision": "fp32", "instance": "g5.xlarge", **settings}
    launch = prepare(parse_grids(grid, "test"), "memory://none", LaunchWishes(name=name)).launch
    assert launch is not None
    return launch.manifest


def test_a_manifest_keeps_which_settings_were_asked_for(tmp_path: Path) -> None:
    files = LaunchFiles(str(tmp_path / "new" / "run"))
    manifest = a_manifest()
    files.write_manifest(manifest)
    read = files.manifest(None)
    assert read == manifest
    assert read.jobs[0].digest == manifest.jobs[0].digest
    spec = read.jobs[0].cells[0].spec
    assert spec.model_fields_set == {"model", "precision", "instance", "runtime"} - {"runtime"}


def test_a_launch_is_never_overwritten(tmp_path: Path) -> None:
    files = LaunchFiles(str(tmp_path))
    files.write_manifest(a_manifest())
    with pytest.raises(InputError, match="has a launch 'study' already; choose another --name"):
        files.write_manifest(a_manifest(batch=2))
    assert files.manifest("study") == a_manifest().model_copy(
        update={"created": files.manifest("study").created}
    )


def test_several_launches_must_be_told_apart(tmp_path: Path) -> None:
    files = LaunchFiles(str(tmp_path))
    with pytest.raises(InputError, match="has no launch; write one with gpubench launch"):
        files.manifest(None)
    files.write_manifest(a_manifest("one"))
    files.write_manifest(a_manifest("two"))
    with pytest.raises(InputError, match="has one, two; choose one with --launch NAME"):
        files.manifest(None)
    assert files.manifest("two").name == "two"


def test_ten_thousand_cells_fit_into_a_manifest(tmp_path: Path) -> None:
    files = LaunchFiles(str(tmp_path))
    (job,) = a_manifest(workers=2, warmup="1s", duration="2s", seed=3).jobs
    jobs = tuple(job.model_copy(update={"index": number}) for number in range(10_000))
    manifest = a_manifest().model_copy(update={"jobs": jobs})
    files.write_manifest(manifest)
    assert files.manifest(None) == manifest


def damaged(document: dict[str, Any]) -> list[str]:
    """Texts that somebody may have put in place of a manifest."""
    job = document["jobs"][0]
    hostile = {**job["cells"][0], "spec": {**job["cells"][0]["spec"], "model": ["a"]}}
    return [
        "",
        "{",
        "[]",
        "\ud800",
        "[" * 100_000,
        json.dumps({**document, "schema_number": 2}),
        json.dumps({**document, "schema_number": None}),
        json.dumps({**document, "name": "../other"}),
        json.dumps({**document, "unknown": 1}),
        json.dumps({**document, "jobs": [{**job, "cells": [hostile]}]}),
        json.dumps({**document, "jobs": [{**job, "index": 1e300}]}),
        json.dumps({**document, "usd_per_hour": {"a": "NaN"}}),
        json.dumps(document).replace('"study"', "NaN"),
    ]


@pytest.mark.parametrize("number", range(13))
def test_a_damaged_manifest_is_one_line(tmp_path: Path, number: int) -> None:
    files = LaunchFiles(str(tmp_path))
    files.write_manifest(a_manifest())
    file = tmp_path / ".launch-study.json"
    text = damaged(json.loads(file.read_text()))[number]
    file.write_bytes(text.encode(errors="surrogatepass"))
    with pytest.raises(InputError) as refused:
        files.manifest("study")
    assert "\n" not in str(refused.value)
    assert "study" in str(refused.value)


def test_a_link_or_a_pipe_is_not_a_manifest(tmp_path: Path) -> None:
    files = LaunchFiles(str(tmp_path))
    (tmp_path / ".launch-study.json").symlink_to("/dev/zero")
    with pytest.raises(InputError, match="cannot be read"):
        files.manifest("study")


@pytest.mark.parametrize("name", ["", "-", "a-", "A", "a/b", "../x", "x" * 41, "a.b", "é"])
def test_names_of_launches_fit_into_all_services(name: str) -> None:
    with pytest.raises(InputError, match="--name"):
        prepare(
            parse_grids({"model": "resnet50"}, "test"),
            "memory://none",
            LaunchWishes(name=name or " "),
        )
