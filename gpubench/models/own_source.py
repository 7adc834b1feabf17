"""Whether a user's function is there, told without loading torch and without running it."""

from __future__ import annotations

import ast
import importlib.machinery
import importlib.util
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from gpubench.errors import nearest

if TYPE_CHECKING:
    from gpubench.spec.cell import Cell


def refusal(cell: Cell) -> str | None:
    """Why the cell's function cannot be called, and what to change; None where it may be."""
    place, _, function = cell.model.rpartition(":")
    if place.endswith(".py"):
        path = Path(place)
    else:
        found = source_of(place)
        if not isinstance(found, Path):
            return None if found is None else f"--model {cell.model}: {found}"
        path = found
    reason = _missing_in(path, function)
    return None if reason is None else f"--model {cell.model}: {reason}"


def source_of(module: str) -> Path | str | None:
    """The file of a module's source; why there is none, as text; None where it cannot be told.

    importlib.util.find_spec imports the packages around a module. This follows the names from
    folder to folder instead. It gives up with None where the code of a package may change where
    its modules are looked for.
    """
    top, *inner = module.split(".")
    if module in sys.modules or top in sys.builtin_module_names:
        return None
    with importable(""):  # an installed command does not look in the current folder
        importlib.invalidate_caches()
        try:
            found = importlib.util.find_spec(top)  # of a name without dots it imports nothing
        except (ImportError, ValueError):
            return None
    whole = top
    for name in inner:
        if found is None:
            break
        package = found
        if package.origin is not None and _moves_modules(Path(package.origin)):
            return None
        folders = package.submodule_search_locations
        if folders is None:
            return f"{whole} is a module and not a package, so {module} is not in it; name another"
        whole = f"{whole}.{name}"
        found = importlib.machinery.PathFinder.find_spec(whole, list(folders))
    if found is None:
        return (
            f"there is no module {whole}; run gpubench where it can be imported, or give "
            "FILE.py:function"
        )
    return Path(found.origin) if found.origin and found.origin.endswith(".py") else None


def _moves_modules(package: Path) -> bool:
    try:
        code = package.read_bytes()
    except OSError:
        return True
    return package.suffix != ".py" or b"__path__" in code or b"sys.modules" in code


# What `importable` has left at the end of sys.path.
_left: set[str] = set()


@contextmanager
def importable(folder: str) -> Iterator[None]:
    """Modules in `folder` can be imported; they never take the place of the standard library's.

    Meanwhile they come before installed packages, as when Python runs a script there. Afterwards
    they come last, for what is imported later, so that a file called onnx.py does not take the
    place of the package.
    """
    if folder in sys.path and folder not in _left:
        yield  # where the user has put it
        return
    if folder in sys.path:
        sys.path.remove(folder)
    installed = (
        place
        for place, path in enumerate(sys.path)
        if path.endswith(("site-packages", "dist-packages"))
    )
    sys.path.insert(next(installed, len(sys.path)), folder)
    try:
        yield
    finally:
        with suppress(ValueError):  # the user's code may have changed it
            sys.path.remove(folder)
        sys.path.append(folder)
        _left.add(folder)


def _missing_in(path: Path, function: str) -> str | None:
    """Why `function` is not in a file; None where it is, or may come from an import."""
    try:
        tree = ast.parse(path.read_bytes(), str(path))
    except OSError as error:
        return f"{path} cannot be read: {error.strerror}; give another file"
    except (SyntaxError, ValueError) as error:
        line = getattr(error, "lineno", None)
        return f"{path} is not valid Python ({error.args[0]}, line {line}); mend it"
    names = list(_names(tree.body))
    if function in names or "*" in names or "__getattr__" in names:
        return None
    functions = [name for name in names if not name.startswith("_")]
    hint = nearest(function, functions) if functions else "write one"
    return f"{path} has no function {function}; {hint}"


def _names(body: list[ast.stmt]) -> Iterator[str]:
    """The names that a module's statements may define, at any depth of its conditions."""
    for statement in body:
        match statement:
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
                yield statement.name
            case ast.Import() | ast.ImportFrom():
                for alias in statement.names:
                    yield alias.asname or alias.name.partition(".")[0]
            case _:
                for node in ast.walk(statement):
                    if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                        yield node.id
                    elif isinstance(node, (ast.FunctionDef, ast.ClassDef)):
                        yield node.name
                    elif isinstance(node, (ast.Import, ast.ImportFrom)):
                        yield from _names([node])
                    elif isinstance(node, ast.Call | ast.Subscript):
                        # globals()["name"] = ...: cannot be told
                        called = node.func if isinstance(node, ast.Call) else node.value
                        if isinstance(called, ast.Name) and called.id in {
                            "globals",
                            "setattr",
                            "exec",
                        }:
                            yield "*"
