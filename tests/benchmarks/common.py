"""Code of several benchmarks: the bare loops, which are compiled here, a table, and parts."""

from __future__ import annotations

import ctypes
import os
import subprocess
import tempfile
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from gpubench.paths import cmake_dir, include_dir


class BareLoops:
    """The loops of bare_loops.cpp, called without the GIL."""

    def __init__(self) -> None:
        source = Path(__file__).with_name("bare_loops.cpp")
        library = cmake_dir().parents[1] / "libgpubench_core.a"
        with tempfile.TemporaryDirectory() as folder:
            shared = Path(folder) / "bare_loops.so"
            compiler = os.environ.get("CXX", "c++")
            flags = ["-O3", "-DNDEBUG", "-std=c++17", "-shared", "-fPIC", f"-I{include_dir()}"]
            subprocess.run([compiler, *flags, source, library, "-o", shared], check=True)
            self._library = ctypes.CDLL(str(shared))
        self._library.bare_throughput.restype = ctypes.c_double
        self._library.bare_throughput.argtypes = [ctypes.c_size_t]
        pointer = np.ctypeslib.ndpointer(np.int64, flags="C_CONTIGUOUS")
        self._library.bare_lag.restype = None
        self._library.bare_lag.argtypes = [pointer, ctypes.c_size_t, ctypes.c_int64, pointer]

    def throughput(self, requests: int) -> float:
        """Requests per second."""
        return float(self._library.bare_throughput(requests))

    def lag_ns(self, due_ns: NDArray[np.int64], spin_ns: int) -> NDArray[np.int64]:
        lag = np.empty_like(due_ns)
        self._library.bare_lag(due_ns, len(due_ns), spin_ns, lag)
        return lag


def print_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    table = Table(title=title, title_justify="left")
    for i, column in enumerate(columns):
        table.add_column(column, justify="left" if i == 0 else "right")
    for row in rows:
        table.add_row(*row)
    Console(width=130).print(table)


def all_parts(parts: Mapping[str, Callable[[], None]], save: Callable[[], None]) -> int:
    """Call all parts, and `save` after each. If a part fails, the others are called all the same.

    Returns the exit status: 1 if any part failed. The failures are printed again at the end.
    """
    failed: dict[str, Exception] = {}
    for name, part in parts.items():
        try:
            part()
        except Exception as error:
            traceback.print_exc()
            failed[name] = error
        save()
    for name, failure in failed.items():
        print(f"failed: {name}: {type(failure).__name__}: {str(failure).strip()[:300]}")
    return 1 if failed else 0
