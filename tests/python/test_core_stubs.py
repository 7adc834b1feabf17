"""The committed stub says what the compiled module has, and code that uses it is typed."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

TYPED = """
import numpy as np
from gpubench import core

def run(ids: np.ndarray[tuple[int, ...], np.dtype[np.int64]]) -> None: ...

runner = core.Runner([core.DelayExecutor(0), core.PythonExecutor(run)], wait="block")
outcome = runner.run(core.OpenLoop([0, 1]), max_batch=2, stop_after_ns=None)
latest: int = outcome.timelines[0].completed_ns.max()
simulated = core.simulate(core.ClosedLoop(2), service_ns=core.exponential_service(1e6, 9, seed=1))
error: str | None = simulated.error
assert outcome.reason == "finished"
"""


def test_stub_is_what_the_compiled_module_gives() -> None:
    pytest.importorskip("pybind11_stubgen")
    from core_stubs import STUB, generate

    assert ast.dump(ast.parse(STUB.read_text())) == ast.dump(ast.parse(generate())), (
        "run: python tests/python/core_stubs.py"
    )


def test_code_that_uses_the_core_passes_mypy_strict(tmp_path: Path) -> None:
    pytest.importorskip("mypy")
    good = tmp_path / "good.py"
    good.write_text(TYPED)
    bad = tmp_path / "bad.py"
    bad.write_text('from gpubench import core\ncore.Runner([], wait="busy")\ncore.OpenLoop("0")\n')
    command = [sys.executable, "-P", "-m", "mypy", "--strict", "--cache-dir", str(tmp_path)]
    checked = subprocess.run([*command, good, bad], capture_output=True, text=True, cwd=tmp_path)
    assert "good.py" not in checked.stdout, checked.stdout
    assert "bad.py:2" in checked.stdout
    assert "bad.py:3" in checked.stdout
