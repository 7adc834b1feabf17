"""Programs that are not Python packages and that some tests start, for example a browser."""

from __future__ import annotations

import os
import shutil

import pytest


def program(name: str, package: str) -> str:
    """The path of the program `name`. A test is skipped where the program is absent.

    `package` is the Debian package that contains it. With GPUBENCH_REQUIRE_PROGRAMS=1 the test
    fails instead, as in .ci/run.
    """
    path = shutil.which(name)
    if path:
        return path
    reason = f"the program {name} is not installed (Debian and Ubuntu: apt install {package})"
    if os.environ.get("GPUBENCH_REQUIRE_PROGRAMS") == "1":
        pytest.fail(reason)
    pytest.skip(reason)
