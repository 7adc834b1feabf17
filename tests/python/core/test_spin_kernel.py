"""Every assembler accepts the PTX of the spin kernel, for every GPU since Volta."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[3] / "csrc" / "src" / "cuda" / "spin_kernel.cpp"


def assemblers() -> list[Path]:
    """Every ptxas of this machine: those of toolkits, and that of torch's triton."""
    found = [Path(given)] if (given := shutil.which("ptxas")) else []
    given_root = Path(os.environ.get("CUDA_HOME", "/usr/local/cuda"))
    roots = [given_root, *Path("/usr/local").glob("cuda-*")]
    found += [root / "bin" / "ptxas" for root in roots]
    if (triton := importlib.util.find_spec("triton")) and triton.origin:
        found.append(Path(triton.origin).parent / "backends" / "nvidia" / "bin" / "ptxas")
    return sorted({path.resolve() for path in found if path.exists()})


def spin_ptx() -> str:
    literal = re.search(r'spin_ptx = R"\((.*?)\)"', SOURCE.read_text(), re.DOTALL)
    assert literal is not None, f"{SOURCE} has no spin_ptx"
    return literal[1]


@pytest.mark.parametrize("architecture", ["sm_70", "sm_75", "sm_80", "sm_86", "sm_90", "sm_120"])
def test_the_spin_kernel_assembles(architecture: str, tmp_path: Path) -> None:
    if not assemblers():
        pytest.skip("no ptxas on this machine: neither a CUDA toolkit nor triton")
    source = tmp_path / "spin.ptx"
    source.write_text(spin_ptx())
    unknown = []
    for ptxas in assemblers():
        command = f"--gpu-name={architecture}", "-o", str(tmp_path / "spin.cubin"), str(source)
        done = subprocess.run([str(ptxas), *command], capture_output=True, text=True)
        if f"'{architecture}' is not defined" in done.stderr:
            unknown.append(str(ptxas))
        else:
            assert done.returncode == 0, f"{ptxas}: {done.stderr}"
    if len(unknown) == len(assemblers()):
        pytest.skip(f"{architecture} is unknown to every ptxas here: {', '.join(unknown)}")


def test_the_spin_kernel_asks_for_no_newer_driver_or_gpu_than_needed() -> None:
    assert ".version 6.4\n.target sm_70\n" in spin_ptx()
