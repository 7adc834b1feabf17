"""The examples run as they stand, on smaller models."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest
from small_models import make_presets_small

from gpubench.cells.grid import cells, read_grids
from gpubench.system.machine import this_machine

EXAMPLES = Path(__file__).parents[3] / "examples"


@pytest.mark.parametrize("name", ["quickstart.yaml", "g5_study.yaml"])
def test_sweep_files_can_be_planned_here(name: str) -> None:
    """The quick start's smoke run, with a few requests a cell, is part of CI."""
    assert cells(read_grids(EXAMPLES / name), this_machine()).cells


def test_the_python_example_measures_every_batch_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("GPUBENCH_CACHE_DIR", str(tmp_path))
    make_presets_small(monkeypatch)
    main = runpy.run_path(str(EXAMPLES / "bert_api.py"))["main"]
    main(batches=(1, 2), seq_len=8, requests=20, warmup=0)
    printed = capsys.readouterr().out.splitlines()
    assert [line.partition(":")[0] for line in printed] == ["batch 1", "batch 2"]
    assert all("per million on c7i.xlarge" in line for line in printed)
