"""examples/containers: what can be checked without building an image.

tests/containers/build.sh builds and runs them; it takes too long for these tests.
"""

from __future__ import annotations

import itertools
import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import time
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = next(folder for folder in Path(__file__).parents if (folder / "pyproject.toml").is_file())
FOLDER = ROOT / "examples/containers"
IMAGES = ("cpu", "cuda")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
EXTRAS = PROJECT["project"]["optional-dependencies"]


def instructions(name: str) -> list[tuple[str, str]]:
    """(instruction, its arguments) of a Dockerfile, without comments and line ends."""
    text = re.sub(r"^\s*#.*\n", "", (FOLDER / f"{name}.Dockerfile").read_text(), flags=re.M)
    lines = text.replace("\\\n", " ").splitlines()
    return [(line.split(None, 1)[0], " ".join(line.split()[1:])) for line in lines if line.strip()]


def final_stage(name: str) -> list[tuple[str, str]]:
    found = instructions(name)
    last = max(index for index, (instruction, _) in enumerate(found) if instruction == "FROM")
    return found[last:]


def argument(name: str, which: str) -> str:
    """The default of an argument of the build."""
    (value,) = (
        value.partition("=")[2].strip('"')
        for instruction, value in instructions(name)
        if instruction == "ARG" and value.startswith(f"{which}=")
    )
    return value


def one_of(name: str, instruction: str) -> str:
    (found,) = (value for each, value in final_stage(name) if each == instruction)
    return found


def pinned() -> dict[str, str]:
    """The versions of constraints.txt, by package."""
    lines = (FOLDER / "constraints.txt").read_text().splitlines()
    pairs = [line.split("==") for line in lines if line and not line.startswith("#")]
    versions: dict[str, str] = {canonicalize_name(name): version for name, version in pairs}
    assert len(versions) == len(pairs)
    return versions


def needed(requirements: list[str]) -> list[Requirement]:
    """The requirements, with those of the package's own extras in place of their names."""
    found = []
    for requirement in map(Requirement, requirements):
        if requirement.name == PROJECT["project"]["name"]:
            for extra in requirement.extras:
                found += needed(EXTRAS[extra])
        else:
            found.append(requirement)
    return found


def test_hadolint_finds_nothing() -> None:
    """Each rule that a file ignores has its reason in a comment above it."""
    places = (sysconfig.get_path("scripts"), os.environ["PATH"])
    hadolint = shutil.which("hadolint", path=os.pathsep.join(places))
    assert hadolint, "it comes with the extra `test`"
    files = sorted((ROOT / "examples").rglob("*Dockerfile"))
    assert len(files) >= 3
    for file in files:
        found = subprocess.run([hadolint, file], capture_output=True, text=True)
        assert (found.returncode, found.stdout) == (0, ""), found.stdout + found.stderr
        lines = file.read_text().splitlines()
        for above, line in itertools.pairwise(lines):
            assert "hadolint ignore" not in line or above.startswith("# "), line


@pytest.mark.parametrize("name", IMAGES)
def test_the_base_is_pinned_by_digest_and_serves_both_stages(name: str) -> None:
    assert re.fullmatch(r"\S+:[\w.-]+@sha256:[0-9a-f]{64}", argument(name, "BASE"))
    stages = [value for instruction, value in instructions(name) if instruction == "FROM"]
    assert stages == ["${BASE} AS wheel", "${BASE}"]


def test_both_images_run_in_the_same_way() -> None:
    same = ("COPY", "ENTRYPOINT", "CMD", "ENV", "HEALTHCHECK", "STOPSIGNAL", "USER", "WORKDIR")
    cpu, cuda = ([each for each in final_stage(name) if each[0] in same] for name in IMAGES)
    assert cpu == cuda


@pytest.mark.parametrize("name", IMAGES)
def test_the_process_is_gpubench_itself_and_has_no_privileges(name: str) -> None:
    assert json.loads(one_of(name, "ENTRYPOINT")) == ["gpubench"]  # no shell takes its signals
    user, group = one_of(name, "USER").split(":")
    assert int(user) > 0 < int(group)  # numbers: Kubernetes cannot check a name
    made = " ".join(value for each, value in final_stage(name) if each == "RUN")
    assert f"--uid {user} " in made


