"""The start of a process, from the kernel's table of it."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from gpubench.system.process_start import process_began_ns


def test_it_lies_between_two_moments_of_the_parent() -> None:
    script = "from gpubench.system.process_start import *; print(process_began_ns())"
    before_ns = time.monotonic_ns()
    told = subprocess.run([sys.executable, "-P", "-c", script], capture_output=True, check=True)
    tick_ns = 1_000_000_000 // os.sysconf("SC_CLK_TCK")
    assert before_ns - tick_ns <= int(told.stdout) <= time.monotonic_ns()


@pytest.mark.parametrize("text", ["", "1 (a) S", "1 (a b) c) S " + "x " * 40])
def test_a_kernel_that_does_not_tell_it(tmp_path: Path, text: str) -> None:
    (tmp_path / "stat").write_text(text)
    assert process_began_ns(tmp_path / "stat") is None
    assert process_began_ns(tmp_path / "absent") is None
