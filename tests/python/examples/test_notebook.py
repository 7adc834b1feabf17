"""The example notebook runs from its first cell to its last, without a network."""

from __future__ import annotations

import sys
from pathlib import Path

import nbformat
import pytest
from jupyter_client.kernelspec import KernelSpec
from jupyter_client.manager import AsyncKernelManager
from nbclient import NotebookClient

NOTEBOOK = Path(__file__).parents[3] / "examples" / "notebook.ipynb"


class ThisPython(AsyncKernelManager):
    """Starts a kernel with the Python of the tests, whichever kernels are installed."""

    @property
    def kernel_spec(self) -> KernelSpec:
        launch = [sys.executable, "-P", "-m", "ipykernel_launcher", "-f", "{connection_file}"]
        return KernelSpec(argv=launch, display_name="Python 3", language="python")


def outputs(cell: nbformat.NotebookNode) -> dict[str, str]:
    return {kind: text for each in cell.outputs for kind, text in each.get("data", {}).items()}


def test_the_notebook_runs_and_shows_tables_and_a_chart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GPUBENCH_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    NotebookClient(
        notebook,
        timeout=300,
        km=ThisPython(),
        resources={"metadata": {"path": str(tmp_path)}},
    ).execute()
    cells = [outputs(cell) for cell in notebook.cells if cell.cell_type == "code"]
    shown = [cell.get("text/html", "") for cell in cells]
    tables = [text for text in shown if "<table" in text]
    assert len(tables) == 4, "the results, the data frame, the plan and the comparison"
    assert "within 20ms" in tables[2]
    assert "faster" in tables[3] or "slower" in tables[3] or "verdict" in tables[3]
    assert "vega" in shown[3] or any("vega" in kind for kind in cells[3])
    assert "The synthetic model" in (tmp_path / "results/notebook.html").read_text()


def test_the_notebook_is_stored_without_outputs_and_paths() -> None:
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    nbformat.validate(notebook)
    for cell in notebook.cells:
        assert cell.get("outputs", []) == []
        assert cell.get("execution_count") is None
    assert "/home/" not in NOTEBOOK.read_text()
