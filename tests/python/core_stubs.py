"""Writes gpubench/_core/*.pyi from the compiled module: `python tests/python/core_stubs.py`.

pybind11-stubgen reads the signatures; what pybind11 cannot say (which callables, what arrays) is
put in their place here.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from pathlib import Path

FOLDER = Path(__file__).parents[2] / "gpubench" / "_core"

_PRECISE = {
    "typing.SupportsInt | typing.SupportsIndex": "int",
    "typing.SupportsFloat | typing.SupportsIndex": "float",
    "due_ns: typing.Any": (
        "due_ns: numpy.typing.NDArray[numpy.int64] | collections.abc.Sequence[int]"
    ),
    "service_ns: typing.Any": (
        "service_ns: int | numpy.typing.NDArray[numpy.int64] | collections.abc.Sequence[int]"
    ),
    "until_ns: typing.Any": (
        "until_ns: numpy.typing.NDArray[numpy.int64] | collections.abc.Sequence[int]"
    ),
    "due_ns: typing.Any | None": (
        "due_ns: numpy.typing.NDArray[numpy.int64] | collections.abc.Sequence[int] | None"
    ),
    "service_ns: collections.abc.Sequence": (
        "service_ns: collections.abc.Sequence[\n"
        "        int | numpy.typing.NDArray[numpy.int64] | collections.abc.Sequence[int]\n    ]"
    ),
    "balancing: str": 'balancing: typing.Literal["random", "least-requests", "shared"]',
    "run: typing.Any": (
        "run: collections.abc.Callable[[numpy.typing.NDArray[numpy.int64]], object]"
    ),
    "open: typing.Any | None": "open: collections.abc.Callable[[], object] | None",
    "close: typing.Any | None": "close: collections.abc.Callable[[], object] | None",
    "wait: str": 'wait: typing.Literal["spin", "yield", "block"]',
    "PinnedBuffer = None": "PinnedBuffer | None = None",
    "Payloads = None": "Payloads | None = None",
    "tensors: collections.abc.Sequence[numpy.ndarray[typing.Any, numpy.dtype[typing.Any]]]": (
        "tensors: collections.abc.Sequence[numpy.typing.NDArray[numpy.uint8]]"
    ),
    "owner: typing.Any": "owner: object",
    "def __cuda_array_interface__(self) -> dict": (
        "def __cuda_array_interface__(self) -> dict[str, object]"
    ),
    'no-device or driver-error.\n    """': (
        'no-device or driver-error.\n    """\n'
        '    reason: typing.Literal["no-driver", "driver-too-old", "no-device", "driver-error"]'
    ),
    "def reason(self) -> str": (
        'def reason(self) -> typing.Literal["finished", "completions", "time", "timeline full", '
        '"stopped", "error", "deadline"]'
    ),
}


def generate() -> dict[str, str]:
    """The stubs of the installed gpubench._core and its submodules, by file name."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-P", "-m", "pybind11_stubgen", "gpubench._core"]
        options = ["--numpy-array-use-type-var", "--exit-code", "--output-dir", folder]
        subprocess.run([*command, *options], check=True, capture_output=True)
        written = (Path(folder) / "gpubench" / "_core").iterdir()
        return {file.name: _finished(file.read_text()) for file in written}


def _finished(text: str) -> str:
    for vague, precise in _PRECISE.items():
        text = text.replace(vague, precise)
    text = re.sub(r"\n__all__: .*\n", "\n", text)
    header = "# Written by tests/python/core_stubs.py.\n"
    command = [sys.executable, "-m", "ruff", "format", "--stdin-filename", "stub.pyi", "-"]
    formatted = subprocess.run(
        command,
        input=header + text,
        cwd=FOLDER.parents[1],  # for the project's line length
        check=True,
        capture_output=True,
        text=True,
    )
    return formatted.stdout


if __name__ == "__main__":
    for name, stub in generate().items():
        (FOLDER / name).write_text(stub)
