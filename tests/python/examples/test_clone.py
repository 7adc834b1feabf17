"""Python in the root of a clone, whose package has no compiled core of its own."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import gpubench
from gpubench import core

USE = "import gpubench; from gpubench.core import ClosedLoop; print(gpubench.__file__)"


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A folder with a copy of the package's Python files and stubs."""
    package = Path(gpubench.__file__).parent
    compiled = shutil.ignore_patterns("*.so", "include", "lib", "__pycache__")
    shutil.copytree(package, tmp_path / "clone/gpubench", ignore=compiled)
    return tmp_path / "clone"


def python(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments], cwd=cwd, capture_output=True, text=True, timeout=120
    )


@pytest.mark.parametrize(
    "arguments", [("-c", USE), ("-m", "gpubench", "--version")], ids=["-c", "-m"]
)
def test_a_clone_uses_the_core_of_the_installed_package(
    arguments: tuple[str, ...], clone: Path
) -> None:
    done = python(*arguments, cwd=clone)
    assert done.returncode == 0, done.stderr
    if arguments[0] == "-c":
        assert Path(done.stdout.strip()).parent.parent == clone


def test_pytest_as_a_module_runs_in_a_clone(clone: Path) -> None:
    (clone / "test_it.py").write_text("def test_it():\n    from gpubench.core import Runner\n")
    done = python("-m", "pytest", "-q", "test_it.py", cwd=clone)
    assert done.returncode == 0, done.stdout


def test_a_core_of_another_version_is_one_line_with_the_fix(clone: Path) -> None:
    with (clone / "gpubench/_core/__init__.pyi").open("a") as stub:
        stub.write("\ndef added() -> None: ...\n")
    done = python("-c", USE, cwd=clone)
    assert done.returncode == 1
    last = done.stderr.splitlines()[-1]
    assert "is of another version than the Python files" in last
    assert last.endswith(f"pip install {clone}")
    asked = ["run", "--model", "synthetic", "--requests", "9"]
    done = python("-m", "gpubench", *asked, cwd=clone)
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith("gpubench: the compiled core in ")


def test_a_clone_without_an_installed_package_says_how_to_install(clone: Path) -> None:
    script = f"import sys; sys.path = [p for p in sys.path if 'site-packages' not in p]; {USE}"
    done = python("-I", "-S", "-c", f"import sys; sys.path.insert(0, '.'); {script}", cwd=clone)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].endswith("in the clone, run: pip install .")


def test_the_installed_package_has_its_own_core() -> None:
    assert Path(core.__file__).parent == Path(gpubench.__file__).parent
