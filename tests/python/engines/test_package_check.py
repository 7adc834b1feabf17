"""Tests of the check of compiled packages in a child process."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from small_models import SMALL, small_cell

from gpubench.engines import inductor, package_check
from gpubench.engines.base import build
from gpubench.engines.package_check import reason_not_loadable
from gpubench.errors import GpubenchError


@pytest.fixture
def compiles_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The compiler writes a file that is no package."""

    def write(program: object, *, package_path: str, inductor_configs: object) -> None:
        Path(package_path).write_bytes(b"no package")

    monkeypatch.setattr(torch._inductor, "aoti_compile_and_package", write)


def test_a_package_that_ends_the_process_is_named_with_the_signal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(package_check, "_LOAD", "import os; os.kill(os.getpid(), 11)")
    assert reason_not_loadable(tmp_path / "x.pt2", -1) == "loading it ends the process with SIGSEGV"


def test_the_reason_is_the_last_line_of_the_childs_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(package_check, "_LOAD", "raise RuntimeError('std::bad_cast')")
    assert "std::bad_cast" in (reason_not_loadable(tmp_path / "x.pt2", -1) or "")


def test_the_child_gets_the_package_and_the_device(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(package_check, "_LOAD", "import sys; assert sys.argv[1:] == ['a b', '3']")
    assert reason_not_loadable(Path("a b"), 3) is None


@pytest.mark.usefixtures("compiles_at_once")
def test_a_package_that_cannot_be_loaded_is_an_error_that_names_the_compiler(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GPUBENCH_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr(inductor, "compiler", lambda: "/opt/gcc/bin/g++")
    with pytest.raises(GpubenchError) as refused:
        build(SMALL["bert"](), small_cell("bert", "aotinductor"))
    message = str(refused.value)
    assert "the package that /opt/gcc/bin/g++ compiled cannot be loaded" in message
    assert "not a ZIP archive); set CXX to another C++ compiler" in message
    assert "\n" not in message
    assert list(tmp_path.rglob("*.pt2")) == []  # it is not kept
