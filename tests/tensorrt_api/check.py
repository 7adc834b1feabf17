"""Holds the code that calls TensorRT against its Python API: `python tests/tensorrt_api/check.py`.

For tensorrt 10, tensorrt 11 and tensorrt_rtx: fetches the bindings alone (pip, a few MB each),
makes stand-ins for the libraries they load, writes type stubs from the real signatures, and runs
mypy over gpubench/engines/tensorrt/*.py with them. So every class, attribute, argument and keyword
that the code uses is known to exist in each library. It proves nothing about behaviour, and needs
neither a GPU nor the libraries.

How that code must be written to be checked:

- `if TYPE_CHECKING: import tensorrt as trt` for annotations, and the same with `else: trt =
  importlib.import_module(...)` in a function that needs the module. A class may keep it as
  `self._trt`; through any other object, or returned by a function, mypy loses sight of it.
- What one library alone has is reached by `if is_rtx:` (or `self.is_rtx`), a bool of that name that
  mypy is told. Of a conditional expression (`a if is_rtx else b`) it checks both sides.
- No `Any`.

That nothing escapes is checked as well: mypy must find each error in mistakes.py, and each of
TensorRT's names in the code must be missed when it is misspelt.
"""

from __future__ import annotations

import argparse
import ast
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import stubs
from stubs import Library

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
CODE = sorted((ROOT / "gpubench" / "engines" / "tensorrt").glob("*.py"))
MISTAKES = HERE / "mistakes.py"

# Names that other objects here have too, so that a misspelt one need not be TensorRT's.
_NOT_ONLY_TENSORRTS = {
    "__init__",
    "__version__",
    "axis",
    "dims",
    "dtype",
    "engine",
    "file",
    "name",
    "precision",
    "shape",
}


def errors(library: Library, stub: Path, files: list[Path]) -> list[str]:
    """What mypy finds in `files`, a line each."""
    options: list[str] = []
    for name in ("is_rtx", "is_tensorrt_10"):
        options += ["--always-true" if name in library.true else "--always-false", name]
    config = ["--config-file", str(HERE / "mypy.ini"), "--cache-dir", str(stub / ".mypy_cache")]
    command = [sys.executable, "-m", "mypy", *config, *options, *map(str, files)]
    environment = os.environ | {"MYPYPATH": str(stub)}
    done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True)
    if done.stderr:
        sys.exit(done.stderr)
    return [line for line in done.stdout.splitlines() if ": error: " in line]


def misspelt(code: list[Path], names: set[str]) -> Iterator[tuple[str, str]]:
    """(where and what, the file's text with it) for each use of a name of TensorRT's."""
    for file in code:
        lines = file.read_text().splitlines(keepends=True)
        for node in ast.walk(ast.parse("".join(lines))):
            if not isinstance(node, ast.Attribute) or node.attr not in names:
                continue
            owner = ast.unparse(node.value)
            if owner == "torch" or (owner == "self" and isinstance(node.ctx, ast.Store)):
                continue  # torch.float32; an attribute of ours
            assert node.end_lineno is not None
            number, end = node.end_lineno - 1, node.end_col_offset
            line = lines[number].encode()
            wrong = (line[:end] + b"_misspelt" + line[end:]).decode()
            text = "".join([*lines[:number], wrong, *lines[number + 1 :]])
            yield f"{file.name}:{node.end_lineno}: {node.attr}", text


def unnoticed(made: dict[Library, Path], code: list[Path], folder: Path) -> list[str]:
    """Names of TensorRT's in the code that could be misspelt without any error."""
    names: set[str] = set()
    for stub in made.values():
        for node in ast.walk(ast.parse((stub / "tensorrt.pyi").read_text())):
            if isinstance(node, ast.ClassDef | ast.FunctionDef):
                names.add(node.name)
            elif isinstance(node, ast.AnnAssign):
                names.add(ast.unparse(node.target))
    copies: dict[Path, str] = {}  # and what is misspelt in it
    for number, (what, text) in enumerate(misspelt(code, names - _NOT_ONLY_TENSORRTS)):
        copy = folder / f"copy_{number}.py"
        copy.write_text(text)
        copies[copy] = what
    found = {
        Path(line.split(":")[0]).name
        for library, stub in made.items()
        for line in errors(library, stub, [*code, *copies])
        if "_misspelt" in line
    }
    return [what for copy, what in copies.items() if copy.name not in found]


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--folder", type=Path, help="keep bindings and stubs here, for next time")
    parser.add_argument("code", nargs="*", type=Path, default=CODE)
    asked = parser.parse_args()
    code = [file.resolve() for file in asked.code]
    wrong: list[str] = []
    with tempfile.TemporaryDirectory() as temporary:
        folder = (asked.folder or Path(temporary)).resolve()
        made: dict[Library, Path] = {}
        for library in stubs.LIBRARIES:
            made[library] = stubs.make(library, folder)
            found = errors(library, made[library], [*code, MISTAKES])
            print(f"{library.requirement}: {len(found)} errors", *found, sep="\n  ")
            wrong += found
        not_checked = unnoticed(made, code, Path(temporary))
        print(
            f"names whose misspelling goes unnoticed: {len(not_checked)}", *not_checked, sep="\n  "
        )
    return 1 if wrong or not_checked else 0


if __name__ == "__main__":
    sys.exit(main())
