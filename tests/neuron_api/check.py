"""Checks the code that calls torch-neuronx against its documentation.

Run it with `python tests/neuron_api/check.py`. torch-neuronx itself can be had only from AWS. The
type stubs in stubs/ were written from the pages of the AWS Neuron documentation that they name.
mypy shows that each name, argument and keyword that gpubench/engines/neuron.py uses is on these
pages. It shows nothing about the package itself, and nothing about behaviour.

The check also tests itself: mypy must find each error in mistakes.py, and it must report an error
if any name of torch_neuronx in the code is misspelt.
"""

from __future__ import annotations

import ast
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
CODE = ROOT / "gpubench" / "engines" / "neuron.py"
MODULE = "torch_neuronx"


def errors(files: list[Path], folder: Path) -> list[str]:
    """The errors that mypy finds in `files`, one line for each."""
    config = ["--config-file", str(HERE / "mypy.ini"), "--cache-dir", str(folder / "cache")]
    done = subprocess.run(
        [sys.executable, "-P", "-m", "mypy", *config, *map(str, files)],
        env=os.environ | {"MYPYPATH": str(HERE / "stubs")},
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    if done.stderr:
        sys.exit(done.stderr)
    return [line for line in done.stdout.splitlines() if ": error: " in line]


def uses(tree: ast.AST) -> Iterator[tuple[int, int, str]]:
    """(line, end of the name in this line in bytes, name) of each attribute and each keyword."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and ast.unparse(node).startswith(f"{MODULE}."):
            assert node.end_lineno is not None
            assert node.end_col_offset is not None
            yield node.end_lineno, node.end_col_offset, node.attr
        elif isinstance(node, ast.Call) and ast.unparse(node.func).startswith(f"{MODULE}."):
            for keyword in node.keywords:
                assert keyword.arg is not None
                yield keyword.lineno, keyword.col_offset + len(keyword.arg), keyword.arg


def misspelt(folder: Path) -> dict[str, Path]:
    """Copies of the code in which one name is misspelt, by what is misspelt."""
    text = CODE.read_text()
    copies = {}
    for number, (line, end, name) in enumerate(uses(ast.parse(text))):
        lines = text.splitlines(keepends=True)
        code = lines[line - 1].encode()
        lines[line - 1] = (code[:end] + b"_misspelt" + code[end:]).decode()
        copy = folder / f"copy_{number}.py"
        copy.write_text("".join(lines))
        copies[f"line {line}: {name}"] = copy
    return copies


def main() -> int:
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        wrong = errors([CODE, HERE / "mistakes.py"], folder)
        print(f"errors: {len(wrong)}", *wrong, sep="\n  ")
        copies = misspelt(folder)
        noticed = {
            Path(line.split(":")[0]).name
            for line in errors(list(copies.values()), folder)
            if "_misspelt" in line
        }
        unnoticed = [what for what, copy in copies.items() if copy.name not in noticed]
        print(
            f"names: {len(copies)}, whose misspelling goes unnoticed: {len(unnoticed)}",
            *unnoticed,
            sep="\n  ",
        )
    return 1 if wrong or unnoticed or not copies else 0


if __name__ == "__main__":
    sys.exit(main())
