"""Prints what the package and the chosen extras need, so that it becomes a layer of its own.

    python dependencies.py pyproject.toml s3,gs,onnxruntime

The layer stays the same when only the code of gpubench changes. An image pushed again then sends
some megabytes instead of some gigabytes.
"""

from __future__ import annotations

import sys
import tomllib
from pathlib import Path


def dependencies(pyproject: str, extras: str) -> list[str]:
    """The requirements of the package and of `extras`, names with commas between them.

    Ends the program if there is no such extra.
    """
    project = tomllib.loads(Path(pyproject).read_text())["project"]
    known = project["optional-dependencies"]
    names = [name.strip() for name in extras.split(",") if name.strip()]
    for name in names:
        if name not in known:
            sys.exit(f"no extra {name!r} in {pyproject}; there are {', '.join(sorted(known))}")
    return [*project["dependencies"], *(each for name in names for each in known[name])]


if __name__ == "__main__":
    print("\n".join(dependencies(sys.argv[1], sys.argv[2])))
