"""The name of a class or of a type means one thing in the whole package."""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import gpubench


def defined_types(module: ast.Module) -> Iterator[str]:
    """The public classes of a module, and its aliases of types (`Interval = tuple[float, float]`).

    A name that begins with an underscore means something only inside its file.
    """
    for node in module.body:
        if isinstance(node, ast.ClassDef):
            names = [node.name]
        elif isinstance(node, ast.Assign):
            names = [target.id for target in node.targets if isinstance(target, ast.Name)]
        else:
            continue
        yield from (name for name in names if name[0].isupper() and not name.isupper())


def places(folder: Path) -> dict[str, list[str]]:
    """For each name the files that define it. The stubs stand for the compiled core."""
    found = defaultdict(list)
    for file in sorted([*folder.rglob("*.py"), *folder.rglob("*.pyi")]):
        for name in defined_types(ast.parse(file.read_text())):
            found[name].append(str(file.relative_to(folder)))
    return found


def test_no_type_name_is_defined_twice() -> None:
    found = places(Path(gpubench.__file__).parent)
    assert {name: files for name, files in found.items() if len(files) > 1} == {}


def test_a_name_with_two_meanings_is_found(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("class Clock: ...\nclass _Own: ...\nLIMIT = 1\n")
    (tmp_path / "b.pyi").write_text("Clock = float\nclass _Own: ...\nLIMIT = 2\n")
    assert places(tmp_path) == {"Clock": ["a.py", "b.pyi"]}
