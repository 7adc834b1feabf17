"""The committed stub describes the compiled module, and code that uses it is typed."""

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
try:
    on_gpu = core.cuda.SyntheticExecutor(core.cuda.devices()[0].index, 1000, depth=2)
except core.CudaUnavailable as unavailable:
    why: str = unavailable.reason
else:
    drift: float | None = on_gpu.clock.drift_ppm if on_gpu.clock else None
"""

# The types of the core come only from NumPy. Reading those of torch takes mypy half a minute.
STRICT = """
[mypy]
strict = true
[mypy-torch.*,pydantic.*]
follow_imports = skip
"""


def test_stub_is_what_the_compiled_module_gives() -> None:
    pytest.importorskip("pybind11_stubgen")
    from core_stubs import FOLDER, generate

    committed = {file.name: file.read_text() for file in FOLDER.glob("*.pyi")}
    assert _parsed(committed) == _parsed(generate()), "run: python tests/python/core_stubs.py"


def _parsed(stubs: dict[str, str]) -> dict[str, str]:
    return {name: ast.dump(ast.parse(text)) for name, text in stubs.items()}


def test_code_that_uses_the_core_passes_mypy_strict(tmp_path: Path) -> None:
    pytest.importorskip("mypy")
    good = tmp_path / "good.py"
    good.write_text(TYPED)
    bad = tmp_path / "bad.py"
    bad.write_text('from gpubench import core\ncore.Runner([], wait="busy")\ncore.OpenLoop("0")\n')
    (tmp_path / "mypy.ini").write_text(STRICT)
    command = [sys.executable, "-P", "-m", "mypy", "--cache-dir", str(tmp_path)]
    checked = subprocess.run([*command, good, bad], capture_output=True, text=True, cwd=tmp_path)
    assert "good.py" not in checked.stdout, checked.stdout
    assert "bad.py:2" in checked.stdout
    assert "bad.py:3" in checked.stdout
