"""The cases of `run.py` for a minute. They are the same each time."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

import cases
import fuzz
import pytest

# Each kind takes about ten seconds on one core.
EXAMPLES = {
    "command lines": 350,
    "sweep files": 500,
    "documents": 250,
    "sample files": 1500,
    "traces": 800,
}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[fuzz.Place]:
    with pytest.MonkeyPatch.context() as patch:
        made = fuzz.Place(tmp_path_factory.mktemp("fuzz"), patch)
        yield made
        for (kind, status), number in sorted(made.counts.items()):
            print(f"{kind}: status {status}: {number}")


@pytest.mark.parametrize("kind", fuzz.KINDS)
def test_what_once_got_through(place: fuzz.Place, kind: str) -> None:
    for case in cases.CORPUS[kind]:
        fuzz.try_case(place, kind, case)


@pytest.mark.parametrize("kind", fuzz.KINDS)
def test_no_input_ends_in_a_traceback_or_a_hang(place: fuzz.Place, kind: str) -> None:
    fuzz.try_many(place, kind, EXAMPLES[kind], same_each_time=True)


PROCESSES = [
    *((arguments, 2) for arguments in cases.CORPUS["command lines"]),
    (["sweep", "binary.yaml", "--output", "out"], 2),
    (["sweep", "planted.yaml", "--output", "out"], 2),
    (["sweep", "many.yaml", "--output", "out"], 2),
    (["sweep", *cases.FAST, "--output", "out", "--workers", "1,2"], 0),
    (["sweep", *cases.FAST, "--output", "out", "--batch", "1,2", "--max-cells", "1"], 2),
    (["run", *cases.FAST, "--json", "-", "--usd-per-hour", "1e308"], 2),
    (["report", "run", "--format", "csv"], 0),
    (["report", "run", "--output", "no/such/folder/page.html"], 2),
    (["compare", "run", "run", "--format", "json"], 0),
    (["cache", "clear"], 0),
    (["report", "pipe"], 2),
    (["report", "memory://nothing"], 2),
]


@pytest.mark.parametrize(("arguments", "status"), PROCESSES)
def test_neither_does_a_process_of_its_own(
    place: fuzz.Place, arguments: list[str], status: int
) -> None:
    (place.folder / "binary.yaml").write_bytes(cases.CORPUS["sweep files"][0])
    (place.folder / "planted.yaml").write_bytes(cases.CORPUS["sweep files"][1])
    (place.folder / "many.yaml").write_bytes(cases.CORPUS["sweep files"][-1])
    done = subprocess.run(
        [sys.executable, "-P", "-m", "gpubench.cli", *arguments],
        capture_output=True,
        stdin=subprocess.DEVNULL,
        text=True,
        timeout=fuzz.MOST_SECONDS,
        cwd=place.folder,
    )
    assert done.returncode == status, done.stderr
    assert "Traceback" not in done.stderr
    assert not (place.folder / "ran").exists()
    if status == 2:
        assert len(done.stderr.splitlines()) == 1
