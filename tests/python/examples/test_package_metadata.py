"""What the package says about itself, and what it ships beside its Python files."""

from __future__ import annotations

import re
import tomllib
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

import pytest

ROOT = next(folder for folder in Path(__file__).parents if (folder / "pyproject.toml").is_file())


@pytest.fixture(scope="module")
def pyproject() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


def test_the_installed_package_has_its_license_its_readme_and_its_types() -> None:
    installed = distribution("gpubench-inference")
    assert installed.metadata["License-Expression"] == "Apache-2.0"
    assert installed.metadata["Description-Content-Type"] == "text/markdown"
    readme = installed.metadata.json["description"]
    assert str(readme).startswith("# gpubench\n")
    names = {str(file) for file in installed.files or ()}
    assert "gpubench/py.typed" in names
    assert {"gpubench/_core/__init__.pyi", "gpubench/pricing/catalog.csv"} <= names
    [license_file] = [name for name in names if name.endswith("/licenses/LICENSE")]
    assert Path(str(installed.locate_file(license_file))).read_text() == (
        (ROOT / "LICENSE").read_text()
    )


def test_wheels_are_built_for_every_python_version_that_is_supported(
    pyproject: dict[str, Any],
) -> None:
    project = pyproject["project"]
    bounds = re.fullmatch(r">=3\.(\d+),<3\.(\d+)", project["requires-python"])
    assert bounds is not None
    supported = [str(minor) for minor in range(int(bounds[1]), int(bounds[2]))]
    told = re.findall(r"Python :: 3\.(\d+)$", "\n".join(project["classifiers"]), re.MULTILINE)
    assert told == supported
    wheels = pyproject["tool"]["cibuildwheel"]["build"]
    assert wheels == [f"cp3{minor}-manylinux_x86_64" for minor in supported]
