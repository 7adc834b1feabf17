"""The peak of the resident memory of this process."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from gpubench.system.process_memory import ResidentPeak

MIB = 1 << 20


def a_process(folder: Path, status: str) -> Path:
    (folder / "clear_refs").touch()
    (folder / "status").write_text(status)
    return folder


def test_the_peak_is_in_bytes(tmp_path: Path) -> None:
    status = "Name:\tpython3\nVmPeak:\t  900000 kB\nVmHWM:\t  320808 kB\nVmRSS:\t  13604 kB\n"
    process = a_process(tmp_path, status)
    peak = ResidentPeak(process)
    assert (process / "clear_refs").read_text() == "5"
    assert peak.unknown is None
    assert peak.bytes() == 320808 * 1024


def test_a_kernel_that_does_not_report_the_peak_is_named(tmp_path: Path) -> None:
    peak = ResidentPeak(a_process(tmp_path, "Name:\tpython3\n"))
    assert peak.bytes() is None
    assert peak.unknown == "the kernel does not report the peak"


def test_without_a_reset_the_peak_of_earlier_cells_is_not_reported(tmp_path: Path) -> None:
    (tmp_path / "status").write_text("VmHWM:\t  320808 kB\n")
    (tmp_path / "clear_refs").mkdir()  # cannot be written
    peak = ResidentPeak(tmp_path)
    assert peak.bytes() is None
    assert (peak.unknown or "").startswith("the kernel does not reset the peak (")


# This runs in its own process. The process of the tests is large, and something else in it may free
# memory meanwhile.
PEAKS = """
import json
from gpubench.system.process_memory import ResidentPeak

first = ResidentPeak()
before = first.bytes()
block = b"x" * (128 << 20)
del block
print(json.dumps([first.unknown, before, first.bytes(), ResidentPeak().bytes()]))
"""


def test_the_peak_of_this_process_holds_what_was_freed_and_begins_anew() -> None:
    done = subprocess.run([sys.executable, "-P", "-c", PEAKS], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    unknown, before, during, after = json.loads(done.stdout)
    if unknown:
        pytest.skip(unknown)
    assert during >= before + 120 * MIB
    assert after <= during - 100 * MIB
