"""Makes the environment of the tests in this folder: `python tests/xla/environment.py FOLDER`.

torch_xla needs the torch of its own minor version, which is not that of the other tests. So FOLDER
becomes a virtual environment with the packages of requirements.txt. All other packages, gpubench
among them, are links to those of the Python that runs this script.

The torch of the package index is the one for CUDA, whose libraries take 4 GB. These tests use no
GPU. So only the library of 1 MB that can say "no GPU" is the real one (cudart). The others are
replaced by libraries of empty functions, which torch links to and never calls.

If FOLDER has these packages already, only the links are made again.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

REQUIREMENTS = Path(__file__).with_name("requirements.txt")
# What belongs to one version of torch, by the beginning of its file name.
_OF_TORCH = ("torch", "functorch", "triton", "nvidia")
_REAL = ("libcudart.",)


def main(folder: Path) -> None:
    complete = folder / "complete.txt"
    if not complete.exists() or complete.read_text() != REQUIREMENTS.read_text():
        venv.create(folder, clear=True)
        pip = [sys.executable, "-m", "pip", "--python", str(folder / "bin/python"), "install"]
        subprocess.run(
            [*pip, "--quiet", "--no-deps", "--no-compile", "-r", str(REQUIREMENTS)], check=True
        )
        _replace_libraries(_packages(folder) / "torch" / "lib")
        complete.write_text(REQUIREMENTS.read_text())
    _link_packages(_packages(folder))


def _packages(folder: Path) -> Path:
    scheme = {"base": str(folder), "platbase": str(folder)}
    return Path(sysconfig.get_path("purelib", "venv", scheme))


def _link_packages(packages: Path) -> None:
    for entry in packages.iterdir():
        if entry.is_symlink():
            entry.unlink()
    for entry in Path(sysconfig.get_path("purelib")).iterdir():
        if entry.name.startswith(_OF_TORCH) and not entry.name.startswith("nvidia_ml_py"):
            continue
        if entry.suffix != ".pth" and not (packages / entry.name).exists():
            (packages / entry.name).symlink_to(entry)


def _replace_libraries(folder: Path) -> None:
    """Write a library of empty functions for each CUDA library that torch's libraries need."""
    own = sorted(folder.glob("*.so*"))
    dynamic = "".join(_output("readelf", "--dynamic", str(library)) for library in own)
    symbols = "".join(_output("nm", "--dynamic", "--undefined-only", str(each)) for each in own)
    undefined = set(re.findall(r" U (\S+)", symbols))  # "cublasCreate_v2@libcublas.so.12"
    for name in sorted(set(re.findall(r"NEEDED.*\[(lib(?:cu|nccl|nv).*)\]", dynamic))):
        if not name.startswith(_REAL):
            _write_library(folder / name, undefined)


def _write_library(library: Path, undefined: set[str]) -> None:
    # Most of these libraries give their symbols a version, which is the library's name.
    version = "NVSHMEM" if "nvshmem" in library.name else library.name
    functions = {each.split("@")[0] for each in undefined if each.endswith(f"@{version}")}
    options = [f"-Wl,-soname,{library.name}"]
    script = library.with_suffix(".map")
    if functions:
        script.write_text(f"{version} {{ global: *; }};\n")
        options.append(f"-Wl,--version-script={script}")
    else:
        prefix = library.name.removeprefix("lib").split(".")[0].lower()
        unversioned = {each for each in undefined if "@" not in each}
        functions = {each for each in unversioned if each.lower().startswith(prefix)}
    code = "".join(f"void {function}(void) {{}}\n" for function in sorted(functions))
    compiler = [os.environ.get("CC", "cc"), "-shared", "-fPIC", "-w", "-x", "c", "-"]
    subprocess.run([*compiler, "-o", str(library), *options], input=code, text=True, check=True)
    script.unlink(missing_ok=True)


def _output(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(Path(sys.argv[1]).absolute())