@pytest.mark.parametrize("name", IMAGES)
def test_no_compiler_is_in_the_final_stage_unless_it_is_asked_for(name: str) -> None:
    assert argument(name, "PACKAGES") == ""
    installed = [value for each, value in final_stage(name) if each == "RUN" and "apt-get" in value]
    assert len(installed) == 1
    words = set(installed[0].split())
    assert "${PACKAGES}" in words
    assert words.isdisjoint({"g++", "gcc", "build-essential", "python3-dev"})


@pytest.mark.parametrize("name", IMAGES)
def test_what_is_copied_exists_and_reaches_the_builder(name: str) -> None:
    sent = [
        line.removeprefix("!")
        for line in (ROOT / ".dockerignore").read_text().splitlines()
        if line.startswith("!")
    ]
    copied = [
        source
        for instruction, value in instructions(name)
        if instruction == "COPY" and not value.startswith("--from")
        for source in value.split()[:-1]
    ]
    assert {"csrc", "gpubench", "pyproject.toml"} <= set(copied)
    for source in copied:
        assert (ROOT / source).exists()
        assert any(Path(source).is_relative_to(each) for each in sent), source


@pytest.mark.parametrize("name", IMAGES)
def test_every_package_has_a_version_that_the_project_allows(name: str) -> None:
    extras = argument(name, "EXTRAS").split(",")
    requirements = [*PROJECT["build-system"]["requires"], *PROJECT["project"]["dependencies"]]
    requirements += [each for extra in extras for each in EXTRAS[extra]]
    versions = pinned()
    for requirement in needed(requirements):
        version = versions[canonicalize_name(requirement.name)]
        assert requirement.specifier.contains(version), requirement


def printed(extras: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, FOLDER / "dependencies.py", ROOT / "pyproject.toml", extras],
        capture_output=True,
        text=True,
    )


def test_dependencies_of_the_package_and_of_the_extras_are_printed() -> None:
    assert printed("").stdout.splitlines() == PROJECT["project"]["dependencies"]
    with_extras = printed("s3, onnxruntime").stdout.splitlines()
    assert with_extras == [
        *PROJECT["project"]["dependencies"],
        *EXTRAS["s3"],
        *EXTRAS["onnxruntime"],
    ]


def test_an_extra_that_does_not_exist_ends_the_build() -> None:
    done = printed("s3,onyx")
    assert done.returncode != 0
    assert "no extra 'onyx'" in done.stderr
    assert "onnxruntime" in done.stderr


@pytest.mark.parametrize("name", IMAGES)
@pytest.mark.parametrize(("age_s", "healthy"), [(None, True), (1, True), (600, False)])
def test_health_is_the_age_of_the_file_that_a_worker_renews(
    name: str, age_s: int | None, healthy: bool, tmp_path: Path
) -> None:
    file = tmp_path / "health"
    if age_s is not None:
        file.touch()
        then = time.time() - age_s
        os.utime(file, (then, then))
    command = json.loads(one_of(name, "HEALTHCHECK").partition("CMD ")[2])
    environment = {**os.environ, "GPUBENCH_HEALTH_FILE": str(file)}
    done = subprocess.run(command, env=environment, capture_output=True)
    assert done.returncode == (0 if healthy else 1), done.stderr


def test_the_page_names_every_argument_and_the_check_as_it_is() -> None:
    page = (ROOT / "docs/containers.md").read_text()
    for name in IMAGES:
        for instruction, value in instructions(name):
            if instruction == "ARG":
                assert f"| `{value.partition('=')[0]}` |" in page
        assert f"`{argument(name, 'EXTRAS')}`" in page
        assert json.loads(one_of(name, "HEALTHCHECK").partition("CMD ")[2])[2] in page
    user = one_of("cpu", "USER").split(":")[0]
    assert f"The user has the number {user} and no privileges" in page


@pytest.mark.parametrize("script", ["build.sh", "check.sh"])
def test_the_scripts_that_build_and_check_are_valid(script: str) -> None:
    file = ROOT / "tests/containers" / script
    assert os.access(file, os.X_OK)
    done = subprocess.run(["bash", "-n", file], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
