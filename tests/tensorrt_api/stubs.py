"""Makes type stubs of TensorRT's Python API from its real bindings, without its libraries."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Library:
    name: str
    requirement: str  # the pip requirement of its bindings
    module: str  # the compiled module
    true: tuple[str, ...]  # which of is_rtx and is_tensorrt_10 are true


_RTX = next(
    line
    for line in Path(__file__).with_name("tensorrt_rtx.txt").read_text().splitlines()
    if "-bindings==" in line
)
_TENSORRT = "tensorrt_bindings.tensorrt"
LIBRARIES = [
    Library("tensorrt-10", "tensorrt-cu13-bindings==10.16.1.11", _TENSORRT, ("is_tensorrt_10",)),
    Library("tensorrt-11", "tensorrt-cu13-bindings==11.4.0.106", _TENSORRT, ()),
    Library("tensorrt-rtx", _RTX, "tensorrt_rtx_bindings.tensorrt_rtx", ("is_rtx",)),
]

# The symbols of TensorRT's libraries that the bindings need when they are imported.
_SYMBOLS = [
    "createInferBuilder_INTERNAL",
    "createInferRefitter_INTERNAL",
    "createInferRuntime_INTERNAL",
    "createNvOnnxParser_INTERNAL",
    "createNvOnnxParserRefitter_INTERNAL",
    "getBuilderPluginRegistry",
    "getNvOnnxParserVersion",
    "getPluginRegistry",
    "initLibNvInferPlugins",
]

# Replacements in the output of pybind11-stubgen, in this order.
_PRECISE = {
    # C++ types that are used in a signature before they are bound.
    r"\bnvinfer1::IBuilder\b": "Builder",
    r"\bnvinfer1::(?:v_\d_\d::)?(\w+)": r"\1",
    r"\bnvonnxparser::I?(\w+)": r"\1",
    r"detail::accessor<.*>": "IPluginRegistry",
    r"= <[\w.]+: \d+>": "= ...",
    # Parameters that are not valid in Python.
    r"\bin: ": "in_: ",
    r"(: Weights) = None, (?=.*\bchannel_axis: typing.SupportsInt\))": r"\1, ",
    # The module defines another `bool`, a DataType.
    r"\n__all__: .*\n": "\nimport builtins\n",
    r"(?<=: |> |\| |, |.\[)bool\b": "builtins.bool",
    # pybind11 does not accept a float for an int.
    r"\btyping.SupportsInt\b": "typing.SupportsIndex",
    # "The TensorRT API can implicitly convert Python iterables to Dims objects, so tuple or list
    # can be used in place of this class", which behaves like a tuple (docstring of Dims).
    r"^    (\w+): Dims$": (
        r"    @property\n    def \1(self) -> Dims: ...\n"
        r"    @\1.setter\n    def \1(self, value: Dims) -> None: ..."
    ),
    r"(?<=\w: )Dims(?=[,)])": "Dims | collections.abc.Sequence[int]",
    r"^class Dims:$": r"\g<0>\n    def __iter__(self) -> collections.abc.Iterator[int]: ...",
    # "This class exposes a buffer interface" (docstring of IHostMemory).
    r"^class IHostMemory:$": r"\g<0>\n    def __buffer__(self, flags: int, /) -> memoryview: ...",
    # The return values on failure.
    r"(def (?:build_serialized_network|deserialize_cuda_engine|create_execution_context)"
    r"\(.*\) -> \w+):": r"\1 | None:",
}


def make(library: Library, folder: Path) -> Path:
    """The folder of the library's stubs, inside `folder`. Existing bindings are used again."""
    bindings = folder / library.requirement
    if not bindings.exists():
        _fetch(library, bindings)
    _make_stand_ins(library, bindings)
    stubs = folder / f"{library.name}-stubs"
    stubs.mkdir(exist_ok=True)
    (stubs / "tensorrt.pyi").write_text(_stub(library, bindings))
    return stubs


def _fetch(library: Library, folder: Path) -> None:
    pip = [sys.executable, "-m", "pip", "install", "-qq", "--no-deps", "--target", str(folder)]
    if subprocess.run([*pip, library.requirement]).returncode:
        sys.exit(f"check.py: pip cannot fetch {library.requirement} (its reason is above)")


def _make_stand_ins(library: Library, folder: Path) -> None:
    """Write libraries of empty functions beside the bindings, which search that folder first."""
    compiled = folder / (library.module.replace(".", "/") + ".so")
    dynamic = _output(["readelf", "--dynamic", str(compiled)])
    for needed in re.findall(r"NEEDED.*\[(lib(?:nv|tensorrt).*)\]", dynamic):
        code = "\n".join(
            f'extern "C" void* {symbol}() {{ return nullptr; }}' for symbol in _SYMBOLS
        )
        target = ["-o", str(compiled.parent / needed), f"-Wl,-soname,{needed}"]
        compiler = [os.environ.get("CXX", "c++"), "-shared", "-fPIC", "-x", "c++", "-"]
        subprocess.run([*compiler, *target], input=code, text=True, check=True)


def _stub(library: Library, bindings: Path) -> str:
    """The stub of the library, in which its name is `tensorrt`."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-P", "-m", "pybind11_stubgen", library.module]
        options = ["--print-invalid-expressions-as-is", "--output-dir", folder]
        _output([*command, *options], PYTHONPATH=str(bindings))
        text = (Path(folder) / (library.module.replace(".", "/") + ".pyi")).read_text()
    text = text.replace(f"{library.module}.", "")
    for vague, precise in _PRECISE.items():
        text = re.sub(vague, precise, text, flags=re.MULTILINE)
    return f"{text}__version__: str\n"  # the package has it, the compiled module does not


def _output(command: list[str], **environment: str) -> str:
    done = subprocess.run(command, env=os.environ | environment, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"check.py: {' '.join(command)}\n{done.stdout}{done.stderr}")
    return done.stdout
