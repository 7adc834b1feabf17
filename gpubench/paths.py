"""Where the installed C++ side of the package lies."""

from __future__ import annotations

from pathlib import Path


def _prefix() -> Path:
    # In an editable install the Python sources and the compiled files lie apart.
    import gpubench._core

    return Path(gpubench._core.__file__).parent


def include_dir() -> Path:
    """Directory of the headers: `#include <gpubench/gpubench.hpp>`."""
    return _prefix() / "include"


def cmake_dir() -> Path:
    """Directory of the CMake package, for `-Dgpubench_DIR=` or CMAKE_PREFIX_PATH."""
    return _prefix() / "lib" / "cmake" / "gpubench"
