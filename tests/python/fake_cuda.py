"""Tests on a simulated GPU: the fake driver of tests/cpp, compiled once, in processes of their own.

The core loads its driver once per process, so a test that wants the fake one runs as a scenario: a
function of its module that a new Python calls, with the environment that chooses the driver.
"""

from __future__ import annotations

import atexit
import ctypes
import functools
import inspect
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
_DRIVER_VARIABLE = "GPUBENCH_TEST_CUDA_DRIVER"
_SETTINGS_VARIABLE = "GPUBENCH_FAKE_CUDA"

Scenario = Callable[[], None]


@functools.cache
def driver_library() -> Path:
    """libgpubench_fake_cuda.so, compiled for this test session."""
    folder = Path(tempfile.mkdtemp(prefix="gpubench_fake_cuda"))
    atexit.register(shutil.rmtree, folder)
    library = folder / "libgpubench_fake_cuda.so"
    compiler = os.environ.get("CXX", "c++")
    flags = ["-O1", "-std=c++17", "-shared", "-fPIC", f"-Wl,-soname,{library.name}"]
    includes = [f"-I{ROOT / 'csrc' / 'include'}", f"-I{ROOT / 'csrc' / 'src'}"]
    source = ROOT / "tests" / "cpp" / "fake_cuda_driver.cpp"
    subprocess.run([compiler, *flags, *includes, source, "-o", library], check=True)
    return library


def environment(**settings: int) -> dict[str, str]:
    """The variables of a process that is to find a simulated GPU; settings as in its header."""
    chosen = ",".join(f"{name}={value}" for name, value in settings.items())
    return os.environ | {_DRIVER_VARIABLE: str(driver_library()), _SETTINGS_VARIABLE: chosen}


def on_fake(**settings: int) -> Callable[[Scenario], Scenario]:
    """Run a test of its module in a process with a simulated GPU."""

    def decorate(scenario: Scenario) -> Scenario:
        module, name = scenario.__module__, scenario.__name__
        folders = os.pathsep.join([str(Path(inspect.getfile(scenario)).parent), str(HERE)])

        def test() -> None:
            code = f"import {module}; {module}.{name}.scenario()"
            done = subprocess.run(
                [sys.executable, "-P", "-c", code],
                env=environment(**settings) | {"PYTHONPATH": folders},
                capture_output=True,
                text=True,
                timeout=120,
            )
            assert done.returncode == 0, done.stdout + done.stderr

        test.__name__, test.__doc__ = name, scenario.__doc__
        test.scenario = scenario  # type: ignore[attr-defined]
        return test

    return decorate


class Controls:
    """The fake driver that this process has loaded."""

    def __init__(self) -> None:
        self._library = ctypes.CDLL(os.environ[_DRIVER_VARIABLE])
        self._library.fake_cuda_get.restype = ctypes.c_longlong
        self._library.fake_cuda_copy_graph.restype = ctypes.c_void_p

    def __getitem__(self, name: str) -> int:
        value = int(self._library.fake_cuda_get(name.encode()))
        assert value >= 0, name
        return value

    def __setitem__(self, name: str, value: int) -> None:
        assert self._library.fake_cuda_set(name.encode(), ctypes.c_longlong(value)), name

    def copy_graph(self, to: int, source: int, size: int, duration_ns: int) -> int:
        """An executable graph that copies `size` bytes on the device."""
        handle = self._library.fake_cuda_copy_graph(
            ctypes.c_ulonglong(to),
            ctypes.c_ulonglong(source),
            ctypes.c_size_t(size),
            ctypes.c_longlong(duration_ns),
        )
        assert handle
        return int(handle)

    def destroy_graph(self, handle: int) -> None:
        self._library.cuGraphExecDestroy(ctypes.c_void_p(handle))
