"""Another CMake project finds the installed package, builds the example and runs it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sysconfig
from pathlib import Path

import pytest

from gpubench.paths import cmake_dir, include_dir

ROOT = Path(__file__).parents[3]


def _tool(name: str) -> str:
    scripts = sysconfig.get_path("scripts")
    found = shutil.which(name, path=f"{scripts}{os.pathsep}{os.environ.get('PATH', '')}")
    if found is None:
        pytest.skip(f"{name} is not installed")
    return found


def _run(*command: str | Path) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def _build_and_run(package: Path, build: Path) -> str:
    source = ROOT / "tests" / "consumer"
    cmake = _tool("cmake")
    _run(cmake, "-S", source, "-B", build, f"-Dgpubench_DIR={package}")
    _run(cmake, "--build", build)
    return _run(build / "example" / "measure_my_model")


def test_example_builds_against_the_installed_package(tmp_path: Path) -> None:
    assert (include_dir() / "gpubench" / "gpubench.hpp").is_file()
    printed = _build_and_run(cmake_dir(), tmp_path / "build")
    assert "1000 of 1000 requests completed (finished)" in printed


def test_example_builds_against_build_tree_and_install_prefix(tmp_path: Path) -> None:
    cmake = _tool("cmake")
    tree, prefix = tmp_path / "tree", tmp_path / "prefix"
    _run(cmake, "-S", ROOT, "-B", tree, "-DCMAKE_BUILD_TYPE=Debug", "-DCMAKE_INSTALL_LIBDIR=lib")
    _run(cmake, "--build", tree, "--parallel", str(os.cpu_count()))
    _run(cmake, "--install", tree, "--prefix", prefix)
    for package in (tree, prefix / "lib" / "cmake" / "gpubench"):
        printed = _build_and_run(package, tmp_path / f"with_{package.name}")
        assert "1000 of 1000 requests completed (finished)" in printed
