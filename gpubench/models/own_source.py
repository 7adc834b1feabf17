"""Checks whether a user's function exists, without importing torch and without running code."""

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
    """Why the cell's model function cannot be called, and what to change; None if it may exist."""
    return missing_function(cell.model, "--model")


def missing_function(name: str, flag: str) -> str | None:
    """Why the function `name`, which `flag` gives, cannot be called; None if it may exist."""
    source, _, function = name.rpartition(":")  # a file or a module, and its function
    if source.endswith(".py"):
        path = Path(source)
    else:
        found = source_of(source)
        if not isinstance(found, Path):
            return None if found is None else f"{flag} {name}: {found}"
        path = found
    reason = _missing_in(path, function)
    return None if reason is None else f"{flag} {name}: {reason}"


def source_of(module: str) -> Path | str | None:
    """The source file of a module, or the reason (text) why there is none, or None if unknown.

    importlib.util.find_spec imports the packages that contain a module. This function follows the
    names from folder to folder instead. It returns None if the code of a package may change the
    folders in which its modules are searched.
    """
    top, *inner = module.split(".")
    if module in sys.modules or top in sys.builtin_module_names:
        return None
    with importable(""):  # an installed command does not search the current folder
        importlib.invalidate_caches()
        try:
            found = importlib.util.find_spec(top)  # imports nothing if the name has no dots
        except (ImportError, ValueError):
            return None
    name_so_far = top
    for name in inner:
        if found is None:
            break
        package = found
        if package.origin is not None and _moves_modules(Path(package.origin)):
            return None
        folders = package.submodule_search_locations
        if folders is None:
            return (
                f"{name_so_far} is a module and not a package, so {module} is not in it; give "
                "another module"
            )
        name_so_far = f"{name_so_far}.{name}"
        found = importlib.machinery.PathFinder.find_spec(name_so_far, list(folders))
    if found is None:
        return (
            f"there is no module {name_so_far}; run gpubench in the folder of the module, install "
            "it, or give FILE.py:function"
        )
    return Path(found.origin) if found.origin and found.origin.endswith(".py") else None


def _moves_modules(package: Path) -> bool:
    try:
        code = package.read_bytes()
    except OSError:
        return True
    return package.suffix != ".py" or b"__path__" in code or b"sys.modules" in code


# The folders that `importable` has appended to sys.path.
_appended: set[str] = set()


@contextmanager
def importable(folder: str) -> Iterator[None]:
    """Make the modules in `folder` importable. They never hide modules of the standard library.

    Inside the block they come before installed packages, as in a script that Python runs in this
    folder. After the block the folder is the last one that is searched: a file called onnx.py then
    does not hide the package onnx.
    """
    if folder in sys.path and folder not in _appended:
        yield  # the user has added the folder; its position stays
        return
    if folder in sys.path:
        sys.path.remove(folder)
    installed = (
        number
        for number, path in enumerate(sys.path)
        if path.endswith(("site-packages", "dist-packages"))
    )
    sys.path.insert(next(installed, len(sys.path)), folder)
    try:
        yield
    finally:
        with suppress(ValueError):  # the user's code may have changed it
            sys.path.remove(folder)
        sys.path.append(folder)
        _appended.add(folder)


def _missing_in(path: Path, function: str) -> str | None:
    """Why `function` is not in a file; None if it is there, or may come from an import."""
    try:
        tree = ast.parse(path.read_bytes(), str(path))
    except OSError as error:
        return f"{path} cannot be read: {error.strerror}; give another file"
    except (SyntaxError, ValueError) as error:
        line = getattr(error, "lineno", None)
        return f"{path} is not valid Python ({error.args[0]}, line {line}); correct it"
    names = list(_names(tree.body))
    if function in names or "*" in names or "__getattr__" in names:
        return None
    functions = [name for name in names if not name.startswith("_")]
    hint = nearest(function, functions) if functions else "write one"
    return f"{path} has no function {function}; {hint}"


def _names(body: list[ast.stmt]) -> Iterator[str]:
    """The names that the statements of a module may define, also inside conditions."""
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
                        # globals()["name"] = ... may define any name
                        called = node.func if isinstance(node, ast.Call) else node.value
                        if isinstance(called, ast.Name) and called.id in {
                            "globals",
                            "setattr",
                            "exec",
                        }:
                            yield "*"
